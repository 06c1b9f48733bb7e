//! Models as transformers computes them: the tiny random ones of `tests/fixtures` (recorded by
//! `scripts/record_codegen_reference.py`) are converted from their Hugging Face directories, loaded, and
//! compared in logits, greedy tokens and token ids. Limit: real shapes are checked by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::path::{Path, PathBuf};

use llmatic_offline::config::Device;
use llmatic_offline::llm::{
    Control, Finish, Generator as _, Llm, LlmOptions, Request, Stop, convert, select,
};
use llmatic_offline::rng::RootSeed;
use serde_json::{Value as Json, json};

const ARCHITECTURES: [&str; 7] = ["codegen", "gemma3", "llama", "qwen2", "qwen3", "qwen3moe", "starcoder2"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}-tiny"))
}

fn reference(name: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(fixture(name).join("reference.json")).unwrap()).unwrap()
}

fn numbers(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn floats(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// A converted and loaded fixture.
struct Converted {
    _folder: tempfile::TempDir,
    llm: Llm,
}

fn load(path: &Path, threads: usize) -> Llm {
    let selection = select(path.to_str().unwrap(), None).unwrap();
    Llm::load(&selection, &LlmOptions { device: Device::Cpu, threads, context: 0, rows: 2 }).unwrap()
}

fn converted(source: &Path, quantization: &str) -> Converted {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    convert(source, quantization, &path, &mut |_| {}).unwrap();
    Converted { llm: load(&path, 2), _folder: folder }
}

/// A fixture's directory with another tokenizer.
fn with_tokenizer(name: &str, edit: impl FnOnce(&mut Json)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(name).join(file), folder.path().join(file)).unwrap();
    }
    let text = std::fs::read_to_string(fixture(name).join("tokenizer.json")).unwrap();
    let mut json: Json = serde_json::from_str(&text).unwrap();
    edit(&mut json);
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    folder
}

/// Largest difference between the logits after `tokens` and the recorded ones.
fn difference(llm: &mut Llm, tokens: &[u32], expected: &[f64]) -> f64 {
    let logits = llm.logits(tokens).unwrap();
    assert_eq!(logits.len(), expected.len());
    logits.iter().zip(expected).map(|(ours, theirs)| (f64::from(*ours) - theirs).abs()).fold(0.0, f64::max)
}

/// Kullback-Leibler divergence of the model's distribution after `tokens` from the recorded one.
fn divergence(llm: &mut Llm, tokens: &[u32], expected: &[f64]) -> f64 {
    let ours: Vec<f64> = llm.logits(tokens).unwrap().into_iter().map(f64::from).collect();
    let normalizer = |logits: &[f64]| logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let (a, b) = (normalizer(expected), normalizer(&ours));
    expected.iter().zip(&ours).map(|(theirs, ours)| (theirs - a).exp() * ((theirs - a) - (ours - b))).sum()
}

fn greedy(prompt: &str, max_tokens: usize) -> Request {
    Request {
        prompt: prompt.to_owned(),
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        max_tokens,
        stream: RootSeed(1).stream("models", &[]),
        stop: Stop::EndOfText,
    }
}

#[test]
fn converted_to_f32_a_model_gives_the_logits_and_greedy_tokens_of_transformers() {
    for name in ARCHITECTURES {
        let reference = reference(name);
        let mut llm = converted(&fixture(name), "f32").llm;
        let tokens = numbers(&reference["tokens"]);
        let first = difference(&mut llm, &tokens[..1], &floats(&reference["logits"][0]));
        let last = difference(&mut llm, &tokens, &floats(&reference["logits"][1]));
        assert!(first < 1e-4 && last < 1e-4, "{name}: {first} {last}");
        let mut row = tokens;
        for expected in numbers(&reference["greedy"]) {
            let logits = llm.logits(&row).unwrap();
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(best as u32, expected, "{name} after {} tokens", row.len());
            row.push(expected);
        }
    }
}

#[test]
fn quantized_models_stay_near_the_distribution_of_transformers() {
    for name in ARCHITECTURES {
        let reference = reference(name);
        let tokens = numbers(&reference["tokens"]);
        for (quantization, most) in [("q8_0", 0.01), ("q4_k_m", 0.1)] {
            let mut llm = converted(&fixture(name), quantization).llm;
            let first = divergence(&mut llm, &tokens[..1], &floats(&reference["logits"][0]));
            let last = divergence(&mut llm, &tokens, &floats(&reference["logits"][1]));
            eprintln!("{name} {quantization}: {first:.5} {last:.5}");
            assert!(first < most && last < most, "{name} {quantization}: {first} {last}");
        }
    }
}

#[test]
fn texts_get_the_token_ids_of_transformers() {
    for name in ARCHITECTURES {
        let reference = reference(name);
        let llm = converted(&fixture(name), "q8_0").llm;
        for case in reference["tokenized"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            assert_eq!(llm.tokens(text).unwrap(), numbers(&case["tokens"]), "{name}: {text:?}");
        }
    }
}

#[test]
fn a_model_that_starts_texts_with_a_token_or_a_space_is_kept_to_a_search_space() {
    const SPACE: &str =
        "start: \"    a = \" op \"\\n    b = \" op \"\\n\"\nop: \"Conv(1)\" | \"Conv(3)\" | \"x\"";
    // As Llama 2 has it: a space goes before a text.
    let spaced = with_tokenizer("gemma3", |json| {
        let parts = [json!({ "type": "Prepend", "prepend": "▁" }), json["normalizer"].take()];
        json["normalizer"] = json!({ "type": "Sequence", "normalizers": parts });
        let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
        json["decoder"]["decoders"].as_array_mut().unwrap().push(strip);
    });
    for source in [fixture("gemma3"), spaced.path().to_owned()] {
        let mut llm = converted(&source, "q8_0").llm;
        assert_eq!(llm.tokens("x").unwrap()[0], 2, "the start token");
        llm.keep_to(Some(SPACE)).unwrap();
        let ask = |temperature| Request {
            temperature,
            stop: Stop::ClassComplete,
            ..greedy("class Net(nn.Module):\n", 60)
        };
        let requests = [0.0, 1.0, 2.0].map(ask);
        for completion in llm.generate(&requests, &mut |_| Control::Continue).unwrap() {
            let text = &completion.text;
            let rest = text.strip_prefix("    a = ").and_then(|rest| rest.strip_suffix('\n'));
            let ops: Vec<&str> = rest.unwrap_or_default().split("\n    b = ").collect();
            let good = ops.len() == 2 && ops.iter().all(|op| ["Conv(1)", "Conv(3)", "x"].contains(op));
            assert!(
                good && completion.finish == Finish::Stopped,
                "{source:?} {text:?} {:?}",
                completion.finish
            );
        }
    }
}

#[test]
fn special_tokens_without_an_embedding_are_left_out_and_ordinary_ones_are_an_error() {
    // Gemma 3 1B has a token for images, and 484 stands here for its number of embeddings.
    let with = |special: bool| {
        with_tokenizer("gemma3", |json| {
            let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
            for id in vocabulary.len()..484 {
                vocabulary.insert(format!("<unused{id}>"), id.into());
            }
            let token = json!({
                "id": 484, "content": "<image>", "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false,
            });
            json["added_tokens"].as_array_mut().unwrap().push(token);
        })
    };
    let llm = converted(with(true).path(), "q8_0").llm;
    for case in reference("gemma3")["tokenized"].as_array().unwrap() {
        assert_eq!(llm.tokens(case["text"].as_str().unwrap()).unwrap(), numbers(&case["tokens"]));
    }
    let tokens = llm.tokens("a <image> b").unwrap();
    assert!(tokens.iter().all(|token| *token < 484), "{tokens:?}");
    let ordinary = with(false);
    let out = ordinary.path().join("out.gguf");
    let refused = convert(ordinary.path(), "q8_0", &out, &mut |_| {}).unwrap_err().to_string();
    assert!(refused.contains("`<image>` has id 484") && refused.contains("tokenizer.json"), "{refused}");
}

#[test]
fn a_tokenizers_cutting_and_filling_up_are_left_to_training() {
    let source = with_tokenizer("qwen2", |json| {
        json["truncation"] =
            json!({ "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 });
        json["padding"] = json!({
            "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "!",
        });
    });
    let llm = converted(source.path(), "q8_0").llm;
    for case in reference("qwen2")["tokenized"].as_array().unwrap() {
        assert_eq!(llm.tokens(case["text"].as_str().unwrap()).unwrap(), numbers(&case["tokens"]));
    }
}

#[test]
fn the_start_token_of_a_tokenizers_config_is_put_before_texts_where_its_class_does() {
    // As DeepSeek-Coder has it.
    let config = |class: &str| {
        json!({
            "tokenizer_class": class, "add_bos_token": true,
            "bos_token": { "__type": "AddedToken", "content": "<|endoftext|>", "normalized": true },
        })
    };
    let plain = converted(&fixture("llama"), "q8_0").llm.tokens("x = 1").unwrap();
    let starting: Vec<u32> = [279].into_iter().chain(plain.iter().copied()).collect();
    for (class, expected) in [
        ("LlamaTokenizerFast", &starting),
        ("LlamaTokenizer", &starting),
        ("PreTrainedTokenizerFast", &plain),
        ("GPT2Tokenizer", &plain),
    ] {
        let source = with_tokenizer("llama", |_| {});
        let path = source.path().join("tokenizer_config.json");
        std::fs::write(&path, config(class).to_string()).unwrap();
        assert_eq!(converted(source.path(), "q8_0").llm.tokens("x = 1").unwrap(), *expected, "{class}");
        std::fs::write(&path, config(class).to_string().replace("endoftext", "nothing")).unwrap();
        let out = source.path().join("out.gguf");
        let refused = convert(source.path(), "q8_0", &out, &mut |_| {}).err().map(|error| error.to_string());
        let named = |message: &String| message.contains("`<|nothing|>`") && message.contains("bos_token");
        assert_eq!(refused.as_ref().is_some_and(named), *expected == starting, "{class}: {refused:?}");
    }
}

#[test]
fn a_pytorch_checkpoint_converts_to_the_bytes_of_its_safetensors() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = source.path().join("codegen-tiny");
    std::fs::create_dir(&source).unwrap();
    for file in ["config.json", "vocab.json", "merges.txt", "added_tokens.json", "pytorch_model.bin"] {
        std::fs::copy(fixture("codegen").join(file), source.join(file)).unwrap();
    }
    let (pickled, mapped) = (folder.path().join("pickled.gguf"), folder.path().join("mapped.gguf"));
    let report = convert(&source, "q8_0", &pickled, &mut |_| {}).unwrap();
    let other = convert(&fixture("codegen"), "q8_0", &mapped, &mut |_| {}).unwrap();
    assert_eq!(report.sha256, other.sha256);
    assert_eq!((report.architecture.as_str(), report.ignored.len()), ("codegen", 0));
}

#[test]
fn a_converted_model_given_by_its_path_writes_what_transformers_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    convert(&fixture("codegen"), "f32", &path, &mut |_| {}).unwrap();
    let reference = reference("codegen");
    let expected = numbers(&reference["greedy"]);
    for threads in [1, 2] {
        let mut llm = load(&path, threads);
        let request = greedy(reference["prompt"].as_str().unwrap(), expected.len());
        let completion = llm.generate(&[request.clone(), request], &mut |_| Control::Continue).unwrap();
        assert_eq!(
            completion[0],
            llmatic_offline::llm::Completion { cached_prompt_tokens: 0, ..completion[1].clone() }
        );
        assert_eq!(completion[0].finish, Finish::Length);
        assert_eq!(completion[0].completion_tokens, expected.len());
        assert_eq!(completion[0].text, reference["text"].as_str().unwrap());
    }
}

#[test]
fn a_codegen_directory_is_converted_imported_and_searched_with_by_its_alias() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("codegen-tiny");
    std::fs::create_dir(&source).unwrap();
    for file in ["vocab.json", "merges.txt", "added_tokens.json", "pytorch_model.bin"] {
        std::fs::copy(fixture("codegen").join(file), source.join(file)).unwrap();
    }
    // Rotary positions need no weights, so the context can be that of the real model.
    let config = std::fs::read_to_string(fixture("codegen").join("config.json")).unwrap();
    let config = config.replace("\"n_positions\": 192", "\"n_positions\": 2048");
    std::fs::write(source.join("config.json"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_llmatic-offline"));
        command.env("LLMATIC_HOME", home.path()).env("HF_HOME", home.path().join("hf"));
        let output = command.current_dir(home.path()).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    run(&["models", "convert", "codegen-tiny", "--quantize", "q8_0", "-o", "made.gguf"]);
    let (imported, _) = run(&["models", "import", "made.gguf", "--name", "codegen-350m-mono"]);
    assert!(imported.contains("codegen-350m-mono-q4_k_m.gguf"), "{imported}");
    let (verified, _) = run(&["models", "verify", "codegen-350m-mono"]);
    assert!(verified.contains("as pinned"), "{verified}");
    let search = ["search", "--model", "codegen", "--dataset", "surrogate", "--generations", "1"];
    let (_, said) = run(&[&search[..], &["--children", "2", "--out", "run"]].concat());
    assert!(said.contains("model alias `codegen`: using codegen-350m-mono"), "{said}");
    assert!(home.path().join("run").is_dir());
}

/// `LLMATIC_REFERENCE=FOLDER cargo test --release --test models -- --ignored --nocapture`, with a folder that
/// `scripts/record_codegen_reference.py FOLDER codegen-350m` made.
#[test]
#[ignore = "needs a model of a real shape, made by the script"]
fn a_model_of_a_real_shape_gives_what_transformers_gives() {
    let source = PathBuf::from(std::env::var_os("LLMATIC_REFERENCE").unwrap());
    let reference: Json =
        serde_json::from_str(&std::fs::read_to_string(source.join("reference.json")).unwrap()).unwrap();
    let (tokens, expected) = (numbers(&reference["tokens"]), numbers(&reference["greedy"]));
    let last = floats(&reference["logits"][1]);
    let spread = last.iter().fold(0.0f64, |most, logit| most.max(logit.abs()));
    for quantization in ["f32", "q8_0", "q4_k_m"] {
        let start = std::time::Instant::now();
        let mut llm = converted(&source, quantization).llm;
        let loaded = start.elapsed().as_secs_f64();
        let apart = difference(&mut llm, &tokens, &last);
        let divergence = divergence(&mut llm, &tokens, &last);
        let start = std::time::Instant::now();
        let mut row = tokens.clone();
        let mut equal = 0;
        for expected in &expected {
            let logits = llm.logits(&row).unwrap();
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            if best as u32 != *expected || quantization != "f32" {
                break;
            }
            equal += 1;
            row.push(*expected);
        }
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "{quantization}: converted and loaded in {loaded:.1} s; logits (to {spread:.1}) differ by {apart:.2e}, \
             KL {divergence:.2e}, {equal} greedy tokens equal in {seconds:.0} s"
        );
        match quantization {
            "f32" => assert!(apart < 1e-4 && equal == expected.len(), "{apart} {equal}"),
            "q8_0" => assert!(divergence < 0.01, "{divergence}"),
            _ => assert!(divergence < 0.1, "{divergence}"),
        }
    }
}
