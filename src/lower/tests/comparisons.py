"""Sets, ranges, data classes, named tuples and enumerations: assertions that hold in Python."""
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import NamedTuple

assert {1, 2} == {2, 1} and {1} != {1, 2} and set() == set() and {1} != [1]
assert {1} <= {1, 2} and {1} < {1, 2} and not {1, 2} < {1, 2} and {1, 2} >= {1} and {1, 2} > {2}
assert not {3} <= {1, 2} and not {1, 2} > {3}
assert range(3) == range(0, 3, 1) and range(0) == range(5, 5) and range(0, 3, 2) == range(0, 4, 2)
assert range(3) != range(4) and range(1, 2) == range(1, 3, 2) and range(3) != [0, 1, 2]
try:
    [1] < (2,)
    assert False
except TypeError:
    pass


@dataclass
class Stage:
    width: int
    names: list = field(default_factory=list)
    seen: int = field(default=0, compare=False, repr=False)


@dataclass(eq=False)
class Plain:
    width: int = 1


class Wide(Stage):
    pass


assert Wide(8) == Wide(8) and Wide(8) != Stage(8) and repr(Wide(8)) == "Wide(width=8, names=[])"
a = Plain()
assert {a: 1}[a] == 1
assert Stage(8) == Stage(8) and Stage(8) != Stage(9) and Stage(8, ["a"]) == Stage(8, ["a"], 5)
assert [Stage(1)] == [Stage(1)] and Stage(1) in [Stage(1)] and Stage(1) != 1 and Plain() != Plain()
assert repr(Stage(8, ["a"], 3)) == "Stage(width=8, names=['a'])" and f"{Stage(2)}" == "Stage(width=2, names=[])"


class Kind(Enum):
    A = 1
    B = "b"


class Level(IntEnum):
    LOW = 1


class Name(str, Enum):
    X = "x"


assert str(Kind.A) == "Kind.A" and f"{Kind.B}" == "Kind.B" and repr(Kind.B) == "<Kind.B: 'b'>"
assert str(Level.LOW) == "1" and f"{Level.LOW}" == "1" and repr(Level.LOW) == "<Level.LOW: 1>"
assert str(Name.X) == "Name.X" and "-".join([Name.X, "y"]) == "x-y" and f"{Level.LOW:3}" == "  1"
assert {Level.LOW: "low"}[1] == "low" and {Kind.A: 1}[Kind.A] == 1


class Size(NamedTuple):
    height: int
    width: int = 2

    @property
    def area(self):
        return self.height * self.width

    def scaled(self, by):
        return Size(self.height * by, width=self.width * by)

    @classmethod
    def square(cls, side):
        return cls(side, side)


assert Size(3).area == 6 and Size.square(2).scaled(3) == (6, 6) == Size(6, 6) and Size(3) != (3, 3)
assert isinstance(Size(1), tuple) and isinstance(Size(1), Size) and not isinstance((1, 2), Size)
assert type(Size(1)) is Size and type(Size(1)).__name__ == "Size" and repr(Size(1)) == "Size(height=1, width=2)"
assert isinstance(Level.LOW, int) and isinstance(Name.X, (int, str)) and not isinstance(Kind.A, int)
try:
    Size(1, depth=2)
    assert False
except TypeError:
    pass


class Numbered(Enum):
    FIRST = 16
    SECOND = auto()


assert Numbered.SECOND.value == 17
for arguments in ({"a": [1]}, {"a": {}}, {"a": field(default=set())}):
    try:
        dataclass(type("Shared", (), {"__annotations__": {"a": list}, **arguments}))
    except ValueError:
        pass
