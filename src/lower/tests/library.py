# Functions of Python's library, and what its built-in functions take.
import itertools
from collections import namedtuple
from contextlib import suppress

assert [(k, list(g)) for k, g in itertools.groupby([1, 1, 2, 1])] == [(1, [1, 1]), (2, [2]), (1, [1])]
assert [k for k, _ in itertools.groupby(["a", "bb", "cc"], key=len)] == [1, 2]
a, b = itertools.tee(iter([1, 2]))
assert list(a) == list(b) == [1, 2]
assert list(itertools.compress("abc", [1, 0, 1])) == ["a", "c"]
assert list(itertools.accumulate([1, 2, 3], initial=10)) == [10, 11, 13, 16]
assert list(itertools.accumulate([1, 2, 3], func=lambda a, b: a * b)) == [1, 2, 6]
assert list(itertools.pairwise([1, 2, 3])) == [(1, 2), (2, 3)]
assert list(itertools.islice(range(10), 2, None, 3)) == [2, 5, 8] and list(itertools.islice([1], 0)) == []
assert list(itertools.islice(itertools.repeat(4), 2)) == [4, 4] and list(itertools.repeat(1, times=-1)) == []
assert list(zip(itertools.chain.from_iterable([[1], [2, 3]]), itertools.count())) == [(1, 0), (2, 1), (3, 2)]

turns = []


def turn():
    turns.append(len(turns))
    return turns[-1]


assert list(iter(turn, 3)) == [0, 1, 2] and len(turns) == 4

with suppress(KeyError, IndexError):
    {}["a"]
    raise AssertionError
with suppress(LookupError):
    [][0]
    raise AssertionError
try:
    with suppress(KeyError):
        raise ValueError("passes")
    raise AssertionError
except ValueError as error:
    assert str(error) == "passes"

Point = namedtuple("Point", "x y")
assert Point._fields == Point(1, 2)._fields == ("x", "y")
assert str(KeyError("k")) == "'k'" and str(ValueError("k")) == "k"
assert (bin(5), hex(-255), oct(8), bin(0)) == ("0b101", "-0xff", "0o10", "0b0")
