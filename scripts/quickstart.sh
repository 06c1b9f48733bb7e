#!/usr/bin/env bash
# From a clean clone to a finished search: set up, build, and run the quickstart into runs/quickstart.
#
# usage: scripts/quickstart.sh [SEARCH OPTION]...      for example: scripts/quickstart.sh --seed 7
#
# An unfinished runs/quickstart is resumed (then no options are taken: a run keeps those it was started with); beside a
# finished one the next free name is used. Set-up options go to scripts/setup.sh, which can be run before.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The mark is set here once the search has ended well; to resume a finished run would only print its summary again.
# A run that `search` made by itself has no mark, but a winner.
out=runs/quickstart
number=2
while [[ -e "$out/quickstart-finished" || -e "$out/best.py" ]]; do
  out="runs/quickstart-$number"
  number=$((number + 1))
done
for option in "$@"; do
  if [[ "$option" == --out || "$option" == --out=* ]]; then
    printf 'quickstart: --out: expected none: the run goes to %s; elsewhere goes llmatic-offline search\n' "$out" >&2
    exit 2
  fi
done
if [[ -e "$out/run.db" ]] && (($#)); then
  printf 'quickstart: %s is unfinished and keeps its own options; remove it, or run this without options\n' "$out" >&2
  exit 2
fi

scripts/setup.sh
# shellcheck source=scripts/env.sh
. scripts/env.sh
command -v cargo >/dev/null || {
  printf 'quickstart: expected cargo on PATH, got none; install Rust, then run this again\n' >&2
  exit 3
}

cargo build --release --locked
binary="${CARGO_TARGET_DIR:-target}/release/llmatic-offline"

if [[ -e "$out/run.db" ]]; then
  "$binary" resume "$out"
else
  "$binary" search --config configs/quickstart.toml --model codegen --out "$out" "$@"
fi
: >"$out/quickstart-finished"
