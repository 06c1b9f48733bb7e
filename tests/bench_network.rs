//! The networks of NAS-Bench-201 through the front-end: printed as PyTorch, read back, and counted.
//!
//! Needs the real table for its published counts; see `bench.rs` for where it is looked for.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

use std::path::PathBuf;

use llmatic_offline::bench::nasbench201::network::Skeleton;
use llmatic_offline::bench::nasbench201::{CELLS, Cell, DataSet, Operation, Table};
use llmatic_offline::graph::Graph;
use llmatic_offline::lower::{Request, lower};

fn network(cell: Cell, dataset: DataSet) -> Graph {
    let side = dataset.side();
    let source = cell.network_source(Skeleton::benchmark(dataset.classes(), side));
    match lower(&Request::new(&source, &[3, side, side], Some(dataset.classes()))) {
        Ok(network) => network.graph,
        Err(refusal) => panic!("{cell} on {}: {refusal:?}", dataset.name()),
    }
}

/// Checks each given cell on each data set against the published counts.
fn check(cells: impl Iterator<Item = Cell>) {
    let shared = std::env::var_os("LLMATIC_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let path = shared.join("data/nasbench201/nasbench201.csv");
    if !path.exists() {
        eprintln!("skipped: {} is absent; set LLMATIC_SHARED to the folder that holds data/", path.display());
        return;
    }
    let table = Table::load(&path).unwrap();
    for cell in cells {
        let record = table.record(cell);
        for dataset in DataSet::ALL {
            let graph = network(cell, dataset);
            assert_eq!(graph.parameter_count(), record.parameters[dataset as usize], "parameters of {cell}");
            // The table counts the bias of the linear layer as multiply-adds.
            let counted = (graph.macs() + dataset.classes() as u64) as f64 / 1e6;
            let published = record.mflops[dataset as usize];
            assert!((counted / published - 1.0).abs() < 1e-6, "{cell}: {counted} and {published}");
        }
    }
}

#[test]
fn networks_of_a_sample_of_cells_have_the_published_parameters_and_multiply_adds() {
    let constant = Operation::ALL.map(|operation| Cell([operation; 6]));
    check(constant.into_iter().chain((0..CELLS).step_by(331).map(Cell::from_number)));
}

#[test]
#[ignore = "46,875 networks; run with --ignored"]
fn networks_of_all_cells_have_the_published_parameters_and_multiply_adds() {
    check((0..CELLS).map(Cell::from_number));
}

#[test]
fn the_state_dict_has_the_keys_of_the_reference_implementation() {
    let cell: Cell =
        "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|skip_connect~2|"
            .parse()
            .unwrap();
    let graph = network(cell, DataSet::Cifar10);
    let names: Vec<&str> = graph.params.iter().map(|param| param.name.as_str()).collect();
    for key in [
        "stem.0.weight",
        "stem.1.running_mean",
        "cells.0.layers.0.op.1.weight",
        "cells.0.layers.2.op.2.bias",
        "cells.5.conv_a.op.1.weight",
        "cells.5.downsample.1.weight",
        "cells.16.layers.0.op.2.num_batches_tracked",
        "lastact.0.weight",
        "classifier.bias",
    ] {
        assert!(names.contains(&key), "{key} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("layers.1.") || name.contains("layers.3.")));
}
