//! Converted fixtures in both decoders, and their tokenizers built from ggml's keys, against what transformers
//! recorded; `tests/models.rs` has the rest.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::{Value as Json, json};

use super::write::{Value, header};
use super::{convert, read_json};
use crate::llm::decoder::{AcceleratorDecoder, Config, CpuDecoder, Decoder, Span};
use crate::llm::gguf::Gguf;
use crate::llm::kernels::Isa;
use crate::llm::vocabulary::{from_ggml, tokenizer as tokenizer_of};

const ARCHITECTURES: [&str; 7] = ["codegen", "gemma3", "llama", "qwen2", "qwen3", "qwen3moe", "starcoder2"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}-tiny"))
}

fn converted(name: &str, quantization: &str) -> (tempfile::TempDir, Gguf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    convert(&fixture(name), quantization, &path, &mut |_| {}).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    (folder, gguf)
}

fn reference(name: &str) -> Json {
    read_json(&fixture(name).join("reference.json")).unwrap()
}

fn ids(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn forward(decoder: &mut dyn Decoder, spans: &[Span<'_>]) -> Vec<f32> {
    let mut logits = Vec::new();
    decoder.forward(spans, &mut logits).unwrap();
    logits
}

#[test]
fn the_accelerator_decoder_gives_the_logits_of_transformers() {
    for name in ARCHITECTURES {
        let (_folder, gguf) = converted(name, "f32");
        let config = Config::read(&gguf).unwrap();
        let mut decoder = AcceleratorDecoder::load(&gguf, config, &Device::Cpu, 192, 1).unwrap();
        let reference = reference(name);
        let tokens = ids(&reference["tokens"]);
        let (most, last) = tokens.split_at(tokens.len() - 3);
        forward(&mut decoder, &[Span { slot: 0, tokens: most, logits: 0 }]);
        let logits = forward(&mut decoder, &[Span { slot: 0, tokens: last, logits: 1 }]);
        let expected = reference["logits"][1].as_array().unwrap();
        assert_eq!(logits.len(), expected.len());
        for (ours, theirs) in logits.iter().zip(expected) {
            assert!((f64::from(*ours) - theirs.as_f64().unwrap()).abs() < 1e-4, "{name}: {ours} {theirs}");
        }
    }
}

#[test]
fn the_bits_of_every_architecture_are_those_of_every_processor_batch_and_thread_count() {
    for (name, quantization) in ARCHITECTURES.iter().flat_map(|name| [(name, "f32"), (name, "q4_k_m")]) {
        let (_folder, gguf) = converted(name, quantization);
        let load = |threads: usize, isa: Isa| {
            CpuDecoder::load(&gguf, Config::read(&gguf).unwrap(), threads, 256, 2).unwrap().with_isa(isa)
        };
        let tokens = ids(&reference(name)["tokens"]);
        let (first, rest) = tokens.split_at(7);
        let expected = forward(&mut load(1, Isa::Scalar), &[Span { slot: 0, tokens: &tokens, logits: 1 }]);
        for isa in Isa::all() {
            let mut decoder = load(2, isa);
            forward(&mut decoder, &[Span { slot: 1, tokens: first, logits: 0 }]);
            let beside = Span { slot: 0, tokens: &tokens[..5], logits: 0 };
            let logits = forward(&mut decoder, &[beside, Span { slot: 1, tokens: rest, logits: 1 }]);
            assert_eq!(logits, expected, "{name} {quantization} {isa:?}");
        }
    }
}

#[test]
fn a_tokenizer_built_from_ggmls_keys_gives_the_ids_of_transformers() {
    for name in ARCHITECTURES {
        let (_folder, gguf) = converted(name, "q8_0");
        let tokenizer = from_ggml(&gguf).unwrap();
        for case in reference(name)["tokenized"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let encoded = tokenizer.encode_fast(text, true).unwrap();
            assert_eq!(encoded.get_ids(), ids(&case["tokens"]), "{name}: {text:?}");
        }
    }
}

#[test]
fn ggmls_keys_say_that_texts_start_with_a_token_wherever_that_is_written() {
    let starting = json!({
        "type": "TemplateProcessing",
        "single": [
            { "SpecialToken": { "id": "<|endoftext|>", "type_id": 0 } },
            { "Sequence": { "id": "A", "type_id": 0 } },
        ],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
        "special_tokens": {
            "<|endoftext|>": { "id": "<|endoftext|>", "ids": [279], "tokens": ["<|endoftext|>"] },
        },
    });
    let bytes =
        json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true });
    let sequence = json!({ "type": "Sequence", "processors": [bytes, starting] });
    let config = json!({
        "tokenizer_class": "LlamaTokenizerFast", "add_bos_token": true, "bos_token": "<|endoftext|>",
    });
    for (processor, config, expected) in [
        (&starting, &Json::Null, true),
        (&sequence, &Json::Null, true),
        (&bytes, &Json::Null, false),
        (&bytes, &config, true),
        (&sequence, &config, true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture("llama").join(file), folder.path().join(file)).unwrap();
        }
        let mut tokenizer = read_json(&fixture("llama").join("tokenizer.json")).unwrap();
        tokenizer["post_processor"] = processor.clone();
        for (file, json) in [("tokenizer.json", &tokenizer), ("tokenizer_config.json", config)] {
            std::fs::write(folder.path().join(file), json.to_string()).unwrap();
        }
        let path = folder.path().join("tiny.gguf");
        convert(folder.path(), "q8_0", &path, &mut |_| {}).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        for tokenizer in [from_ggml(&gguf).unwrap(), tokenizer_of(&gguf).unwrap()] {
            let ids = tokenizer.encode_fast("x = 1", true).unwrap().get_ids().to_vec();
            assert_eq!(ids[0] == 279, expected, "{processor} {config}: {ids:?}");
        }
    }
}

#[test]
fn a_vocabulary_of_llama_3s_kind_starts_texts_where_its_file_does_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    let starts = |pre: &str, more: &[(&str, Value)]| {
        let tokens = ["a", "b", "ab", "<start>"].map(str::to_owned).to_vec();
        let metadata: Vec<(String, Value)> = [
            ("tokenizer.ggml.model", Value::Text("gpt2".into())),
            ("tokenizer.ggml.pre", Value::Text(pre.into())),
            ("tokenizer.ggml.tokens", Value::Texts(tokens)),
            ("tokenizer.ggml.token_type", Value::Integers(vec![1, 1, 1, 3])),
            ("tokenizer.ggml.merges", Value::Texts(vec!["a b".into()])),
        ]
        .into_iter()
        .chain(more.iter().cloned())
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        header(&mut std::fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
        let encoded = from_ggml(&Gguf::open(&path).unwrap()).unwrap().encode_fast("ab", true).unwrap();
        match encoded.get_ids() {
            [2] => false,
            [3, 2] => true,
            other => panic!("{other:?}"),
        }
    };
    let id = ("tokenizer.ggml.bos_token_id", Value::U32(3));
    let said = |value| ("tokenizer.ggml.add_bos_token", Value::Bool(value));
    for (pre, expected) in [("llama-bpe", true), ("llama3", true), ("qwen2", false), ("smaug-bpe", false)] {
        assert_eq!(starts(pre, std::slice::from_ref(&id)), expected, "{pre}");
        assert!(starts(pre, &[id.clone(), said(true)]) && !starts(pre, &[id.clone(), said(false)]), "{pre}");
    }
    assert!(!starts("llama-bpe", &[]));
}

/// `LLMATIC_VOCABULARIES=FOLDER cargo test --release --lib real_vocabularies -- --ignored --nocapture`: the folder
/// holds `ggml-vocab-*.gguf` with `.inp` and `.out` (ids that Hugging Face's tokenizers gave), as llama.cpp's
/// source has them in `models`.
#[test]
#[ignore = "needs vocabularies that are too large for the repository"]
fn real_vocabularies_give_the_ids_of_their_makers() {
    let folder = PathBuf::from(std::env::var_os("LLMATIC_VOCABULARIES").unwrap());
    for name in ["gpt-2", "qwen2", "starcoder", "refact", "deepseek-coder", "llama-bpe", "llama-spm"] {
        let path = folder.join(format!("ggml-vocab-{name}.gguf"));
        let tokenizer = from_ggml(&Gguf::open(&path).unwrap()).unwrap();
        let text = |end: &str| std::fs::read_to_string(path.with_extension(end)).unwrap();
        let (texts, ids) = (text("gguf.inp"), text("gguf.out"));
        let cases = texts.split("\n__ggml_vocab_test__\n").zip(ids.lines());
        let (mut count, mut wrong) = (0, 0);
        for (text, ids) in cases {
            let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let found = tokenizer.encode_fast(text, false).unwrap();
            count += 1;
            if found.get_ids() != expected {
                wrong += 1;
                eprintln!("{name}: {text:?}: {:?}, expected {expected:?}", found.get_ids());
            }
        }
        eprintln!("{name}: {wrong} of {count} texts differ");
        assert!(wrong == 0 && count > 30, "{name}");
    }
}

/// As above; `FOLDER/gemma3-tokenizer.json` is the file of the Gemma 3 models.
#[test]
#[ignore = "needs a tokenizer that is too large for the repository"]
fn the_real_tokenizer_of_gemma3_comes_back_from_ggmls_keys() {
    let folder = PathBuf::from(std::env::var_os("LLMATIC_VOCABULARIES").unwrap());
    let work = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("gemma3-tokenizer.json"), work.path().join("tokenizer.json")).unwrap();
    let metadata = super::tokens::metadata(work.path(), &Json::Null, 262_208).unwrap();
    let path = work.path().join("vocabulary.gguf");
    super::write::header(&mut std::fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
    let ours = from_ggml(&Gguf::open(&path).unwrap()).unwrap();
    let text = std::fs::read_to_string(work.path().join("tokenizer.json")).unwrap();
    let theirs = crate::llm::vocabulary::parse_json(&text).unwrap();
    let texts = std::fs::read_to_string(folder.join("ggml-vocab-qwen2.gguf.inp")).unwrap();
    let sources = [include_str!("layout.rs"), include_str!("../../../scripts/record_codegen_reference.py")];
    let cases = texts.split("\n__ggml_vocab_test__\n").chain(sources);
    for text in cases {
        let ids =
            |tokenizer: &tokenizers::Tokenizer| tokenizer.encode_fast(text, true).unwrap().get_ids().to_vec();
        assert_eq!(ids(&ours), ids(&theirs), "{text:?}");
    }
}

#[test]
fn a_head_that_is_neither_there_nor_the_embedding_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("qwen3")).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config = read_json(&path).unwrap();
    assert_eq!(config["tie_word_embeddings"], json!(true));
    let mut result = |tied: Json| {
        config["tie_word_embeddings"] = tied;
        std::fs::write(&path, config.to_string()).unwrap();
        convert(folder.path(), "f32", &folder.path().join("tiny.gguf"), &mut |_| {})
    };
    assert!(result(Json::Null).is_ok(), "left out, as of a class whose default it is");
    let refused = result(json!(false)).unwrap_err().to_string();
    assert!(refused.contains("`lm_head.weight` is missing"), "{refused}");
}
