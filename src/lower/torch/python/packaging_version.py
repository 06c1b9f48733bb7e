"""`packaging.version`, for sources that ask which PyTorch they run on.

Limit: of a version only its numbers count: no pre-releases, no local parts.
"""
import re


class Version:
    def __init__(self, version):
        found = re.match(r"v?([0-9]+(?:\.[0-9]+)*)", version.strip())
        if not found:
            raise InvalidVersion(f"Invalid version: {version!r}")
        self.release = tuple(int(part) for part in found.group(1).split("."))
        self.major, self.minor, self.micro = (self.release + (0, 0, 0))[:3]
        self.base_version = ".".join(str(part) for part in self.release)
        self.public = self.base_version

    def _key(self):
        numbers = list(self.release)
        while numbers and numbers[-1] == 0:
            numbers.pop()
        return tuple(numbers)

    def __str__(self):
        return self.base_version

    def __eq__(self, other):
        return self._key() == other._key()

    def __ne__(self, other):
        return self._key() != other._key()

    def __lt__(self, other):
        return self._key() < other._key()

    def __le__(self, other):
        return self._key() <= other._key()

    def __gt__(self, other):
        return self._key() > other._key()

    def __ge__(self, other):
        return self._key() >= other._key()


class InvalidVersion(ValueError):
    pass


def parse(version):
    return Version(version)
