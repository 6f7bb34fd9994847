#!/usr/bin/env bash
# Runs the tests of the CUDA kernels under compute-sanitizer: out-of-bounds and misaligned accesses,
# races in shared memory, misused barriers.
#
#   bash bench/compute_sanitizer.sh [--seconds N] [-k EXPRESSION] [--dry-run] [TOOL…]
#
# TOOL: memcheck, racecheck, synccheck (default: all). They run side by side, each for at most N
# seconds (3600). -k: which tests, as pytest takes it. --dry-run runs them without the sanitizer.
# initcheck would see nothing: the tests fill the memory that torch hands out before a kernel
# writes it. Needs a GPU, compute-sanitizer and mri2pet with its test extra. The largest shapes are
# left out: under the tool they take hours.
set -u

repository=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3} seconds=3600 dry=
expression='not full and not captured and not noise_is'
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    -k) expression=$2; shift 2 ;;
    --dry-run) dry=1; shift ;;
    -*) echo "compute_sanitizer: unknown option $1" >&2; exit 2 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || set -- memcheck racecheck synccheck

# Only our own kernels: torch's are many, and each that is instrumented costs time.
ours=(--kernel-name kns=mri2pet)
if [ -z "$dry" ]; then
  command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not there" >&2; exit 2; }
  answer=$(compute-sanitizer --tool memcheck "${ours[@]}" true 2>&1)
  case $answer in
    *nrecogni[sz]ed* | *[Ii]nvalid* | *[Uu]sage:*)
      echo "all kernels are checked: $answer"
      ours=()
      ;;
  esac
fi

check() { # TOOL
  local command=()
  [ -n "$dry" ] || command=(compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20
    --target-processes all "${ours[@]}")
  # torch keeps freed memory; the sanitizer sees the true ends of tensors only without that cache.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout --kill-after=5 "$seconds" "${command[@]}" \
    "$python" -m pytest -c "$repository/pyproject.toml" --rootdir="$repository" -q -m gpu \
    -p no:cacheprovider -k "$expression" "$repository/tests/ops/test_cuda_ops.py" \
    "$repository/tests/ops/test_cuda_conv3d.py"
}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
declare -A running=()
for tool in "$@"; do
  check "$tool" >"$logs/$tool" 2>&1 &
  running[$tool]=$!
done
failures=0
for tool in "$@"; do
  wait "${running[$tool]}"
  status=$?
  [ "$status" = 0 ] || failures=1
  echo "----- $tool: exit status $status (9: it found an error, 124: out of time)"
  cat "$logs/$tool"
done
for tool in "$@"; do
  echo "$tool: $(grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY|passed|failed|skipped' "$logs/$tool" |
    tail -n 2 | tr '\n' ' ')"
done
exit "$failures"
