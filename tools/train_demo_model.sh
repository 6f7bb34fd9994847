#!/bin/sh
# Makes the bundled demo model again, from nothing: simulated cohort, training, evaluation, bundle.
#   tools/train_demo_model.sh WORKING_FOLDER
# Its network is from before the linear denoiser, so that is left out. The seed of a training counts
# since; the weights come out otherwise.
# Each command resumes where it was stopped. Times and results: docs/demo_model.md
set -eu
work=$1
here=$(cd "$(dirname "$0")/.." && pwd)
jobs=$(nproc)

mri2pet phantom "$work/cohort" --pairs 320 --unpaired 0 --seed 2026 --jobs "$jobs"
mri2pet train "$work/run" --data "$work/cohort" --preset compact --set model.linear_components=0 \
  --set data.registration=truth --set "data.jobs=$jobs" --set training.volumes=9000 \
  --set training.batch_size=4
mri2pet phantom "$work/held_out" --pairs 24 --unpaired 0 --seed 7 --jobs "$jobs"
python "$here/tools/bundle_model.py" "$work/run" "$here/python/mri2pet/models/demo"
mri2pet evaluate "$work/run" --data "$work/held_out" -o "$work/evaluation" --split all \
  --registration estimate --samples 8 --limit 26 \
  --training-data "$work/cohort" --training-registration truth
