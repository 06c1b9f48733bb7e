//! The search loop on stand-ins: determinism, verdicts, operators, and the defects that it must not have.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::{
    LinearReader, WeightedSurrogate, completion, config, create, generator, go, go_with, random_completion,
};
use llmatic_offline::config::OperatorConfig;
use llmatic_offline::llm::Generator as _;
use llmatic_offline::search::{
    Candidate, Evaluator as _, Event, Operator, Reader as _, Run, ScriptedGenerator, Store, Surrogate,
    Verdict, digest, seed_network,
};
use tempfile::TempDir;

fn candidates(directory: &TempDir) -> Vec<Candidate> {
    Store::open_to_read(&directory.path().join("run.db")).unwrap().candidates().unwrap()
}

fn digest_of(seed: u64, extra: &str) -> String {
    let directory = TempDir::new().unwrap();
    go(&mut create(directory.path(), config(seed, extra)).unwrap()).digest
}

#[test]
fn defect_7_the_same_seed_gives_the_same_digest_and_another_seed_another() {
    // Defect 7 of the public code: nothing is seeded.
    let reference = digest_of(1, "");
    assert_eq!(digest_of(1, ""), reference);
    assert_ne!(digest_of(2, ""), reference);
}

#[test]
fn the_digest_does_not_depend_on_threads() {
    let with = |threads: usize| {
        let directory = TempDir::new().unwrap();
        let mut config = config(1, "");
        config.threads = threads;
        go(&mut create(directory.path(), config).unwrap()).digest
    };
    assert_eq!(with(1), with(2));
}

#[test]
fn a_search_fills_niches_and_writes_everything_that_it_promises() {
    let directory = TempDir::new().unwrap();
    let summary = go(&mut create(directory.path(), config(1, "")).unwrap());
    assert_eq!(summary.generations, 4);
    assert!(summary.trained >= 8 && summary.elites >= 4, "{summary:?}");
    let best = summary.best.unwrap();
    assert_eq!(best.test, Some(0.5));
    let path = |name: &str| directory.path().join(name);
    for name in ["run.db", "config.toml", "best.py", "best.safetensors", best.file.as_str()] {
        assert!(path(name).exists(), "{name}");
    }
    let text = std::fs::read_to_string(path("best.py")).unwrap();
    assert!(
        text.starts_with("# Found by llmatic-offline") && text.contains("test accuracy 0.5000"),
        "{text}"
    );
    assert!(text.contains("import torch.nn as nn") && text.contains("class Net(nn.Module):"), "{text}");
    assert_eq!(digest(directory.path()).unwrap(), Some(summary.digest));
    let kept = std::fs::read_dir(path("weights")).unwrap().count() as u64;
    assert!(
        (summary.elites..=summary.elites + 1).contains(&kept),
        "elites and the seed network only, got {kept}"
    );
}

#[test]
fn every_candidate_is_a_row_and_no_architecture_is_trained_twice() {
    let directory = TempDir::new().unwrap();
    let mut evaluator = WeightedSurrogate::default();
    let mut run = create(directory.path(), config(3, "")).unwrap();
    go_with(&mut run, &mut generator(), &mut evaluator, &mut |_| false).unwrap();
    // The best network's further training is the only repetition.
    let mut trained = evaluator.trained.clone();
    trained.pop();
    assert_eq!(trained.iter().collect::<BTreeSet<_>>().len(), trained.len());
    let rows = candidates(&directory);
    let final_rows = rows.iter().filter(|row| !row.retried).count();
    assert_eq!(final_rows, 1 + 3 * 6);
    assert_eq!(rows.iter().filter(|row| row.verdict == Verdict::Accepted).count(), trained.len());
    assert!(rows.iter().any(|row| row.verdict == Verdict::SyntaxError && !row.message.is_empty()));
}

#[test]
fn defect_3_a_candidate_that_does_not_load_is_refused_and_never_replaced_by_its_parent() {
    // Defect 3 of the public code.
    let directory = TempDir::new().unwrap();
    let mut broken = ScriptedGenerator::from_closure("random", |_| "    !! nonsense".into());
    let mut run = create(directory.path(), config(1, "")).unwrap();
    let mut evaluator = WeightedSurrogate::default();
    let summary = go_with(&mut run, &mut broken, &mut evaluator, &mut |_| false).unwrap();
    assert_eq!((summary.trained, summary.elites), (0, 1), "the seed network alone");
    for row in candidates(&directory).iter().skip(1) {
        assert_eq!(row.verdict, Verdict::SyntaxError);
        assert!(row.source.ends_with("class Net(nn.Module):\n    !! nonsense\n"), "{}", row.source);
        assert_eq!((row.kept.as_ref(), row.facts.as_ref(), row.score.as_ref()), (None, None, None));
    }
    assert!(run.state.prompts.entries().any(|(_, entry)| entry.curiosity <= -1.0));
}

#[test]
fn defect_2_crossover_works_with_any_number_of_filled_niches() {
    // Defect 2 of the public code: it crashes once three niches are filled.
    let directory = TempDir::new().unwrap();
    let mut config = config(1, "");
    (config.search.initial_networks, config.search.generations) = (2, 6);
    config.operators = OperatorConfig { rewrite: 0.0, crossover: 1.0, ..config.operators };
    go(&mut create(directory.path(), config).unwrap());
    let rows = candidates(&directory);
    let crossed: Vec<_> = rows.iter().filter(|row| row.operator == Operator::Crossover).collect();
    assert!(crossed.len() > 12, "{}", crossed.len());
    for row in crossed {
        assert_eq!(row.parents.len(), 2);
        assert_ne!(row.parents[0], row.parents[1], "two different elites");
        assert_eq!(row.instruction, "combine");
        assert!(row.prompt_text.contains("class FirstNet(") && row.prompt_text.contains("class SecondNet("));
    }
}

#[test]
fn defect_5_the_test_split_is_read_after_the_last_generation_only() {
    // Defect 5 of the public code: fitness is loss on the test split.
    let directory = TempDir::new().unwrap();
    let mut run = create(directory.path(), config(1, "")).unwrap();
    let mut evaluator = WeightedSurrogate::default();
    let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == 3);
    go_with(&mut run, &mut generator(), &mut evaluator, stop).unwrap_err();
    assert_eq!(evaluator.tests, 0);
    drop(run);
    let mut run = Run::open(directory.path()).unwrap();
    let summary = go_with(&mut run, &mut generator(), &mut evaluator, &mut |_| false).unwrap();
    assert_eq!(evaluator.tests as u64, summary.elites);
}

#[test]
fn keys_of_the_run_file_reach_what_they_are_about() {
    /// Everything that the LLM was asked for, what was trained, and the digest.
    fn trace(extra: &str) -> String {
        let asked = Arc::new(Mutex::new(String::new()));
        let note = Arc::clone(&asked);
        let mut llm = ScriptedGenerator::from_closure("random", move |request| {
            note.lock().unwrap().push_str(&format!("{request:?}\n"));
            random_completion(request)
        });
        let directory = TempDir::new().unwrap();
        let mut run = create(directory.path(), config(1, extra)).unwrap();
        let mut evaluator = WeightedSurrogate::default();
        let summary = go_with(&mut run, &mut llm, &mut evaluator, &mut |_| false).unwrap();
        let best = std::fs::read_to_string(directory.path().join("best.safetensors")).unwrap();
        format!("{}{:?}{best}{}", asked.lock().unwrap(), evaluator.trained, summary.digest)
    }
    let base = trace("");
    assert!(trace("# nothing\n") == base);
    for extra in [
        "[sampling]\ntop_p = 0.9",
        "[sampling]\ntop_k = 7",
        "[sampling]\nmax_tokens = 99",
        "[prompts]\ntemperature_min = 0.85",
        "[prompts]\ntemperature_max = 0.95",
        "[prompts]\ntemperature_start = 0.5",
        "[prompts]\ntemperature_step = 0.2",
        "[prompts]\ntemperature_bins = 2",
        "[prompts]\ntournament = 1",
        "[train]\ninherit = false",
        "[search]\ninitial_networks = 1",
        "[search]\nparents = \"fittest\"",
        "[search]\ncopy_attempts = 0",
        "[search]\ncopy_temperature_step = 0.1",
        "[final]\nsteps = 0",
    ] {
        assert!(trace(&format!("{extra}\n")) != base, "{extra} changes nothing");
    }
}

#[test]
fn further_training_starts_where_the_run_file_says_and_what_is_worse_is_dropped() {
    for (from, fitness, said) in
        [("elite", 1.0, "9 parent"), ("scratch", 1.0, "9 scratch"), ("elite", 0.0, "")]
    {
        let directory = TempDir::new().unwrap();
        let config = config(1, &format!("[final]\nsteps = 9\nfrom = \"{from}\"\n"));
        let steps = config.train.steps;
        let mut run = create(directory.path(), config).unwrap();
        let mut evaluator =
            WeightedSurrogate { fitness_at: Some((9, fitness)), ..WeightedSurrogate::default() };
        let summary = go_with(&mut run, &mut generator(), &mut evaluator, &mut |_| false).unwrap();
        let kept = std::fs::read_to_string(directory.path().join("best.safetensors")).unwrap();
        let best = summary.best.unwrap();
        if fitness == 1.0 {
            assert!(kept.ends_with(said), "{from}: {kept}");
            assert_eq!((best.final_steps, best.validation), (9, 1.0));
        } else {
            assert!(kept.contains(&format!(" {steps} ")), "{kept}");
            assert_eq!(best.final_steps, 0);
            assert!(best.validation > 0.0);
        }
    }
}

#[test]
fn a_copy_is_asked_again_hotter_within_the_limit_and_counted() {
    let directory = TempDir::new().unwrap();
    let seed = seed_network(&[1, 28, 28], 10);
    let body = seed.split_once("class Net(nn.Module):\n").unwrap().1.replace("    x = ", "    x  =  ");
    let mut copies = ScriptedGenerator::from_closure("random", move |_| body.clone());
    let mut config = config(1, "");
    config.search.generations = 1;
    let mut run = create(directory.path(), config).unwrap();
    let summary = go_with(&mut run, &mut copies, &mut WeightedSurrogate::default(), &mut |_| false).unwrap();
    assert_eq!((summary.trained, summary.retried, summary.candidates), (0, 12, 19));
    for rows in candidates(&directory)[1..].chunks(3) {
        let [first, second, third] = rows else { panic!("three attempts per slot") };
        assert!([first, second, third].iter().all(|row| row.verdict == Verdict::Copy));
        assert_eq!([first.retried, second.retried, third.retried], [true, true, false]);
        assert!((second.temperature - first.temperature - 0.2).abs() < 1e-9);
        assert!((third.temperature - first.temperature - 0.4).abs() < 1e-9);
    }
}

#[test]
fn an_architecture_that_a_slot_of_the_same_generation_has_is_a_duplicate() {
    let directory = TempDir::new().unwrap();
    let mut same = ScriptedGenerator::from_closure("random", |_| completion(&[16, 10]));
    let mut config = config(1, "");
    (config.search.generations, config.search.copy_attempts) = (1, 0);
    let mut run = create(directory.path(), config).unwrap();
    let summary = go_with(&mut run, &mut same, &mut WeightedSurrogate::default(), &mut |_| false).unwrap();
    assert_eq!((summary.trained, summary.valid), (1, 6));
    let verdicts: Vec<Verdict> = candidates(&directory)[1..].iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts[0], Verdict::Accepted);
    assert!(verdicts[1..].iter().all(|&verdict| verdict == Verdict::Duplicate));
}

#[test]
fn a_network_that_cannot_be_trained_is_a_verdict_and_the_search_goes_on() {
    let directory = TempDir::new().unwrap();
    let mut run = create(directory.path(), config(1, "")).unwrap();
    let mut evaluator = WeightedSurrogate { fail_depth: Some(3), ..Default::default() };
    let summary = go_with(&mut run, &mut generator(), &mut evaluator, &mut |_| false).unwrap();
    let rows = candidates(&directory);
    let failed: Vec<_> = rows.iter().filter(|row| row.verdict == Verdict::TrainingFailed).collect();
    assert!(!failed.is_empty() && summary.trained > 0);
    assert!(failed.iter().all(|row| row.message == "out of memory" && row.placed.is_none()));
}

#[test]
fn until_enough_networks_are_archived_the_parent_is_the_seed_network() {
    let directory = TempDir::new().unwrap();
    let mut config = config(1, "");
    config.search.initial_networks = 1000;
    go(&mut create(directory.path(), config).unwrap());
    for row in candidates(&directory).iter().skip(1) {
        assert_eq!((row.operator, row.parents.len()), (Operator::Rewrite, 1));
        assert_eq!((row.parents[0].generation, row.parents[0].slot), (0, 0));
    }
}

#[test]
fn parents_may_be_the_fittest_elites() {
    let directory = TempDir::new().unwrap();
    let extra = "[search]\nparents = \"fittest\"\nfittest = 1\ninitial_networks = 1\n";
    let mut config = config(1, extra);
    config.search.generations = 3;
    config.operators.crossover = 0.0;
    go(&mut create(directory.path(), config).unwrap());
    let rows = candidates(&directory);
    let last: BTreeSet<_> =
        rows.iter().filter(|row| row.id.generation == 3).map(|row| row.parents[0]).collect();
    assert_eq!(last.len(), 1, "one fittest elite");
}

#[test]
fn stand_ins_of_these_tests_do_what_they_say() {
    let network = LinearReader.read("class Net(nn.Module):\n nn.Linear(1, 16)\n nn.Linear(1, 10)\n").unwrap();
    assert_eq!(network.graph.parameter_count(), 28 * 16 + 16 * 10);
    assert_eq!(Surrogate.data().classes, 10);
    let identity = ScriptedGenerator::from_closure("random", random_completion).describe();
    assert_eq!(identity.name, "random");
}
