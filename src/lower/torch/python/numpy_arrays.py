"""Arrays of numpy: how they are made, joined and moved. The file goes on where numpy.py ends.

Input: numbers, nested lists and arrays. Output: arrays, with numpy's types and shapes. Limit: `roll` and `repeat` go
along one axis, `concatenate` has no `out=`.
"""
# Arrays


def _new(values, shape, dtype):
    cast = dtype._cast
    return ndarray(shape, dtype, [cast(value) for value in values])


def _flat(data, depth, shape, values):
    if isinstance(data, (int, float)):
        values.append(data)
        return
    if isinstance(data, ndarray):
        data = data.tolist()
        return _flat(data, depth, shape, values)
    if isinstance(data, torch.Tensor):
        return _flat(data.tolist(), depth, shape, values)
    if not isinstance(data, (list, tuple, range)):
        raise NotImplementedError(f"an array of {type(data).__name__}")
    if len(shape) == depth:
        shape.append(len(data))
    elif shape[depth] != len(data):
        raise ValueError("setting an array element with a sequence. The requested array has an inhomogeneous shape")
    for item in data:
        _flat(item, depth + 1, shape, values)


def _of(data):
    """Anything as an array, itself where it is one."""
    if isinstance(data, ndarray):
        return data
    shape, values = [], []
    _flat(data, 0, shape, values)
    if isinstance(data, torch.Tensor) and data.dtype == torch.float32:
        return _new(values, shape, float32)
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], ndarray):
        dtype = data[0].dtype
        for item in data:
            dtype = _wider(dtype, item.dtype) if isinstance(item, ndarray) else dtype
        return _new(values, shape, dtype)
    if any([isinstance(value, float) for value in values]) or not values:
        return _new(values, shape, float64)
    whole = any([not isinstance(value, bool) for value in values])
    return _new(values, shape, int64 if whole else bool_)


def _scalar(array):
    return array if array._shape else array._values()[0]


def _wider(a, b):
    low, high = (a, b) if a.rank < b.rank else (b, a)
    if high.rank == 10 and 5 <= low.rank < 10:
        return float64
    return high


def _result(a, b):
    """The type of what is computed from two operands; plain numbers yield to arrays."""
    x, y = _of(a).dtype, _of(b).dtype
    plain = [isinstance(value, (int, float)) for value in (a, b)]
    if plain[0] != plain[1]:
        weak, strong = (x, y) if plain[0] else (y, x)
        if weak.kind == strong.kind or weak.rank < strong.rank and (strong.rank >= 10 or weak.rank == 0):
            return strong
        return weak
    return _wider(x, y)


def _binary(a, b, run, dtype=None):
    x, y = _of(a), _of(b)
    dtype = _result(a, b) if dtype is None else dtype
    shape = _common(x._shape, y._shape)
    values = [run(p, q) for p, q in zip(_spread(x, shape), _spread(y, shape))]
    return _scalar(_new(values, shape, dtype))


def _unary(a, run, dtype=None):
    x = _of(a)
    return _scalar(_new([run(value) for value in x._values()], x._shape, x.dtype if dtype is None else dtype))


def _floating(dtype):
    return dtype if dtype.rank >= 10 else float32 if dtype.rank in (3, 4) else float64


def array(object, dtype=None, copy=True, ndmin=0):
    found = _of(object)
    found = _new(found._values(), found._shape, found.dtype if dtype is None else _dtype(dtype))
    while found.ndim < ndmin:
        found = found.reshape((1,) + found.shape)
    return found


def asarray(a, dtype=None, order=None):
    if isinstance(a, ndarray) and (dtype is None or _dtype(dtype) == a.dtype):
        return a
    return array(a, dtype)


ascontiguousarray = asarray
asanyarray = asarray


def full(shape, fill_value, dtype=None, order="C"):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = _of(fill_value).dtype if dtype is None else _dtype(dtype)
    return _new(_spread(_of(fill_value), shape), shape, dtype)


def zeros(shape, dtype=float, order="C"):
    return full(shape, 0, dtype)


def ones(shape, dtype=None, order="C"):
    return full(shape, 1, float64 if dtype is None else dtype)


empty = zeros


def full_like(a, fill_value, dtype=None):
    return full(_of(a).shape, fill_value, _of(a).dtype if dtype is None else dtype)


def zeros_like(a, dtype=None):
    return full_like(a, 0, dtype)


def ones_like(a, dtype=None):
    return full_like(a, 1, dtype)


empty_like = zeros_like


def arange(start, stop=None, step=1, dtype=None):
    start, stop = (0, start) if stop is None else (start, stop)
    count = max(math.ceil((stop - start) / step), 0)
    kind = float64 if isinstance(start, float) or isinstance(stop, float) or isinstance(step, float) else int64
    delta = (start + step) - start
    return _new([start + at * delta for at in range(count)], (count,), kind if dtype is None else _dtype(dtype))


def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    parts = num - 1 if endpoint else num
    delta = float(stop - start)
    step = delta / parts if parts > 0 else nan
    if parts > 0 and step != 0:
        values = [at * step + start for at in range(num)]
    else:
        values = [at / max(parts, 1) * delta + start for at in range(num)]
    if endpoint and num > 1:
        values[-1] = stop
    dtype = float64 if dtype is None else _dtype(dtype)
    if dtype.rank < 10:
        values = [math.floor(value) for value in values]
    found = _new(values, (num,), dtype)
    return (found, step) if retstep else found


def logspace(start, stop, num=50, endpoint=True, base=10.0, dtype=None):
    found = power(base, linspace(start, stop, num, endpoint))
    return found if dtype is None else found.astype(dtype)


def geomspace(start, stop, num=50, endpoint=True):
    found = logspace(math.log10(start), math.log10(stop), num, endpoint)
    if num > 0:
        found[0] = start
    if endpoint and num > 1:
        found[-1] = stop
    return found


def eye(N, M=None, k=0, dtype=float):
    M = N if M is None else M
    return _new([int(column - row == k) for row in range(N) for column in range(M)], (N, M), _dtype(dtype))


def identity(n, dtype=float):
    return eye(n, dtype=dtype)


def _triangle(m, keep):
    m = _of(m)
    rows, columns = m.shape[-2:]
    kept = [keep(row, column) for row in range(rows) for column in range(columns)]
    return where(_new(kept, (rows, columns), bool_), m, 0).astype(m.dtype)


def tril(m, k=0):
    return _triangle(m, lambda row, column: column - row <= k)


def triu(m, k=0):
    return _triangle(m, lambda row, column: column - row >= k)


def diag(v, k=0):
    v = _of(v)
    if v.ndim == 1:
        return eye(len(v), k=k, dtype=v.dtype) * v if k == 0 else _refuse("diag with k")
    return array([v[at, at + k] for at in range(min(v.shape[0], v.shape[1] - k))], v.dtype)


def _refuse(what):
    raise NotImplementedError(what)


def meshgrid(*xi, indexing="xy"):
    arrays = [_of(x).ravel() for x in xi]
    grids = []
    sizes = [len(a) for a in arrays]
    for axis, a in enumerate(arrays):
        view = [1] * len(sizes)
        view[axis] = sizes[axis]
        grids.append(_new(_spread(a.reshape(view), sizes), sizes, a.dtype))
    if indexing == "xy" and len(sizes) > 1:
        swap = [1, 0] + list(range(2, len(sizes)))
        grids = [grid.transpose(swap).copy() for grid in grids]
    return grids


# Joining and moving


def concatenate(arrays, axis=0, dtype=None):
    arrays = [_of(a) for a in arrays]
    kind = arrays[0].dtype
    for a in arrays:
        kind = _wider(kind, a.dtype)
    if axis is None:
        arrays, axis = [a.ravel() for a in arrays], 0
    axis = _axis(axis, arrays[0].ndim)
    rows = []
    for a in arrays:
        rest = [d for d in range(a.ndim) if d != axis]
        rows.extend(a.transpose([axis] + rest)._values())
    sizes = [arrays[0].shape[d] for d in range(arrays[0].ndim) if d != axis]
    joined = _new(rows, [sum([a.shape[axis] for a in arrays])] + sizes, kind)
    back = list(range(1, axis + 1)) + [0] + list(range(axis + 1, joined.ndim))
    joined = joined.transpose(back).copy()
    return joined if dtype is None else joined.astype(dtype)


def stack(arrays, axis=0):
    return concatenate([expand_dims(a, axis) for a in arrays], axis)


def hstack(arrays):
    arrays = [atleast_1d(a) for a in arrays]
    return concatenate(arrays, 0 if arrays[0].ndim == 1 else 1)


def vstack(arrays):
    return concatenate([a if a.ndim > 1 else a.reshape(1, -1) for a in [_of(a) for a in arrays]], 0)


def atleast_1d(a):
    a = _of(a)
    return a if a.ndim else a.reshape(1)


def append(arr, values, axis=None):
    if axis is None:
        return concatenate([_of(arr).ravel(), _of(values).ravel()])
    return concatenate([arr, values], axis)


def insert(arr, obj, values, axis=None):
    arr = _of(arr).ravel()
    return concatenate([arr[:obj], _of(values).ravel().astype(arr.dtype), arr[obj:]])


def delete(arr, obj, axis=None):
    arr = _of(arr).ravel()
    drop = [_place(at, len(arr)) for at in _of(obj).ravel().tolist()]
    return array([value for at, value in enumerate(arr.tolist()) if at not in drop], arr.dtype)


def split(ary, indices_or_sections, axis=0):
    ary = _of(ary)
    size = ary.shape[axis]
    if isinstance(indices_or_sections, int):
        if size % indices_or_sections:
            raise ValueError("array split does not result in an equal division")
        each = size // indices_or_sections
        bounds = [each * at for at in range(indices_or_sections + 1)]
    else:
        bounds = [0] + list(indices_or_sections) + [size]
    lead = (slice(None),) * axis
    return [ary[lead + (slice(a, b),)] for a, b in zip(bounds[:-1], bounds[1:])]


def array_split(ary, sections, axis=0):
    each, more = divmod(_of(ary).shape[axis], sections)
    ends = cumsum([each + 1] * more + [each] * (sections - more)).tolist()
    return split(ary, ends[:-1], axis)


def repeat(a, repeats, axis=None):
    a = _of(a)
    if axis is not None and a.ndim > 1:
        raise NotImplementedError("repeat along an axis")
    counts = _spread(_of(repeats), (a.size,))
    return array([value for value, count in zip(a._values(), counts) for _ in range(count)], a.dtype)


def tile(A, reps):
    A = _of(A)
    if not isinstance(reps, int) or A.ndim > 1:
        reps = (reps,) if isinstance(reps, int) else tuple(reps)
        rank = max(A.ndim, len(reps))
        reps = (1,) * (rank - len(reps)) + reps
        A = A.reshape((1,) * (rank - A.ndim) + A.shape)
        for axis, count in enumerate(reps):
            A = concatenate([A] * count, axis)
        return A
    return array(A.ravel().tolist() * reps, A.dtype)


def reshape(a, shape, order="C"):
    return _of(a).reshape(shape)


def ravel(a):
    return _of(a).ravel()


def squeeze(a, axis=None):
    return _of(a).squeeze(axis)


def transpose(a, axes=None):
    return _of(a).transpose() if axes is None else _of(a).transpose(axes)


def expand_dims(a, axis):
    a = _of(a)
    axis = _axis(axis, a.ndim + 1)
    return a.reshape(a.shape[:axis] + (1,) + a.shape[axis:])


def broadcast_to(array, shape):
    return _new(_spread(_of(array), shape), shape, _of(array).dtype)


def flip(m, axis=None):
    m = _of(m)
    axes = range(m.ndim) if axis is None else [_axis(axis, m.ndim)]
    return m[tuple([slice(None, None, -1) if d in axes else slice(None) for d in range(m.ndim)])]


def roll(a, shift, axis=None):
    values = _of(a).ravel().tolist()
    if axis is not None and _of(a).ndim > 1:
        raise NotImplementedError("roll along an axis")
    cut = -shift % max(len(values), 1)
    return array(values[cut:] + values[:cut], _of(a).dtype).reshape(_of(a).shape)


def copy(a):
    return _of(a).copy()


def shape(a):
    return _of(a).shape


def ndim(a):
    return _of(a).ndim


def size(a, axis=None):
    return _of(a).size if axis is None else _of(a).shape[axis]


def isscalar(element):
    return isinstance(element, (int, float, str))
