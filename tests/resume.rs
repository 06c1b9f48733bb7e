//! A run goes on where it was stopped, to the same digest; a folder that is not such a run is refused.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::path::Path;

use common::{WeightedSurrogate, config, create, generator, go, go_with};
use llmatic_offline::llm::GeneratorIdentity;
use llmatic_offline::search::{
    ErrorClass, Evaluator as _, Event, Run, ScriptedGenerator, SearchError, Surrogate, digest,
};
use tempfile::TempDir;

#[test]
fn a_run_that_is_stopped_at_any_event_ends_with_the_digest_of_an_undisturbed_one() {
    let undisturbed = TempDir::new().unwrap();
    let mut events = 0usize;
    let mut run = create(undisturbed.path(), config(5, "")).unwrap();
    let reference = go_with(&mut run, &mut generator(), &mut WeightedSurrogate::default(), &mut |_| {
        events += 1;
        false
    })
    .unwrap();
    for at in (0..events).step_by(events / 17) {
        let directory = TempDir::new().unwrap();
        let mut run = create(directory.path(), config(5, "")).unwrap();
        let mut seen = 0;
        let stop = &mut |_: &Event| {
            seen += 1;
            seen > at
        };
        let outcome = go_with(&mut run, &mut generator(), &mut WeightedSurrogate::default(), stop);
        let Err(SearchError::Interrupted { .. }) = outcome else {
            assert!(at + 2 > events - reference.elites as usize, "event {at} of {events}: {outcome:?}");
            continue;
        };
        drop(run);
        let summary = go(&mut Run::open(directory.path()).unwrap());
        assert_eq!(summary.digest, reference.digest, "stopped at event {at}");
        assert_eq!(summary.best.map(|best| best.file), reference.best.as_ref().map(|best| best.file.clone()));
    }
}

#[test]
fn a_finished_run_says_again_what_it_came_to() {
    let directory = TempDir::new().unwrap();
    let first = go(&mut create(directory.path(), config(1, "")).unwrap());
    let mut evaluator = WeightedSurrogate::default();
    let mut run = Run::open(directory.path()).unwrap();
    let second = go_with(&mut run, &mut generator(), &mut evaluator, &mut |_| false).unwrap();
    assert_eq!(first, second);
    assert!(evaluator.trained.is_empty() && evaluator.tests == 0);
    drop(run);
    // Sources are in the database, so that they come back as they were.
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let (best, elite) = (read("best.py"), read(&first.best.as_ref().unwrap().file));
    assert!(
        best.contains("load_file(\"best.safetensors\")") && !elite.contains("best.safetensors"),
        "{best}"
    );
    std::fs::remove_file(directory.path().join("best.py")).unwrap();
    std::fs::remove_dir_all(directory.path().join("elites")).unwrap();
    go(&mut Run::open(directory.path()).unwrap());
    assert_eq!((read("best.py"), read(&first.best.unwrap().file)), (best, elite));
}

#[test]
fn a_folder_with_a_run_or_with_anything_else_is_refused_with_a_way_out() {
    let directory = TempDir::new().unwrap();
    let run = create(directory.path(), config(1, "")).unwrap();
    let error = create(directory.path(), config(1, "")).unwrap_err();
    assert_eq!(error.to_string(), format!("{} holds a run already", directory.path().display()));
    let hint = format!("continue it with: llmatic-offline resume {}", directory.path().display());
    assert_eq!((error.hint(), error.class()), (Some(hint), ErrorClass::Input));
    let error = Run::open(directory.path()).unwrap_err();
    assert!(matches!(error, SearchError::Locked { .. }), "{error}");
    drop(run);
    Run::open(directory.path()).unwrap();

    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join("thesis.txt"), "precious").unwrap();
    let error = create(other.path(), config(1, "")).unwrap_err();
    assert!(matches!(error, SearchError::NotEmpty { .. }), "{error}");
    let error = Run::open(other.path()).unwrap_err();
    assert!(matches!(error, SearchError::NoRun { .. }), "{error}");
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_it() {
    let error = create(Path::new("/proc/llmatic-offline"), config(1, "")).unwrap_err();
    assert!(error.to_string().starts_with("/proc/llmatic-offline"), "{error}");
    assert_eq!(error.class(), ErrorClass::Failure);
}

#[test]
fn a_start_that_was_cut_short_leaves_a_folder_that_can_be_used_again() {
    let directory = TempDir::new().unwrap();
    for name in ["run.lock", "run.db.new", "config.toml"] {
        std::fs::write(directory.path().join(name), "half").unwrap();
    }
    go(&mut create(directory.path(), config(1, "")).unwrap());
}

#[test]
fn another_model_or_other_data_cannot_go_on_with_a_run() {
    let directory = TempDir::new().unwrap();
    let mut run = create(directory.path(), config(1, "")).unwrap();
    let mut other = ScriptedGenerator::from_closure("another", |_| String::new());
    let error = go_with(&mut run, &mut other, &mut WeightedSurrogate::default(), &mut |_| false).unwrap_err();
    assert_eq!(error.to_string(), "model: the run was made with random, here it is another");
    let model = GeneratorIdentity { name: "random".into(), sha256: "none".into() };
    let mut data = Surrogate.data();
    data.sha256 = "other".into();
    let error = run.verify(&model, &data).unwrap_err();
    assert_eq!(error.to_string(), "data set's sha256: the run was made with none, here it is other");
}

#[test]
fn a_database_changed_by_hand_is_noticed() {
    let whole = TempDir::new().unwrap();
    go(&mut create(whole.path(), config(1, "")).unwrap());
    let edited = |what: &str| {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("run.db");
        std::fs::copy(whole.path().join("run.db"), &path).unwrap();
        let database = rusqlite::Connection::open(path).unwrap();
        let sql = format!(
            "UPDATE candidate SET {what} WHERE rowid = \
             (SELECT rowid FROM candidate WHERE verdict = 'accepted' AND generation > 0 LIMIT 1)"
        );
        assert_eq!(database.execute(&sql, []).unwrap(), 1, "{what}");
        drop(database);
        digest(directory.path())
    };
    assert!(edited("generation = generation").is_ok());
    for what in [
        "fitness = fitness + 0.001",
        "loss = loss + 0.001",
        "curve = '[[1,0.5]]'",
        "inherited = inherited + 1",
        "source = source || '#'",
        "kept = kept || '#'",
        "verdict = 'duplicate'",
        "operator = 'typed'",
        "parents = '[[0,0],[0,0]]'",
        "instruction = 'another'",
        "temperature = temperature + 0.001",
        "prompt = prompt || '#'",
        "repairs = '[\"another\"]'",
        "architecture = 'another'",
        "parameters = parameters + 1",
        "macs = macs + 1",
        "width_to_depth = width_to_depth + 1",
    ] {
        let Err(error) = edited(what) else { panic!("{what} was not noticed") };
        assert!(matches!(error, SearchError::Corrupt { .. }), "{what}: {error}");
    }
}

#[test]
fn a_parents_weights_that_are_gone_stop_a_resumed_run_instead_of_changing_its_result() {
    let directory = TempDir::new().unwrap();
    let mut run = create(directory.path(), config(1, "")).unwrap();
    let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == 1);
    go_with(&mut run, &mut generator(), &mut WeightedSurrogate::default(), stop).unwrap_err();
    drop(run);
    for entry in std::fs::read_dir(directory.path().join("weights")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let mut run = Run::open(directory.path()).unwrap();
    let error = go_with(&mut run, &mut generator(), &mut WeightedSurrogate::default(), &mut |_| false);
    assert!(error.unwrap_err().to_string().ends_with("the weights of a parent are gone"));
}

#[test]
fn whoever_may_be_a_parent_keeps_the_weights_that_its_children_inherit() {
    for parents in ["random", "fittest", "curious", "seed", "latest", "ageing"] {
        let config = || config(1, &format!("[search]\ninitial_networks = 1\nparents = \"{parents}\"\n"));
        let directory = TempDir::new().unwrap();
        let reference = go(&mut create(directory.path(), config()).unwrap());
        let again = TempDir::new().unwrap();
        let mut run = create(again.path(), config()).unwrap();
        let stop = &mut |event: &Event| matches!(event, Event::Generation(row) if row.number == 2);
        go_with(&mut run, &mut generator(), &mut WeightedSurrogate::default(), stop).unwrap_err();
        drop(run);
        assert_eq!(go(&mut Run::open(again.path()).unwrap()).digest, reference.digest, "{parents}");
    }
}

#[test]
fn a_network_that_takes_the_device_ends_the_search_and_fails_alone_when_it_is_gone_on_with() {
    let evaluator =
        |device_fails| WeightedSurrogate { fail_depth: Some(3), device_fails, ..Default::default() };
    let reference = TempDir::new().unwrap();
    let mut run = create(reference.path(), config(5, "")).unwrap();
    let reference = go_with(&mut run, &mut generator(), &mut evaluator(false), &mut |_| false).unwrap();
    let directory = TempDir::new().unwrap();
    drop(create(directory.path(), config(5, "")).unwrap());
    for losses in 0.. {
        let mut run = Run::open(directory.path()).unwrap();
        let error = match go_with(&mut run, &mut generator(), &mut evaluator(true), &mut |_| false) {
            Ok(summary) => {
                assert!(losses > 0, "no network failed");
                assert_eq!(summary.digest, reference.digest);
                return;
            }
            Err(error) => error,
        };
        let known = std::fs::read_to_string(directory.path().join("lost.txt")).unwrap();
        assert_eq!(known.lines().count(), losses + 1, "{known}");
        assert_eq!((error.class(), error.hint().is_some()), (ErrorClass::Failure, true));
        assert!(error.to_string().starts_with("out of memory; "), "{error}");
    }
}

#[test]
fn an_interruption_says_how_to_go_on() {
    let directory = TempDir::new().unwrap();
    let mut run = create(directory.path(), config(1, "")).unwrap();
    let error =
        go_with(&mut run, &mut generator(), &mut WeightedSurrogate::default(), &mut |_| true).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Interrupted);
    assert_eq!(
        error.hint().unwrap(),
        format!("go on with: llmatic-offline resume {}", directory.path().display())
    );
}
