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
