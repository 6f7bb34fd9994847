#!/usr/bin/env bash
# Everything that only a GPU can tell, in one call: facts, tests, profile, timings, sanitizer, and a
# training run with the time that is left. For a bare machine with Python 3.12, PyTorch, the CUDA
# toolkit and no network; `tools/gpu_pack.sh` prepares what is taken along.
#
#   bash tools/gpu_check.sh [OUT] [--seconds N] [--only STAGE,…] [--skip STAGE,…]
#
# OUT (or $OUT, or build/gpu_check) gets gpu_check.log, results.json and, from the training, a model
# with its pictures: at most 8 files of 16 MiB. --seconds: all stages together, 500 by default.
# Stages: setup facts tests profile ops convolution network step sample sanitizer training. One that
# fails or runs out of its time stops no other; the exit status is the number of those that failed.
# MRI2PET_GPU_CHECK_DEVICE=cpu rehearses all of it without a GPU, at tiny sizes.
set -u
cd "$(dirname "$0")/.." || exit 1

export GPU_CHECK_DEVICE=${MRI2PET_GPU_CHECK_DEVICE:-cuda}
# A rehearsal is no measurement: it may run beside anything.
[ "$GPU_CHECK_DEVICE" = cuda ] && slack=1 || slack=5
out= total=$((500 * slack)) only= skip=
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) total=$2; shift 2 ;;
    --only) only=,$2,; shift 2 ;;
    --skip) skip=,$2,; shift 2 ;;
    -*) echo "gpu_check: unknown option $1" >&2; exit 2 ;;
    *) out=$1; shift ;;
  esac
done
out=${out:-${OUT:-build/gpu_check}}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export GPU_CHECK_OUT=$out GPU_CHECK_WORK=$work
export PYTHON=${PYTHON:-python3} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=$PWD/python:$work/site${PYTHONPATH:+:$PYTHONPATH}
log=$out/gpu_check.log
: >"$log"
failed=0 summary=
ending_s=5 # to write the results

# stage NAME MOST LEAST: runs it for at most MOST seconds, if LEAST are left.
stage() {
  local name=$1 most=$(($2 * slack)) least=$3 begun=$SECONDS status line
  local left=$((total - SECONDS - ending_s))
  [ -z "$only" ] || [[ $only == *,$name,* ]] || [ "$name" = setup ] || return 0
  [[ $skip != *,$name,* ]] || return 0
  if [ "$left" -lt "$least" ]; then
    line="$name skipped: $left s left, $least needed"
    [ "$GPU_CHECK_DEVICE" = cuda ] || failed=$((failed + 1)) # nothing was rehearsed
  else
    [ "$left" -ge "$most" ] || most=$left
    GPU_CHECK_SECONDS=$most timeout --kill-after=5 "$most" \
      bash tools/gpu_check/stages.sh "$name" >"$work/$name.log" 2>&1
    status=$?
    line="$name $([ $status = 0 ] && echo ok || echo "FAILED ($status)") $((SECONDS - begun)) s"
    [ $status = 0 ] || failed=$((failed + 1))
    { echo "===== $line"; cat "$work/$name.log"; } >>"$log"
    if [ $status = 0 ]; then tail -n 8 "$work/$name.log"; else tail -n 25 "$work/$name.log"; fi |
      cut -c1-240
  fi
  echo "== $line"
  summary+="$line"$'\n'
  printf '%s' "$summary" >"$work/summary.txt"
  "$PYTHON" tools/gpu_check/collect.py "$work" "$out/results.json" || echo "results not written"
}

stage setup 150 1
stage facts 40 5
stage tests 120 30
stage convolution 90 20
stage profile 75 20
stage ops 90 20
stage network 45 20
stage step 45 20
stage sample 130 25
stage sanitizer 95 40
stage training 240 40

echo "----- $SECONDS s, $failed failed"
printf '%s' "$summary" | tee -a "$log"
exit "$failed"
