"""Functions of numpy that compute: element by element, and along arrays. The file goes on where
numpy_arrays.py ends.

Input: numbers, nested lists and arrays. Output: numpy's values (numpy 2.2); plain numbers for plain numbers. Limit:
`out=` and `where=` are left out; logarithms and powers may differ from numpy's in the last bit.
"""
_sum, _max, _min, _round, _abs = sum, max, min, round, abs

# Element by element


def _each(run):
    """A function of floats."""

    def function(x, dtype=None):
        if isinstance(x, (int, float)):
            return float(run(x))
        return _unary(x, run, _floating(_of(x).dtype))

    return function


def _rounding(run):
    """A function that leaves whole numbers alone."""

    def function(x, dtype=None):
        if isinstance(x, (int, float)):
            return float(run(x)) if isinstance(x, float) else x
        x = _of(x)
        return x.copy() if x.dtype.rank < 10 else _unary(x, run)

    return function


def _whole(run):
    return lambda x: float(run(x)) if -math.inf < x < math.inf else x


def _safe(run):
    """`run` where numpy gives nan and Python raises."""

    def function(x):
        try:
            return run(x)
        except ValueError:
            return math.nan

    return function


def _logarithm(run):
    return lambda x: run(x) if 0 < x < math.inf else -math.inf if x == 0 else x if x > 0 else math.nan


floor = _rounding(_whole(math.floor))
ceil = _rounding(_whole(math.ceil))
trunc = _rounding(_whole(math.trunc))
fix = trunc
rint = _each(_whole(_round))
sqrt = _each(_safe(math.sqrt))
cbrt = _each(lambda x: math.copysign(_abs(x) ** (1 / 3), x))
exp = _each(math.exp)
exp2 = _each(lambda x: 2.0**x)
expm1 = _each(math.expm1)
log = _each(_logarithm(math.log))
log2 = _each(_logarithm(math.log2))
log10 = _each(_logarithm(math.log10))
log1p = _each(math.log1p)
sin = _each(math.sin)
cos = _each(math.cos)
tan = _each(math.tan)
arcsin = _each(math.asin)
arccos = _each(math.acos)
arctan = _each(math.atan)
sinh = _each(math.sinh)
cosh = _each(math.cosh)
tanh = _each(math.tanh)
deg2rad = _each(math.radians)
rad2deg = _each(math.degrees)
radians = deg2rad
degrees = rad2deg
fabs = _each(_abs)


def absolute(x):
    return _abs(x) if isinstance(x, (int, float)) else _unary(x, _abs)


abs = absolute


def negative(x):
    return -_of(x) if not isinstance(x, (int, float)) else -x


def square(x):
    return multiply(x, x)


def reciprocal(x):
    return divide(1.0, x)


def sign(x):
    return _unary(x, lambda v: (v > 0) - (v < 0))


def isnan(x):
    return _unary(x, lambda v: v != v, bool_)


def isinf(x):
    return _unary(x, lambda v: _abs(v) == math.inf, bool_)


def isfinite(x):
    return _unary(x, lambda v: _abs(v) < math.inf, bool_)


def logical_not(x):
    return _unary(x, lambda v: not v, bool_)


def round(a, decimals=0):
    a = _of(a)
    if a.dtype.rank < 10:
        step = 10 ** _max(-decimals, 0)
        return _unary(a, lambda x: _round(x / step) * step if step > 1 else x)
    factor = 10.0 ** _abs(decimals)
    if decimals < 0:
        return _unary(a, lambda x: float(_round(x / factor)) * factor)
    if decimals == 0:
        return _unary(a, _whole(_round))
    return _unary(a, lambda x: float(_round(x * factor)) / factor)


around = round
round_ = round


def add(x1, x2):
    return _binary(x1, x2, lambda x, y: x + y)


def subtract(x1, x2):
    return _binary(x1, x2, lambda x, y: x - y)


def multiply(x1, x2):
    return _binary(x1, x2, lambda x, y: x * y)


def _quotient(x, y):
    if y == 0:
        return math.nan if x == 0 or x != x else math.copysign(math.inf, x) * math.copysign(1.0, y)
    return x / y


def divide(x1, x2):
    return _binary(x1, x2, _quotient, _floating(_result(x1, x2)))


true_divide = divide


def floor_divide(x1, x2):
    whole = _result(x1, x2).rank < 10
    return _binary(x1, x2, lambda x, y: x // y if y != 0 else 0 if whole else _quotient(x, y))


def remainder(x1, x2):
    whole = _result(x1, x2).rank < 10
    return _binary(x1, x2, lambda x, y: x % y if y != 0 else 0 if whole else math.nan)


mod = remainder


def divmod(x1, x2):
    return floor_divide(x1, x2), remainder(x1, x2)


def power(x1, x2):
    if _result(x1, x2).rank < 10 and any([v < 0 for v in _of(x2)._values()]):
        raise ValueError("Integers to negative integer powers are not allowed.")
    return _binary(x1, x2, lambda x, y: x**y)


def float_power(x1, x2):
    return _binary(x1, x2, lambda x, y: float(x) ** y, float64)


def maximum(x1, x2):
    return _binary(x1, x2, lambda x, y: x if x >= y or x != x else y)


def minimum(x1, x2):
    return _binary(x1, x2, lambda x, y: x if x <= y or x != x else y)


fmax = maximum
fmin = minimum


def hypot(x1, x2):
    return _binary(x1, x2, math.hypot, _floating(_result(x1, x2)))


def equal(x1, x2):
    return _binary(x1, x2, lambda x, y: x == y, bool_)


def not_equal(x1, x2):
    return _binary(x1, x2, lambda x, y: x != y, bool_)


def less(x1, x2):
    return _binary(x1, x2, lambda x, y: x < y, bool_)


def less_equal(x1, x2):
    return _binary(x1, x2, lambda x, y: x <= y, bool_)


def greater(x1, x2):
    return _binary(x1, x2, lambda x, y: x > y, bool_)


def greater_equal(x1, x2):
    return _binary(x1, x2, lambda x, y: x >= y, bool_)


def logical_and(x1, x2):
    return _binary(x1, x2, lambda x, y: bool(x) and bool(y), bool_)


def logical_or(x1, x2):
    return _binary(x1, x2, lambda x, y: bool(x) or bool(y), bool_)


def logical_xor(x1, x2):
    return _binary(x1, x2, lambda x, y: bool(x) != bool(y), bool_)


def clip(a, a_min=None, a_max=None, min=None, max=None):
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is not None:
        a = maximum(a, low)
    return _scalar(_of(a)) if high is None else minimum(a, high)


def isclose(a, b, rtol=1e-05, atol=1e-08):
    return _binary(a, b, lambda x, y: _abs(x - y) <= atol + rtol * _abs(y), bool_)


def allclose(a, b, rtol=1e-05, atol=1e-08):
    return all_(_of(isclose(a, b, rtol, atol))._values())


def array_equal(a1, a2):
    return _of(a1).shape == _of(a2).shape and _of(a1).tolist() == _of(a2).tolist()


def where(condition, x=None, y=None):
    condition = _of(condition)
    if x is None:
        return nonzero(condition)
    a, b = _of(x), _of(y)
    shape = _common(condition.shape, _common(a.shape, b.shape))
    rows = zip(_spread(condition, shape), _spread(a, shape), _spread(b, shape))
    return _new([p if keep else q for keep, p, q in rows], shape, _result(x, y))


def nonzero(a):
    a = _of(a)
    found = [at for at, value in enumerate(a._values()) if value]
    columns = []
    for axis, step in enumerate(_strides(a.shape)):
        columns.append(array([at // step % a.shape[axis] for at in found], int64))
    return tuple(columns)


def argwhere(a):
    return array([list(row) for row in zip(*[column.tolist() for column in nonzero(a)])], int64)


def flatnonzero(a):
    return nonzero(_of(a).ravel())[0]


# Along arrays


def _reduced(a, axis, keepdims, run, dtype):
    a = _of(a)
    if isinstance(axis, tuple):
        for d in sorted([_axis(d, a.ndim) for d in axis], reverse=True):
            a = _of(_reduced(a, d, keepdims, run, dtype))
        return _scalar(a)
    if axis is None:
        result = dtype._cast(run(a._values()))
        return _new([result], (1,) * a.ndim, dtype) if keepdims else result
    axis = _axis(axis, a.ndim)
    rest = [d for d in range(a.ndim) if d != axis]
    values = a.transpose(rest + [axis])._values()
    length = a.shape[axis]
    results = [run(values[at * length : (at + 1) * length]) for at in range(len(values) // _max(length, 1))]
    shape = [1 if d == axis else a.shape[d] for d in range(a.ndim)] if keepdims else [a.shape[d] for d in rest]
    return _scalar(_new(results, shape, dtype))


def _plain(a, axis, keepdims):
    """Whether `a` is a list of plain numbers, which are reduced as they are."""
    return isinstance(a, (list, tuple)) and axis is None and not keepdims and not any(
        [not isinstance(item, (int, float)) for item in a]
    )


def _total(values):
    """The sum in numpy's order: eight sums side by side."""
    if len(values) < 8 or not isinstance(values[0], float):
        total = 0.0 if values and isinstance(values[0], float) else 0
        for value in values:
            total += value
        return total
    if len(values) > 128:
        half = len(values) // 2
        half -= half % 8
        return _total(values[:half]) + _total(values[half:])
    r = values[:8]
    whole = len(values) - len(values) % 8
    for at in range(8, whole, 8):
        r = [r[k] + values[at + k] for k in range(8)]
    total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
    for value in values[whole:]:
        total += value
    return total


def _product(values):
    total = 1
    for value in values:
        total *= value
    return total


def _counted(a, dtype):
    """The type of a sum."""
    found = _of(a).dtype
    return _dtype(dtype) if dtype is not None else int64 if found.rank < 10 else found


def sum_(a, axis=None, dtype=None, out=None, keepdims=False):
    if _plain(a, axis, keepdims) and not any([isinstance(item, float) for item in a]) and a:
        return _sum(a)
    return _reduced(a, axis, keepdims, _total, _counted(a, dtype))


def prod(a, axis=None, dtype=None, out=None, keepdims=False):
    # Sizes that depend on the batch are multiplied as they are.
    if _plain(a, axis, keepdims) and not any([isinstance(item, float) for item in a]) and a:
        return _product(a) if dtype is None else _dtype(dtype)._cast(_product(a))
    return _reduced(a, axis, keepdims, _product, _counted(a, dtype))


def mean(a, axis=None, dtype=None, out=None, keepdims=False):
    return _reduced(a, axis, keepdims, lambda v: _total([float(x) for x in v]) / len(v), _floating(_of(a).dtype))


def average(a, axis=None, weights=None):
    return mean(a, axis) if weights is None else sum_(multiply(a, weights), axis) / sum_(weights, axis)


def var(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    def run(values):
        middle = _total([float(x) for x in values]) / len(values)
        return _total([(x - middle) * (x - middle) for x in values]) / (len(values) - ddof)

    return _reduced(a, axis, keepdims, run, _floating(_of(a).dtype))


def std(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False):
    return sqrt(var(a, axis, ddof=ddof, keepdims=keepdims))


def median(a, axis=None):
    def run(values):
        values = sorted(values)
        middle = len(values) // 2
        return float(values[middle]) if len(values) % 2 else (values[middle - 1] + values[middle]) / 2

    return _reduced(a, axis, False, run, _floating(_of(a).dtype))


def amax(a, axis=None, out=None, keepdims=False):
    return _reduced(a, axis, keepdims, _max, _of(a).dtype)


def amin(a, axis=None, out=None, keepdims=False):
    return _reduced(a, axis, keepdims, _min, _of(a).dtype)


def ptp(a, axis=None):
    return amax(a, axis) - amin(a, axis)


def any_(a, axis=None):
    return any([bool(value) for value in a]) if isinstance(a, list) else _of(a).any(axis)


def all_(a, axis=None):
    return all([bool(value) for value in a]) if isinstance(a, list) else _of(a).all(axis)


def argmax(a, axis=None):
    return _reduced(a, axis, False, lambda values: values.index(_max(values)), int64)


def argmin(a, axis=None):
    return _reduced(a, axis, False, lambda values: values.index(_min(values)), int64)


def count_nonzero(a, axis=None):
    return _reduced(a, axis, False, lambda values: len([value for value in values if value]), int64)


def _along(a, axis, run, dtype):
    """Each row along an axis changed by `run`."""
    a = _of(a)
    if axis is None:
        a, axis = a.ravel(), 0
    axis = _axis(axis, a.ndim)
    order = [d for d in range(a.ndim) if d != axis] + [axis]
    moved = a.transpose(order)
    values, length, results = moved._values(), a.shape[axis], []
    for at in range(len(values) // _max(length, 1)):
        results.extend(run(values[at * length : (at + 1) * length]))
    shape = list(moved.shape[:-1]) + [len(results) // _max(len(values) // _max(length, 1), 1)]
    back = [order.index(d) for d in range(a.ndim)]
    return _new(results, shape, dtype).transpose(back).copy()


def _running(join):
    def run(values):
        results = []
        for value in values:
            results.append(value if not results else join(results[-1], value))
        return results

    return run


def cumsum(a, axis=None, dtype=None):
    return _along(a, axis, _running(lambda x, y: x + y), _counted(a, dtype))


def cumprod(a, axis=None, dtype=None):
    return _along(a, axis, _running(lambda x, y: x * y), _counted(a, dtype))


def diff(a, n=1, axis=-1):
    for _ in range(n):
        a = _along(a, axis, lambda v: [y - x for x, y in zip(v[:-1], v[1:])], _of(a).dtype)
    return a


def sort(a, axis=-1, kind=None):
    return _along(a, axis, sorted, _of(a).dtype)


def argsort(a, axis=-1, kind=None):
    return _along(a, axis, lambda v: sorted(range(len(v)), key=lambda at: v[at]), int64)


def unique(ar, return_index=False, return_inverse=False, return_counts=False):
    values = _of(ar)._values()
    kept = sorted(set(values))
    results = [array(kept, _of(ar).dtype)]
    if return_index:
        results.append(array([values.index(value) for value in kept], int64))
    if return_inverse:
        results.append(array([kept.index(value) for value in values], int64).reshape(_of(ar).shape))
    if return_counts:
        results.append(array([values.count(value) for value in kept], int64))
    return results[0] if len(results) == 1 else tuple(results)


def bincount(x, weights=None, minlength=0):
    values = _of(x)._values()
    count = _max(_max(values) + 1 if values else 0, minlength)
    weights = [1] * len(values) if weights is None else _of(weights)._values()
    totals = [0] * count
    for at, weight in zip(values, weights):
        totals[at] += weight
    return array(totals)


def isin(element, test_elements):
    tests = _of(test_elements)._values()
    return _unary(element, lambda x: x in tests, bool_)


in1d = isin


def searchsorted(a, v, side="left"):
    values = _of(a)._values()
    if side == "left":
        return _unary(v, lambda x: len([y for y in values if y < x]), int64)
    return _unary(v, lambda x: len([y for y in values if y <= x]), int64)


digitize = lambda x, bins, right=False: searchsorted(bins, x, "left" if right else "right")


def interp(x, xp, fp):
    xs, ys = _of(xp)._values(), _of(fp)._values()

    def run(value):
        if value <= xs[0]:
            return ys[0]
        for at in range(1, len(xs)):
            if value <= xs[at]:
                return ys[at - 1] + (ys[at] - ys[at - 1]) / (xs[at] - xs[at - 1]) * (value - xs[at - 1])
        return ys[-1]

    return _unary(x, run, float64)


def dot(a, b):
    a, b = _of(a), _of(b)
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    if b.ndim == 1:
        return sum_(multiply(a, b), -1)
    if b.ndim > 2:
        raise NotImplementedError("dot of arrays of more than two dimensions")
    columns = b.transpose()
    if a.ndim == 1:
        return sum_(multiply(columns, a), -1)
    return sum_(multiply(a.reshape(a.shape[:-1] + (1, a.shape[-1])), columns), -1)


matmul = dot


def outer(a, b):
    return multiply(_of(a).reshape(-1, 1), _of(b).ravel())


def einsum(subscripts, *operands):
    parts = subscripts.replace(" ", "").split("->")
    terms, arrays = parts[0].split(","), [_of(operand) for operand in operands]
    sizes = {}
    for term, a in zip(terms, arrays):
        if len(term) != a.ndim or "." in term:
            raise ValueError("einstein sum subscripts string does not match the operands")
        for letter, length in zip(term, a.shape):
            sizes[letter] = length
    letters = "".join(terms)
    output = parts[1] if len(parts) > 1 else "".join([x for x in sorted(sizes) if letters.count(x) == 1])
    order = list(output) + [letter for letter in sizes if letter not in output]
    lengths, count = [sizes[letter] for letter in order], _count([sizes[letter] for letter in output])
    products = None
    for term, a in zip(terms, arrays):
        steps = _strides(a.shape)
        along = [_sum([step for known, step in zip(term, steps) if known == letter]) for letter in order]
        values = a._values()
        column = [values[place] for place in _places(lengths, along)]
        products = column if products is None else [x * y for x, y in zip(products, column)]
    dtype = arrays[0].dtype
    for a in arrays[1:]:
        dtype = _wider(dtype, a.dtype)
    each = len(products) // _max(count, 1)
    sums = [_total(products[at * each : (at + 1) * each]) for at in range(count)]
    return _scalar(_new(sums, [sizes[letter] for letter in output], dtype))


def triu_indices(n, k=0):
    return nonzero(triu(ones((n, n)), k))


def tril_indices(n, k=0):
    return nonzero(tril(ones((n, n)), k))
