//! Greedy tokens against llama.cpp's, recorded by `scripts/record_llama_cpp_reference.py` on the same files.
//!
//! A model's continuation is computed along llama.cpp's tokens, up to the first that it would not have written. Where
//! one comes, llama.cpp itself must have been nearly undecided; and no more continuations of 64 tokens may differ than
//! do between llama.cpp and itself when it adds up attention in f32 instead of half precision. Both programs round
//! activations to 8 bits, llama.cpp in blocks of 256 for k-quants, ours in blocks of 32 always; so logits differ by
//! about 0.1. Runs where the models are installed, as `llm_real`. Limit: one recording per model, of one processor.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests too")]

use std::path::Path;

use llmatic_offline::config::Device;
use llmatic_offline::llm::{Llm, LlmError, LlmOptions, select};

/// Most by which llama.cpp's best logit may lead its second where ours differ.
const NEAR_TIE: f64 = 0.25;

#[derive(serde::Deserialize)]
struct Recording {
    rows: Vec<Row>,
}

#[derive(serde::Deserialize)]
struct Row {
    prompt: String,
    tokens: Vec<u32>,
    /// What llama.cpp wrote.
    written: Vec<u32>,
    /// By how much each led.
    gaps: Vec<f64>,
    /// What it wrote with attention in f32.
    written_with_f32_attention: Vec<u32>,
}

#[test]
fn the_half_billion_model_writes_what_llama_cpp_writes() {
    compare("qwen2.5-coder-0.5b", true);
}

#[test]
fn the_one_and_a_half_billion_model_writes_what_llama_cpp_writes() {
    compare("qwen2.5-coder-1.5b", false);
}

/// `set_up`: whether the set-up always brings the model.
fn compare(model: &str, set_up: bool) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama_cpp");
    let text = std::fs::read_to_string(fixtures.join(format!("{model}.json"))).unwrap();
    let recording: Recording = serde_json::from_str(&text).unwrap();
    assert_eq!(recording.rows.len(), 20);
    let selection = match select(model, None) {
        Ok(selection) => selection,
        Err(error @ LlmError::NotInstalled { .. }) => {
            let required = set_up && std::env::var_os("LLMATIC_REQUIRE_MODEL").is_some();
            assert!(!required, "LLMATIC_REQUIRE_MODEL is set, but {error}");
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let options = LlmOptions { device: Device::Cpu, threads: 2, context: 1024, rows: 1 };
    let mut llm = Llm::load(&selection, &options).unwrap();
    let mut differences = Vec::new();
    for (index, row) in recording.rows.iter().enumerate() {
        assert_eq!(llm.tokens(&row.prompt).unwrap(), row.tokens, "prompt {index} is tokenized differently");
        let count = row.written.len();
        assert_eq!((count, row.gaps.len()), (64, 64));
        let along: Vec<u32> = row.tokens.iter().chain(&row.written[..count - 1]).copied().collect();
        let leaders = llm.leaders(&along, count).unwrap();
        let differs = leaders.iter().zip(&row.written).position(|((token, _), written)| token != written);
        if let Some(at) = differs {
            let (gap, lead) = (row.gaps[at], leaders[at].1);
            eprintln!(
                "{model}, prompt {index}: token {at} differs; llama.cpp's led by {gap:.3}, ours by {lead:.3}"
            );
            differences.push((index, gap));
        }
    }
    let itself = recording.rows.iter().filter(|row| row.written != row.written_with_f32_attention).count();
    let equal = 20 - differences.len();
    eprintln!("{model}: {equal} of 20 continuations are equal; llama.cpp with itself: {}", 20 - itself);
    for (index, gap) in &differences {
        assert!(*gap < NEAR_TIE, "prompt {index} differs where llama.cpp's token led by {gap}");
    }
    assert!(differences.len() <= itself, "{} of 20 continuations differ", differences.len());
}
