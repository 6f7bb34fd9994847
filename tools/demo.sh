#!/bin/sh
# usage: demo.sh OUT [T1 [OPTION…]]
#
# Synthesises a PET volume from one T1 into the folder OUT with the installed `mri2pet`, and says how
# long it took and where the report is. Without T1: the ICBM152 average of 152 real T1-weighted scans
# (skull-stripped) that comes with nilearn, so that nothing has to be downloaded.
set -eu

out=$1
t1=${2:-}
[ $# -lt 2 ] || shift
shift

if [ -n "$t1" ] && [ ! -e "$t1" ]; then
  echo "demo: $t1: there is no such file; the last demo was left as it is" >&2
  exit 1
fi
rm -rf "$out"
mkdir -p "$out"
if [ -z "$t1" ]; then
  t1=$out/icbm152_T1w.nii.gz
  python -c '
import sys
from nilearn.datasets import load_mni152_template
load_mni152_template(resolution=1).to_filename(sys.argv[1])' "$t1"
  set -- --skull-stripped "$@"
fi

start=$(date +%s)
mri2pet synthesize "$t1" -o "$out" "$@"
seconds=$(($(date +%s) - start))
echo "demo: $seconds s; open $(find "$out" -name report.html)"
