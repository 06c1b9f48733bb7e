"""Signatures, in the Python that the front-end reads: `inspect.signature` and `inspect.getfullargspec`.

Input and output: as in Python 3.11. Limit: annotations are not known; positional-only parameters count as positional.
"""
import inspect
from collections import OrderedDict, namedtuple


class _empty:
    pass


class Parameter:
    empty = _empty
    POSITIONAL_ONLY = 0
    POSITIONAL_OR_KEYWORD = 1
    VAR_POSITIONAL = 2
    KEYWORD_ONLY = 3
    VAR_KEYWORD = 4

    def __init__(self, name, kind, default=_empty, annotation=_empty):
        self.name = name
        self.kind = kind
        self.default = default
        self.annotation = annotation


class BoundArguments:
    def __init__(self, signature, arguments):
        self.signature = signature
        self.arguments = arguments

    @property
    def args(self):
        result = []
        for name, parameter in self.signature.parameters.items():
            if name not in self.arguments or parameter.kind > 2:
                break
            value = self.arguments[name]
            result.extend(value if parameter.kind == 2 else [value])
        return tuple(result)

    @property
    def kwargs(self):
        result, by_name = {}, False
        for name, parameter in self.signature.parameters.items():
            by_name = by_name or parameter.kind > 2 or name not in self.arguments
            if by_name and name in self.arguments:
                result.update(self.arguments[name] if parameter.kind == 4 else {name: self.arguments[name]})
        return result

    def apply_defaults(self):
        given, self.arguments = self.arguments, {}
        for name, parameter in self.signature.parameters.items():
            if name in given:
                self.arguments[name] = given[name]
            elif parameter.default is not _empty:
                self.arguments[name] = parameter.default
            elif parameter.kind == 2:
                self.arguments[name] = ()
            elif parameter.kind == 4:
                self.arguments[name] = {}


class Signature:
    empty = _empty

    def __init__(self, parameters=()):
        self.parameters = OrderedDict((parameter.name, parameter) for parameter in parameters)
        self.return_annotation = _empty

    def bind(self, *args, **kwargs):
        return self._bind(args, kwargs, False)

    def bind_partial(self, *args, **kwargs):
        return self._bind(args, kwargs, True)

    def _bind(self, args, kwargs, partial):
        arguments, args, kwargs = {}, list(args), dict(kwargs)
        for name, parameter in self.parameters.items():
            if parameter.kind == 2:
                if args:
                    arguments[name], args = tuple(args), []
            elif parameter.kind == 4:
                if kwargs:
                    arguments[name], kwargs = kwargs, {}
            elif args and parameter.kind < 2:
                if name in kwargs:
                    raise TypeError(f"multiple values for argument {name!r}")
                arguments[name] = args.pop(0)
            elif name in kwargs:
                arguments[name] = kwargs.pop(name)
            elif parameter.default is _empty and not partial:
                raise TypeError(f"missing a required argument: {name!r}")
        if args:
            raise TypeError("too many positional arguments")
        if kwargs:
            raise TypeError(f"got an unexpected keyword argument {list(kwargs)[0]!r}")
        return BoundArguments(self, arguments)


def signature(callable):
    return Signature([Parameter(name, kind, *default) for name, kind, default in inspect._parameters(callable)])


FullArgSpec = namedtuple("FullArgSpec", "args, varargs, varkw, defaults, kwonlyargs, kwonlydefaults, annotations")


def getfullargspec(func):
    parameters = [Parameter(name, kind, *default) for name, kind, default in inspect._parameters(func, True)]

    def named(*kinds):
        return [parameter.name for parameter in parameters if parameter.kind in kinds]

    defaults = tuple(p.default for p in parameters if p.kind < 2 and p.default is not _empty)
    kwonlydefaults = {p.name: p.default for p in parameters if p.kind == 3 and p.default is not _empty}
    return FullArgSpec(
        named(0, 1),
        (named(2) or [None])[0],
        (named(4) or [None])[0],
        defaults or None,
        named(3),
        kwonlydefaults or None,
        {},
    )
