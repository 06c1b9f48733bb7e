#!/usr/bin/env bash
# Make an unpacked `torch` package importable without the CUDA libraries (3.8 GB) that its wheel asks for.
#
# usage: torch-without-cuda.sh SITE_PACKAGES     (needs gcc and binutils; libcudart and libcupti already in torch/lib)
#
# Used for the tests that compare with real PyTorch on the CPU, and for nothing else. libtorch_python.so wants about 140
# functions of CUDA libraries that no CPU program reaches. They are given here as one library whose functions stop the
# program. One is called while loading and returns a place to write to; three symbols are C++ type descriptions, made
# with their names. torch.distributed, which needs more, is taken out, as in a build with USE_DISTRIBUTED=0.
# Limit: made for torch 2.13.0; another version may call more while loading (the import at the end tells).
set -euo pipefail

lib="$1/torch/lib"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

names() { awk '{ sub(/@.*/, "", $NF); print $NF }' | sort -u; }

nm -D --undefined-only "$lib/libtorch_python.so" "$lib/libshm.so" | awk '$1 == "U"' | names >"$work/wanted"
# Python's own symbols come from the interpreter; the rest from what is here and from the C and C++ libraries.
libraries=("$lib"/lib{torch_cpu,c10,c10_cuda,shm,torch_python}.so "$lib"/libcudart.so.* "$lib"/libcupti.so.*)
for library in libc.so.6 libm.so.6 libstdc++.so.6 libgcc_s.so.1; do
  libraries+=("$(gcc -print-file-name="$library")")
done
libraries+=("$(gcc -print-file-name=ld-linux-x86-64.so.2)")
for library in "${libraries[@]}"; do
  nm -D --defined-only "$library"
done | names >"$work/present"
comm -23 "$work/wanted" "$work/present" | grep -vE '^_?Py' >"$work/missing"

functions() { grep -vE '^_ZT[VIS]|get_gil_checker' "$work/missing"; }
{
  echo '.text'
  sed 's/^/.globl /' "$work/missing"
  functions | sed 's/$/:/'
  echo 'ud2'
  echo '_ZN4c10d15get_gil_checkerEv: lea scratch(%rip), %rax; ret'
  echo '.data'
  echo 'scratch:'
  { grep -E '^_ZT[VS]' "$work/missing" || true; } | sed 's/$/:/'
  echo '.zero 256'
  { grep -E '^_ZTI' "$work/missing" || true; } | sed -E \
    's/^_ZTI(.*)$/&: .quad _ZTVN10__cxxabiv117__class_type_infoE+16, name\1\nname\1: .asciz "\1"\n.balign 8/'
  echo '.section .note.GNU-stack,"",@progbits'
} >"$work/stand-in.s"
echo 'libcudnn.so.9 { cudnn*; };' >"$work/stand-in.map"
gcc -shared -nostdlib -Wl,-soname,libtorch_cuda.so -Wl,--version-script="$work/stand-in.map" \
  -o "$lib/libtorch_cuda.so" "$work/stand-in.s"
for name in libcudnn.so.9 libcufile.so.0 libnccl.so.2; do
  ln -sf libtorch_cuda.so "$lib/$name"
done

distributed="$1/torch/distributed/__init__.py"
if ! grep -q '_faulty_agent_init' "$distributed"; then
  sed -i '0,/^import torch$/s//import torch\
for _name in ("_c10d_init", "_rpc_init", "_faulty_agent_init", "_dist_autograd_init"):\
    if hasattr(torch._C, _name):\
        delattr(torch._C, _name)/' "$distributed"
fi
