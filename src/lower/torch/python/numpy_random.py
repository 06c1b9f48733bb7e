"""The older part of `numpy.random`, in the Python that the front-end reads, over the generator in random.rs.

Input: a seed and the calls. Output: the numbers that numpy's `RandomState` draws. Without a seed the generator starts
as after `numpy.random.seed(0)`. Limit: `default_rng`, and choices without replacement by weight, are refused; in
`forward` numbers are drawn only from a generator that `forward` has seeded.
"""
import math

import numpy
import random


def _many(size, draw):
    if size is None:
        return draw()
    shape = (size,) if isinstance(size, int) else tuple(size)
    count = 1
    for each in shape:
        count *= each
    return numpy.array([draw() for _ in range(count)]).reshape(shape)


class RandomState:
    def __init__(self, seed=None):
        self._handle = random._new(False)
        self._gauss = None
        if seed is not None:
            self.seed(seed)

    def seed(self, seed=None):
        seed = None if seed is None else int(seed)
        if seed is not None and not 0 <= seed < 2**32:
            raise ValueError("Seed must be between 0 and 2**32 - 1")
        random._seed(self._handle, seed, False)
        self._gauss = None

    def _float(self):
        return random._float(self._handle)

    def _upto(self, most):
        """A whole number from 0 to `most`: the low bits, drawn again until they are not too large."""
        mask = 1
        while mask < most:
            mask = mask * 2 + 1
        if most == 0:
            return 0
        while True:
            value = random._word(self._handle)
            if most > 0xFFFFFFFF:
                value = value << 32 | random._word(self._handle)
            value = value & mask
            if value <= most:
                return value

    def _each(self, size, run, *parameters):
        """A draw for each element of the parameters, or for each of `size`."""
        arrays = [parameter for parameter in parameters if not isinstance(parameter, (int, float))]
        if size is not None or not arrays:
            if arrays:
                raise NotImplementedError("random numbers with arrays as parameters and a size")
            return _many(size, lambda: run(*parameters))
        shape = numpy.array(arrays[0]).shape
        rows = [numpy.broadcast_to(parameter, shape).ravel().tolist() for parameter in parameters]
        return numpy.array([run(*row) for row in zip(*rows)]).reshape(shape)

    def random_sample(self, size=None):
        return _many(size, self._float)

    def random(self, size=None):
        return _many(size, self._float)

    def rand(self, *shape):
        return _many(shape if shape else None, self._float)

    def uniform(self, low=0.0, high=1.0, size=None):
        return self._each(size, lambda a, b: a + (b - a) * self._float(), low, high)

    def randint(self, low, high=None, size=None, dtype=int):
        low, high = (0, low) if high is None else (low, high)
        if low >= high:
            raise ValueError("low >= high")
        low, high = math.ceil(low), math.ceil(high)
        return _many(size, lambda: low + self._upto(high - 1 - low))

    def _standard(self):
        if self._gauss is not None:
            found, self._gauss = self._gauss, None
            return found
        while True:
            x = 2.0 * self._float() - 1.0
            y = 2.0 * self._float() - 1.0
            r = x * x + y * y
            if 0.0 < r < 1.0:
                break
        scale = math.sqrt(-2.0 * math.log(r) / r)
        self._gauss = scale * x
        return scale * y

    def standard_normal(self, size=None):
        return _many(size, self._standard)

    def randn(self, *shape):
        return _many(shape if shape else None, self._standard)

    def normal(self, loc=0.0, scale=1.0, size=None):
        return self._each(size, lambda mean, std: mean + std * self._standard(), loc, scale)

    def exponential(self, scale=1.0, size=None):
        return self._each(size, lambda s: s * -math.log1p(-self._float()), scale)

    def shuffle(self, x):
        # Rows of an array are views: they are copied before they change places.
        for i in reversed(range(1, len(x))):
            j = self._upto(i)
            if isinstance(x, numpy.ndarray) and x.ndim > 1:
                x[i], x[j] = x[j].copy(), x[i].copy()
            else:
                x[i], x[j] = x[j], x[i]

    def permutation(self, x):
        if isinstance(x, int):
            order = numpy.arange(x)
            self.shuffle(order)
            return order
        x = numpy.array(x)
        if x.ndim == 1:
            self.shuffle(x)
            return x
        return x[self.permutation(len(x))]

    def choice(self, a, size=None, replace=True, p=None):
        count = a if isinstance(a, int) else len(a)
        if count <= 0:
            raise ValueError("'a' cannot be empty unless no samples are taken")
        if p is not None:
            weights = numpy.cumsum(numpy.array(p, dtype=float))
            if not replace:
                raise NotImplementedError("numpy.random.choice without replacement by weight")
            if abs(weights[-1] - 1.0) > 1e-8:
                raise ValueError("probabilities do not sum to 1")
            weights = weights / weights[-1]
            index = numpy.searchsorted(weights, self.random_sample(size), side="right")
        elif replace:
            index = self.randint(0, count, size)
        else:
            shape = (1,) if size is None else (size,) if isinstance(size, int) else tuple(size)
            picked = 1
            for each in shape:
                picked *= each
            if picked > count:
                raise ValueError("Cannot take a larger sample than population when 'replace=False'")
            index = self.permutation(count)[:picked].reshape(shape)
            index = index[0] if size is None else index
        if isinstance(a, int):
            return index
        if isinstance(index, int):
            return a[index]
        if not all([isinstance(item, (int, float)) for item in a]):
            raise NotImplementedError("numpy.random.choice of several items that are not numbers")
        return numpy.array([a[at] for at in index.ravel().tolist()]).reshape(index.shape)


_own = RandomState()
seed = _own.seed
random_sample = _own.random_sample
random_ = _own.random
ranf = _own.random_sample
sample = _own.random_sample
rand = _own.rand
uniform = _own.uniform
randint = _own.randint
standard_normal = _own.standard_normal
randn = _own.randn
normal = _own.normal
exponential = _own.exponential
shuffle = _own.shuffle
permutation = _own.permutation
choice = _own.choice
