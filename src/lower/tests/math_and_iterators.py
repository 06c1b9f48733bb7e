"""Functions of `math`, `itertools` and `functools`: assertions that hold in Python."""
import functools
import itertools
import math
from itertools import chain

assert math.cbrt(8) == 2 and math.tau == 2 * math.pi and math.isfinite(1.0) and not math.isfinite(math.inf)
assert math.atan2(1, 1) == math.pi / 4 and math.lcm(4, 6) == 12 and math.lcm() == 1 and math.lcm(0, 3) == 0
assert math.dist((0, 0), (3, 4)) == 5 and math.hypot(3, 4) == 5 and math.hypot(-2) == 2
assert math.perm(5, 2) == 20 and math.perm(4) == 24 and math.perm(2, 3) == 0
assert math.frexp(8.0) == (0.5, 4) and math.modf(2.5) == (0.5, 2.0) and math.ldexp(0.5, 4) == 8
assert math.remainder(7, 4) == -1 and math.fsum([0.1] * 10) == 1.0 and math.log(100, 10) == 2
for function, value in ((math.sqrt, -1), (math.log2, 0), (math.acosh, 0.5), (math.asin, 2), (math.atanh, 1)):
    try:
        function(value)
        assert False
    except ValueError:
        pass
assert list(chain.from_iterable([[1, 2], (3,)])) == [1, 2, 3]
assert list(itertools.chain.from_iterable("ab")) == ["a", "b"]
binary = functools.partial(int, base=2)
assert binary("101") == 5 and int("ff", base=16) == 255 and int("7") == 7
assert round(2.675, 2) == 2.67 and round(0.125, 2) == 0.12 and round(1.005, 2) == 1.0 and round(-2.5) == -2
assert round(1234, -2) == 1200 and round(1250, -2) == 1200 and round(1350, -2) == 1400 and round(-1250, -2) == -1200
assert round(7, 3) == 7 and isinstance(round(7, 3), int) and isinstance(round(7.0, 0), float)
assert round(1250.0, -2) == 1200.0 and round(1250.5, -2) == 1300.0
assert round(4.9, -1) == 0.0 and round(51.0, -2) == 100.0
calls = []


@functools.lru_cache(maxsize=2)
def double(x, *, by=2):
    calls.append(x)
    return [x * by]


assert double(1) is double(1) and double(2) == [4] and double(1) == [2] and calls == [1, 2]
assert double(3, by=1) == [3] and double(2) == [4] and calls == [1, 2, 3, 2] and double(1, by=2) is not double(1)
grown = [1]
grown.extend(grown[-1] + x for x in (1, 2, 3))
grown += (len(grown) for _ in range(2))
assert grown == [1, 2, 4, 7, 4, 5]
walked = iter([1, 2, 3, 4, 5])
for number in walked:
    if number == 2:
        break
assert next(walked) == 3 and list(walked) == [4, 5]
pairs = iter(range(5))
assert list(zip(pairs, pairs)) == [(0, 1), (2, 3)] and list(zip(*[iter("abcd")] * 2)) == [("a", "b"), ("c", "d")]
for wrong in (lambda: len(iter([1])), lambda: len(map(str, [1])), lambda: dict(a=1).get(**{"key": 1}, **{"key": 2})):
    try:
        wrong()
        assert False
    except TypeError:
        pass
table, names, row = {"a": 1}, {1}, [1, 2]
same_table, same_names, same_row = table, names, row
table |= {"b": 2}
names |= {2}
row *= 2
assert same_table == {"a": 1, "b": 2} and same_names == {1, 2} and same_row == [1, 2, 1, 2]
assert 1.0 // 0.1 == 9.0 and 1.0 % 0.1 == 0.09999999999999995 and -7.5 // 2 == -4.0 and -7.5 % 2 == 0.5
assert 5.0 % math.inf == 5.0 and -1 % math.inf == math.inf and math.log(1000, 10) == 2.9999999999999996


class Lazy:
    made = 0

    @functools.cached_property
    def value(self):
        Lazy.made += 1
        return [Lazy.made]


lazy = Lazy()
assert lazy.value is lazy.value and Lazy.made == 1 and Lazy().value == [2]
