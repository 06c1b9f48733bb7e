"""Methods of strings: assertions that hold in Python."""
assert "aaa".replace("a", "b", 2) == "bba" and "aaa".replace("a", "b", -1) == "bbb"
assert "a b c".split(maxsplit=1) == ["a", "b c"] and " a  b c ".split(None, 1) == ["a", "b c "]
assert "a,b,c".split(",", 1) == ["a", "b,c"] and "a,b,c".split(sep=",", maxsplit=1) == ["a", "b,c"]
assert "a b c".rsplit(None, 1) == ["a b", "c"] and "a b c".rsplit(maxsplit=0) == ["a b c"]
assert "a,b".split(",", -1) == ["a", "b"] and "a,b".split(",", 0) == ["a,b"] and "".split() == []
assert "abc".startswith("b", 1) and not "abc".startswith("a", 1) and "abc".endswith("b", 0, 2)
assert not "abc".startswith("", 4) and "abc".startswith(("x", "a"))
assert "big block_two".title() == "Big Block_Two" and "bLOCK two".capitalize() == "Block two"
assert "-5".zfill(4) == "-005" and "+5".zfill(4) == "+005" and "5".zfill(3) == "005" and "abc".zfill(2) == "abc"
assert "a\nb\n".splitlines(True) == ["a\n", "b\n"] and "a\r\nb".splitlines() == ["a", "b"]
assert "abcb".find("b", 2) == 3 and "abcb".rfind("b") == 3 and "abc".find("z") == -1 and "abcb".rindex("b", 0, 2) == 1
assert "abab".count("a", 1) == 1 and "a.b.c".rpartition(".") == ("a.b", ".", "c")
assert "abc".rpartition("x") == ("", "", "abc") and "AbC".casefold() == "abc" and "abc".isascii()
assert "ab".center(5) == "  ab " and "a".center(4) == " a  " and "ab".center(5, "*") == "**ab*"
assert "ab".ljust(4, ".") == "ab.." and "ab".rjust(4) == "  ab"
