#!/usr/bin/env python3
"""Run networks in real PyTorch and keep what they compute, for tests/pytorch.rs.

usage: reference.py record JOBS.json      source -> weights, input, logits
       reference.py check JOBS.json       source + weights + input -> logits

JOBS.json is a list of {"name", "source", "entry", "sizes", "folder"}. `record` writes FOLDER/NAME.{weights,input,
logits}.safetensors from seeded random numbers (batch norms get random statistics, so that they matter); `check` reads
weights and input and writes FOLDER/NAME.checked.safetensors. A network that PyTorch cannot build or run is written as
FOLDER/NAME.error.
"""
import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def build(job):
    sys.modules["net"] = types.ModuleType("net")
    names = vars(sys.modules["net"])
    exec(compile(Path(job["source"]).read_text(), job["source"], "exec"), names)
    if job.get("entry"):
        return eval(job["entry"], names)
    classes = [
        value
        for value in names.values()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__ == "net"
    ]
    return classes[-1]()


def saved(state):
    """A state_dict as safetensors can hold it: contiguous, nothing shared."""
    return {key: value.detach().clone().contiguous() for key, value in state.items()}


def record(job, prefix):
    torch.manual_seed(1)
    net = build(job)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    net.eval()
    inputs = torch.randn(3, *job["sizes"])
    logits = net(inputs)
    save_file(saved(net.state_dict()), f"{prefix}.weights.safetensors")
    save_file({"x": inputs}, f"{prefix}.input.safetensors")
    save_file({"logits": logits.detach().contiguous()}, f"{prefix}.logits.safetensors")


def check(job, prefix):
    net = build(job)
    net.load_state_dict(load_file(f"{prefix}.weights.safetensors"))
    net.eval()
    with torch.no_grad():
        logits = net(load_file(f"{prefix}.input.safetensors")["x"])
    save_file({"logits": logits.contiguous()}, f"{prefix}.checked.safetensors")


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("record", "check"):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    action = record if sys.argv[1] == "record" else check
    for job in json.loads(Path(sys.argv[2]).read_text()):
        prefix = Path(job["folder"]) / job["name"]
        try:
            action(job, prefix)
        except Exception as error:  # whatever PyTorch says is the result
            Path(f"{prefix}.error").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
