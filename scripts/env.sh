#!/usr/bin/env bash
# Environment to build and run llmatic-offline with what scripts/setup.sh installed.
#
# usage: . scripts/env.sh      or      eval "$(scripts/env.sh)"
#
# Exports LLMATIC_HOME, and LIBTORCH unless it is set already. No LD_LIBRARY_PATH: the build writes libtorch's place
# into the binary (build.rs). Adds to PATH the folder that cargo builds llmatic-offline in, and cargo's own where the
# shell does not know cargo yet. Where the set-up was given the Rust crates in a folder, cargo becomes a function that
# takes them from there.

llmatic_env() {
  local home="${LLMATIC_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/llmatic-offline}"
  [[ "$home" == /* ]] || home="$PWD/$home"
  local built
  built="${CARGO_TARGET_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target}/release"
  printf 'export LLMATIC_HOME=%q\n' "$home"
  printf 'export LIBTORCH=%q\n' "${LIBTORCH:-$home/libtorch}"
  # shellcheck disable=SC2016  # PATH is for the reader of these lines to expand
  if [[ ":$PATH:" != *":$built:"* ]]; then printf 'export PATH=%q:"$PATH"\n' "$built"; fi
  if ! command -v cargo >/dev/null && [[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]]; then
    # shellcheck disable=SC2016  # PATH is for the reader of this line to expand
    printf 'export PATH=%q:"$PATH"\n' "${CARGO_HOME:-$HOME/.cargo}/bin"
  fi
  if [[ -f "$home/crates/config.toml" ]]; then
    printf 'cargo() { command cargo --config %q "$@"; }\n' "$home/crates/config.toml"
  fi
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  llmatic_env
else
  eval "$(llmatic_env)"
fi
