#!/usr/bin/env bash
# Prepares what `gpu_check.sh` takes along to a machine with a GPU and no network: wheels that such
# a machine lacks (.whl/), a native module for its Python and GPU (python/mri2pet/_C.cpython-312-*),
# and a packed cohort to train on (.pack/cohort.npz). git ignores all three, so name them when the
# tree is copied. Together with the tree they stay below 64 MB.
#
#   bash tools/gpu_pack.sh [COHORT]
#
# COHORT: a simulated cohort (`mri2pet phantom`); without it, and without .pack/cohort.npz from
# before, the training stage has nothing to learn from. Needs network for the wheels, nvcc for the
# module, and for that a Python 3.12 with its headers: PYTHON312=/path/to/python3.12, or one that is
# found by itself. Without it the other machine builds the module, in about a minute.
# ARCHITECTURES=90 names the GPU's architecture.
set -u
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
status=0

mkdir -p .whl .pack
git describe --always --dirty --abbrev=40 >.pack/revision 2>/dev/null || rm -f .pack/revision

# ---- Wheels: the versions that are pinned here.
pinned() { grep -E "^$1==" constraints.txt | head -n 1 | cut -d' ' -f1; }
wheels=()
for name in pydantic pydantic-core annotated-types typing-inspection; do
  version=$(pinned "$name" || true)
  [ -n "$version" ] || version=$(pinned "${name//-/_}" || true)
  wheels+=("${version:-$name}")
done
rm -f .whl/*.whl
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 \
  --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
  --platform manylinux2014_x86_64 -d .whl "${wheels[@]}" || { echo "no wheels"; status=1; }

# ---- The native module.
has_headers='import os, sys, sysconfig
ok = sys.version_info[:2] == (3, 12)
sys.exit(not (ok and os.path.exists(sysconfig.get_paths()["include"] + "/Python.h")))'
python312=
for candidate in "${PYTHON312:-}" python3.12 ~/.pyenv/versions/3.12*/bin/python; do
  [ -n "$candidate" ] && "$candidate" -c "$has_headers" 2>/dev/null && python312=$candidate && break
done
if [ -n "$python312" ]; then
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  if MRI2PET_CUDA=ON "$python312" -m pip wheel -q --no-deps -w "$build" \
    -C "cmake.define.MRI2PET_CUDA_ARCHITECTURES=${ARCHITECTURES:-90}" \
    -C "build-dir=$build/cmake" . && "$python312" -m zipfile -e "$build"/*.whl "$build/wheel"; then
    cp "$build"/wheel/mri2pet/_C.cpython-312-*.so python/mri2pet/
  else
    echo "the native module was not built"
    status=1
  fi
else
  echo "no Python 3.12 with headers: the other machine builds the native module"
  rm -f python/mri2pet/_C.cpython-312-*.so
fi

# ---- The cohort.
if [ $# -gt 0 ]; then
  PYTHONPATH=python "$python" tools/pack_cohort.py "$1" .pack/cohort.npz 40 || status=1
fi

# ---- What it adds up to.
carried=(.whl .pack python/mri2pet/_C.cpython-312-*.so)
ls -l .whl .pack python/mri2pet/_C.cpython-312-*.so 2>/dev/null
tree=$(git ls-files -z | xargs -0 du -cb | tail -n 1 | cut -f1)
extra=$(du -cb "${carried[@]}" 2>/dev/null | tail -n 1 | cut -f1)
echo "tree $tree bytes, taken along $extra, together $(((tree + extra) / 1048576)) of 64 MiB"
[ $((tree + extra)) -lt $((64 * 1048576)) ] || status=1
exit "$status"
