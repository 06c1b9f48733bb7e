//! The NAS-Bench-201 benchmark from outside: what a bad table is answered with, and the searches on the real table.
//!
//! The real table is looked for under `$LLMATIC_SHARED` and under `../shared`; without it those tests say so and do
//! nothing, because the table belongs to others and is not part of the repository.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use llmatic_offline::bench::nasbench201::network::Skeleton;
use llmatic_offline::bench::nasbench201::{
    BenchConfig, CELLS, COLUMNS, Cell, DataSet, Operation, Table, report, run, run_on,
};
use llmatic_offline::bench::search::Method;

const FIXTURE: &str = "tests/fixtures/nasbench201-64-rows.csv";

/// A whole made-up table: rows sorted by index, accuracies that grow with the digits of the code.
fn synthetic() -> Vec<String> {
    let mut lines = vec![COLUMNS.join(",")];
    for index in 0..CELLS {
        // 7919 has no factor 5, so this visits every cell once, and not in the order of the codes.
        let cell = Cell::from_number(index * 7919 % CELLS);
        let sum: usize = cell.code().bytes().map(|digit| usize::from(digit - b'0')).sum();
        let accuracy = format!("{:.4}", 10.0 + 3.0 * sum as f64);
        let accuracies = vec![accuracy.as_str(); 16].join(",");
        lines.push(format!("{index},{cell},{},1,1,{accuracies},7,8,9,1.5,2.5,3.5", cell.code()));
    }
    lines
}

fn message(lines: &[String]) -> String {
    Table::parse(&lines.join("\n"), "t.csv").unwrap_err().to_string()
}

/// The message after replacing the field in `column` of 0-based `line`.
fn message_with(lines: &[String], line: usize, column: usize, field: &str) -> String {
    let mut changed = lines.to_vec();
    let mut fields: Vec<&str> = lines[line].split(',').collect();
    fields[column] = field;
    changed[line] = fields.join(",");
    message(&changed)
}

fn real_table() -> Option<(PathBuf, Table)> {
    let shared = std::env::var_os("LLMATIC_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let path = shared.join("data/nasbench201/nasbench201.csv");
    if !path.exists() {
        eprintln!("skipped: {} is absent; set LLMATIC_SHARED to the folder that holds data/", path.display());
        return None;
    }
    let table = Table::load(&path).unwrap();
    Some((path, table))
}

fn config(dataset: DataSet, method: Method, evaluations: usize, seeds: u64) -> BenchConfig {
    BenchConfig { table: PathBuf::new(), dataset, method, evaluations, seeds, first_seed: 0 }
}

#[test]
fn a_whole_table_is_read_and_each_cell_finds_its_row() {
    let lines = synthetic();
    let table = Table::parse(&lines.join("\n"), "t.csv").unwrap();
    let cell = Cell::from_code("043210").unwrap();
    let record = table.record(cell);
    assert_eq!(
        (record.validation, record.parameters, record.mflops),
        ([40.0; 3], [7, 8, 9], [1.5, 2.5, 3.5])
    );
    assert!(lines[record.index + 1].contains(&cell.to_string()));
    assert_eq!(table.best(DataSet::Cifar100).code(), "444444");
    // Lines may end as they do on Windows.
    assert_eq!(Table::parse(&lines.join("\r\n"), "t.csv").unwrap(), table);
}

#[test]
fn sixty_four_rows_are_refused_as_incomplete() {
    let error = Table::load(Path::new(FIXTURE)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{FIXTURE}: line 65: expected 15625 cells below the header, got 64; the table is incomplete, make it \
             again with scripts/nasbench201_to_csv.py"
        )
    );
}

#[test]
fn a_missing_file_is_named_with_the_flag_that_gives_it() {
    let error = Table::load(Path::new("no/such.csv")).unwrap_err().to_string();
    assert!(error.starts_with("no/such.csv: cannot be read: "), "{error}");
    assert!(error.ends_with("; give the CSV of NAS-Bench-201 with --table"), "{error}");
}

#[test]
fn a_wrong_header_is_located() {
    let lines = synthetic();
    assert_eq!(
        message_with(&lines, 0, 6, "c10_test_pct"),
        "t.csv: line 1, column c10_test200_pct: expected the header `c10_test200_pct` at place 7 of 27, got \
         `c10_test_pct`"
    );
    assert_eq!(
        message(&[String::new()]),
        "t.csv: line 1, column index: expected the header `index` at place 1 of 27, got ``"
    );
    let mut wide = lines.clone();
    wide[0] += ",more";
    assert_eq!(message(&wide), "t.csv: line 1: expected 27 columns (index to in16_mflops), got 28");
}

#[test]
fn a_wrong_field_is_located() {
    let lines = synthetic();
    let fields: Vec<&str> = lines[3].split(',').collect();
    let code = fields[2];
    let cases = [
        (0, "7", "column index: expected 2, rows being sorted by index, got `7`".to_owned()),
        (
            1,
            "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
            "column arch: expected OPERATION~0, OPERATION one of none, skip_connect, nor_conv_1x1, nor_conv_3x3, \
             avg_pool_3x3, got `conv~0`"
                .to_owned(),
        ),
        (2, "000009", format!("column code: expected {code}, the code of the column arch, got `000009`")),
        (3, "0", "column n_runs_val: expected a number of runs, 1 or more, got `0`".to_owned()),
        (5, "", "column c10_val200_pct: expected an accuracy in per cent, 0 to 100, got ``".to_owned()),
        (10, "100.1", "column in16_test200_pct: expected an accuracy in per cent, 0 to 100, got `100.1`".to_owned()),
        (17, "NaN", "column c100_val12_pct: expected an accuracy in per cent, 0 to 100, got `NaN`".to_owned()),
        (22, "1e5", "column c100_params: expected a whole number of parameters, got `1e5`".to_owned()),
        (26, "-1", "column in16_mflops: expected multiply-adds in millions, got `-1`".to_owned()),
    ];
    for (column, field, expected) in cases {
        assert_eq!(message_with(&lines, 3, column, field), format!("t.csv: line 4, {expected}"));
    }
}

#[test]
fn a_short_row_and_a_repeated_cell_are_located() {
    let mut lines = synthetic();
    let whole = std::mem::replace(&mut lines[5], "4,|none~0|".to_owned());
    assert_eq!(message(&lines), "t.csv: line 6: expected 27 columns (index to in16_mflops), got 2");
    lines[5] = whole;
    let copied = lines[2].split_once(',').unwrap().1.to_owned();
    lines[5] = format!("4,{copied}");
    let cell = copied.split(',').next().unwrap();
    assert_eq!(
        message(&lines),
        format!("t.csv: line 6, column arch: expected a cell that no earlier line has, got `{cell}`")
    );
}

#[test]
fn curves_never_fall_and_end_at_the_optimum_when_it_is_found() {
    let table = Table::parse(&synthetic().join("\n"), "t.csv").unwrap();
    for method in Method::ALL {
        let result = run_on(&table, &config(DataSet::Cifar10, method, 60, 3), &|_, _| {}).unwrap();
        assert_eq!((result.evaluations(), result.seeds(), result.optimum), (60, 3, 82.0));
        for n in 2..=60 {
            let (before, after) = (result.validation.values_at(n - 1), result.validation.values_at(n));
            assert!(before.iter().zip(&after).all(|(b, a)| b <= a), "{} at {n}", method.name());
        }
        for (seed, found) in result.found_at.iter().enumerate() {
            assert_eq!(found.is_some(), result.validation.values_at(60)[seed] == 82.0);
        }
        assert_eq!(report::csv(std::slice::from_ref(&result)).lines().count(), 61);
    }
}

#[test]
fn progress_counts_every_seed_and_no_seeds_are_refused() {
    let table = Table::parse(&synthetic().join("\n"), "t.csv").unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let note = |done, all| seen.lock().unwrap().push((done, all));
    run_on(&table, &config(DataSet::Cifar10, Method::Random, 5, 4), &note).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let none = run_on(&table, &config(DataSet::Cifar10, Method::Random, 5, 0), &|_, _| {}).unwrap_err();
    assert_eq!(none.to_string(), "--seeds: expected 1 or more, got 0");
    assert_eq!(
        "imagenet".parse::<DataSet>().unwrap_err().to_string(),
        "--dataset: expected one of cifar10, cifar100, imagenet16-120, got `imagenet`"
    );
}

#[test]
fn parameters_and_multiply_adds_of_every_cell_equal_the_table() {
    let Some((_, table)) = real_table() else { return };
    for number in 0..CELLS {
        let cell = Cell::from_number(number);
        let record = table.record(cell);
        for dataset in DataSet::ALL {
            let skeleton = Skeleton::benchmark(dataset.classes(), dataset.side());
            assert_eq!(skeleton.parameters(cell), record.parameters[dataset as usize], "{cell}");
            // The table counts the bias of the linear layer as multiply-adds.
            let counted = (skeleton.macs(cell) + dataset.classes() as u64) as f64 / 1e6;
            let published = record.mflops[dataset as usize];
            assert!((counted / published - 1.0).abs() < 1e-6, "{cell}: {counted} and {published}");
        }
    }
}

#[test]
fn the_best_cells_of_the_table_are_the_known_ones() {
    let Some((_, table)) = real_table() else { return };
    let best = DataSet::ALL.map(|dataset| table.record(table.best(dataset)));
    assert_eq!(best.map(|record| record.index), [6111, 9930, 10_676]);
    assert_eq!(best[0].validation[0], 91.6067);
    assert_eq!([best[0].test[0], best[1].test[1], best[2].test[2]], [94.3733, 73.5133, 46.2]);
    let resnet: Cell =
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|".parse().unwrap();
    assert_eq!((table.record(resnet).index, resnet.count(Operation::Conv3x3)), (11_472, 2));
}

#[test]
fn the_surrogate_beats_its_baselines_at_twenty_and_fifty_evaluations() {
    let Some((path, table)) = real_table() else { return };
    // The bars of 100 seeds; 20 seeds meet them with the same engine.
    for (dataset, bars) in DataSet::ALL.into_iter().zip([[90.9, 91.45], [71.8, 73.2], [45.2, 46.1]]) {
        let mean = |method| {
            let result = run_on(&table, &config(dataset, method, 50, 20), &|_, _| {}).unwrap();
            [result.validation.at(20).mean, result.validation.at(50).mean]
        };
        let surrogate = mean(Method::Surrogate);
        for baseline in [Method::Random, Method::Evolution, Method::Local, Method::Typed] {
            let other = mean(baseline);
            for (ours, theirs) in surrogate.iter().zip(other) {
                assert!(*ours >= theirs, "{} on {}: {ours} below {theirs}", baseline.name(), dataset.name());
            }
        }
        for (ours, bar) in surrogate.iter().zip(bars) {
            assert!(*ours >= bar, "{}: {ours} below {bar}", dataset.name());
        }
    }
    let from_file = BenchConfig { table: path, ..config(DataSet::Cifar10, Method::Local, 30, 2) };
    let again = run_on(&table, &from_file, &|_, _| {}).unwrap();
    assert_eq!(run(&from_file, &|_, _| {}).unwrap(), again);
}

#[test]
fn searches_of_several_machines_add_up_to_the_same_table_curves_and_plot() {
    let Some((path, _)) = real_table() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bench = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmatic-offline"));
        command.args(["bench", "nasbench201", "--table"]).arg(&path).current_dir(folder.path());
        let output = command.args(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let search = |first: &str, seeds: &str, out: &str| {
        let prior = ["--method", "rank,local", "--prior", "none,random", "--evaluations", "30"];
        let (exit, table, said) =
            bench(&[&prior[..], &["--first-seed", first, "--seeds", seeds, "--out", out]].concat());
        assert_eq!(exit, Some(0), "{said}");
        table
    };
    let whole = search("0", "3", "whole");
    assert!(whole.contains("| rank: none minus | 20 |") && whole.contains("| local | 3 |"), "{whole}");
    search("0", "1", "a");
    search("1", "2", "b");
    let files = "a/cifar10-searches.csv,b/cifar10-searches.csv";
    assert_eq!(bench(&["--merge", files, "--out", "both"]), {
        let said = ["csv", "svg"].map(|ending| format!("wrote both/cifar10.{ending}\n")).concat();
        (Some(0), whole, format!("{said}wrote both/cifar10-searches.csv\n"))
    });
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("both/cifar10.csv"), read("whole/cifar10.csv"));
    assert_eq!(read("both/cifar10.svg"), read("whole/cifar10.svg"));
    let (exit, _, said) = bench(&["--merge", "a/cifar10-searches.csv,a/cifar10-searches.csv"]);
    assert!(exit == Some(1) && said.contains("rank: none with seed 0 again"), "{said}");
    let (exit, _, said) = bench(&["--merge", "a/cifar10.csv"]);
    assert!(exit == Some(1) && said.contains("a/cifar10.csv: line 1: expected `dataset,method"), "{said}");
}

#[test]
fn what_would_be_measured_without_being_what_it_is_called_is_refused_first() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmatic-offline"));
        command.args(["bench", "nasbench201", "--table", "none.csv"]).args(arguments);
        let output = command.arg("--out").arg(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for method in ["infill", "llmatic", "llmatic-grammar", "rank"] {
        let said = refusal(&["--method", method]);
        assert!(said.contains(&format!("--model: expected the LLM that {method} asks, got none")), "{said}");
    }
    assert!(refusal(&["--evaluations", "0"]).contains("--evaluations: expected 1 to 15625 (cells), got 0"));
    assert!(refusal(&["--evaluations", "20000"]).contains("got 20000"));
    let seeds = refusal(&["--first-seed", "9223372036854775807", "--seeds", "3"]);
    assert!(seeds.contains("expected seeds below 2^63"), "{seeds}");
}
