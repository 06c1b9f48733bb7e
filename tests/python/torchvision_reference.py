#!/usr/bin/env python3
"""Run torchvision's classifiers in real PyTorch and keep what they compute, for tests/torchvision.rs.

usage: torchvision_reference.py shapes ROOT JOBS.json OUT.json   keys and shapes of each state_dict, parameter counts
       torchvision_reference.py record ROOT JOBS.json            weights, inputs, logits and gradients of each network

ROOT holds torchvision/models and torchvision/ops as they are in the wheel; JOBS.json is a list of {"name", "file",
"entry", "sizes", "folder"}. The package itself is not imported (its compiled operations are not there): only the two
folders are, with stand-ins for what they import besides. `record` draws everything from a fixed seed.
"""
import contextlib
import importlib
import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file


class Anything(types.ModuleType):
    """A module that has every name, for annotations and defaults that are never used."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__class_getitem__": classmethod(lambda cls, item: cls), "BILINEAR": 1, "BICUBIC": 2})


def prepare(root):
    for name in ("torchvision", "torchvision.models", "torchvision.ops"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(root, *name.split(".")))]
        sys.modules[name] = package
    for name in ("torchvision.transforms", "torchvision.transforms._presets", "PIL", "torchvision.extension"):
        sys.modules[name] = Anything(name)
    hub = types.ModuleType("torchvision._internally_replaced_utils")
    hub.load_state_dict_from_url = None
    sys.modules[hub.__name__] = hub
    utils = types.ModuleType("torchvision.utils")
    utils._log_api_usage_once = lambda obj: None
    utils._make_ntuple = lambda x, n: tuple(x) if isinstance(x, (tuple, list)) else (x,) * n
    sys.modules[utils.__name__] = utils
    inner = types.ModuleType("torchvision._utils")
    inner.sequence_to_str = lambda items, separate_last="": ", ".join(map(str, items))
    sys.modules[inner.__name__] = inner
    for name in ("misc", "stochastic_depth"):
        module = importlib.import_module(f"torchvision.ops.{name}")
        vars(sys.modules["torchvision.ops"]).update({k: v for k, v in vars(module).items() if not k.startswith("__")})


def build(job):
    module = importlib.import_module(f"torchvision.models.{job['file']}")
    return eval(job["entry"], dict(vars(module)))


def saved(state):
    """A state_dict as safetensors can hold it: contiguous, nothing shared."""
    return {key: value.detach().clone().contiguous() for key, value in state.items()}


def shapes(job):
    torch.manual_seed(1)
    # Without storage where the constructor allows it.
    for place in (torch.device("meta"), contextlib.nullcontext()):
        try:
            with place:
                net = build(job)
            break
        except (NotImplementedError, RuntimeError):
            continue
    return {
        "parameters": sum(value.numel() for value in net.parameters()),
        "state": [[key, list(value.shape)] for key, value in net.state_dict().items()],
    }


def settle(net, sizes):
    """Batch statistics near those of random images: with others, the signal of deep networks dies out on its way."""
    norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    net.train()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        net(torch.randn(8, *sizes))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
        norm.running_mean.add_(torch.randn_like(norm.running_mean) * norm.running_var.sqrt() * 0.1)
        norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(1.0, 2.0))


def record(job):
    prefix = Path(job["folder"]) / job["name"]
    torch.manual_seed(job["seed"])
    net = build(job)
    for name, value in net.named_parameters():
        # A weight that starts at zero (the head of a vision transformer) or next to it (ConvNeXt's layer_scale, 1e-6)
        # would hide everything before it.
        if value.dim() > 1 and not value.any():
            torch.nn.init.normal_(value, 0, 0.02)
        elif name.endswith("layer_scale"):
            torch.nn.init.normal_(value, 0, 0.5)
    settle(net, job["sizes"])
    net.eval()
    inputs = torch.randn(2, *job["sizes"])
    if job["gradients"]:
        logits = net(inputs)
        torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
        gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
        save_file(saved(gradients), f"{prefix}.gradients.safetensors")
    else:
        with torch.no_grad():
            logits = net(inputs)
    save_file(saved(net.state_dict()), f"{prefix}.weights.safetensors")
    save_file({"x": inputs}, f"{prefix}.input.safetensors")
    save_file({"logits": logits.detach().contiguous()}, f"{prefix}.logits.safetensors")


def main():
    if len(sys.argv) < 4 or sys.argv[1] not in ("shapes", "record"):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    prepare(sys.argv[2])
    jobs = json.loads(Path(sys.argv[3]).read_text())
    if sys.argv[1] == "shapes":
        Path(sys.argv[4]).write_text(json.dumps({job["name"]: shapes(job) for job in jobs}))
        return
    for job in jobs:
        record(job)


if __name__ == "__main__":
    main()
