"""Names: assertions that hold in Python."""
value = "outside"
kept = []


def assigned_later():
    seen = value
    value = 1
    return seen


def assigned_in_a_branch(yes):
    if yes:
        value = 1
    return value


def deleted():
    value = 1
    del value
    return value


def bound_by_import():
    kept.append(math)
    import math


def read_by_another():
    def inner():
        return value

    result = inner()
    value = 1
    return result


for function in [assigned_later, deleted, bound_by_import, lambda: assigned_in_a_branch(False)]:
    try:
        function()
        assert False
    except UnboundLocalError as error:
        assert "where it is not associated with a value" in str(error) and isinstance(error, NameError)
try:
    read_by_another()
    assert False
except NameError as error:
    assert "in enclosing scope" in str(error)
assert assigned_in_a_branch(True) == 1 and value == "outside" and kept == []


def looks_outside():
    return [value for _ in range(1)] + [(lambda: value)()]


def binds_in_a_comprehension():
    doubled = [last := 2 * number for number in range(4) if (half := number / 2) >= 0]
    nested = [[inner := (a, b) for a in range(2)] for b in range(2)]
    number = "own"
    return doubled, last, half, nested, inner, number


def declared():
    global value
    value = "changed"

    def inner():
        nonlocal count
        count += 1

    count = 1
    inner()
    return count


class Body:
    value = value
    longer = value + "!"


assert looks_outside() == ["outside", "outside"] and Body.longer == "outside!"
doubled, last, half, nested, inner, number = binds_in_a_comprehension()
assert doubled == [0, 2, 4, 6] and last == 6 and half == 1.5 and number == "own"
assert nested == [[(0, 0), (1, 0)], [(0, 1), (1, 1)]] and inner == (1, 1)
assert declared() == 2 and value == "changed"
found = any((match := word) == "b" for word in ["a", "b"])
assert found and match == "b"
