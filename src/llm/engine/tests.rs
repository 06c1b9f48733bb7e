//! The engine on a tiny random model: batches, caches, cancelling, refusals. Needs no model on the machine.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;

use super::{LOGIT_ROWS, MOST};
use crate::config::{Device, Vocabulary};
use crate::llm::decoder::tests::{write_tiny, write_tiny_model};
use crate::llm::gguf::Gguf;
use crate::llm::working::Working;
use crate::llm::{
    Completion, Control, Finish, Generator, Llm, LlmError, LlmOptions, Manifest, PromptStyle, Request,
    Selection, Stop,
};
use crate::rng::RootSeed;

fn selection(path: &Path) -> Selection {
    let manifest = Manifest {
        name: "tiny".into(),
        file: "tiny.gguf".into(),
        bytes: 0,
        sha256: String::new(),
        licence: "none".into(),
        architecture: "qwen2".into(),
        context: 256,
        prompt_style: PromptStyle::Completion,
        stop: Vec::new(),
        memory_mb: 1,
        source: "a test".into(),
        infill: None,
        chat: None,
        original: None,
        hugging_face: None,
    };
    Selection { manifest, path: path.to_owned(), sha256: "00".into(), alias: None, note: None }
}

fn load(threads: usize, rows: usize, context: usize) -> Result<Llm, LlmError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q8_0);
    Llm::load(&selection(&path), &LlmOptions { device: Device::Cpu, threads, context, rows })
}

fn request(prompt: &str, max_tokens: usize, index: u64) -> Request {
    Request {
        prompt: prompt.into(),
        temperature: 1.0,
        top_p: 0.98,
        top_k: 0,
        max_tokens,
        stream: RootSeed(2).stream("engine test", &[index]),
        stop: Stop::EndOfText,
    }
}

fn run(llm: &mut Llm, requests: &[Request]) -> Vec<Completion> {
    llm.generate(requests, &mut |_| Control::Continue).unwrap()
}

fn requests() -> Vec<Request> {
    let long = "class Net(nn.Module):\n    def forward(self, x):\n        return x\n";
    vec![
        request(long, 30, 0),
        request(long, 5, 1),
        request("x", 40, 2),
        request(&long[..40], 20, 3),
        request(&format!("{long}more"), 20, 4),
    ]
}

#[test]
fn rows_leave_and_join_without_changing_a_completion() {
    let requests = requests();
    let mut alone = load(1, 1, 256).unwrap();
    let expected: Vec<_> = requests
        .iter()
        .map(|request| {
            alone.forget();
            run(&mut alone, std::slice::from_ref(request)).remove(0)
        })
        .collect();
    for (threads, rows) in [(1, 2), (2, 3), (2, 8)] {
        let mut llm = load(threads, rows, 256).unwrap();
        for round in 0..2 {
            for (index, completion) in run(&mut llm, &requests).iter().enumerate() {
                let label = format!("{threads} threads, {rows} rows, round {round}, request {index}");
                assert_eq!(completion.text, expected[index].text, "{label}");
                assert_eq!(completion.finish, expected[index].finish, "{label}");
                assert_eq!(completion.completion_tokens, expected[index].completion_tokens, "{label}");
            }
        }
    }
}

#[test]
fn guessing_ahead_changes_no_completion() {
    // Repetition in the prompt, and a low temperature, so that some guesses are right.
    let requests: Vec<Request> = (0..6)
        .map(|i| Request {
            temperature: 0.1 * i as f64,
            top_k: 3,
            ..request("x = f(x)\nx = f(x)\nx = f(x)\n", 60, i)
        })
        .collect();
    let mut llm = load(2, 3, 256).unwrap();
    let guessed = run(&mut llm, &requests);
    llm.guesses = false;
    llm.forget();
    assert_eq!(
        guessed.iter().map(|c| (&c.text, c.finish, c.completion_tokens)).collect::<Vec<_>>(),
        run(&mut llm, &requests).iter().map(|c| (&c.text, c.finish, c.completion_tokens)).collect::<Vec<_>>()
    );
}

#[test]
fn a_working_vocabulary_is_a_rows_own_whoever_shares_its_batch() {
    // Two bytes each that no row has but for its prompt.
    let requests: Vec<Request> = ["x = f(x)  # é", "x = f(x)  # ö", "x = f(x)  # plain", "x = f(x)  # é ö"]
        .into_iter()
        .zip(0..)
        .map(|(prompt, index)| Request { temperature: 3.0, ..request(prompt, 120, index) })
        .collect();
    let working = |threads, rows| {
        let mut llm = load(threads, rows, 256).unwrap();
        let working = Working::new(&llm.text, llm.vocabulary, 0).unwrap();
        llm.narrow(&working).unwrap();
        llm.working = Some(working);
        llm
    };
    let expected: Vec<Completion> = requests
        .iter()
        .map(|request| run(&mut working(1, 1), std::slice::from_ref(request)).remove(0))
        .collect();
    for (completion, request) in expected.iter().zip(&requests) {
        let foreign = |c: &char| !c.is_ascii() && *c != '\u{fffd}' && !request.prompt.contains(*c);
        assert_eq!(completion.text.chars().find(foreign), None, "{}", completion.text);
    }
    assert!(expected[3].text.contains('\u{fffd}') && expected[2].text.is_ascii(), "{expected:?}");
    for (threads, rows) in [(1, 1), (2, 3), (1, 4)] {
        let mut llm = working(threads, rows);
        for round in 0..2 {
            let texts: Vec<String> = run(&mut llm, &requests).into_iter().map(|c| c.text).collect();
            let expected: Vec<&str> = expected.iter().map(|c| c.text.as_str()).collect();
            assert_eq!(texts, expected, "{threads} threads, {rows} rows, round {round}");
        }
    }
}

#[test]
fn a_working_vocabulary_of_everything_changes_no_completion() {
    let prompt = "class Net(nn.Module):\n    x = f(x)\n\n\nclass Net(nn.Module):\n";
    for grammar in [false, true] {
        let requests: Vec<Request> = (0..4)
            .map(|i| Request { top_k: 20, stop: Stop::ClassComplete, ..request(prompt, 40, i) })
            .collect();
        let mut llm = load(1, 4, 256).unwrap();
        llm.set_grammar(grammar).unwrap();
        let texts = |llm: &mut Llm| run(llm, &requests).into_iter().map(|c| c.text).collect::<Vec<_>>();
        let expected = texts(&mut llm);
        llm.set_vocabulary(Vocabulary::Working).unwrap();
        assert_eq!(llm.vocabulary(), llm.working.as_ref().unwrap().tokens().len());
        assert_eq!(texts(&mut llm), expected, "{grammar}");
        llm.set_vocabulary(Vocabulary::Whole).unwrap();
        assert_eq!(texts(&mut llm), expected, "{grammar}");
    }
}

/// What a completion says, how it ended and in how many tokens.
fn seen(completions: Vec<Completion>) -> Vec<(String, Finish, usize)> {
    completions.into_iter().map(|c| (c.text, c.finish, c.completion_tokens)).collect()
}

#[test]
fn the_grammar_and_giving_up_keep_rows_apart_and_guesses_exact() {
    let prompt = "class Net(nn.Module):\n    x = f(x)\n    x = f(x)\n\n\nclass Net(nn.Module):\n";
    let requests: Vec<Request> = (0..6)
        .map(|i| Request { temperature: 0.3 * i as f64, stop: Stop::ClassComplete, ..request(prompt, 60, i) })
        .collect();
    for grammar in [false, true] {
        let mut alone = load(1, 1, 256).unwrap();
        alone.set_grammar(grammar).unwrap();
        alone.guesses = false;
        let expected = seen(run(&mut alone, &requests));
        for (threads, rows) in [(1, 2), (2, 8)] {
            let mut llm = load(threads, rows, 256).unwrap();
            llm.set_grammar(grammar).unwrap();
            assert_eq!(seen(run(&mut llm, &requests)), expected, "{threads} threads, {rows} rows, {grammar}");
        }
        // A random model writes no class: only what the grammar holds back begins like one.
        let visible = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
        let mut first = expected.iter().filter_map(|(text, ..)| text.split('\n').find(visible));
        assert!(first.all(|line| line.starts_with("    ")), "{expected:?}");
        assert_eq!(expected.iter().any(|(text, ..)| !text.is_empty()), grammar, "{expected:?}");
    }
}

#[test]
fn a_search_space_is_kept_to_and_only_its_choices_are_sampled() {
    const SPACE: &str = "start: \"    a = \" op \"\\n    b = \" op \"\\n    cc = \" op \"\\n\\n    d = f(a, b)\\n\"\n\
                         op: \"Conv(1)\" | \"Conv(3)\" | \"Zero()\" | \"x\"";
    let whole = |text: &str| -> bool {
        let rest = text.strip_prefix("    a = ").and_then(|text| text.strip_suffix("\n\n    d = f(a, b)\n"));
        let ops = rest.map(|rest| rest.replace("    cc = ", "").replace("    b = ", ""));
        ops.is_some_and(|ops| ops.split('\n').all(|op| ["Conv(1)", "Conv(3)", "Zero()", "x"].contains(&op)))
    };
    let prompt = "class Net(nn.Module):\n    a = Conv(1)\n    b = x\n\n\nclass Net(nn.Module):\n";
    let requests: Vec<Request> = (0..6)
        .map(|i| Request { temperature: 0.5 * i as f64, stop: Stop::ClassComplete, ..request(prompt, 90, i) })
        .collect();
    let mut alone = load(1, 1, 256).unwrap();
    alone.keep_to(Some(SPACE)).unwrap();
    (alone.guesses, alone.shares) = (false, false);
    let expected = seen(run(&mut alone, &requests));
    for (text, finish, _) in &expected {
        assert!(whole(text) && *finish == Finish::Stopped, "{text:?} {finish:?}");
    }
    assert!(expected.iter().any(|(text, ..)| *text != expected[0].0), "{expected:?}");
    for (threads, rows) in [(1, 2), (2, 8)] {
        let mut llm = load(threads, rows, 256).unwrap();
        llm.keep_to(Some(SPACE)).unwrap();
        assert_eq!(seen(run(&mut llm, &requests)), expected, "{threads} threads, {rows} rows");
        // What was answered before is not asked again.
        let mut steps = 0;
        let again = llm.generate(&requests, &mut |_| {
            steps += 1;
            Control::Continue
        });
        let again = again.unwrap();
        assert!(steps == 0 && again.iter().all(|it| it.cached_prompt_tokens == it.prompt_tokens));
        assert_eq!(seen(again), expected, "{threads} threads, {rows} rows, again");
    }
    // Beside a row of another kind every token's logits are computed; with a working vocabulary only its own are.
    let mut llm = load(1, 8, 256).unwrap();
    llm.keep_to(Some(SPACE)).unwrap();
    let mut mixed = requests.clone();
    mixed.push(request("x = f(x)\n", 60, 9));
    assert_eq!(seen(run(&mut llm, &mixed))[..6], expected);
    assert_eq!(seen(run(&mut llm, &requests)), expected);
    llm.set_vocabulary(Vocabulary::Working).unwrap();
    assert_eq!(seen(run(&mut llm, &requests)), expected);
    llm.set_vocabulary(Vocabulary::Whole).unwrap();
    assert_eq!(seen(run(&mut llm, &requests)), expected);
    // Too short a completion is cut, in what is forced as well, and in what is known.
    for most in 0..40 {
        let short = Request { max_tokens: most, ..requests[3].clone() };
        let (text, finish, tokens) = seen(run(&mut alone, std::slice::from_ref(&short))).remove(0);
        assert!(expected[3].0.starts_with(&text) && tokens <= most, "{most}: {text:?} {finish:?} {tokens}");
        assert_eq!(seen(run(&mut llm, &[short])), [(text, finish, tokens)]);
    }
    alone.keep_to(None).unwrap();
    assert_ne!(seen(run(&mut alone, &requests)), expected);
    let error = alone.keep_to(Some("start: nothing")).unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");
}

#[test]
fn an_end_that_has_no_logit_is_no_choice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let beyond = [("tokenizer.ggml.eot_token_id", Value::U32(300))];
    write_tiny(&path, GgmlDType::Q8_0, "qwen2", &beyond, None);
    let options = LlmOptions { device: Device::Cpu, threads: 1, context: 256, rows: 3 };
    let mut llm = Llm::load(&selection(&path), &options).unwrap();
    assert!(llm.text.is_end(300));
    llm.keep_to(Some("start: \"    a = x\" (\"y\" | \"z\")?")).unwrap();
    let ask = |index| Request { stop: Stop::ClassComplete, ..request("class Net(nn.Module):\n", 20, index) };
    let requests: Vec<Request> = (0..6).map(ask).collect();
    let alone = seen(run(&mut llm, &requests));
    assert!(
        alone.iter().all(|(text, ..)| ["    a = x", "    a = xy", "    a = xz"].contains(&text.as_str()))
    );
    // Beside a row of another kind every token's logits are computed.
    let mixed: Vec<Request> = [request("x = f(x)\n", 20, 9)].into_iter().chain(requests).collect();
    assert_eq!(seen(run(&mut llm, &mixed))[1..], alone);
}

#[test]
fn a_model_that_computes_no_numbers_is_refused_instead_of_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q8_0);
    // One weight of a norm becomes infinite, and with it one block of what the second layer reads.
    let norm = Gguf::open(&path).unwrap().tensor("blk.1.attn_norm.weight", &[64]).unwrap().bytes().to_vec();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(norm.len()).position(|window| window == norm).unwrap();
    bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let options = LlmOptions { device: Device::Cpu, threads: 1, context: 256, rows: 2 };
    let mut llm = Llm::load(&selection(&path), &options).unwrap();
    for temperature in [0.0, 1.0] {
        let ask = Request { temperature, top_k: 5, ..request("xyz", 5, 0) };
        let error = llm.generate(&[ask], &mut |_| Control::Continue).unwrap_err();
        assert!(matches!(error, LlmError::NotFinite { .. }), "{error}");
    }
    let error = llm.score("xyz", &["b"]).unwrap_err();
    assert!(matches!(error, LlmError::NotFinite { .. }), "{error}");
}

#[test]
fn equal_prefixes_are_computed_once() {
    let mut llm = load(1, 4, 256).unwrap();
    let completions = run(&mut llm, &requests()[..2]);
    assert_eq!(completions[0].cached_prompt_tokens, 0);
    assert_eq!(completions[1].cached_prompt_tokens, completions[1].prompt_tokens - 1);
    // An earlier call's rows serve later calls until forgotten.
    let again = run(&mut llm, &requests()[..1]);
    assert_eq!(again[0].cached_prompt_tokens, again[0].prompt_tokens - 1);
    llm.forget();
    assert_eq!(run(&mut llm, &requests()[..1])[0].cached_prompt_tokens, 0);
}

#[test]
fn earlier_prompts_are_kept_within_the_budget_and_change_no_text() {
    let mut plain = load(1, 2, 256).unwrap();
    let mut keeping = load(2, 2, 256).unwrap();
    let before = keeping.memory_plan();
    let slot_bytes = before.kv_cache_bytes / 2;
    assert_eq!(keeping.keep_prompts(1000, 0), 0);
    let room = (before.total_bytes() + 5 * slot_bytes).div_ceil(1_000_000);
    let kept = keeping.keep_prompts(1000, room);
    assert!(kept >= 5 && keeping.memory_plan().total_bytes() <= room * 1_000_000, "{kept}");
    assert_eq!(keeping.memory_plan().kv_cache_bytes, before.kv_cache_bytes + kept as u64 * slot_bytes);
    let prompts: Vec<Request> =
        (0..5).map(|index| request(&format!("{index}{}", "abcdefgh".repeat(4)), 10, index)).collect();
    let mut known = [0; 2];
    for _ in 0..3 {
        for prompt in &prompts {
            let texts =
                [&mut plain, &mut keeping].map(|llm| run(llm, std::slice::from_ref(prompt)).remove(0));
            assert_eq!(texts[0].text, texts[1].text);
            for (known, completion) in known.iter_mut().zip(texts) {
                *known += usize::from(completion.cached_prompt_tokens + 1 == completion.prompt_tokens);
            }
            let scores = ["x", "yz", "w"];
            let prompt = &prompt.prompt;
            assert_eq!(plain.score(prompt, &scores).unwrap(), keeping.score(prompt, &scores).unwrap());
        }
    }
    assert_eq!(known, [0, 10], "two slots lose what more of them keep");
}

#[test]
fn another_stream_gives_another_text_and_greedy_ignores_it() {
    let mut llm = load(1, 2, 256).unwrap();
    let texts = run(&mut llm, &[request("xyz", 30, 1), request("xyz", 30, 2)]);
    assert_ne!(texts[0].text, texts[1].text);
    let greedy = |index| Request { temperature: 0.0, ..request("xyz", 30, index) };
    let texts = run(&mut llm, &[greedy(1), greedy(2)]);
    assert_eq!(texts[0].text, texts[1].text);
}

#[test]
fn a_score_is_the_sum_of_log_probabilities_whatever_is_scored_beside_it() {
    let mut llm = load(1, 1, 256).unwrap();
    let prompt = "class Net(nn.Module):\n";
    // Some begin alike, one begins another, two are the same.
    let texts = [
        "    pass\n",
        "x",
        "",
        "    def forward(self, x):\n",
        "    pass\n    x",
        "    def forward(self, y):\n        return y\n",
        "x",
        "    def forward(self, y):\n        return x\n",
        "    def",
        "    def forward(self, x):\n    pass\n",
    ];
    let expected: Vec<f64> = texts
        .iter()
        .map(|text| {
            let start = llm.tokens(prompt).unwrap().len();
            let tokens = llm.tokens(&format!("{prompt}{text}")).unwrap();
            let log = |place: usize| {
                let logits: Vec<f64> =
                    llm.logits(&tokens[..place]).unwrap().iter().map(|l| f64::from(*l)).collect();
                let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
                logits[tokens[place] as usize] - total.ln()
            };
            (start..tokens.len()).map(log).sum()
        })
        .collect();
    let alone: Vec<_> = texts.iter().map(|text| llm.score(prompt, &[text]).unwrap()[0]).collect();
    for (score, expected) in alone.iter().zip(&expected) {
        assert!((score.log_probability - expected).abs() < 1e-3, "{score:?} {expected}");
    }
    assert_eq!((alone[2].log_probability, alone[2].tokens), (0.0, 0));
    for (threads, rows) in [(1, 2), (2, 3), (2, 8)] {
        let mut llm = load(threads, rows, 256).unwrap();
        // A warm cache changes nothing.
        for _ in 0..2 {
            assert_eq!(llm.score(prompt, &texts).unwrap(), alone, "{threads} threads, {rows} rows");
            run(&mut llm, &requests()[..1]);
        }
        llm.set_sharing(false);
        assert_eq!(llm.score(prompt, &texts).unwrap(), alone, "{threads} threads, {rows} rows, not shared");
    }
    assert!(llm.score("", &["x"]).unwrap_err().to_string().contains("prompt"));
    assert!(llm.score(prompt, &["x".repeat(300).as_str()]).unwrap_err().to_string().contains("context"));
}

#[test]
fn length_and_cancelling_are_told_apart_and_every_request_is_answered() {
    let mut llm = load(1, 2, 256).unwrap();
    let none = run(&mut llm, &[request("xyz", 0, 1)]).remove(0);
    assert_eq!((none.finish, none.completion_tokens, none.text.as_str()), (Finish::Length, 0, ""));
    let long: Vec<Request> = (0..3).map(|i| request("xyz", 100, i)).collect();
    let completions = llm.generate(&long, &mut |progress| {
        if progress.tokens >= 6 { Control::Cancel } else { Control::Continue }
    });
    let completions = completions.unwrap();
    assert_eq!(completions.len(), 3);
    assert_eq!(completions[0].finish, Finish::Cancelled);
    assert!((1..100).contains(&completions[0].completion_tokens));
    assert_eq!((completions[2].finish, completions[2].completion_tokens), (Finish::Cancelled, 0));
}

#[test]
fn requests_that_cannot_be_served_are_refused_before_anything_is_computed() {
    let mut llm = load(1, 2, 64).unwrap();
    let mut refusal = |bad: Request| {
        let mut called = false;
        let error = llm.generate(&[request("xyz", 5, 0), bad], &mut |_| {
            called = true;
            Control::Continue
        });
        assert!(!called);
        error.unwrap_err().to_string()
    };
    assert!(
        refusal(request("xyz", 62, 0)).contains("request 1: a prompt of 3 tokens and 62 new ones exceed")
    );
    assert!(refusal(request("", 5, 0)).contains("prompt"));
    assert!(refusal(Request { temperature: f64::NAN, ..request("xyz", 5, 0) }).contains("temperature"));
    assert!(refusal(Request { top_p: 0.0, ..request("xyz", 5, 0) }).contains("top_p"));
    let error = load(1, 1, 257).err().unwrap().to_string();
    assert!(error.contains("257") && error.contains("256"), "{error}");
}

#[test]
fn the_memory_plan_counts_weights_and_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q5_1);
    let options = LlmOptions { device: Device::Cpu, threads: 1, context: 100, rows: 2 };
    let plan = Llm::load(&selection(&path), &options).unwrap().memory_plan();
    assert_eq!(Llm::estimate(&selection(&path), &options).unwrap(), plan);
    // 2 rows of 100 positions, 2 layers, keys and values, 2 heads of 16 in half precision.
    assert_eq!(plan.kv_cache_bytes, 2 * 100 * 2 * 2 * 2 * 16 * 2);
    // 2 layers, and the embedding table twice: looked up, and as the head; 6 bits a weight, as in the file.
    let layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64;
    assert_eq!(plan.weights_bytes, (2 * layer + 2 * 272 * 64) * 6 / 8);
    // Logits of two rows' guesses are fewer than those of a step that scores; of four they are more.
    let scratch =
        |rows| Llm::estimate(&selection(&path), &LlmOptions { rows, ..options }).unwrap().scratch_bytes;
    let widest = (3 * 96 + 8 * 64) * 128;
    assert_eq!(plan.scratch_bytes, 4 * (LOGIT_ROWS * 272 + widest) as u64);
    assert_eq!(scratch(4), 4 * (4 * (1 + MOST) * 272 + widest) as u64);
}

#[test]
fn a_plan_over_the_budget_is_refused_with_all_of_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q8_0);
    let options = LlmOptions { device: Device::Cpu, threads: 1, context: 200, rows: 5_000 };
    let plan = Llm::estimate(&selection(&path), &options).unwrap();
    let needed: u64 = [plan.weights_bytes, plan.kv_cache_bytes, plan.scratch_bytes]
        .map(|b| b.div_ceil(1_000_000))
        .iter()
        .sum();
    assert_eq!(Llm::plan_within(&selection(&path), &options, needed).unwrap(), plan);
    let message = Llm::plan_within(&selection(&path), &options, needed - 1).unwrap_err().to_string();
    for part in
        ["256 MB for the KV cache", "5000 rows of 200 tokens", &format!("together {needed} MB"), "model.rows"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn leaders_are_what_is_written_greedily() {
    let mut llm = load(2, 1, 256).unwrap();
    let prompt = llm.tokens("class Net").unwrap();
    let mut tokens = prompt.clone();
    for _ in 0..20 {
        let logits = llm.logits(&tokens).unwrap();
        let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        tokens.push(best as u32);
    }
    let leaders = llm.leaders(&tokens[..tokens.len() - 1], 20).unwrap();
    assert_eq!(leaders.iter().map(|(token, _)| *token).collect::<Vec<_>>(), tokens[prompt.len()..]);
    assert!(leaders.iter().all(|(_, lead)| *lead >= 0.0));
    assert!(llm.leaders(&tokens, 40).is_err());
}

#[test]
fn a_model_can_be_handed_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&load(1, 1, 64).unwrap());
}

#[test]
fn a_model_describes_itself_and_refuses_cuda_without_the_feature() {
    let llm = load(1, 1, 0).unwrap();
    assert_eq!(llm.context(), 256);
    assert_eq!(llm.describe().name, "tiny");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q8_0);
    if !cfg!(feature = "cuda") {
        let options = LlmOptions { device: Device::Cuda(1), threads: 1, context: 0, rows: 1 };
        let error = Llm::load(&selection(&path), &options).err().unwrap().to_string();
        assert!(error.contains("cuda:1") && error.contains("feature"), "{error}");
    }
}

#[test]
fn a_file_cut_at_any_length_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q8_0);
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 64]) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let options = LlmOptions { device: Device::Cpu, threads: 1, context: 0, rows: 1 };
        let error = Llm::load(&selection(&path), &options).err().unwrap().to_string();
        assert!(error.contains("tiny.gguf") && error.contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn a_damaged_header_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny_model(&path, GgmlDType::Q8_0);
    let bytes = std::fs::read(&path).unwrap();
    let mut stream = RootSeed(4).stream("damage", &[]);
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..3 {
            damaged[stream.below(9_000)] = stream.below(256) as u8;
        }
        std::fs::write(&path, &damaged).unwrap();
        let options = LlmOptions { device: Device::Cpu, threads: 1, context: 0, rows: 1 };
        // Loading may succeed where only a token's spelling changed; it must not panic.
        let _ = Llm::load(&selection(&path), &options);
    }
}
