"""Functions of torch and torch.nn.functional that are made of others, in the Python that the front-end reads.

Input: tensors, as in PyTorch 2.13. Output: PyTorch's numbers, by the formulas in PyTorch's documentation.
Limit: complex numbers, names of dimensions and `out=` are left out.
"""
import math
import random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F


_in_order = sorted
_orders = []


class _Pair(NamedTuple):
    values: torch.Tensor
    indices: torch.Tensor


class _Extremes(NamedTuple):
    min: torch.Tensor
    max: torch.Tensor


def _axis(dim, rank):
    rank = max(rank, 1)
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    return dim % rank


def _list(tensors):
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        return list(tensors[0])
    return list(tensors)


# Joining and splitting


def atleast_1d(*tensors):
    if len(tensors) > 1 or isinstance(tensors[0], (list, tuple)):
        return tuple(atleast_1d(t) for t in _list(tensors))
    return tensors[0].reshape(1) if tensors[0].dim() == 0 else tensors[0]


def atleast_2d(*tensors):
    if len(tensors) > 1 or isinstance(tensors[0], (list, tuple)):
        return tuple(atleast_2d(t) for t in _list(tensors))
    t = tensors[0]
    if t.dim() == 0:
        return t.reshape(1, 1)
    return t.unsqueeze(0) if t.dim() == 1 else t


def atleast_3d(*tensors):
    if len(tensors) > 1 or isinstance(tensors[0], (list, tuple)):
        return tuple(atleast_3d(t) for t in _list(tensors))
    t = tensors[0]
    if t.dim() == 1:
        return t.unsqueeze(0).unsqueeze(-1)
    if t.dim() == 0:
        return t.reshape(1, 1, 1)
    return t.unsqueeze(-1) if t.dim() == 2 else t


def hstack(tensors, *, out=None):
    tensors = [atleast_1d(t) for t in tensors]
    return torch.cat(tensors, 0 if tensors[0].dim() == 1 else 1)


def vstack(tensors, *, out=None):
    return torch.cat([atleast_2d(t) for t in tensors], 0)


row_stack = vstack


def dstack(tensors, *, out=None):
    return torch.cat([atleast_3d(t) for t in tensors], 2)


def column_stack(tensors, *, out=None):
    return hstack([t.reshape(t.numel(), 1) if t.dim() < 2 else t for t in tensors])


def tensor_split(input, indices_or_sections, dim=0):
    dim = _axis(dim, input.dim())
    size = input.size(dim)
    if isinstance(indices_or_sections, torch.Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        if indices_or_sections <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {indices_or_sections}")
        each, more = divmod(size, indices_or_sections)
        return torch.split(input, [each + 1] * more + [each] * (indices_or_sections - more), dim)
    bounds = [0] + [min(max(b + size if b < 0 else b, 0), size) for b in indices_or_sections] + [size]
    return tuple(input.narrow(dim, a, max(b - a, 0)) for a, b in zip(bounds[:-1], bounds[1:]))


def hsplit(input, indices_or_sections):
    return tensor_split(input, indices_or_sections, 0 if input.dim() == 1 else 1)


def vsplit(input, indices_or_sections):
    return tensor_split(input, indices_or_sections, 0)


def meshgrid(*tensors, indexing=None):
    tensors = [t.reshape(1) if t.dim() == 0 else t for t in _list(tensors)]
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f"torch.meshgrid: indexing must be one of 'xy' or 'ij', but received: {indexing}")
    swap = indexing == "xy" and len(tensors) > 1
    if swap:
        tensors[0], tensors[1] = tensors[1], tensors[0]
    sizes = [t.numel() for t in tensors]
    grids = []
    for i, t in enumerate(tensors):
        view = [1] * len(sizes)
        view[i] = sizes[i]
        grids.append(t.reshape(view).expand(sizes))
    if swap:
        grids = [g.transpose(0, 1) for g in grids]
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def cartesian_prod(*tensors):
    return torch.stack([g.flatten() for g in meshgrid(*tensors)], dim=1)


def broadcast_shapes(*shapes):
    shapes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    rank = max(len(s) for s in shapes)
    result = []
    for at in range(-rank, 0):
        size = 1
        for shape in shapes:
            if len(shape) >= -at and shape[at] != 1:
                if size != 1 and size != shape[at]:
                    raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape")
                size = shape[at]
        result.append(size)
    return torch.Size(result)


def broadcast_tensors(*tensors):
    tensors = _list(tensors)
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return tuple(t.expand(shape) for t in tensors)


def block_diag(*tensors):
    rows = []
    width = sum(t.shape[1] for t in tensors)
    left = 0
    for t in tensors:
        rows.append(F.pad(t, (left, width - left - t.shape[1])))
        left += t.shape[1]
    return torch.cat(rows, 0)


# Moving elements


def repeat_interleave(input, repeats, dim=None, *, output_size=None):
    if dim is None:
        input, dim = input.flatten(), 0
    dim = _axis(dim, input.dim())
    if isinstance(repeats, torch.Tensor):
        counts = repeats.tolist()
        if isinstance(counts, int):
            repeats = counts
        else:
            index = [at for at, count in enumerate(counts) for _ in range(count)]
            return input.index_select(dim, torch.tensor(index))
    sizes = [-1] * (input.dim() + 1)
    sizes[dim + 1] = repeats
    return input.unsqueeze(dim + 1).expand(sizes).flatten(dim, dim + 1)


def moveaxis(input, source, destination):
    return input.movedim(source, destination)


def rot90(input, k=1, dims=(0, 1)):
    a, b = dims
    k = k % 4
    if k == 0:
        return input
    if k == 2:
        return input.flip((a, b))
    return input.flip(b).transpose(a, b) if k == 1 else input.transpose(a, b).flip(b)


def fliplr(input):
    return input.flip(1)


def flipud(input):
    return input.flip(0)


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    if offset != 0 or (dim1, dim2) != (-2, -1):
        raise NotImplementedError("diag_embed with an offset or other dimensions")
    size = input.size(-1)
    return torch.where(torch.eye(size) > 0, input.unsqueeze(-1), torch.zeros(1).to(input.dtype))


def diagonal(input, offset=0, dim1=0, dim2=1):
    x = input.movedim((dim1, dim2), (-2, -1))
    rows, columns = x.size(-2), x.size(-1)
    start = offset if offset >= 0 else -offset * columns
    count = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    index = [start + at * (columns + 1) for at in range(max(count, 0))]
    return x.flatten(-2).index_select(-1, torch.tensor(index, dtype=torch.long))


def diag(input, diagonal=0):
    if input.dim() == 1:
        return diag_embed(input, diagonal)
    if input.dim() != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.dim()}D")
    return _diagonal(input, diagonal)


_diagonal = diagonal


def trace(input):
    if input.dim() != 2:
        raise RuntimeError("trace: expected a matrix")
    return diagonal(input).sum()


def unfold(input, dimension, size, step):
    dimension = _axis(dimension, input.dim())
    length = input.size(dimension)
    if size > length:
        raise RuntimeError(f"maximum size for tensor at dimension {dimension} is {length} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (length - size) // step + 1
    index = [start * step + at for start in range(count) for at in range(size)]
    x = input.index_select(dimension, torch.tensor(index)).unflatten(dimension, (count, size))
    return x.movedim(dimension + 1, -1)


def index_fill(input, dim, index, value):
    mask = torch.zeros(input.size(dim), dtype=torch.bool)
    for at in index.tolist():
        mask[at] = True
    shape = [1] * input.dim()
    shape[dim] = -1
    return input.masked_fill(mask.reshape(shape), value)


def take_along_dim(input, indices, dim=None):
    if dim is None:
        return input.flatten().gather(0, indices.flatten())
    if input.dim() != indices.dim():
        raise RuntimeError(
            f"torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.dim()} dimensions for input, and {indices.dim()} dimensions for indices"
        )
    dim %= input.dim()
    before, after = torch.broadcast_shapes(input.shape[:dim], indices.shape[:dim]), dim + 1
    behind = torch.broadcast_shapes(input.shape[after:], indices.shape[after:])
    input = input.expand(*before, input.size(dim), *behind)
    return input.gather(dim, indices.expand(*before, indices.size(dim), *behind))


def new_full(input, size, fill_value, *, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False):
    return torch.full(size, fill_value, dtype=input.dtype if dtype is None else dtype)


def new_tensor(input, data, *, dtype=None, device=None, requires_grad=False):
    return torch.tensor(data, dtype=input.dtype if dtype is None else dtype)


def one_hot(tensor, num_classes=-1):
    if tensor.dtype != torch.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes == -1:
        num_classes = int(tensor.max().item()) + 1
    return (tensor.unsqueeze(-1) == torch.arange(num_classes)).long()


def normal(mean=0.0, std=1.0, size=None, *, generator=None, out=None, dtype=None, device=None, requires_grad=False):
    if size is None:
        size = torch.broadcast_shapes(*[x.shape for x in (mean, std) if isinstance(x, torch.Tensor)])
    return torch.randn(size) * std + mean


def take(input, index):
    return input.flatten()[index]


def reshape_as(input, other):
    return input.reshape(other.shape)


def split_with_sizes(input, split_sizes, dim=0):
    return torch.split(input, split_sizes, dim)


def unsafe_chunk(input, chunks, dim=0):
    return torch.chunk(input, chunks, dim)


def unsafe_split(tensor, split_size, dim=0):
    return torch.split(tensor, split_size, dim)


def adjoint(input):
    return input.transpose(-2, -1)


def diff(input, n=1, dim=-1):
    for _ in range(n):
        size = input.size(dim)
        input = input.narrow(dim, 1, size - 1) - input.narrow(dim, 0, size - 1)
    return input


# Tensors of numbers that are known


def numpy(input, *, force=False):
    if input.requires_grad and not force:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    kinds = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64, torch.bool: np.bool_}
    return np.array(input.tolist(), dtype=kinds[input.dtype])


def element_size(input):
    return {torch.float32: 4, torch.float64: 8, torch.int64: 8, torch.bool: 1}[input.dtype]


def get_device(input):
    return -1


def scalar_tensor(s, *, dtype=None, device=None):
    return torch.tensor(s, dtype=torch.float32 if dtype is None else dtype)


def _distinct(input, items, places, return_inverse, return_counts):
    """The distinct values, and where each of the input's elements is among them."""
    result = [torch.tensor(items, dtype=input.dtype)]
    if return_inverse:
        result.append(torch.tensor(places, dtype=torch.int64).reshape(input.shape))
    if return_counts:
        result.append(torch.tensor([places.count(at) for at in range(len(items))], dtype=torch.int64))
    return tuple(result) if len(result) > 1 else result[0]


def randperm(n, **options):
    """An order of constructors': the same each time, and not PyTorch's."""
    random._permuted()
    if not _orders:
        _orders.append(random.Random(0))
    items = list(range(n))
    _orders[0].shuffle(items)
    return torch.tensor(items, dtype=options.get("dtype") or torch.int64)


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """Of values that do not depend on the network's input; others have no size before they are known."""
    if dim is not None:
        return torch._unique_along(input, dim)
    values = input.flatten().tolist()
    items = []
    for value in _in_order(values):
        if not items or items[-1] != value:
            items.append(value)
    place = {value: at for at, value in enumerate(items)}
    return _distinct(input, items, [place[value] for value in values], return_inverse, return_counts)


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    if dim is not None:
        return torch._unique_along(input, dim)
    items, places = [], []
    for value in input.flatten().tolist():
        if not items or items[-1] != value:
            items.append(value)
        places.append(len(items) - 1)
    return _distinct(input, items, places, return_inverse, return_counts)


def tril_indices(row, col, offset=0, *, dtype=None, device=None):
    places = [(r, c) for r in range(row) for c in range(col) if c - r <= offset]
    return torch.tensor([[r for r, _ in places], [c for _, c in places]], dtype=torch.int64)


def triu_indices(row, col, offset=0, *, dtype=None, device=None):
    places = [(r, c) for r in range(row) for c in range(col) if c - r >= offset]
    return torch.tensor([[r for r, _ in places], [c for _, c in places]], dtype=torch.int64)


def _window(length, periodic, parts):
    """A sum of cosines."""
    if length == 1:
        return torch.ones(1)
    count = length if periodic else length - 1
    rows = []
    for n in range(length):
        rows.append(sum([part * math.cos(2 * math.pi * k * n / count) for k, part in enumerate(parts)]))
    return torch.tensor([float(value) for value in rows])


def hann_window(window_length, periodic=True, *, dtype=None, device=None):
    return _window(window_length, periodic, [0.5, -0.5])


def hamming_window(window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, device=None):
    return _window(window_length, periodic, [alpha, -beta])


def blackman_window(window_length, periodic=True, *, dtype=None, device=None):
    return _window(window_length, periodic, [0.42, -0.5, 0.08])


def bartlett_window(window_length, periodic=True, *, dtype=None, device=None):
    if window_length == 1:
        return torch.ones(1)
    count = window_length if periodic else window_length - 1
    return torch.tensor([1.0 - abs(2.0 * n / count - 1.0) for n in range(window_length)])


# Order


def topk(input, k, dim=-1, largest=True, sorted=True):
    if not 0 <= k <= input.size(dim):
        raise RuntimeError("selected index k out of range")
    values, indices = torch.sort(input, dim, largest)
    return _Pair(values.narrow(dim, 0, k), indices.narrow(dim, 0, k))


def argsort(input, dim=-1, descending=False, stable=False):
    return torch.sort(input, dim, descending)[1]


def kthvalue(input, k, dim=-1, keepdim=False):
    if not 1 <= k <= input.size(dim):
        raise RuntimeError("kthvalue(): selected number k out of range for dimension")
    values, indices = torch.sort(input, dim)
    values, indices = values.narrow(dim, k - 1, 1), indices.narrow(dim, k - 1, 1)
    return _Pair(values, indices) if keepdim else _Pair(values.squeeze(dim), indices.squeeze(dim))


def median(input, dim=None, keepdim=False):
    if dim is None:
        return kthvalue(input.flatten(), (input.numel() + 1) // 2, 0).values
    return kthvalue(input, (input.size(dim) + 1) // 2, dim, keepdim)


def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    if dim is None:
        input, dim = input.flatten(), 0
    if interpolation != "linear" or not isinstance(q, float):
        raise NotImplementedError("quantile at several places or of another interpolation")
    values = torch.sort(input, dim)[0]
    place = q * (input.size(dim) - 1)
    low = int(math.floor(place))
    high = min(low + 1, input.size(dim) - 1)
    result = torch.lerp(values.narrow(dim, low, 1), values.narrow(dim, high, 1), place - low)
    return result if keepdim else result.squeeze(dim)


def aminmax(input, *, dim=None, keepdim=False):
    return _Extremes(input.amin(dim, keepdim), input.amax(dim, keepdim))


def bucketize(input, boundaries, *, out_int32=False, right=False):
    x = input.unsqueeze(-1)
    return ((x >= boundaries) if right else (x > boundaries)).sum(-1)


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None):
    if sorted_sequence.dim() != 1:
        raise NotImplementedError("searchsorted in several sequences")
    return bucketize(input, sorted_sequence, right=right or side == "right")


def count_nonzero(input, dim=None):
    return (input != 0).sum(dim) if dim is not None else (input != 0).sum()


