#!/usr/bin/env python3
"""Say what real PyTorch makes of networks, for tests/layers.rs and tests/zoo.rs.

usage: agreement.py record JOBS.json OUT.json    verdict, parameter count, state_dict; weights, input, logits, gradients
       agreement.py check JOBS.json OUT.json     verdict and logits of the source beside the recorded weights

JOBS.json is a list of {"name", "sizes", "folder"} with either "source" (text) or "root" and "module" (a file under a
folder, imported without its packages' own code), and "entry" (an expression; else the last class). `record` writes
FOLDER/NAME.{weights,input,logits,gradients}.safetensors from seeded random numbers, with "training" also
FOLDER/NAME.{starts,trained}.safetensors: several draws of the first values, and the state_dict and logits after a pass
in training mode, without what chance changes; `check` writes FOLDER/NAME.checked.safetensors and, with "training",
FOLDER/NAME.checked_trained.safetensors. OUT.json maps each name to {"error"} or {"parameters", "state"}.
Packages that are not installed are stood in for, as sources import more than their networks use.
"""
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

STAND_INS = {"torchvision", "huggingface_hub", "munch", "yaml", "requests", "PIL", "pytorch_lightning", "torchmetrics"}


class AnyClass(type):
    """A class that has every attribute, for defaults and annotations that are never used."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class Anything(types.ModuleType):
    """A module that has every name; each is a class."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyClass(name, (), {"__class_getitem__": classmethod(lambda cls, item: cls)})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in STAND_INS:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Anything(spec.name)

    def exec_module(self, module):
        pass


def names_of(job):
    """The names that the job's source defines."""
    if "module" not in job:
        sys.modules["net"] = types.ModuleType("net")
        names = vars(sys.modules["net"])
        exec(compile(job["source"], job["name"], "exec"), names)
        return names
    if job["root"] not in sys.path:
        sys.path.insert(0, job["root"])
    parts = job["module"].split(".")
    if "LLMATIC_ZOO" in os.environ:
        try:
            return vars(importlib.import_module(job["module"]))
        except ImportError:
            for name in [name for name in sys.modules if name.split(".")[0] == parts[0]]:
                del sys.modules[name]
    # A package's own code imports everything: where the module can do without, let it.
    for end in range(1, len(parts)):
        name = ".".join(parts[:end])
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [os.path.join(job["root"], *parts[:end])]
            sys.modules[name] = package
    return vars(importlib.import_module(job["module"]))


def build(job):
    names = names_of(job)
    if job.get("entry"):
        return eval(job["entry"], dict(names))
    here = names["__name__"]
    classes = [
        value
        for value in names.values()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__ == here
    ]
    return classes[-1]()


def saved(state):
    """A state_dict as safetensors can hold it: contiguous, nothing shared."""
    return {key: value.detach().clone().contiguous() for key, value in state.items()}


def disturb(net):
    """Values that start alike (norms, biases, tokens) get some that matter."""
    with torch.no_grad():
        for value in net.parameters():
            if value.is_floating_point() and (value.dim() < 2 or not value.any()):
                value.add_(torch.randn(value.shape) * 0.1)
        for key, value in net.state_dict().items():
            if key.endswith("running_mean"):
                value.normal_(0, 0.2)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2.0)


def draws(job):
    """First values of each tensor in several draws; nothing where they cannot be had."""
    states = []
    try:
        for seed in range(4):
            torch.manual_seed(seed)
            states.append(saved(build(job).state_dict()))
        return {key: torch.stack([state[key].float() for state in states]) for key in states[0]}
    except (RuntimeError, KeyError, ValueError):  # lazy layers, or Python's own chance
        return {}


def trained(job, weights, inputs):
    """The state and logits after a pass in training mode, without what depends on chance."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = build(job)
        if any(isinstance(value, torch.nn.UninitializedParameter) for value in net.parameters()):
            return {}
        net.load_state_dict(weights)
        net.train()
        try:
            with torch.no_grad():
                logits = net(inputs.clone())
        except ValueError:  # a batch norm of one value
            return {}
        if not isinstance(logits, torch.Tensor):
            return {}
        results.append({**saved(net.state_dict()), "the logits": logits.contiguous()})
    first, second = results
    return {key: first[key].float() for key in first if torch.equal(first[key], second[key])}


def record(job, prefix):
    torch.manual_seed(1)
    net = build(job)
    inputs = torch.randn(3, *job["sizes"])
    net.eval()
    with torch.no_grad():
        net(inputs.clone())  # gives lazy layers their sizes
    disturb(net)
    net.eval()
    weights = saved(net.state_dict())
    result = {
        "parameters": sum(value.numel() for value in net.parameters()),
        "state": [[key, list(value.shape)] for key, value in weights.items()],
    }
    logits = net(inputs.clone())  # some networks write into their input
    if not isinstance(logits, torch.Tensor):
        raise TypeError(f"output: expected a tensor, got {type(logits).__name__}")
    gradients = {}
    if job.get("gradients") and logits.dim() == 2 and logits.shape[1] > 2:
        try:
            torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
            gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
        except RuntimeError:  # nothing to train, or changed in place what the gradient needs
            gradients = {}
    save_file(weights, f"{prefix}.weights.safetensors")
    save_file({"x": inputs}, f"{prefix}.input.safetensors")
    save_file({"logits": logits.detach().float().contiguous()}, f"{prefix}.logits.safetensors")
    save_file(saved(gradients), f"{prefix}.gradients.safetensors")
    if job.get("training"):
        save_file(draws(job), f"{prefix}.starts.safetensors")
        save_file(trained(job, weights, inputs), f"{prefix}.trained.safetensors")
    return result


def check(job, prefix):
    net = build(job)
    weights = load_file(f"{prefix}.weights.safetensors")
    net.load_state_dict(weights)
    net.eval()
    with torch.no_grad():
        logits = net(load_file(f"{prefix}.input.safetensors")["x"])
    save_file({"logits": logits.float().contiguous()}, f"{prefix}.checked.safetensors")
    if job.get("training"):
        inputs = load_file(f"{prefix}.input.safetensors")["x"]
        save_file(draws(job), f"{prefix}.checked_starts.safetensors")
        save_file(trained(job, weights, inputs), f"{prefix}.checked_trained.safetensors")
    return {"parameters": sum(value.numel() for value in net.parameters()), "state": []}


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("record", "check"):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    sys.meta_path.append(StandIns())
    action = record if sys.argv[1] == "record" else check
    out = {}
    for job in json.loads(Path(sys.argv[2]).read_text()):
        try:
            out[job["name"]] = action(job, Path(job["folder"]) / job["name"])
        except Exception as error:  # whatever PyTorch says is the result
            out[job["name"]] = {"error": f"{type(error).__name__}: {error}"}
    Path(sys.argv[3]).write_text(json.dumps(out))


if __name__ == "__main__":
    main()
