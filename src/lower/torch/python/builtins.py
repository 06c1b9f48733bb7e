"""What classes derived from `dict` and `list` inherit, in the Python that the front-end reads.

Input and output: as in Python 3.11. `__items__` is the dictionary or list itself, made with the object. Limit:
functions that are written for dictionaries take such an object where they take any mapping or sequence.
"""


class _Items:
    """What both do with their items."""

    def __getitem__(self, key):
        return self.__items__[key]

    def __setitem__(self, key, value):
        self.__items__[key] = value

    def __delitem__(self, key):
        del self.__items__[key]

    def __contains__(self, value):
        return value in self.__items__

    def __iter__(self):
        return iter(self.__items__)

    def __len__(self):
        return len(self.__items__)

    def __eq__(self, other):
        return self.__items__ == _plain(other)

    def __ne__(self, other):
        return not self == other

    def __repr__(self):
        return repr(self.__items__)

    def clear(self):
        self.__items__.clear()


def _plain(value):
    return value.__items__ if isinstance(value, _Items) else value


class dict_(_Items):
    __stands_for__ = "dict"

    def __init__(self, *args, **kwargs):
        self.__items__.update(*args, **kwargs)

    def __getitem__(self, key):
        if key not in self.__items__ and hasattr(type(self), "__missing__"):
            return self.__missing__(key)
        return self.__items__[key]

    def __or__(self, other):
        return {**self.__items__, **other}

    def __ror__(self, other):
        return {**other, **self.__items__}

    def __ior__(self, other):
        self.__items__.update(other)
        return self

    def keys(self):
        return self.__items__.keys()

    def values(self):
        return self.__items__.values()

    def items(self):
        return self.__items__.items()

    def get(self, key, default=None):
        return self.__items__.get(key, default)

    def pop(self, *args):
        return self.__items__.pop(*args)

    def popitem(self, last=True):
        return self.__items__.popitem(last)

    def setdefault(self, key, default=None):
        return self.__items__.setdefault(key, default)

    def update(self, *args, **kwargs):
        self.__items__.update(*args, **kwargs)

    def copy(self):
        return dict(self.__items__)

    def move_to_end(self, key, last=True):
        self.__items__.move_to_end(key, last)


class list_(_Items):
    __stands_for__ = "list"

    def __init__(self, iterable=()):
        self.__items__.extend(iterable)

    def __add__(self, other):
        return self.__items__ + _plain(other)

    def __radd__(self, other):
        return other + self.__items__

    def __iadd__(self, other):
        self.__items__.extend(other)
        return self

    def __mul__(self, count):
        return self.__items__ * count

    __rmul__ = __mul__

    def __imul__(self, count):
        self.__items__[:] = self.__items__ * count
        return self

    def __lt__(self, other):
        return self.__items__ < _plain(other)

    def __gt__(self, other):
        return self.__items__ > _plain(other)

    def append(self, value):
        self.__items__.append(value)

    def extend(self, iterable):
        self.__items__.extend(iterable)

    def insert(self, index, value):
        self.__items__.insert(index, value)

    def pop(self, index=-1):
        return self.__items__.pop(index)

    def remove(self, value):
        self.__items__.remove(value)

    def index(self, *args):
        return self.__items__.index(*args)

    def count(self, value):
        return self.__items__.count(value)

    def reverse(self):
        self.__items__.reverse()

    def sort(self, key=None, reverse=False):
        self.__items__.sort(key=key, reverse=reverse)

    def copy(self):
        return list(self.__items__)
