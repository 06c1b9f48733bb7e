//! The engine on the real default model: parity with candle-transformers, and independence of batch and
//! threads.
//!
//! Runs where the model is installed; elsewhere each test says that it was skipped, or fails if
//! `LLMATIC_REQUIRE_MODEL` is set. `throughput` prints tokens per second and is ignored by default.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests are tests too")]

use std::io::Cursor;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device as CandleDevice, Tensor};
use candle_transformers::models::quantized_qwen2::ModelWeights;
use llmatic_offline::bench::nasbench201::{CELLS, Cell};
use llmatic_offline::config::Device;
use llmatic_offline::llm::{
    Completion, Control, Finish, Generator as _, Llm, LlmError, LlmOptions, Request, Selection, Stop, select,
};
use llmatic_offline::rng::RootSeed;

const MODEL: &str = "qwen2.5-coder-0.5b";

const PROMPT: &str = "import torch\nimport torch.nn as nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n\
    \x20       super().__init__()\n        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)\n\
    \x20       self.pool = nn.MaxPool2d(2)\n\
    \x20       self.fc1 = nn.Linear(8 * 14 * 14, 10)\n\n    def forward(self, x):\n\
    \x20       x = self.pool(torch.relu(self.conv1(x)))\n\
    \x20       x = torch.flatten(x, 1)\n        return self.fc1(x)\n\n\n\
    # The same network with one more convolution.\n\
    class Net(nn.Module):\n";

fn selection() -> Option<Selection> {
    match select(MODEL, None) {
        Ok(selection) => Some(selection),
        Err(error @ LlmError::NotInstalled { .. }) => {
            assert!(
                std::env::var_os("LLMATIC_REQUIRE_MODEL").is_none(),
                "LLMATIC_REQUIRE_MODEL is set, but {error}"
            );
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn load(selection: &Selection, threads: usize, rows: usize) -> Llm {
    Llm::load(selection, &LlmOptions { device: Device::Cpu, threads, context: 2048, rows }).unwrap()
}

fn request(prompt: &str, temperature: f64, max_tokens: usize, index: u64) -> Request {
    Request {
        prompt: prompt.to_owned(),
        temperature,
        top_p: 0.95,
        top_k: 0,
        max_tokens,
        stream: RootSeed(1).stream("llm_real", &[index]),
        stop: Stop::ClassComplete,
    }
}

fn run(llm: &mut Llm, requests: &[Request]) -> Vec<Completion> {
    llm.generate(requests, &mut |_| Control::Continue).unwrap()
}

/// Six different requests: two share their prompt, others a prefix of it.
fn mixed_requests() -> Vec<Request> {
    let mut requests: Vec<Request> = (0..3).map(|i| request(PROMPT, 0.9, 20 + 5 * i, i as u64)).collect();
    requests.push(request(&PROMPT[..PROMPT.len() / 2], 0.7, 24, 7));
    requests.push(request("def add(a, b):\n", 0.0, 16, 8));
    requests.push(request(&PROMPT.replace("8", "16"), 1.0, 24, 9));
    requests
}

#[test]
fn kept_to_the_grammar_of_cells_it_writes_cells_and_computes_no_more_than_their_choices() {
    let Some(selection) = selection() else { return };
    let header = "class Net(nn.Module):\n";
    let cells: Vec<String> = (0..CELLS).map(|number| Cell::from_number(number).to_class()).collect();
    let prompt = |cell: usize| format!("{}\n\n{header}", Cell::from_number(cell).to_module());
    let requests: Vec<Request> = (0..4u64)
        .map(|index| request(&prompt(1000 * (index as usize / 2)), 0.4 * index as f64, 320, index))
        .collect();
    let mut alone = load(&selection, 1, 1);
    alone.keep_to(Some(&Cell::grammar())).unwrap();
    let expected: Vec<Completion> =
        requests.iter().map(|request| run(&mut alone, std::slice::from_ref(request)).remove(0)).collect();
    for completion in &expected {
        assert!(cells.contains(&format!("{header}{}", completion.text)), "{}", completion.text);
        assert_eq!(completion.finish, Finish::Stopped);
    }
    let mut together = load(&selection, 2, 4);
    together.keep_to(Some(&Cell::grammar())).unwrap();
    let texts = |completions: &[Completion]| completions.iter().map(|c| c.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&run(&mut together, &requests)), texts(&expected));
}

/// The ids were recorded with the model's own tokenizer.json, by `scripts/record_codegen_reference.py`; here they
/// come from the file's metadata.
#[test]
fn texts_get_the_token_ids_of_the_models_own_tokenizer() {
    let Some(selection) = selection() else { return };
    let llm = load(&selection, 1, 1);
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen2-tokens.json");
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(recorded).unwrap()).unwrap();
    assert!(cases.len() > 12);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let ids = case["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32);
        assert_eq!(llm.tokens(text).unwrap(), ids.collect::<Vec<u32>>(), "{text:?}");
    }
}

#[test]
fn a_greedy_completion_writes_the_rest_of_the_class() {
    let Some(selection) = selection() else { return };
    let mut llm = load(&selection, 2, 1);
    let completion = run(&mut llm, &[request(PROMPT, 0.0, 300, 0)]).remove(0);
    assert_eq!(completion.finish, Finish::Stopped, "{}", completion.text);
    assert!(completion.text.contains("super().__init__()"), "{}", completion.text);
    assert!(completion.text.contains("def forward(self, x):"), "{}", completion.text);
    assert_eq!(completion.prompt_tokens, llm.count_tokens(PROMPT));
    assert!(completion.completion_tokens < 300 && completion.cached_prompt_tokens == 0);
}

#[test]
fn logits_agree_with_candle_transformers() {
    let Some(selection) = selection() else { return };
    let mut llm = load(&selection, 2, 1);
    let tokens = llm.tokens(&PROMPT[..120]).unwrap();
    let ours = llm.logits(&tokens).unwrap();
    let bytes = std::fs::read(&selection.path).unwrap();
    let mut reader = Cursor::new(&bytes);
    let content = Content::read(&mut reader).unwrap();
    let mut oracle = ModelWeights::from_gguf(content, &mut reader, &CandleDevice::Cpu).unwrap();
    let input = Tensor::new(&tokens[..], &CandleDevice::Cpu).unwrap().unsqueeze(0).unwrap();
    let theirs: Vec<f32> = oracle.forward(&input, 0).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(ours.len(), theirs.len());
    let best = |logits: &[f32]| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    assert_eq!(best(&ours), best(&theirs));
    let squares: f64 = ours.iter().zip(&theirs).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let rms = (squares / ours.len() as f64).sqrt();
    let largest = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    eprintln!("logits differ by {rms:.4} (root mean square), at most {largest:.4}");
    // Both round activations to int8, in blocks of different sizes; logits span about 40.
    assert!(rms < 0.25 && largest < 1.5, "{rms} {largest}");
}

#[test]
fn a_completion_depends_neither_on_its_neighbours_nor_on_the_cache() {
    let Some(selection) = selection() else { return };
    let requests = mixed_requests();
    let mut together = load(&selection, 2, 4);
    let batch = run(&mut together, &requests);
    assert!(batch[1].cached_prompt_tokens > 0, "equal prompts must share their prefix");
    let again = run(&mut together, &requests);
    assert!(again[0].cached_prompt_tokens > 0, "an earlier call's prefix must be kept");
    let mut alone = load(&selection, 2, 1);
    for (index, request) in requests.iter().enumerate() {
        alone.forget();
        let single = run(&mut alone, std::slice::from_ref(request)).remove(0);
        for other in [&batch[index], &again[index]] {
            assert_eq!((&single.text, single.finish), (&other.text, other.finish), "request {index}");
            assert_eq!(single.completion_tokens, other.completion_tokens);
        }
    }
}

/// Eight rows with different parents, temperatures, seeds and limits.
fn generation() -> Vec<Request> {
    let parents = [
        PROMPT.to_owned(),
        PROMPT.replace("8", "16"),
        PROMPT.replace("MaxPool2d(2)", "AvgPool2d(2)").replace("more convolution", "fewer layer"),
        PROMPT[..PROMPT.len() / 2].to_owned(),
    ];
    (0..8)
        .map(|row| Request {
            top_p: if row % 3 == 0 { 0.95 } else { 1.0 },
            top_k: if row % 3 == 1 { 50 } else { 0 },
            ..request(&parents[row % 4], 0.2 * row as f64, 16 + 3 * row, 100 + row as u64)
        })
        .collect()
}

/// What must not change.
fn essence(completions: &[Completion]) -> Vec<(String, Finish, usize)> {
    completions.iter().map(|c| (c.text.clone(), c.finish, c.completion_tokens)).collect()
}

#[test]
fn a_generation_of_eight_is_the_same_alone_in_any_batch_with_any_threads_lookup_and_sharing() {
    let Some(selection) = selection() else { return };
    let requests = generation();
    let mut plain = load(&selection, 1, 1);
    plain.set_lookup(false);
    plain.set_sharing(false);
    let alone: Vec<Completion> =
        requests.iter().flat_map(|request| run(&mut plain, std::slice::from_ref(request))).collect();
    assert!(alone.iter().all(|completion| completion.cached_prompt_tokens == 0));
    let expected = essence(&alone);
    for (threads, rows, lookup, sharing) in [
        (2, 8, true, true),
        (1, 8, true, false),
        (2, 8, false, true),
        (2, 8, false, false),
        (1, 3, true, true),
        (2, 2, false, true),
        (3, 5, true, true),
    ] {
        let mut llm = load(&selection, threads, rows);
        llm.set_lookup(lookup);
        llm.set_sharing(sharing);
        let label = format!("{threads} threads, {rows} rows, lookup {lookup}, sharing {sharing}");
        let batch = run(&mut llm, &requests);
        assert_eq!(essence(&batch), expected, "{label}");
        assert_eq!(batch.iter().any(|completion| completion.cached_prompt_tokens > 0), sharing, "{label}");
    }
    // Another order, hence other neighbours.
    let mut llm = load(&selection, 2, 4);
    let order = [5, 2, 7, 0, 3, 6, 1, 4];
    let shuffled: Vec<Request> = order.iter().map(|row| requests[*row].clone()).collect();
    for (place, found) in essence(&run(&mut llm, &shuffled)).into_iter().enumerate() {
        assert_eq!(found, expected[order[place]], "row {}", order[place]);
    }
}

#[test]
fn scores_rank_a_likely_line_above_an_unlikely_one_and_do_not_depend_on_the_batch() {
    let Some(selection) = selection() else { return };
    let prompt = format!("{PROMPT}    def __init__(self):\n");
    let lines =
        ["        super().__init__()\n", "        print('banana')\n", "        super().__init__(self)\n"];
    let scores = load(&selection, 2, 8).score(&prompt, &lines).unwrap();
    assert!(scores[0].log_probability > scores[2].log_probability, "{scores:?}");
    assert!(scores[2].log_probability > scores[1].log_probability, "{scores:?}");
    let mut alone = load(&selection, 1, 1);
    for (line, score) in lines.iter().zip(&scores) {
        assert_eq!(alone.score(&prompt, &[line]).unwrap()[0], *score);
    }
}

#[test]
fn manifests_say_what_models_take() {
    for name in ["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"] {
        let selection = match select(name, None) {
            Ok(selection) => selection,
            // The larger one is installed on request only.
            Err(LlmError::NotInstalled { .. }) if name.ends_with("1.5b") || selection().is_none() => continue,
            Err(error) => panic!("{name}: {error}"),
        };
        let options = LlmOptions { device: Device::Cpu, threads: 1, context: 2048, rows: 8 };
        let plan = Llm::estimate(&selection, &options).unwrap().total_bytes();
        let said = selection.manifest.memory_mb * 1_000_000;
        assert!(said >= plan && said <= plan / 10 * 11, "{name}: {said} said, {plan} planned");
    }
}

#[test]
fn cancelling_returns_what_there_is() {
    let Some(selection) = selection() else { return };
    let mut llm = load(&selection, 2, 2);
    let requests: Vec<Request> = (0..4).map(|i| request(PROMPT, 0.8, 200, i)).collect();
    let mut cancel = |progress: llmatic_offline::llm::Progress| {
        if progress.tokens >= 10 { Control::Cancel } else { Control::Continue }
    };
    let completions = llm.generate(&requests, &mut cancel).unwrap();
    assert_eq!(completions.len(), 4);
    assert!(completions.iter().all(|completion| completion.finish == Finish::Cancelled));
    assert!((1..200).contains(&completions[0].completion_tokens));
    assert_eq!((completions[3].completion_tokens, completions[3].text.as_str()), (0, ""));
}

#[test]
fn a_request_beyond_the_context_is_refused_with_the_numbers() {
    let Some(selection) = selection() else { return };
    let mut llm = load(&selection, 2, 1);
    let error = llm.generate(&[request(PROMPT, 0.0, 2000, 0)], &mut |_| Control::Continue).unwrap_err();
    let message = error.to_string();
    let prompt = llm.count_tokens(PROMPT).to_string();
    assert!(message.contains(&prompt) && message.contains("2000") && message.contains("2048"), "{message}");
}

#[test]
fn a_truncated_model_is_refused_by_name_at_every_length() {
    let Some(selection) = selection() else { return };
    let bytes = std::fs::read(&selection.path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.gguf");
    for length in [0, 3, 24, 1_000, 3_000_000, 8_000_000, 40_000_000] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = refusal(&selection, &path);
        assert!(message.contains("short.gguf") && message.contains("truncated"), "{length}: {message}");
    }
    let mut foreign = bytes[..8_000_000].to_vec();
    let at = foreign.windows(5).position(|window| window == b"qwen2").unwrap();
    foreign[at..at + 5].copy_from_slice(b"qwerk");
    std::fs::write(&path, &foreign).unwrap();
    let message = refusal(&selection, &path);
    assert!(
        message
            .contains("architecture `qwerk` is not supported yet, expected one of: codegen, gemma3, llama"),
        "{message}"
    );
}

fn refusal(selection: &Selection, path: &Path) -> String {
    let selection = Selection { path: path.to_owned(), ..selection.clone() };
    let options = LlmOptions { device: Device::Cpu, threads: 1, context: 128, rows: 1 };
    match Llm::load(&selection, &options) {
        Ok(_) => panic!("a damaged file was loaded"),
        Err(error) => error.to_string(),
    }
}

/// `cargo test --release --test llm_real throughput -- --ignored --nocapture`
#[test]
#[ignore = "prints timings; run it by name on an idle machine"]
fn throughput() {
    let Some(selection) = selection() else { return };
    let start = std::time::Instant::now();
    let mut llm = load(&selection, 2, 8);
    eprintln!("load {:.2} s, {:?}", start.elapsed().as_secs_f64(), llm.memory_plan());
    let report = |what: &str, tokens: usize, start: (std::time::Instant, f64)| {
        let (wall, cpu) = (start.0.elapsed().as_secs_f64(), cpu_seconds() - start.1);
        let tokens = tokens as f64;
        eprintln!("{what}: {:.1} tok/s, {:.1} tok per CPU second", tokens / wall, tokens / cpu);
    };
    let prompt: Vec<u32> = llm.tokens(&PROMPT.repeat(3)).unwrap()[..300].to_vec();
    for _ in 0..2 {
        let start = (std::time::Instant::now(), cpu_seconds());
        llm.logits(&prompt).unwrap();
        report("prefill 300 tokens", 300, start);
    }
    for (rows, temperature) in [(1, 0.0), (1, 1.0), (8, 0.0), (8, 1.0)] {
        let ask = |i| Request { stop: Stop::EndOfText, ..request(PROMPT, temperature, 128, i) };
        let requests: Vec<Request> = (0..rows).map(ask).collect();
        let mut first = None;
        let completions = llm.generate(&requests, &mut |progress| {
            if progress.tokens > 0 && first.is_none() {
                first = Some(((std::time::Instant::now(), cpu_seconds()), progress.tokens));
            }
            Control::Continue
        });
        let tokens: usize = completions.unwrap().iter().map(|completion| completion.completion_tokens).sum();
        let (start, before) = first.unwrap();
        report(&format!("decode {rows} rows at temperature {temperature}"), tokens - before, start);
    }
}

/// Processor time of all threads of this process (Linux).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time, in hundredths of a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
