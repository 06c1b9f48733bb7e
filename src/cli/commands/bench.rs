//! `bench nasbench201`: searches on the NAS-Bench-201 table, over seeds, as a table, curves and a plot.

use std::path::Path;

use llmatic_offline::bench::nasbench201::{
    BenchConfig, BenchError, BenchResult, DataSet, Table, report, run_on,
};
use llmatic_offline::bench::search::Method;

use super::bench_prompts::bench_prompts;
use crate::cli::args::{BenchArgs, BenchCommand, NasBench201Args};
use crate::cli::{Failure, printer};

/// `bench`
pub(crate) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        BenchCommand::Nasbench201(args) => nasbench201(args),
        BenchCommand::Prompts(args) => bench_prompts(args),
    }
}

fn nasbench201(args: &NasBench201Args) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::refused(error.to_string());
    let dataset: DataSet = args.dataset.parse().map_err(|error| refused(&error))?;
    let methods: Vec<Method> = args
        .method
        .iter()
        .map(|name| name.parse().map_err(|error| refused(&error)))
        .collect::<Result<_, _>>()?;
    let table = Table::load(&args.table).map_err(|error| {
        refused(&error)
            .hint("scripts/nasbench201_to_csv.py makes the table from the official NATS-Bench files")
    })?;
    let mut results = Vec::new();
    for method in methods {
        let config = BenchConfig {
            table: args.table.clone(),
            dataset,
            method,
            evaluations: args.evaluations,
            seeds: args.seeds,
            first_seed: args.first_seed,
        };
        let result = run_on(&table, &config, &|_, _| {}).map_err(|error: BenchError| refused(&error))?;
        printer::note(&format!(
            "{}: {} searches of {} evaluations",
            method.name(),
            args.seeds,
            args.evaluations
        ));
        results.push(result);
    }
    printer::raw(&format!(
        "Validation accuracy on {} (optimum {:.2} %), mean and deviation over {} seeds, by evaluations\n\n",
        dataset.title(),
        results.first().map_or(f64::NAN, |result| result.optimum),
        args.seeds
    ));
    printer::raw(&report::markdown(&results));
    printer::raw("\n");
    printer::raw(&report::published_markdown(dataset));
    if let Some(folder) = &args.out {
        write(folder, dataset, &results)?;
    }
    Ok(())
}

fn write(folder: &Path, dataset: DataSet, results: &[BenchResult]) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (ending, text) in [("csv", report::csv(results)), ("svg", report::svg(results))] {
        let path = folder.join(format!("{}.{ending}", dataset.name()));
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
        printer::note(&format!("wrote {}", path.display()));
    }
    Ok(())
}
