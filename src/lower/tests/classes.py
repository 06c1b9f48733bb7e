# Data classes, descriptors, `__new__` and abstract methods.
from abc import ABC, ABCMeta, abstractmethod
from dataclasses import KW_ONLY, FrozenInstanceError, dataclass, field
from functools import lru_cache, partialmethod


def raises(error, function):
    try:
        function()
    except error:
        return True
    return False


@dataclass(frozen=True)
class Frozen:
    n: int = 3

    def __post_init__(self):
        object.__setattr__(self, "double", 2 * self.n)


frozen = Frozen(4)
assert (frozen.n, frozen.double) == (4, 8)
assert raises(FrozenInstanceError, lambda: setattr(frozen, "n", 5))
assert raises(AttributeError, lambda: setattr(frozen, "other", 5)) and frozen.n == 4


@dataclass(order=True)
class Ranked:
    score: float
    name: str = field(default="", compare=False)


assert Ranked(1.0, "b") < Ranked(2.0, "a") and Ranked(2.0) >= Ranked(2.0)
assert [r.name for r in sorted([Ranked(3.0, "c"), Ranked(1.0, "a")])] == ["a", "c"]
assert raises(TypeError, lambda: Frozen(1) < Frozen(2))


@dataclass(kw_only=True)
class Named:
    n: int = 3
    m: int


assert Named(m=2).m == 2 and raises(TypeError, lambda: Named(1, 2))


@dataclass
class Mixed:
    a: int
    _: KW_ONLY
    b: int = 2
    c: int = field(default=4, kw_only=False)


assert (Mixed(1, 5).c, Mixed(1, b=3).b) == (5, 3) and raises(TypeError, lambda: Mixed(1, 2, 3))


class Doubled:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, instance, owner=None):
        return self if instance is None else getattr(instance, self.name, 0)

    def __set__(self, instance, value):
        setattr(instance, self.name, 2 * value)


class Width:
    n = Doubled()

    def __init__(self, n):
        self.n = n


assert Width(3).n == 6 and Width.n.name == "_n" and "n" not in vars(Width(3))


class Once:
    made = None

    def __new__(cls, *args):
        if cls.made is None:
            cls.made = super().__new__(cls)
        return cls.made

    def __init__(self, n):
        self.n = n


assert Once(3) is Once(4) and Once(5).n == 5


class Number:
    def __new__(cls, n):
        return n + 1


assert Number(3) == 4


class Base(ABC):
    @abstractmethod
    def width(self): ...

    @property
    @abstractmethod
    def depth(self): ...


class Half(Base):
    def width(self):
        return 1


class Whole(Half):
    depth = 2


class Plain:
    @abstractmethod
    def width(self): ...


class Meta(metaclass=ABCMeta):
    @abstractmethod
    def width(self): ...


assert raises(TypeError, Base) and raises(TypeError, Half) and raises(TypeError, Meta)
assert Whole().depth == 2 and isinstance(Whole(), Base) and Plain() is not None


class Adder:
    def add(self, a, b):
        return a + b

    add_one = partialmethod(add, 1)


assert Adder().add_one(2) == 3

calls = []


def counted(n):
    calls.append(n)
    return n


kept = lru_cache(maxsize=None)(counted)
assert (kept(1), kept(1), counted(1)) == (1, 1, 1) and calls == [1, 1] and kept.__wrapped__ is counted
kept.cache_clear()
assert kept(1) == 1 and calls == [1, 1, 1]
