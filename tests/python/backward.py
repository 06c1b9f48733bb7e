#!/usr/bin/env python3
"""Say whether networks can be trained in real PyTorch, for tests/in_place.rs.

usage: backward.py JOBS.json OUT.json

JOBS.json is a list of {"name", "source", "sizes"}. OUT.json maps each name to what stopped a forward and a backward
pass in training mode, or null.
"""
import json
import sys
import types

import torch


def stopped(job):
    """The first line of the error of a step of training; None where there is none."""
    names = vars(types.ModuleType("net"))
    try:
        exec(compile(job["source"], job["name"], "exec"), names)
        torch.manual_seed(0)
        output = names["Net"]()(torch.rand(3, *job["sizes"]))
        torch.nn.functional.cross_entropy(output, torch.tensor([0, 1, 2])).backward()
    except (RuntimeError, ValueError, TypeError) as error:
        return str(error).splitlines()[0]
    return None


def main():
    """Answer the jobs."""
    with open(sys.argv[1]) as jobs:
        answers = {job["name"]: stopped(job) for job in json.load(jobs)}
    with open(sys.argv[2], "w") as out:
        json.dump(answers, out)


if __name__ == "__main__":
    main()
