#!/usr/bin/env python3
"""Evaluate lines of numbers in real Python, for tests/numbers.rs.

usage: numbers_reference.py CASES.txt OUT.json

OUT.json is a list of [line, value as Python source, false], or [line, name of the exception, true].
"""
import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import torch


def plain(value):
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def source(value):
    if isinstance(value, list):
        return "[" + ", ".join(source(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)


def evaluate(line):
    names = {"math": math, "random": random, "np": np, "torch": torch}
    *statements, expression = line.split("; ")
    try:
        for statement in statements:
            exec(statement, names)
        return [line, source(plain(eval(expression, names))), False]
    except Exception as error:  # the class is what is compared
        return [line, type(error).__name__, True]


def main():
    cases, out = sys.argv[1:]
    np.seterr(all="ignore")
    lines = [line.strip() for line in Path(cases).read_text().splitlines()]
    results = [evaluate(line) for line in lines if line and not line.startswith("#")]
    Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
