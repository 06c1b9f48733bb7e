"""Parts of Python's library, in the Python that the front-end reads: of `argparse`, `collections`, `contextlib`,
`dataclasses`, `itertools`, `operator`, `os`, `sys` and `types`.

Input and output: as in Python 3.11. Limit: the environment is empty and there are no files; of `os.path` only what
works on the text of a path.
"""
import copy
import dataclasses
import sys


class deque:
    def __init__(self, iterable=(), maxlen=None):
        self.maxlen = maxlen
        self._items = []
        self.extend(iterable)

    def append(self, x):
        self._items.append(x)
        if self.maxlen is not None and len(self._items) > self.maxlen:
            self._items.pop(0)

    def appendleft(self, x):
        self._items.insert(0, x)
        if self.maxlen is not None and len(self._items) > self.maxlen:
            self._items.pop()

    def extend(self, iterable):
        for x in iterable:
            self.append(x)

    def extendleft(self, iterable):
        for x in iterable:
            self.appendleft(x)

    def pop(self):
        if not self._items:
            raise IndexError("pop from an empty deque")
        return self._items.pop()

    def popleft(self):
        if not self._items:
            raise IndexError("pop from an empty deque")
        return self._items.pop(0)

    def rotate(self, n=1):
        if self._items:
            n %= len(self._items)
            self._items = self._items[len(self._items) - n :] + self._items[: len(self._items) - n]

    def clear(self):
        self._items.clear()

    def count(self, x):
        return self._items.count(x)

    def index(self, x):
        return self._items.index(x)

    def insert(self, i, x):
        self._items.insert(i, x)

    def remove(self, x):
        self._items.remove(x)

    def reverse(self):
        self._items.reverse()

    def copy(self):
        return deque(self._items, self.maxlen)

    def __len__(self):
        return len(self._items)

    def __iter__(self):
        return iter(self._items)

    def __contains__(self, x):
        return x in self._items

    def __getitem__(self, i):
        return self._items[i]

    def __setitem__(self, i, x):
        self._items[i] = x

    def __eq__(self, other):
        return isinstance(other, deque) and self._items == other._items


class SimpleNamespace:
    def __init__(self, **kwargs):
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __eq__(self, other):
        return isinstance(other, SimpleNamespace) and vars(self) == vars(other)


class Namespace(SimpleNamespace):
    def __contains__(self, key):
        return key in vars(self)


class Counter(dict):
    def __init__(self, iterable=(), **kwds):
        super().__init__()
        self.update(iterable, **kwds)

    def __missing__(self, key):
        return 0

    def update(self, iterable=(), **kwds):
        if isinstance(iterable, dict):
            for key, count in iterable.items():
                self[key] = self.get(key, 0) + count
        else:
            for key in iterable:
                self[key] = self.get(key, 0) + 1
        if kwds:
            self.update(kwds)

    def elements(self):
        return iter([key for key, count in self.items() for _ in range(count)])

    def most_common(self, n=None):
        common = sorted(self.items(), key=lambda pair: pair[1], reverse=True)
        return common if n is None else common[:n]

    def total(self):
        return sum(self.values())


def itemgetter(item, *items):
    if not items:
        return lambda obj: obj[item]
    return lambda obj: tuple([obj[key] for key in (item, *items)])


def attrgetter(attr, *attrs):
    def resolve(obj, path):
        for name in path.split("."):
            obj = getattr(obj, name)
        return obj

    if not attrs:
        return lambda obj: resolve(obj, attr)
    return lambda obj: tuple([resolve(obj, path) for path in (attr, *attrs)])


def methodcaller(name, *args, **kwargs):
    return lambda obj: getattr(obj, name)(*args, **kwargs)


class count:
    _endless = True

    def __init__(self, start=0, step=1):
        self._next, self._step = start, step

    def __iter__(self):
        return self

    def __next__(self):
        value = self._next
        self._next = value + self._step
        return value


class cycle:
    _endless = True

    def __init__(self, iterable):
        self._items, self._at = list(iterable), 0

    def __iter__(self):
        return self

    def __next__(self):
        if not self._items:
            raise StopIteration
        value = self._items[self._at % len(self._items)]
        self._at += 1
        return value


def pairwise(iterable):
    items = list(iterable)
    return zip(items, items[1:])


def accumulate(iterable, func=None, *, initial=None):
    total, begun = initial, initial is not None
    if begun:
        yield total
    for item in iterable:
        if not begun:
            total, begun = item, True
        elif func is None:
            total = total + item
        else:
            total = func(total, item)
        yield total


def compress(data, selectors):
    return (item for item, selected in zip(data, selectors) if selected)


def groupby(iterable, key=None):
    groups = []
    for item in iterable:
        value = item if key is None else key(item)
        if not groups or groups[-1][0] != value:
            groups.append((value, []))
        groups[-1][1].append(item)
    return ((value, iter(group)) for value, group in groups)


def tee(iterable, n=2):
    items = list(iterable)
    return tuple(iter(items) for _ in range(n))


class partialmethod:
    def __init__(self, func, /, *args, **keywords):
        self.func, self.args, self.keywords = func, args, keywords

    def __get__(self, obj, cls=None):
        def method(*args, **keywords):
            return self.func(obj, *self.args, *args, **{**self.keywords, **keywords})

        return method


def takewhile(predicate, iterable):
    for item in iterable:
        if not predicate(item):
            return
        yield item


def dropwhile(predicate, iterable):
    dropping = True
    for item in iterable:
        dropping = dropping and predicate(item)
        if not dropping:
            yield item


class ContextDecorator:
    def __call__(self, func):
        def inner(*args, **kwargs):
            with self._recreate_cm():
                return func(*args, **kwargs)

        return inner

    def _recreate_cm(self):
        return self


class _GeneratorContextManager(ContextDecorator):
    """What a generator makes; the front-end itself runs the body of its `with` where it yields."""

    def __init__(self, func, args, kwds):
        self.func, self.args, self.kwds = func, args, kwds

    def _start(self):
        return self.func(*self.args, **self.kwds)

    def _recreate_cm(self):
        return _GeneratorContextManager(self.func, self.args, self.kwds)


def contextmanager(func):
    def helper(*args, **kwds):
        return _GeneratorContextManager(func, args, kwds)

    return helper


class nullcontext:
    def __init__(self, enter_result=None):
        self.enter_result = enter_result

    def __enter__(self):
        return self.enter_result

    def __exit__(self, *error):
        return None


class suppress:
    def __init__(self, *exceptions):
        self._exceptions = exceptions

    def __enter__(self):
        return None

    def __exit__(self, exctype, excinst, exctb):
        return exctype is not None and issubclass(exctype, self._exceptions)


def fields(class_or_instance):
    return tuple(_Field(name) for name in dataclasses._names(class_or_instance))


class _Field:
    def __init__(self, name):
        self.name = name


def replace(obj, **changes):
    for name in dataclasses._names(obj):
        changes.setdefault(name, getattr(obj, name))
    return obj.__class__(**changes)


def asdict(obj, *, dict_factory=dict):
    return dict_factory([(name, _plain(getattr(obj, name), dict_factory)) for name in dataclasses._names(obj)])


def _plain(value, dict_factory):
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return asdict(value, dict_factory=dict_factory)
    if isinstance(value, dict):
        return {key: _plain(item, dict_factory) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, dict_factory) for item in value)
    return copy.deepcopy(value)


def astuple(obj, *, tuple_factory=tuple):
    return tuple_factory([copy.deepcopy(getattr(obj, name)) for name in dataclasses._names(obj)])


environ = {}


class _Modules:
    """The modules that run or have run, by name."""

    def __getitem__(self, name):
        module = sys._module(name)
        if module is None:
            raise KeyError(name)
        return module

    def get(self, name, default=None):
        module = sys._module(name)
        return default if module is None else module

    def __contains__(self, name):
        return sys._module(name) is not None


modules = _Modules()


def getenv(key, default=None):
    return default


class _Path:
    sep = "/"

    @staticmethod
    def join(a, *paths):
        for path in paths:
            a = path if path.startswith("/") else a + path if not a or a.endswith("/") else a + "/" + path
        return a

    @staticmethod
    def basename(p):
        return p.split("/")[-1]

    @staticmethod
    def dirname(p):
        head = p[: len(p) - len(p.split("/")[-1])]
        return head if head.strip("/") == "" else head.rstrip("/")

    @staticmethod
    def splitext(p):
        name = p.split("/")[-1]
        stem = name.lstrip(".")
        if "." not in stem:
            return (p, "")
        extension = "." + stem.split(".")[-1]
        return (p[: len(p) - len(extension)], extension)

    @staticmethod
    def isabs(s):
        return s.startswith("/")

    @staticmethod
    def normpath(path):
        parts = []
        for part in path.split("/"):
            if part == ".." and parts and parts[-1] != "..":
                parts.pop()
            elif part not in ("", ".") and not (part == ".." and path.startswith("/")):
                parts.append(part)
        return ("/" if path.startswith("/") else "") + "/".join(parts) or "."

    @staticmethod
    def expanduser(path):
        return path

    abspath = realpath = normpath
    expandvars = normcase = expanduser

    @staticmethod
    def exists(path):
        return False

    isfile = isdir = exists


path = _Path()
sep = "/"
