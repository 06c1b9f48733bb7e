"""The functions and layers of einops, in the Python that the front-end reads.

Input: tensors and patterns such as "b c (h p) (w q) -> b (h w) (p q c)". Output: the same elements in
the pattern's order. Written after the documentation of einops 0.8. Limit: reductions by name or function only.
"""
import torch
from torch import nn


class EinopsError(RuntimeError):
    pass


def _parse(side):
    """A side of a pattern as a list of groups, each a list of names; "..." outside parentheses is no list."""
    groups, current = [], None
    side = side.replace("…", "...").replace("(", " ( ").replace(")", " ) ").replace("...", " ... ")
    for token in side.split():
        if token == "(":
            if current is not None:
                raise EinopsError("nested parentheses in a pattern")
            current = []
        elif token == ")":
            if current is None:
                raise EinopsError("brackets are not balanced")
            groups.append(current)
            current = None
        elif current is not None:
            if token != "1":
                current.append(token)
        else:
            groups.append("..." if token == "..." else [] if token == "1" else [token])
    if current is not None:
        raise EinopsError("brackets are not balanced")
    return groups


def _sides(pattern):
    if pattern.count("->") != 1:
        raise EinopsError(f"expected one -> in the pattern {pattern}")
    left, right = pattern.split("->")
    return _parse(left), _parse(right)


def _names(groups):
    return [name for group in groups for name in group]


def _expanded(groups, rank):
    """The groups with "..." replaced by names for the dimensions it stands for."""
    result = []
    for group in groups:
        if group == "...":
            result.extend([f"...{at}"] for at in range(rank))
        elif "..." in group:
            at = group.index("...")
            result.append(group[:at] + [f"...{at}" for at in range(rank)] + group[at + 1 :])
        else:
            result.append(group)
    return result


def _sizes(shape, groups, lengths):
    """The size of every name on the left."""
    sizes = dict(lengths)
    for size, group in zip(shape, groups):
        known, unknown = 1, None
        for name in group:
            if name in sizes:
                known = known * sizes[name]
            elif unknown is None:
                unknown = name
            else:
                raise EinopsError(f"could not infer sizes for {group}")
        if unknown is None:
            if known != size:
                raise EinopsError(f"Shape mismatch, {size} != {known}")
        else:
            if known == 0 or size % known != 0:
                raise EinopsError(f"Shape mismatch, can't divide axis of length {size} in chunks of {known}")
            sizes[unknown] = size // known
    return sizes


def _apply(tensor, pattern, reduction, lengths):
    if isinstance(tensor, (list, tuple)):
        tensor = torch.stack(list(tensor))
    left, right = _sides(pattern)
    rank = tensor.dim()
    ellipsis = rank - len(left) + 1 if "..." in left else 0
    left, right = _expanded(left, ellipsis), _expanded(right, ellipsis)
    if len(left) != rank:
        raise EinopsError(f"expected {len(left)} dimensions in {pattern}, got {rank}")
    names, targets = _names(left), _names(right)
    if len(set(names)) != len(names) or len(set(targets)) != len(targets):
        raise EinopsError(f"a name is used twice in {pattern}")
    for name in lengths:
        if name not in names and name not in targets:
            raise EinopsError(f"axis {name} is not used in {pattern}")
    gone = [name for name in names if name not in targets]
    new = [name for name in targets if name not in names]
    if (gone and reduction in ("rearrange", "repeat")) or (new and reduction != "repeat"):
        raise EinopsError(f"Identifiers only on one side of expression: {gone + new}")
    sizes = _sizes(tensor.shape, left, lengths)
    for name in new:
        if name not in sizes:
            if not name.isdigit():
                raise EinopsError(f"specify the size of {name}")
            sizes[name] = int(name)
    x = tensor.reshape([sizes[name] for name in names])
    if gone:
        dims = [at for at, name in enumerate(names) if name in gone]
        if callable(reduction):
            x = reduction(x, tuple(dims))
        elif reduction == "prod":
            for dim in reversed(dims):
                x = x.prod(dim)
        elif reduction in ("mean", "sum", "max", "min", "any", "all"):
            function = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}[reduction]
            x = function(x, dims)
        else:
            raise EinopsError(f"Unknown reduction {reduction}")
        names = [name for name in names if name not in gone]
    kept = [name for name in targets if name in names]
    order = [names.index(name) for name in kept]
    if order != sorted(order):
        x = x.permute(order)
    if new:
        for at, name in enumerate(targets):
            if name in new:
                x = x.unsqueeze(at)
        x = x.expand([sizes[name] for name in targets])
    shape = []
    for group in right:
        size = 1
        for name in group:
            size = size * sizes[name]
        shape.append(size)
    return x.reshape(shape)


def rearrange(tensor, pattern, **axes_lengths):
    return _apply(tensor, pattern, "rearrange", axes_lengths)


def reduce(tensor, pattern, reduction, **axes_lengths):
    return _apply(tensor, pattern, reduction, axes_lengths)


def repeat(tensor, pattern, **axes_lengths):
    return _apply(tensor, pattern, "repeat", axes_lengths)


def parse_shape(x, pattern):
    names = pattern.split()
    if len(names) != x.dim():
        raise EinopsError(f"Can't parse shape with different number of dimensions: {pattern} {x.dim()}")
    return {name: size for name, size in zip(names, x.shape) if name != "_"}


def einsum(*args):
    *tensors, pattern = args
    left, right = pattern.split("->")
    terms = [term.split() for term in left.split(",")]
    letters, alphabet = {}, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for name in [name for term in terms for name in term] + right.split():
        if name != "..." and name not in letters:
            letters[name] = alphabet[len(letters)]
    letters["..."] = "..."
    inputs = ",".join("".join(letters[name] for name in term) for term in terms)
    return torch.einsum(inputs + "->" + "".join(letters[name] for name in right.split()), *tensors)


def pack(tensors, pattern):
    before, after = pattern.split("*")
    lead, tail = len(before.split()), len(after.split())
    shapes = [t.shape[lead : t.dim() - tail] for t in tensors]
    flat = []
    for t, shape in zip(tensors, shapes):
        size = 1
        for s in shape:
            size = size * s
        flat.append(t.reshape(list(t.shape[:lead]) + [size] + list(t.shape[t.dim() - tail :])))
    return torch.cat(flat, dim=lead), shapes


def unpack(tensor, packed_shapes, pattern):
    before, _ = pattern.split("*")
    lead = len(before.split())
    sizes, unknown = [], None
    for at, shape in enumerate(packed_shapes):
        size = 1
        for s in shape:
            size = size * s
        if -1 in shape:
            size, unknown = 0, at
        sizes.append(size)
    if unknown is not None:
        sizes[unknown] = tensor.shape[lead] - sum(sizes)
    parts = torch.split(tensor, sizes, dim=lead)
    return [
        part.reshape(list(part.shape[:lead]) + list(shape) + list(part.shape[lead + 1 :]))
        for part, shape in zip(parts, packed_shapes)
    ]


class Rearrange(nn.Module):
    def __init__(self, pattern, **axes_lengths):
        super().__init__()
        self.pattern = pattern
        self.axes_lengths = axes_lengths

    def forward(self, input):
        return rearrange(input, self.pattern, **self.axes_lengths)


class Reduce(nn.Module):
    def __init__(self, pattern, reduction, **axes_lengths):
        super().__init__()
        self.pattern = pattern
        self.reduction = reduction
        self.axes_lengths = axes_lengths

    def forward(self, input):
        return reduce(input, self.pattern, self.reduction, **self.axes_lengths)
