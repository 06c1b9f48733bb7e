//! Models as transformers computes them: the tiny random ones of `tests/fixtures` (recorded by
//! `scripts/record_codegen_reference.py`) are converted from their Hugging Face directories, loaded, and
//! compared in logits, greedy tokens and token ids. Limit: real shapes are checked by hand.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests too")]

use std::path::{Path, PathBuf};

use llmatic_offline::config::Device;
use llmatic_offline::llm::{Control, Finish, Llm, LlmOptions, Request, Stop, convert, select};
use llmatic_offline::rng::RootSeed;
use serde_json::Value as Json;

const ARCHITECTURES: [&str; 5] = ["codegen", "llama", "qwen2", "qwen3", "starcoder2"];

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
