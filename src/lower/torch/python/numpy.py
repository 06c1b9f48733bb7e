"""The part of numpy that constructors of networks need, in the Python that the front-end reads.

Input: numbers, nested lists and arrays of them. Output: numpy's values (numpy 2.2), as arrays that share memory where
numpy's do, or as plain numbers where numpy gives a scalar. Limit: small arrays of real numbers; whole numbers have 64
bits whatever their type says; `axis` is one axis.
"""
import math

import numpy
import torch

pi = math.pi
e = math.e
inf = math.inf
nan = math.nan
newaxis = None
euler_gamma = 0.5772156649015329


class dtype:
    """A type of elements; called, it converts."""

    def __init__(self, given, rank=None):
        if rank is None:
            given, rank = _dtype(given).name, _dtype(given).rank
        self.name = given
        self.rank = rank
        self.kind = "b" if rank == 0 else "i" if rank < 10 else "f"

    def _cast(self, value):
        if self.rank == 0:
            return bool(value)
        if self.rank < 10:
            return int(value)
        return numpy._single(value) if self.rank == 10 else float(value)

    def __call__(self, value=0):
        if isinstance(value, (int, float, str)):
            return self._cast(float(value) if isinstance(value, str) else value)
        return _scalar(_of(value).astype(self))

    def __eq__(self, other):
        return self.name == _dtype(other).name

    def __instancecheck__(self, value):
        return False


bool_ = dtype("bool", 0)
int8 = dtype("int8", 1)
uint8 = dtype("uint8", 2)
int16 = dtype("int16", 3)
uint16 = dtype("uint16", 4)
int32 = dtype("int32", 5)
uint32 = dtype("uint32", 6)
int64 = dtype("int64", 7)
uint64 = int64
intp = int64
int_ = int64
long = int64
longlong = int64
float32 = dtype("float32", 10)
single = float32
float64 = dtype("float64", 11)
double = float64
integer = dtype("integer", 7)
floating = dtype("floating", 11)
number = dtype("number", 11)
generic = dtype("generic", 11)


def _dtype(given):
    if isinstance(given, dtype):
        return given
    if given is bool:
        return bool_
    if given is int:
        return int64
    if given is float:
        return float64
    named = [bool_, int8, uint8, int16, uint16, int32, uint32, int64, float32, float64]
    short = {"int": int64, "float": float64, "i4": int32, "i8": int64, "f4": float32, "f8": float64, "uint64": int64}
    for known in named:
        if known.name == given:
            return known
    if given in short:
        return short[given]
    raise TypeError(f"data type {given!r} not understood")


class ndarray:
    """An array: places in a list that its views share."""

    def __init__(self, shape, dtype, store, at=None):
        self._shape = tuple(shape)
        self.dtype = dtype
        self._store = store
        self._at = list(range(len(store))) if at is None else at

    @property
    def shape(self):
        return self._shape

    @property
    def size(self):
        return len(self._at)

    @property
    def ndim(self):
        return len(self._shape)

    @property
    def T(self):
        return self.transpose()

    @property
    def flat(self):
        return self._values()

    def _values(self):
        store = self._store
        return [store[at] for at in self._at]

    def _view(self, shape, at):
        return ndarray(shape, self.dtype, self._store, at)

    def tolist(self):
        if not self._shape:
            return self._values()[0]
        if len(self._shape) == 1:
            return self._values()
        return [row.tolist() for row in self]

    def item(self, *index):
        if index:
            return self[index if len(index) > 1 else index[0]]
        if len(self._at) != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._values()[0]

    def astype(self, dtype, copy=True):
        return _new(self._values(), self._shape, _dtype(dtype))

    def copy(self):
        return _new(self._values(), self._shape, self.dtype)

    def fill(self, value):
        self[...] = value

    def reshape(self, *shape, order="C"):
        if len(shape) == 1 and not isinstance(shape[0], int):
            shape = tuple(shape[0])
        known = 1
        for size in shape:
            known *= size if size != -1 else 1
        shape = tuple(len(self._at) // max(known, 1) if size == -1 else size for size in shape)
        if _count(shape) != len(self._at):
            raise ValueError(f"cannot reshape array of size {len(self._at)} into shape {shape}")
        return self._view(shape, self._at)

    def ravel(self):
        return self._view((len(self._at),), self._at)

    def flatten(self):
        return self.ravel().copy()

    def squeeze(self, axis=None):
        rank = len(self._shape)
        drop = [d for d in range(rank) if self._shape[d] == 1] if axis is None else [_axis(axis, rank)]
        if any(self._shape[d] != 1 for d in drop):
            raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
        return self._view([self._shape[d] for d in range(rank) if d not in drop], self._at)

    def transpose(self, *axes):
        axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        rank = len(self._shape)
        axes = [_axis(d, rank) for d in axes] if axes else list(range(rank))[::-1]
        steps = _strides(self._shape)
        places = _places([self._shape[d] for d in axes], [steps[d] for d in axes])
        return self._view([self._shape[d] for d in axes], [self._at[at] for at in places])

    def _pick(self, index):
        """The part at an index, and whether it is a view of this array."""
        parts = list(index) if isinstance(index, tuple) else [index]
        parts = [_of(part) if isinstance(part, (list, torch.Tensor)) else part for part in parts]
        if len(parts) == 1 and isinstance(parts[0], ndarray) and parts[0].dtype.rank == 0 and parts[0].ndim > 1:
            mask = parts[0]._values()
            return self._view((sum(mask),), [at for at, keep in zip(self._at, mask) if keep]), False
        used = len([part for part in parts if part is not None and part is not Ellipsis])
        if used > len(self._shape):
            raise IndexError(f"too many indices for array: array is {self.ndim}-dimensional, but {used} were indexed")
        full = [slice(None)] * (len(self._shape) - used)
        rest = [at for at, part in enumerate(parts) if part is Ellipsis]
        parts = parts[: rest[0]] + full + parts[rest[0] + 1 :] if rest else parts + full
        if len([part for part in parts if isinstance(part, ndarray) and part.ndim]) > 1:
            raise NotImplementedError("an index of several arrays")
        steps = _strides(self._shape)
        shape, places, axis, view = [], [0], 0, True
        for part in parts:
            if part is None:
                shape.append(1)
                continue
            size, step = self._shape[axis], steps[axis]
            axis += 1
            if isinstance(part, ndarray) and part.ndim:
                view = False
                picked = part._values()
                if part.dtype.rank == 0:
                    picked = [at for at, keep in enumerate(picked) if keep]
                shape.extend(part._shape if part.dtype.rank else [len(picked)])
                picked = [_place(at, size) for at in picked]
            elif isinstance(part, slice):
                picked = list(range(size))[part]
                shape.append(len(picked))
            else:
                picked = [_place(int(part), size)]
            places = [place + at * step for place in places for at in picked]
        return self._view(shape, [self._at[place] for place in places]), view

    def __getitem__(self, index):
        if isinstance(index, int) and len(self._shape) == 1 and not isinstance(index, bool):
            return self._store[self._at[_place(index, self._shape[0])]]
        part, view = self._pick(index)
        if not part._shape:
            return part._values()[0]
        return part if view else part.copy()

    def __setitem__(self, index, value):
        part, _ = self._pick(index)
        for at, item in zip(part._at, _spread(_of(value), part._shape)):
            self._store[at] = self.dtype._cast(item)

    def __len__(self):
        if not self._shape:
            raise TypeError("len() of unsized object")
        return self._shape[0]

    def __iter__(self):
        if not self._shape:
            raise TypeError("iteration over a 0-d array")
        return iter([self[at] for at in range(self._shape[0])])

    def __contains__(self, value):
        return value in self._values()

    def __bool__(self):
        if len(self._at) != 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        return bool(self._values()[0])

    def __int__(self):
        return int(self.item())

    def __float__(self):
        return float(self.item())

    def __index__(self):
        return int(self.item())

    def __neg__(self):
        return _unary(self, lambda x: -x)

    def __pos__(self):
        return self.copy()

    def __abs__(self):
        return absolute(self)

    def __invert__(self):
        return logical_not(self) if self.dtype.rank == 0 else _unary(self, lambda x: ~x)

    def __add__(self, other):
        return add(self, other)

    def __radd__(self, other):
        return add(other, self)

    def __sub__(self, other):
        return subtract(self, other)

    def __rsub__(self, other):
        return subtract(other, self)

    def __mul__(self, other):
        return multiply(self, other)

    def __rmul__(self, other):
        return multiply(other, self)

    def __truediv__(self, other):
        return divide(self, other)

    def __rtruediv__(self, other):
        return divide(other, self)

    def __floordiv__(self, other):
        return floor_divide(self, other)

    def __rfloordiv__(self, other):
        return floor_divide(other, self)

    def __mod__(self, other):
        return remainder(self, other)

    def __rmod__(self, other):
        return remainder(other, self)

    def __pow__(self, other):
        return power(self, other)

    def __rpow__(self, other):
        return power(other, self)

    def __matmul__(self, other):
        return dot(self, other)

    def __and__(self, other):
        return _binary(self, other, lambda x, y: x & y)

    def __or__(self, other):
        return _binary(self, other, lambda x, y: x | y)

    def __xor__(self, other):
        return _binary(self, other, lambda x, y: x ^ y)

    def _into(self, result):
        self[...] = result
        return self

    def __iadd__(self, other):
        return self._into(self + other)

    def __isub__(self, other):
        return self._into(self - other)

    def __imul__(self, other):
        return self._into(self * other)

    def __itruediv__(self, other):
        return self._into(self / other)

    def __ifloordiv__(self, other):
        return self._into(self // other)

    def __ipow__(self, other):
        return self._into(self**other)

    def __eq__(self, other):
        return equal(self, other)

    def __ne__(self, other):
        return not_equal(self, other)

    def __lt__(self, other):
        return less(self, other)

    def __le__(self, other):
        return less_equal(self, other)

    def __gt__(self, other):
        return greater(self, other)

    def __ge__(self, other):
        return greater_equal(self, other)

    def sum(self, axis=None, dtype=None, keepdims=False):
        return sum_(self, axis, dtype, keepdims=keepdims)

    def prod(self, axis=None, dtype=None, keepdims=False):
        return prod(self, axis, dtype, keepdims=keepdims)

    def mean(self, axis=None, dtype=None, keepdims=False):
        return mean(self, axis, keepdims=keepdims)

    def std(self, axis=None, ddof=0, keepdims=False):
        return std(self, axis, ddof=ddof, keepdims=keepdims)

    def var(self, axis=None, ddof=0, keepdims=False):
        return var(self, axis, ddof=ddof, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return amax(self, axis, keepdims=keepdims)

    def min(self, axis=None, keepdims=False):
        return amin(self, axis, keepdims=keepdims)

    def any(self, axis=None):
        return _reduced(self, axis, False, any_, bool_)

    def all(self, axis=None):
        return _reduced(self, axis, False, all_, bool_)

    def argmax(self, axis=None):
        return argmax(self, axis)

    def argmin(self, axis=None):
        return argmin(self, axis)

    def cumsum(self, axis=None, dtype=None):
        return cumsum(self, axis, dtype)

    def cumprod(self, axis=None):
        return cumprod(self, axis)

    def round(self, decimals=0):
        return round(self, decimals)

    def clip(self, min=None, max=None):
        return clip(self, min, max)

    def dot(self, other):
        return dot(self, other)

    def repeat(self, repeats, axis=None):
        return repeat(self, repeats, axis)

    def argsort(self, axis=-1, kind=None):
        return argsort(self, axis)

    def sort(self, axis=-1, kind=None):
        self[...] = sort(self, axis)

    def nonzero(self):
        return nonzero(self)


def _tensor(array):
    """The tensor of an array, as `torch.from_numpy` makes it."""
    if array.dtype.rank >= 10:
        dtype = torch.float64 if array.dtype.rank == 11 else torch.float32
        return torch.tensor(array.tolist(), dtype=dtype)
    return torch.tensor(array.tolist(), dtype=torch.bool if array.dtype.rank == 0 else torch.int64)


# Shapes


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def _strides(shape):
    steps, step = [], 1
    for size in shape[::-1]:
        steps.append(step)
        step *= size
    return steps[::-1]


def _places(shape, steps):
    places = [0]
    for size, step in zip(shape, steps):
        places = [place + at * step for place in places for at in range(size)]
    return places


def _place(at, size):
    if not -size <= at < size:
        raise IndexError(f"index {at} is out of bounds for axis 0 with size {size}")
    return at % size


def _axis(axis, rank):
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of bounds for array of dimension {rank}")
    return axis % rank


def _spread(array, shape):
    """The values of an array broadcast to a shape."""
    if array._shape == tuple(shape):
        return array._values()
    own = (1,) * (len(shape) - len(array._shape)) + array._shape
    if len(own) != len(shape) or any(a not in (1, b) for a, b in zip(own, shape)):
        raise ValueError(f"could not broadcast input array from shape {array._shape} into shape {tuple(shape)}")
    steps = [step if size != 1 else 0 for size, step in zip(own, _strides(own))]
    values = array._values()
    return [values[place] for place in _places(shape, steps)]


def _common(a, b):
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    if any(p != q and p != 1 and q != 1 for p, q in zip(a, b)):
        raise ValueError(f"operands could not be broadcast together with shapes {a} {b}")
    return tuple(q if p == 1 else p for p, q in zip(a, b))


