"""Records the attributes that Python's built-in types and PyTorch's modules have, so that one that is not supported is
not taken for a mistake of the source.

Input: Python and the installed torch. Output: src/lower/interp/known_names.txt, a line for each type: its name and its
attributes, without those of `object` (or of `torch.nn.Module`, for the layers). Run with a Python that has torch:
python tests/python/known_names.py
"""

import builtins
import functools
import inspect
import pathlib
import types

import torch

OUTPUT = pathlib.Path(__file__).resolve().parents[2] / "src" / "lower" / "interp" / "known_names.txt"
TYPES = [str, list, tuple, dict, set, int, float, bool, range, slice, type, property, functools.partial]
TYPES += [types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.GeneratorType, torch.Tensor]


def line(name, attributes):
    """A type and its attributes."""
    return " ".join([name, *sorted(set(attributes))]) + "\n"


def main():
    """Write the file."""
    plain = set(dir(object))
    lines = [line("builtins", dir(builtins)), line("object", plain | {"__weakref__", "__annotations__"})]
    lines += [line(kind.__name__, set(dir(kind)) - plain) for kind in TYPES]
    module = set(dir(torch.nn.Module)) | set(vars(torch.nn.Module()))
    lines.append(line("Module", module - plain))
    for name, layer in sorted(vars(torch.nn).items()):
        if inspect.isclass(layer) and issubclass(layer, torch.nn.Module) and name != "Module":
            kept = [attribute for base in layer.__mro__ for attribute in vars(base).get("__annotations__", [])]
            own = set(dir(layer)) | set(kept) | set(getattr(layer, "__constants__", []))
            lines.append(line(name, own - module - plain))
    lines.append(line("torch", torch.__all__))
    OUTPUT.write_text("".join(lines))


main()
