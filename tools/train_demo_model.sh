#!/bin/sh
# Makes the bundled demo model again, from nothing: simulated cohorts, two trainings, bundle,
# evaluation and calibration.
#   tools/train_demo_model.sh WORKING_FOLDER
# The first network learnt before a seed of a training counted, so the weights come out otherwise.
# Each command resumes where it was stopped. Times and results: docs/demo_model.md
set -eu
work=$1
here=$(cd "$(dirname "$0")/.." && pwd)
jobs=$(nproc)
model=$here/python/mri2pet/models/demo

# What an anatomy looks like in a PET.
mri2pet phantom "$work/first" --pairs 320 --unpaired 0 --seed 2026 --jobs "$jobs"
mri2pet train "$work/start" --data "$work/first" --preset compact --set model.linear_components=0 \
  --set data.registration=truth --set "data.jobs=$jobs" --set training.volumes=9000 \
  --set training.batch_size=4

# How people differ in amyloid.
mri2pet phantom "$work/cohort" --pairs 1000 --unpaired 0 --seed 2027 --jobs "$jobs"
mri2pet cohort build "$work/cohort" -o "$work/people.tsv" --fractions 0.96,0.04,0 \
  --filter T1w:ses=01 --filter pet:ses=01
mri2pet train "$work/run" --data "$work/people.tsv" --preset compact --init "$work/start" \
  --set data.registration=truth --set "data.jobs=$jobs" --set training.volumes=3000 \
  --set training.lr=1e-4 --set training.warmup_volumes=100 --set training.batch_size=4 \
  --set training.augment=false
python "$here/tools/bundle_model.py" "$work/run" "$model"

# The intervals that hold for people of another seed, and what it is worth on those of a third.
known="--registration truth --training-data $work/people.tsv --training-registration truth"
mri2pet phantom "$work/held_out" --pairs 110 --unpaired 0 --seed 7 --jobs "$jobs"
mri2pet cohort build "$work/held_out" -o "$work/held.tsv" --fractions 0,0.42,0.58 --seed 7 \
  --filter T1w:ses=01 --filter pet:ses=01
mri2pet calibrate "$model" --data "$work/held.tsv" -o "$work/calibration" --split val $known \
  --cohort-name ''
mri2pet phantom "$work/fresh" --pairs 110 --unpaired 0 --seed 13 --jobs "$jobs"
mri2pet cohort build "$work/fresh" -o "$work/fresh.tsv" --fractions 0,0,1 --seed 13 \
  --filter T1w:ses=01 --filter pet:ses=01
for samples in 4 8; do
  mri2pet evaluate "$model" --data "$work/fresh.tsv" -o "$work/evaluation-$samples" --split test \
    --limit 80 --samples $samples $known
done
