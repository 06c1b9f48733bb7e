"""f-strings, `format`, `str.format` and `%`: assertions that hold in Python."""
assert "{!r} {!s}".format("a", "b") == "'a' b" and "{0!r:>5}".format("a") == "  'a'"
assert "{:{}}|{:>{w}}".format("a", 3, "b", w=2) == "a  | b"
assert "{0.real} {1[0]} {2[k]}".format(1, [2], {"k": 3}) == "1 2 3"
assert "%-10s|" % "ab" == "ab        |" and "%.3s|" % "abcdef" == "abc|" and "%5s|" % "ab" == "   ab|"
assert "%i" % 3.7 == "3" and "%d" % True == "1" and "%5d|%-5d|%05d" % (42, 42, 42) == "   42|42   |00042"
assert "%+.2f" % 1 == "+1.00" and "%x %X %o" % (255, 255, 8) == "ff FF 10" and "%s %r" % ("a", "a") == "a 'a'"
assert "%(a)s-%(b)d" % {"a": "x", "b": 2} == "x-2" and "%c%c" % ("a", 98) == "ab" and "%d%%" % 5 == "5%"
assert f"{True:d}" == "1" and f"{True}" == "True" and f"{True:3}" == "  1" and f"{-255:x}" == "-ff"
assert f"{'a'=}" == "'a'='a'" and f"{1+1=}" == "1+1=2" and f"{'a'=!s}" == "'a'=a" and f"{2.0=:.2f}" == "2.0=2.00"
assert f"{255:#x}" == "0xff" and f"{5:#b}" == "0b101" and f"{8:o}" == "10" and f"{65:c}" == "A"
assert f"{1e10:g}" == "1e+10" and f"{9.99:.2g}" == "10" and f"{1.0:.3}" == "1.0" and f"{12.5:.1}" == "1e+01"
assert f"{1234567.5:,.1f}" == "1,234,567.5" and f"{1000:_}" == "1_000" and f"{float('inf'):.2f}" == "inf"
assert f"{'a':>3}|{'a':^3}|{'abc':.2}" == "  a| a |ab" and f"{3: d}" == " 3" and f"{-3:05d}" == "-0003"
assert f"{1.5:E}" == "1.500000E+00" and f"{0.5:%}" == "50.000000%" and f"{float('nan')}" == "nan"
for spec, value in ((":d", 1.5), (":s", 1), (":d", "a"), (":.2d", 1)):
    try:
        ("{" + spec + "}").format(value)
        assert False
    except ValueError:
        pass
for value in (None, [1]):
    try:
        f"{value:>5}"
        assert False
    except TypeError:
        pass
try:
    "{a}".format(1)
    assert False
except KeyError:
    pass
