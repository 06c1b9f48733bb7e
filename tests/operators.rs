//! Whole searches by each operator on stand-ins, read by the real front-end: determinism, resume, metrics.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use llmatic_offline::config::{self, Device, PROMPTS, SearchConfig};
use llmatic_offline::llm::{Generator as _, InfillOrder, InfillTokens, Request, Stop};
use llmatic_offline::search::{
    Candidate, Evaluator as _, Event, FrontEnd, Operator, Parts, Run, ScriptedGenerator, SearchError, Store,
    Summary, Surrogate, Verdict, search,
};
use tempfile::TempDir;

const TYPED: &str = "[operators]\nrewrite = 0\ncrossover = 0\ntyped = 1\n";
const INFILL: &str = "[operators]\nrewrite = 0\ncrossover = 0\ninfill = 1\ntyped = 0\n";

fn config(seed: u64, extra: &str) -> SearchConfig {
    let text = format!("seed = {seed}\n[search]\ngenerations = 4\nchildren = 6\n{extra}");
    config::resolve(&text, "test.toml", &[], Device::Cpu, 2).unwrap()
}

/// Fills holes with layers from a list, by the request's own stream; writes nothing else.
fn generator() -> ScriptedGenerator {
    let answer = |request: &Request| {
        let layers = ["Dropout(0.25)", "ReLU()", "Conv2d(1, 8, 3, padding=1)", "Linear(784, 32)", "Tanh()"];
        let layer = layers[request.stream.clone().below(layers.len())];
        match request.stop {
            Stop::Lines(1) if request.prompt.ends_with("nn.") => format!("{layer},"),
            Stop::Lines(1) => format!(" nn.{layer}"),
            Stop::Lines(_) => {
                format!("\n        self.conv1 = nn.{layer}\n        self.fc1 = nn.Linear(9, 10)")
            }
            _ => "    !! no instruction was expected".into(),
        }
    };
    ScriptedGenerator::from_closure("holes", answer).with_infill(InfillTokens {
        prefix: "<P>".into(),
        suffix: "<S>".into(),
        middle: "<M>".into(),
        order: InfillOrder::SuffixFirst,
    })
}

fn go(
    directory: &Path,
    config: SearchConfig,
    generator: &mut ScriptedGenerator,
    stop: &mut (dyn FnMut(&Event) -> bool + Send),
) -> Result<Summary, SearchError> {
    let data = Surrogate.data();
    let mut run = if directory.join("run.db").exists() {
        Run::open(directory).unwrap()
    } else {
        Run::create(directory, config, PROMPTS, &generator.describe(), &data).unwrap()
    };
    let reader = FrontEnd::new(&run.config, &data.input_sizes, data.classes);
    let cancelled = AtomicBool::new(false);
    let mut observe = |event: Event| {
        if stop(&event) {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    let mut parts = Parts {
        generator,
        reader: &reader,
        evaluator: &mut Surrogate,
        cancelled: &cancelled,
        observe: &mut observe,
    };
    search(&mut run, &mut parts)
}

fn whole(seed: u64, extra: &str, mut generator: ScriptedGenerator) -> (Summary, Vec<Candidate>) {
    let directory = TempDir::new().unwrap();
    let summary = go(directory.path(), config(seed, extra), &mut generator, &mut |_| false).unwrap();
    let rows = Store::open_to_read(&directory.path().join("run.db")).unwrap().candidates().unwrap();
    (summary, rows)
}

#[test]
fn typed_edits_search_without_a_model_and_the_same_way_each_time() {
    let extra = format!("[model]\nname = \"none\"\n{TYPED}");
    let (summary, rows) = whole(1, &extra, ScriptedGenerator::none());
    assert_eq!(summary.digest, whole(1, &extra, ScriptedGenerator::none()).0.digest);
    assert_ne!(summary.digest, whole(2, &extra, ScriptedGenerator::none()).0.digest);
    assert!(rows[1..].iter().all(|row| row.operator == Operator::Typed && row.cost.completion_tokens == 0));
    assert!(rows[1..].iter().all(|row| row.temperature == 0.0 && row.instruction.starts_with("typed-")));
    let last: Vec<_> = rows[1..].iter().filter(|row| !row.retried).collect();
    let novel = last.iter().filter(|row| row.novel()).count();
    assert!(novel * 10 >= last.len() * 8, "{novel} of {}", last.len());
}

#[test]
fn infill_fills_holes_of_the_parent_and_asks_for_nothing_else() {
    let (summary, rows) = whole(1, INFILL, generator());
    assert_eq!(summary.digest, whole(1, INFILL, generator()).0.digest);
    for row in &rows[1..] {
        assert_eq!(row.operator, Operator::Infill);
        assert!(
            row.prompt_text.starts_with("<P><S>") && row.prompt_text.contains("<M>"),
            "{}",
            row.prompt_text
        );
        assert!(!row.source.contains("<M>") && !row.source.contains('\u{1}'));
    }
    let novel = rows.iter().filter(|row| row.operator == Operator::Infill && row.novel()).count();
    assert!(novel >= 6, "{novel}");
    let row = &summary.yields[0];
    assert_eq!(
        (row.operator.as_str(), row.texts, row.novel),
        ("infill", summary.candidates - 1, novel as u64)
    );
}

const RANK: &str = "[operators]\nrewrite = 0\ncrossover = 0\nrank = 1\n";

/// Likes long words, and everything less when it is asked for a low accuracy.
fn scorer() -> ScriptedGenerator {
    ScriptedGenerator::none().with_scores(|prompt, text| {
        let sign = if prompt.contains("lowest") { -1.0 } else { 1.0 };
        sign * text.len() as f64 - 100.0
    })
}

#[test]
fn ranking_takes_the_most_likely_edit_that_was_not_tried_and_is_never_refused() {
    let extra = format!("initial_networks = 1000\n{RANK}rank_options = 100000\n");
    let (summary, rows) = whole(1, &extra, scorer());
    assert_eq!(summary.digest, whole(1, &extra, scorer()).0.digest);
    // All are children of the seed network: what is most likely comes first, and never twice.
    let scores: Vec<f64> = rows[1..].iter().map(|row| row.prior.unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    for row in &rows[1..] {
        assert_eq!((row.operator, row.verdict, row.attempt), (Operator::Rank, Verdict::Accepted, 0));
        assert_eq!(row.prior, Some(row.prompt_text.len() as f64 + 2.0 - 100.0), "the words and their line");
        assert!(row.cost.prompt_tokens > 0 && row.cost.completion_tokens == 0);
    }
    let (_, low) = whole(1, &format!("{extra}prior = \"opposite\"\n"), scorer());
    assert!(low[1].prompt_text.len() < rows[1].prompt_text.len());
}

#[test]
fn ranking_goes_on_with_the_next_options_when_all_before_were_tried() {
    let extra = format!("initial_networks = 1000\n{RANK}rank_options = 3\n");
    let (_, rows) = whole(1, &extra, scorer());
    assert!(rows[1..].iter().all(|row| row.verdict == Verdict::Accepted));
    let first: Vec<f64> = rows[1..4].iter().map(|row| row.prior.unwrap()).collect();
    assert!(first.is_sorted_by(|a, b| a >= b), "{first:?}");
    let costs: Vec<u64> = rows[1..].iter().map(|row| row.cost.prompt_tokens).collect();
    assert!(costs.is_sorted() && costs[0] < costs[costs.len() - 1], "{costs:?}");
}

#[test]
fn an_interrupted_ranking_run_ends_with_the_same_digest() {
    let (reference, _) = whole(3, RANK, scorer());
    let directory = TempDir::new().unwrap();
    let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == 2);
    go(directory.path(), config(3, RANK), &mut scorer(), stop).unwrap_err();
    let summary = go(directory.path(), config(3, RANK), &mut scorer(), &mut |_| false).unwrap();
    assert_eq!(summary.digest, reference.digest);
}

#[test]
fn a_ranking_run_whose_surrogate_skips_edits_resumes_to_the_same_digest() {
    // Edits that were skipped are free again, whatever was scored behind them before the interruption.
    let extra = format!(
        "[surrogate]\nkind = \"ridge\"\nproposals = 4\nstart = 5\n{RANK}rank_options = 4\nprior = \"random\"\n"
    );
    let settings = || {
        let text =
            format!("seed = 3\n[search]\ngenerations = 14\nchildren = 4\ninitial_networks = 2\n{extra}");
        config::resolve(&text, "test.toml", &[], Device::Cpu, 2).unwrap()
    };
    let reference = TempDir::new().unwrap();
    let expected = go(reference.path(), settings(), &mut scorer(), &mut |_| false).unwrap().digest;
    for last in [4, 6, 9, 12] {
        let directory = TempDir::new().unwrap();
        let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == last);
        go(directory.path(), settings(), &mut scorer(), stop).unwrap_err();
        let summary = go(directory.path(), settings(), &mut scorer(), &mut |_| false).unwrap();
        assert_eq!(summary.digest, expected, "interrupted after generation {last}");
    }
}

#[test]
fn an_llm_that_cannot_score_makes_ranking_a_typed_edit() {
    let (_, rows) = whole(1, RANK, ScriptedGenerator::none());
    assert!(rows[1..].iter().all(|row| row.operator == Operator::Typed));
}

#[test]
fn controls_without_an_llm_run_every_operator_without_asking() {
    for operator in ["rewrite", "crossover", "infill", "rank"] {
        for prior in ["none", "random"] {
            let extra = format!(
                "[model]\nname = \"none\"\n[operators]\nrewrite = 0\ncrossover = 0\n\
                 {operator} = 1\nprior = \"{prior}\"\n"
            )
            .replace("rewrite = 0\ncrossover = 0\nrewrite", "crossover = 0\nrewrite")
            .replace("crossover = 0\ncrossover", "crossover");
            let (_, rows) = whole(1, &extra, ScriptedGenerator::none());
            let expected = Operator::from_name(operator).unwrap();
            let own = rows[1..].iter().filter(|row| row.operator == expected).count();
            assert!(own > 4, "{operator} {prior}: {own}");
            for row in &rows[1..] {
                assert_eq!(row.cost.completion_tokens + row.cost.prompt_tokens, 0);
                assert_eq!(
                    row.prior.is_some(),
                    prior == "random" || operator == "rank" && own > 0,
                    "{row:?}"
                );
            }
        }
    }
}

#[test]
fn the_control_without_a_prior_does_what_the_instruction_asks_for() {
    let extra = "[model]\nname = \"none\"\n[operators]\nrewrite = 1\ncrossover = 0\nprior = \"none\"\n";
    let (_, rows) = whole(1, extra, ScriptedGenerator::none());
    let convolutions = rows.iter().filter(|row| row.instruction == "add-convolution");
    assert!(convolutions.clone().count() > 0);
    assert!(convolutions.clone().all(|row| row.prompt_text.starts_with("insert convolution: ")));
}

#[test]
fn opposite_and_shuffled_prompts_reach_the_llm() {
    use std::sync::{Arc, Mutex};
    let prompts = |extra: &str| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        let listener = ScriptedGenerator::none().with_scores(move |prompt, _| {
            told.lock().unwrap().push(prompt.to_owned());
            0.0
        });
        whole(1, &format!("{RANK}{extra}"), listener);
        seen.lock().unwrap().swap_remove(0)
    };
    let plain = prompts("");
    assert!(plain.contains("highest validation accuracy") && plain.ends_with("# The change:"), "{plain}");
    assert_eq!(prompts("prior = \"opposite\"\n"), plain.replace("highest", "lowest"));
    let shuffled = prompts("shuffle = true\n");
    assert_ne!(shuffled, plain);
    let letters = |text: &str| {
        let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
        letters.sort_unstable();
        letters
    };
    assert_eq!(letters(&shuffled), letters(&plain));
    let (_, rows) = whole(1, &format!("{INFILL}prior = \"opposite\"\n"), generator());
    assert!(
        rows[1..]
            .iter()
            .all(|row| row.prompt_text.contains("very low accuracy.\n") && !row.source.contains("very low"))
    );
}

#[test]
fn an_llm_that_cannot_fill_holes_makes_infill_a_typed_edit() {
    let (_, rows) = whole(1, INFILL, ScriptedGenerator::none());
    assert!(rows[1..].iter().all(|row| row.operator == Operator::Typed));
}

#[test]
fn a_bandit_run_that_is_interrupted_ends_with_the_same_digest() {
    let extra = "[operators]\nchoice = \"bandit\"\nrewrite = 1\ncrossover = 0\ninfill = 1\ntyped = 1\n";
    let (reference, rows) = whole(3, extra, generator());
    let used = |operator| rows.iter().filter(|row| row.operator == operator).count();
    assert!(used(Operator::Typed) > 0 && used(Operator::Rewrite) > 0 && used(Operator::Infill) > 0);
    let directory = TempDir::new().unwrap();
    let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == 2);
    go(directory.path(), config(3, extra), &mut generator(), stop).unwrap_err();
    let summary = go(directory.path(), config(3, extra), &mut generator(), &mut |_| false).unwrap();
    assert_eq!(summary.digest, reference.digest);
}

#[test]
fn every_way_to_choose_parents_is_deterministic_and_keeps_its_word() {
    for parents in ["random", "fittest", "curious", "seed", "latest", "ageing"] {
        let extra = format!("initial_networks = 1\nparents = \"{parents}\"\n{TYPED}");
        let (summary, rows) = whole(4, &extra, ScriptedGenerator::none());
        assert_eq!(summary.digest, whole(4, &extra, ScriptedGenerator::none()).0.digest, "{parents}");
        for row in &rows[1..] {
            let parent = row.parents[0].generation;
            match parents {
                "seed" => assert_eq!(parent, 0),
                "latest" => assert_eq!(parent, row.id.generation - 1, "each generation had a network"),
                _ => assert!(parent < row.id.generation),
            }
        }
    }
}

#[test]
fn a_grid_over_other_descriptors_is_filled_and_recorded() {
    let extra = format!(
        "[archive]\nkind = \"grid\"\ncolumns = 8\nrows = 4\nx = \"depth\"\ny = \"log_parameters\"\n{TYPED}"
    );
    let directory = TempDir::new().unwrap();
    let mut none = ScriptedGenerator::none();
    let summary = go(directory.path(), config(1, &extra), &mut none, &mut |_| false).unwrap();
    assert_eq!(summary.niches, 32);
    assert!(summary.elites >= 3, "{}", summary.elites);
    let run = llmatic_offline::search::load(directory.path()).unwrap();
    for (_, elite) in run.state.archive.elites() {
        let row = run.candidates.iter().find(|row| row.id == elite.id && !row.retried).unwrap();
        let described = row.facts.as_ref().unwrap().described;
        assert_eq!(elite.descriptor, [described.depth, described.log_parameters]);
    }
}

#[test]
fn a_surrogate_trains_the_most_promising_of_more_proposals_and_resumes_to_the_same_digest() {
    let extra = format!("generations = 6\n{TYPED}[surrogate]\nkind = \"ridge\"\nproposals = 3\nstart = 8\n");
    let extra = extra.as_str();
    let config = |seed: u64| {
        let text = format!("seed = {seed}\n[search]\nchildren = 6\n{extra}");
        config::resolve(&text, "test.toml", &[], Device::Cpu, 2).unwrap()
    };
    let directory = TempDir::new().unwrap();
    let mut none = ScriptedGenerator::none();
    let reference = go(directory.path(), config(1), &mut none, &mut |_| false).unwrap();
    let rows = Store::open_to_read(&directory.path().join("run.db")).unwrap().candidates().unwrap();
    let last: Vec<_> = rows.iter().filter(|row| row.id.generation == 6 && !row.retried).collect();
    assert_eq!(last.len(), 18, "three proposals for each child");
    let trained: Vec<_> = last.iter().filter(|row| row.verdict == Verdict::Accepted).collect();
    let skipped: Vec<_> = last.iter().filter(|row| row.verdict == Verdict::Skipped).collect();
    assert_eq!(trained.len(), 6);
    assert!(skipped.len() > 3, "{}", skipped.len());
    let least = trained.iter().map(|row| row.predicted.unwrap()).fold(f64::MAX, f64::min);
    assert!(skipped.iter().all(|row| row.predicted.unwrap() <= least && row.score.is_none()));
    let again = TempDir::new().unwrap();
    let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == 4);
    go(again.path(), config(1), &mut none, stop).unwrap_err();
    assert_eq!(go(again.path(), config(1), &mut none, &mut |_| false).unwrap().digest, reference.digest);
}

#[test]
fn a_measured_latency_is_an_axis_that_a_resumed_run_replays_instead_of_measuring_again() {
    /// Gives another latency each time it is asked.
    struct Clock(f64);
    impl llmatic_offline::search::Evaluator for Clock {
        fn data(&self) -> llmatic_offline::search::DataIdentity {
            Surrogate.data()
        }
        fn has_weights(&self) -> bool {
            false
        }
        fn evaluate(
            &mut self,
            tasks: &[llmatic_offline::search::Task<'_>],
            on_progress: &mut (dyn FnMut(llmatic_offline::search::TrainProgress) + Send),
            cancelled: &AtomicBool,
        ) -> Result<
            Vec<Result<llmatic_offline::search::Measured, String>>,
            llmatic_offline::search::EvaluatorError,
        > {
            let mut measured = Surrogate.evaluate(tasks, on_progress, cancelled)?;
            for it in measured.iter_mut().flatten() {
                self.0 += 0.01;
                it.score.latency = Some(self.0);
            }
            Ok(measured)
        }
        fn test(
            &mut self,
            _: &llmatic_offline::graph::Graph,
            _: &Path,
        ) -> Result<Option<f64>, llmatic_offline::search::EvaluatorError> {
            Ok(None)
        }
    }
    let extra = format!("[archive]\ny = \"log_latency\"\n{TYPED}");
    let directory = TempDir::new().unwrap();
    let config = config(1, &extra);
    let (data, mut none) = (Surrogate.data(), ScriptedGenerator::none());
    let run = Run::create(directory.path(), config.clone(), PROMPTS, &none.describe(), &data).unwrap();
    drop(run);
    let mut clock = Clock(0.5);
    for stop_after in [2, 100] {
        let mut run = Run::open(directory.path()).unwrap();
        let reader = FrontEnd::new(&config, &data.input_sizes, data.classes);
        let cancelled = AtomicBool::new(false);
        let mut observe = |event: Event| {
            if matches!(event, Event::Generation(row) if row.number == stop_after) {
                cancelled.store(true, Ordering::Relaxed);
            }
        };
        let mut parts = Parts {
            generator: &mut none,
            reader: &reader,
            evaluator: &mut clock,
            cancelled: &cancelled,
            observe: &mut observe,
        };
        let _ = search(&mut run, &mut parts);
    }
    // The replay would fail on any other latency: placement and digest are checked.
    let record = llmatic_offline::search::load(directory.path()).unwrap();
    let latencies: Vec<f64> =
        record.candidates.iter().filter_map(|row| row.score.as_ref()?.latency).collect();
    assert_eq!(latencies.len() as u64, record.state.trained);
    assert!((clock.0 - 0.5 - 0.01 * latencies.len() as f64).abs() < 1e-9, "one measurement each");
    for (_, elite) in record.state.archive.elites() {
        let row = record.candidates.iter().find(|row| row.id == elite.id && row.score.is_some()).unwrap();
        assert_eq!(elite.descriptor[1], row.score.as_ref().unwrap().latency.unwrap().log10());
    }
}

#[test]
fn a_search_ends_with_the_generation_that_has_trained_enough() {
    let (summary, _) = whole(1, &format!("evaluations = 8\n{TYPED}"), ScriptedGenerator::none());
    assert!((7..7 + 6).contains(&summary.trained), "{}", summary.trained);
    assert!(summary.generations < 5);
}

#[test]
fn a_random_walk_is_several_edits_long() {
    let (_, rows) = whole(1, &format!("parents = \"seed\"\nwalk = 6\n{TYPED}"), ScriptedGenerator::none());
    let edits = |row: &Candidate| 1 + row.prompt_text.matches("; ").count();
    assert!(rows[1..].iter().any(|row| edits(row) > 3) && rows[1..].iter().all(|row| edits(row) <= 6));
}

#[test]
fn a_refused_edit_says_what_it_was() {
    let (_, rows) = whole(5, TYPED, ScriptedGenerator::none());
    for row in rows[1..].iter().filter(|row| row.verdict != Verdict::Accepted) {
        assert!(!row.message.is_empty() && row.prompt_text.contains(": "), "{row:?}");
    }
}

#[test]
fn an_unknown_edit_and_a_rate_without_an_instruction_are_refused() {
    let refused = |prompts: &str| {
        let directory = TempDir::new().unwrap();
        let (identity, data) = (ScriptedGenerator::none().describe(), Surrogate.data());
        Run::create(directory.path(), config(1, TYPED), prompts, &identity, &data).unwrap_err().to_string()
    };
    let unknown = PROMPTS.replace("text = \"insert pooling\"", "text = \"insert magic\"");
    assert_eq!(
        refused(&unknown),
        "prompts: instruction typed-insert-pooling: nothing is called \"insert magic\""
    );
    let (before, _) = PROMPTS.split_once("[[instruction]]\nid = \"typed-").unwrap();
    let (_, context) = PROMPTS.split_once("[context]").unwrap();
    assert_eq!(
        refused(&format!("{before}[context]{context}")),
        "prompts: operators.typed: expected an instruction of kind \"typed\", got none"
    );
}
