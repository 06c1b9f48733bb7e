#!/usr/bin/env bash
# What the owner of a CUDA GPU should see before trusting it: both halves on the device, the same text as the processor,
# a short search whose digest repeats, and memory within the budget. NOT YET RUN: it was written without a GPU at hand.
#
# usage: scripts/gpu-check.sh [DEVICE]     (default cuda:0; after scripts/setup.sh --cuda; building needs CUDA 13)
#
# Prints one line per check and ends with "gpu-check: passed", or stops at the first that fails.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh
device="${1:-cuda:0}"
index="${device#cuda:}"
budget_mb=8192
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

fail() { printf 'gpu-check: FAILED: %s\n' "$*" >&2; exit 1; }

command -v nvidia-smi >/dev/null || fail 'expected nvidia-smi on PATH, got none; is the driver installed?'
[[ -e "$LIBTORCH/lib/libtorch_cuda.so" ]] || fail "no libtorch_cuda.so in $LIBTORCH/lib; run scripts/setup.sh --cuda"
nvidia-smi --id="$index" --query-gpu=name,memory.total,driver_version --format=csv,noheader
# candle's kernels are compiled to what the driver compiles further: it must not be older than the compiler.
command -v nvcc >/dev/null || fail 'expected nvcc on PATH, got none; it is often in /usr/local/cuda/bin'
compiler="$(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')"
driver="$(nvidia-smi | sed -n 's/.*CUDA Version: \([0-9.]*\).*/\1/p')"
[[ -z "$driver" || "$(printf '%s\n%s\n' "$compiler" "$driver" | sort -V | head -n 1)" == "$compiler" ]] ||
  fail "nvcc is of CUDA $compiler, the driver of CUDA $driver: expected a compiler that is not newer than the driver"

cargo build --release --locked --features cuda
program="${CARGO_TARGET_DIR:-target}/release/llmatic-offline"

# Most memory that this device had in use while a command ran, in MB.
peak_of() {
  local before peak=0 used pid
  before="$(nvidia-smi --id="$index" --query-gpu=memory.used --format=csv,noheader,nounits)"
  "$@" >"$work/out" 2>"$work/err" &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    used="$(nvidia-smi --id="$index" --query-gpu=memory.used --format=csv,noheader,nounits)"
    ((used <= peak)) || peak=$used
    sleep 0.2
  done
  wait "$pid" || { cat "$work/err" >&2; fail "$*"; }
  echo $((peak - before))
}

printf 'import torch\nimport torch.nn as nn\n\n\nclass Net(nn.Module):\n' >"$work/prompt"
for on in cpu "$device"; do
  "$program" generate --model qwen2.5-coder-0.5b --prompt-file "$work/prompt" --max-tokens 64 --device "$on" \
    >"$work/text-${on%%:*}"
done
# The first tokens must agree; late ones may part at a near tie, because the device rounds differently.
cpu="$(<"$work/text-cpu")" cuda="$(<"$work/text-cuda")" common=0
[[ -n "$cpu" && -n "$cuda" ]] || fail "expected a text of the processor and one of $device, got an empty one"
while ((common < ${#cpu})) && [[ "${cpu:common:1}" == "${cuda:common:1}" ]]; do ((++common)); done
[[ "$cpu" == "$cuda" ]] || ((common > 80)) || fail "greedy text on $device parts from the processor's at $common"
[[ "$cpu" == "$cuda" ]] || printf 'greedy text: parts from the processor'\''s at %s\n' "$common"
[[ "$cpu" != "$cuda" ]] || printf 'greedy text: equal\n'

for run in first second; do
  peak="$(peak_of "$program" search --config configs/smoke.toml --model qwen2.5-coder-0.5b --device "$device" \
    --out "$work/$run")"
  printf 'search %s: at most %s MB of device memory\n' "$run" "$peak"
  ((peak <= budget_mb)) || fail "expected at most $budget_mb MB, got $peak"
done
[[ "$("$program" digest "$work/first")" == "$("$program" digest "$work/second")" ]] ||
  fail 'the same seed gave two digests'
printf 'digest: repeated\ngpu-check: passed\n'
