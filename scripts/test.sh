#!/usr/bin/env bash
# Pass every test of llmatic-offline: style, lints, tests with and without libtorch, the real model, the CUDA build,
# the library's types on aarch64.
#
# usage: scripts/test.sh [--quick]      (after scripts/setup.sh --test-python, which .ci/run and this line's error name)
#
# Stops at the first step that fails; prints the time of each. --quick leaves out the checks for CUDA and aarch64 and
# the build without libtorch. The one for aarch64 wants the Rust target (brought by rustup, where there is one) and
# aarch64-linux-gnu-gcc with its libc, which compiles SQLite's C; it is left out, and says so, where they are not to be
# had. Models, data and PyTorch that are not installed make tests fail, not skip: LLMATIC_REQUIRE_MODEL=1.
# LLMATIC_PYTHON names the Python with PyTorch. LLMATIC_SHARED, where set, names a folder with extra data; without it
# the tests that want it are skipped, and say so.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

quick=0
case "${1:-}" in
  '') ;;
  --quick) quick=1 ;;
  *) printf "test: unknown option '%s'; usage: scripts/test.sh [--quick]\n" "$1" >&2; exit 2 ;;
esac

scripts/setup.sh --check --test-python || {
  printf 'test: run scripts/setup.sh --test-python first\n' >&2
  exit 3
}
export LLMATIC_REQUIRE_MODEL=1
export LLMATIC_PYTHON="${LLMATIC_PYTHON:-$LLMATIC_HOME/venv-test/bin/python}"
target="${CARGO_TARGET_DIR:-target}"

current=''
trap '[[ -z "$current" ]] || printf "\ntest: FAILED in step: %s\n" "$current" >&2' EXIT

# step NAME COMMAND...
step() {
  local started="$SECONDS"
  current="$1"
  shift
  printf '\n== %s\n' "$current"
  "$@"
  printf '== %s: ok, %d s\n' "$current" "$((SECONDS - started))"
  current=''
}

# Rust only: the stand-in compiles no kernel. Its results stay in a folder of their own, so that a later build with the
# real nvcc never finds them.
check_cuda() {
  PATH="$PWD/scripts/nvcc-stand-in:$PATH" NVCC="$PWD/scripts/nvcc-stand-in/nvcc" CUDA_COMPUTE_CAP=80 \
    CARGO_TARGET_DIR="$target/cuda-check" cargo check --locked --release --features cuda
}

aarch64='aarch64-linux-gnu'
aarch64_target='aarch64-unknown-linux-gnu'

# The Rust target for aarch64 and the compiler that C dependencies need; brings the target where rustup can.
have_aarch64() {
  if ! printf '#include <stdio.h>\n' | "$aarch64-gcc" -fsyntax-only -x c - 2>/dev/null; then
    printf 'test: no %s-gcc with libc headers (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross)\n' "$aarch64"
    return 1
  fi
  [[ -d "$(rustc --print target-libdir --target "$aarch64_target")" ]] && return
  if ! command -v rustup >/dev/null || ! rustup target add "$aarch64_target"; then
    printf 'test: no Rust target %s\n' "$aarch64_target"
    return 1
  fi
}

# Types and lints only: nothing of ours is linked or run.
check_aarch64() {
  CC_aarch64_unknown_linux_gnu="$aarch64-gcc" CARGO_TARGET_DIR="$target/aarch64-check" \
    cargo clippy --locked --target "$aarch64_target" --no-default-features --lib -- -D warnings
}

step 'format' cargo fmt --check
if command -v shellcheck >/dev/null; then
  step 'shell scripts' shellcheck --severity=warning scripts/*.sh scripts/nvcc-stand-in/nvcc .ci/run
fi
step 'lints' cargo clippy --locked --release --all-targets -- -D warnings
step 'tests' cargo test --locked --release
if ((!quick)); then
  step 'lints without libtorch' cargo clippy --locked --release --all-targets --no-default-features -- -D warnings
  # Sums and products that wrap end a test here: what a candidate's sizes come to must not.
  step 'tests without libtorch' cargo test --locked --release --no-default-features \
    --config profile.release.package.llmatic-offline.overflow-checks=true
  step 'check with CUDA' check_cuda
  if have_aarch64; then
    step 'check for aarch64' check_aarch64
  else
    printf 'test: the library is not checked for aarch64\n'
  fi
fi
printf '\ntest: all steps passed in %d s\n' "$SECONDS"
