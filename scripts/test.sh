#!/usr/bin/env bash
# Pass every test of llmatic-offline: style, lints, tests with and without libtorch, the real model, the CUDA build.
#
# usage: scripts/test.sh [--quick]      (after scripts/setup.sh --test-python, which .ci/run and this line's error name)
#
# Stops at the first step that fails; prints the time of each. --quick leaves out the CUDA check and the build without
# libtorch. Models, data and PyTorch that are not installed make tests fail, not skip: LLMATIC_REQUIRE_MODEL=1.
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

step 'format' cargo fmt --check
if command -v shellcheck >/dev/null; then
  step 'shell scripts' shellcheck --severity=warning scripts/*.sh scripts/nvcc-stand-in/nvcc .ci/run
fi
step 'lints' cargo clippy --locked --release --all-targets -- -D warnings
step 'tests' cargo test --locked --release
if ((!quick)); then
  step 'lints without libtorch' cargo clippy --locked --release --all-targets --no-default-features -- -D warnings
  step 'tests without libtorch' cargo test --locked --release --no-default-features
  step 'check with CUDA' check_cuda
fi
printf '\ntest: all steps passed in %d s\n' "$SECONDS"
