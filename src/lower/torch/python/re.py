"""Python's module `re`, in the Python that the front-end reads, over the matcher in regular.rs.

Input: patterns and texts. Output: matches, pieces and texts, as CPython 3.11 finds them. Limit: no looking around, no
references back in patterns, and after an empty match none is sought at the same place.
"""
import re

NOFLAG = 0
I = IGNORECASE = 2
M = MULTILINE = 8
S = DOTALL = 16
U = UNICODE = 32
X = VERBOSE = 64


class error(Exception):
    pass


class Match:
    def __init__(self, pattern, string, spans, pos):
        self.re, self.string, self.pos, self.endpos = pattern, string, pos, len(string)
        self._spans = spans
        closed = [at for at, span in enumerate(spans) if at > 0 and span[0] >= 0]
        self.lastindex = max(closed, key=lambda at: (spans[at][1], -at)) if closed else None

    def _at(self, group):
        if isinstance(group, str):
            if group not in self.re.groupindex:
                raise IndexError("no such group")
            return self.re.groupindex[group]
        if group < 0 or group >= len(self._spans):
            raise IndexError("no such group")
        return group

    def _text(self, group, default=None):
        start, end = self._spans[self._at(group)]
        return default if start < 0 else self.string[start:end]

    def group(self, *groups):
        if len(groups) == 0:
            return self._text(0)
        if len(groups) == 1:
            return self._text(groups[0])
        return tuple(self._text(group) for group in groups)

    def __getitem__(self, group):
        return self._text(group)

    def groups(self, default=None):
        return tuple(self._text(at, default) for at in range(1, len(self._spans)))

    def groupdict(self, default=None):
        return {name: self._text(at, default) for name, at in self.re.groupindex.items()}

    def start(self, group=0):
        return self._spans[self._at(group)][0]

    def end(self, group=0):
        return self._spans[self._at(group)][1]

    def span(self, group=0):
        return self._spans[self._at(group)]

    def expand(self, template):
        result, at = "", 0
        while at < len(template):
            if template[at] != "\\" or at + 1 == len(template):
                result += template[at]
                at += 1
                continue
            letter = template[at + 1]
            at += 2
            if letter == "g" and at < len(template) and template[at] == "<":
                end = template.index(">", at)
                name = template[at + 1 : end]
                result += self._text(int(name) if name.isdigit() else name, "")
                at = end + 1
            elif letter.isdigit() and letter != "0":
                if at < len(template) and template[at].isdigit():
                    letter += template[at]
                    at += 1
                result += self._text(int(letter), "")
            elif letter == "n":
                result += "\n"
            elif letter == "t":
                result += "\t"
            elif letter == "\\":
                result += "\\"
            elif letter.isalnum():
                raise error(f"bad escape \\{letter}")
            else:
                result += "\\" + letter
        return result


class Pattern:
    def __init__(self, pattern, flags=0):
        self.pattern, self.flags = pattern, flags
        names = re._names(pattern, flags)
        self.groups = len(names)
        self.groupindex = {name: at + 1 for at, name in enumerate(names) if name is not None}

    def _found(self, string, start, where):
        if not isinstance(string, str):
            raise TypeError(f"expected string or bytes-like object, got '{type(string).__name__}'")
        spans = re._find(self.pattern, self.flags, string, start, where)
        return None if spans is None else Match(self, string, spans, start)

    def search(self, string, pos=0):
        return self._found(string, pos, "search")

    def match(self, string, pos=0):
        return self._found(string, pos, "match")

    def fullmatch(self, string, pos=0):
        return self._found(string, pos, "full")

    def _all(self, string, count=0):
        found, start, empty_at = [], 0, -1
        while start <= len(string) and (count == 0 or len(found) < count):
            match = self._found(string, start, "search")
            if match is None:
                break
            if match.end() == match.start() == empty_at:
                start, empty_at = start + 1, -1
                continue
            found.append(match)
            start = match.end()
            empty_at = start if match.start() == start else -1
        return found

    def finditer(self, string, pos=0):
        return iter(match for match in self._all(string) if match.start() >= pos)

    def findall(self, string):
        found = self._all(string)
        if self.groups == 0:
            return [match.group() for match in found]
        if self.groups == 1:
            return [match._text(1, "") for match in found]
        return [match.groups("") for match in found]

    def split(self, string, maxsplit=0):
        pieces, last = [], 0
        for match in self._all(string, maxsplit):
            pieces.append(string[last : match.start()])
            pieces.extend(match.groups())
            last = match.end()
        pieces.append(string[last:])
        return pieces

    def subn(self, repl, string, count=0):
        result, last, found = "", 0, self._all(string, count)
        for match in found:
            result += string[last : match.start()]
            result += repl(match) if callable(repl) else match.expand(repl)
            last = match.end()
        return result + string[last:], len(found)

    def sub(self, repl, string, count=0):
        return self.subn(repl, string, count)[0]


def compile(pattern, flags=0):
    return pattern if isinstance(pattern, Pattern) else Pattern(pattern, flags)


def search(pattern, string, flags=0):
    return compile(pattern, flags).search(string)


def match(pattern, string, flags=0):
    return compile(pattern, flags).match(string)


def fullmatch(pattern, string, flags=0):
    return compile(pattern, flags).fullmatch(string)


def findall(pattern, string, flags=0):
    return compile(pattern, flags).findall(string)


def finditer(pattern, string, flags=0):
    return compile(pattern, flags).finditer(string)


def split(pattern, string, maxsplit=0, flags=0):
    return compile(pattern, flags).split(string, maxsplit)


def sub(pattern, repl, string, count=0, flags=0):
    return compile(pattern, flags).sub(repl, string, count)


def subn(pattern, repl, string, count=0, flags=0):
    return compile(pattern, flags).subn(repl, string, count)


def escape(pattern):
    special = "()[]{}?*+-|^$\\.&~# \t\n\r\v\f"
    return "".join("\\" + letter if letter in special else letter for letter in pattern)


def purge():
    pass
