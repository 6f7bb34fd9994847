"""Timings of mri2pet: the command `mri2pet-bench` (installed as `mri2pet.bench`)."""
