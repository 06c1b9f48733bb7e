#!/usr/bin/env python3
"""Write the CSV that `llmatic-offline bench nasbench201 --table` reads from the official NATS-Bench files.

Input: the folder NATS-tss-v1_0-3ffb9-simple (or the single file NATS-tss-v1_0-3ffb9.pickle.pbz2) of NATS-Bench's
topology space, which its authors distribute (see the README of their `nats_bench` package). Output: one row per cell,
15,625 in all, sorted by the official index. Needs `pip install nats_bench` (1.8). The files are Python pickles, which
can run code when loaded: use only files from their authors. About ten minutes for the folder.

    python3 scripts/nasbench201_to_csv.py NATS-tss-v1_0-3ffb9-simple nasbench201.csv

Accuracies are in per cent, means over all runs of a cell after 200 epochs; the 12-epoch columns are the mean for
CIFAR-10 validation and else the run of seed 111, or the first run where there is none of that seed.
"""

import argparse
import csv
import os
import sys

CELLS = 15625
OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
# Column prefix, data set for validation and its split, data set for test and its split.
DATA_SETS = [
    ("c10", ("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
    ("c100", ("cifar100", "x-valid"), ("cifar100", "x-test")),
    ("in16", ("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
]
SHORT_RUN_SEED = 111
SINGLE_RUN_SEED = 888


def columns():
    """The header."""
    names = ["index", "arch", "code", "n_runs_val", "n_runs_test"]
    names += [f"{prefix}_{kind}200_pct" for prefix, _, _ in DATA_SETS for kind in ("val", "test")]
    names += [f"c10_test200_run{run}_pct" for run in (1, 2, 3)] + ["c10v_test200_single_pct"]
    names += [f"{prefix}_{kind}12_pct" for prefix, _, _ in DATA_SETS for kind in ("val", "test")]
    names += [f"{prefix}_params" for prefix, _, _ in DATA_SETS]
    names += [f"{prefix}_mflops" for prefix, _, _ in DATA_SETS]
    return names


def code(arch):
    """A cell string as one digit per edge: 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2."""
    edges = [edge for edge in arch.replace("+", "").split("|") if edge]
    return "".join(str(OPERATIONS.index(edge.split("~")[0])) for edge in edges)


def number(value, decimals):
    """A number without trailing zeros, as in a spreadsheet, but with one decimal at least."""
    return str(round(float(value), decimals))


def accuracy(results, dataset, split, seed=False):
    """Top-1 accuracy in per cent: of one seed, or with seed=False the mean over all."""
    return results.get_metrics(dataset, split, is_random=seed)["accuracy"]


def seed_or_first(results, dataset, wanted):
    """`wanted` if there is a run of this seed, else the first seed."""
    seeds = results.get_dataset_seeds(dataset)
    return wanted if wanted in seeds else seeds[0]


def row(index, arch, long_runs, short_runs):
    """One line of the CSV from the results after 200 and after 12 epochs."""
    validation_runs = len(long_runs.get_dataset_seeds("cifar10-valid"))
    seeds = long_runs.get_dataset_seeds("cifar10")
    fields = [index, arch, code(arch), validation_runs, len(seeds)]
    for _, validation, test in DATA_SETS:
        fields += [number(accuracy(long_runs, *where), 4) for where in (validation, test)]
    single = [number(accuracy(long_runs, "cifar10", "ori-test", seed), 4) for seed in seeds[:3]]
    fields += single + [""] * (3 - len(single))
    seed = seed_or_first(long_runs, "cifar10-valid", SINGLE_RUN_SEED)
    fields.append(number(accuracy(long_runs, "cifar10-valid", "ori-test", seed), 4))
    for prefix, validation, test in DATA_SETS:
        for dataset, split in (validation, test):
            mean = prefix == "c10" and split == "x-valid"
            seed = False if mean else seed_or_first(short_runs, dataset, SHORT_RUN_SEED)
            fields.append(number(accuracy(short_runs, dataset, split, seed), 4))
    costs = [long_runs.get_compute_costs(test[0]) for _, _, test in DATA_SETS]
    fields += [round(cost["params"] * 1e6) for cost in costs]
    fields += [number(cost["flops"], 6) for cost in costs]
    return fields


def rows(api):
    """All rows of an API of the topology space, by index."""
    for index, arch in enumerate(api.meta_archs):
        long_runs = api.query_meta_info_by_index(index, "200")
        short_runs = api.query_meta_info_by_index(index, "12")
        yield row(index, arch, long_runs, short_runs)
        # In the folder's mode each cell is read when asked for; keeping them all would take many gigabytes.
        if api.fast_mode:
            api.arch2infos_dict.pop(index, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", help="NATS-tss-v1_0-3ffb9-simple (folder) or NATS-tss-v1_0-3ffb9.pickle.pbz2")
    parser.add_argument("csv", help="file to write")
    arguments = parser.parse_args()
    if not os.path.exists(arguments.archive):
        sys.exit(f"{arguments.archive}: expected a file or a folder of NATS-Bench, got nothing there")
    try:
        from nats_bench import create
    except ImportError:
        sys.exit("the package nats_bench is missing: pip install nats_bench==1.8")
    api = create(arguments.archive, "tss", fast_mode=os.path.isdir(arguments.archive), verbose=False)
    if len(api.meta_archs) != CELLS:
        sys.exit(f"{arguments.archive}: expected {CELLS} cells, got {len(api.meta_archs)}")
    # Written whole or not at all: a part of a table would be refused when it is read.
    part = arguments.csv + ".part"
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns())
        for fields in rows(api):
            writer.writerow(fields)
            if fields[0] % 1000 == 0:
                print(f"{fields[0]} of {CELLS} cells", file=sys.stderr)
    os.replace(part, arguments.csv)


if __name__ == "__main__":
    main()
