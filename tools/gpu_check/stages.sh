#!/usr/bin/env bash
# One stage of gpu_check.sh, which sets the variables; what it writes as JSON into $GPU_CHECK_WORK
# becomes part of the results.
set -u
device=$GPU_CHECK_DEVICE work=$GPU_CHECK_WORK

bench() { # NAME ARGUMENT…: `mri2pet-bench`, its result as NAME.json
  local name=$1
  shift
  "$PYTHON" -c 'from mri2pet.bench.cli import main; main()' "$@" --device "$device" \
    --json "$work/$name.json"
}

if [ "$device" = cpu ]; then
  export OMP_NUM_THREADS=1 # two that wait for each other take twenty times as long on a busy machine
  half=bfloat16
  small=(--set 'model.mri_shape=[16,32,32]' --set 'model.pet_shape=[16,32,32]')
  presets=(--preset compact "${small[@]}")
else
  half=float16
  small=()
  presets=(--preset paper)
fi

# ---- Packages from .whl, `bench` and `export` in their place, the native module.
setup() {
  local room
  if compgen -G '.whl/*.whl' >/dev/null && ! "$PYTHON" -c 'import pydantic' 2>/dev/null; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
      --target "$work/site" .whl/*.whl || return
  fi
  for room in bench export; do
    [ -e "python/mri2pet/$room" ] || ln -sfn "../../$room" "python/mri2pet/$room" || return
  done
  native_works || build_native
}

native_works() {
  "$PYTHON" - "$device" <<'PYTHON'
import sys
from importlib import import_module

try:
    info = import_module("mri2pet._C").build_info()
except ImportError as error:
    sys.exit(f"no native module: {error}")
if sys.argv[1] == "cuda" and not info["cuda"]["enabled"]:
    sys.exit(f"a native module without CUDA: {info['cuda']['status']}")
print(f"native module of {info['revision']}, CUDA {info['cuda']}")
PYTHON
}

build_native() {
  local architecture cuda=ON
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
    head -n 1 | tr -d '. ')
  [ "$device" = cuda ] || cuda=OFF
  echo "building for sm_${architecture:-none}"
  MRI2PET_CUDA=$cuda CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "$PYTHON" -m pip wheel -q \
    --no-build-isolation --no-deps --no-index -w "$work/wheel" \
    -C "cmake.define.MRI2PET_CUDA_ARCHITECTURES=${architecture:-90}" . || return
  "$PYTHON" -m zipfile -e "$work"/wheel/*.whl "$work/unpacked" || return
  cp "$work"/unpacked/mri2pet/_C.*.so python/mri2pet/ || return
  native_works
}

facts() {
  [ "$device" = cpu ] || nvidia-smi
  "$PYTHON" tools/gpu_check/facts.py "$device" "$work/facts.json"
}

# ---- The tests compute float64 references on the CPU: several processes, few threads in each. A
# kernel that breaks its process's CUDA context then takes only a part of the tests with it.
tests() {
  local processes=() cores
  cores=$(nproc)
  export OMP_NUM_THREADS=1
  if [ "$cores" -ge 8 ] && "$PYTHON" -c 'import xdist' 2>/dev/null; then
    processes=(-n 4)
    export OMP_NUM_THREADS=$((cores / 4))
  fi
  "$PYTHON" -m pytest -q -p no:cacheprovider --maxfail=40 --continue-on-collection-errors \
    --tb=short --durations=8 "${processes[@]}" -m gpu --junit-xml "$work/tests.xml" \
    tests
}

# ---- cuDNN keeps its choice of an algorithm for the process, so each setting has its own.
profile() {
  local failures=0
  "$PYTHON" tools/gpu_check/kernels.py "$device" "$work/profile.json" || failures=1
  "$PYTHON" tools/gpu_check/kernels.py "$device" "$work/profile_benchmark.json" benchmark ||
    failures=1
  if [ -e "$work/convolution.json" ]; then
    "$PYTHON" tools/gpu_check/kernels.py "$device" "$work/profile_convolution.json" benchmark \
      "$work/convolution.json" || failures=1
  fi
  return "$failures"
}

ops() {
  local scale=1
  [ "$device" = cuda ] || scale=4
  bench ops ops --dtype float32 --dtype "$half" --scale "$scale"
}

# ---- Every tile of the small-channel convolution, which exists on CUDA alone.
convolution() {
  if [ "$device" = cpu ]; then
    echo "nothing to rehearse: conv3d needs a GPU"
    return
  fi
  bench convolution convolution "${presets[@]}" --dtype float16 --batch 1 --batch 8
}

network() { bench network network "${presets[@]}" --dtype float32 --dtype "$half"; }

step() {
  local more=(--preset compact)
  [ "$device" = cuda ] || more=()
  bench step step "${presets[@]}" "${more[@]}" --dtype bfloat16
}

# ---- The paper's loop beside ours, in one process each.
sample() {
  local steps=25 batch form forms=() failures=0
  [ "$device" = cuda ] || steps=2
  for form in torch torch-tf32 torch-bf16 torch-fp16 authors; do forms+=(--form "$form"); done
  for batch in 1 8; do
    bench "sample_batch$batch" sample "${presets[@]}" --batch "$batch" --steps "$steps" \
      "${forms[@]}" || failures=1
  done
  return "$failures"
}

sanitizer() {
  [ "$device" = cuda ] || set -- --dry-run
  bash bench/compute_sanitizer.sh "$@" --seconds "$((GPU_CHECK_SECONDS - 5))" memcheck racecheck
}

# A rehearsal needs no cohort.
noise_to_train_on() { # FILE
  mkdir -p "$(dirname "$1")"
  "$PYTHON" - "$1" <<'PYTHON'
import sys

import numpy as np

from mri2pet.stages import load_config

model, rng = load_config("compact").model, np.random.default_rng(0)
np.savez(
    sys.argv[1],
    mri=rng.integers(0, 255, (4, *model.mri_shape), dtype=np.uint8),
    pet=rng.random((4, *model.pet_shape)).astype(np.float16),
    split=np.array(["train", "train", "train", "val"]),
    name=np.array(["a", "b", "c", "d"]),
    mean=0.5,
    std=0.3,
)
PYTHON
}

training() {
  local seconds=$((GPU_CHECK_SECONDS - 25)) settings=() pack=.pack/cohort.npz
  if [ "$device" = cpu ]; then
    seconds=20
    settings=(training.batch_size=1 training.micro_batch=1)
    [ -e "$pack" ] || noise_to_train_on "$pack" || return
  fi
  "$PYTHON" tools/train_packed.py "$pack" "$work/model" --seconds "$seconds" \
    --device "$device" --json "$work/training.json" "${settings[@]}" || return
  cp "$work"/model/model.* "$GPU_CHECK_OUT" && cp "$work"/model/*.png "$GPU_CHECK_OUT"
}

"$1"
