"""Records which names PyTorch has, so that one that is not supported is not taken for one that does not exist.

Input: the installed torch. Output: src/lower/torch/pytorch_names.txt, a line for each namespace: its name and the
public names in it. Run with a Python that has torch: python scripts/record_pytorch_names.py
"""

import pathlib
import pkgutil

import torch

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "src" / "lower" / "torch" / "pytorch_names.txt"
NAMESPACES = ["torch", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.Tensor"]


def names(namespace):
    """Public names of a namespace, with modules that are loaded when they are asked for."""
    found = torch
    for part in namespace.split(".")[1:]:
        found = getattr(found, part)
    modules = {module.name for module in pkgutil.iter_modules(getattr(found, "__path__", []))}
    return sorted(name for name in {*dir(found), *modules} if not name.startswith("_"))


def main():
    """Write the file."""
    OUTPUT.write_text("".join(" ".join([namespace, *names(namespace)]) + "\n" for namespace in NAMESPACES))


main()
