"""`traceback`, in the Python that the front-end reads: an exception as text.

Input and output: as in Python 3.11. Limit: calls leave no trace, so only the last line of a traceback is given.
"""


def format_exception_only(exc, value=None):
    value = exc if value is None else value
    text = str(value)
    name = type(value).__name__
    return [f"{name}: {text}\n" if text else f"{name}\n"]


def format_exception(exc, value=None, tb=None, limit=None, chain=True):
    return format_exception_only(exc, value)


def format_exc(limit=None, chain=True):
    return ""


def format_tb(tb, limit=None):
    return []


def print_exc(limit=None, file=None, chain=True):
    pass


def print_exception(exc, value=None, tb=None, limit=None, file=None, chain=True):
    pass
