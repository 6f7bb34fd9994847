#!/bin/sh
# Runs the tests of the CUDA kernels under compute-sanitizer: out-of-bounds and misaligned accesses,
# races in shared memory, reads of memory that nothing wrote, misused barriers.
#
#   sh bench/compute_sanitizer.sh [memcheck|racecheck|initcheck|synccheck …]     (default: all)
#
# Needs a GPU, compute-sanitizer and an installed mri2pet with its test extra. The largest shapes are
# left out: under the tool they take hours.
set -eu

repository=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- memcheck racecheck initcheck synccheck
for tool in "$@"; do
  echo "compute-sanitizer $tool"
  # torch keeps freed memory; the sanitizer sees the true ends of tensors only without that cache.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
    --target-processes all \
    python -m pytest -c "$repository/pyproject.toml" --rootdir="$repository" -q -m gpu \
    -k "not full and not captured and not noise_is" \
    "$repository/tests/ops/test_cuda_ops.py"
done
