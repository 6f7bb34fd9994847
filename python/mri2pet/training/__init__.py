"""Training: the data set's variations, the step, the run folder, and the run itself."""

from mri2pet.training.run import train

__all__ = ["train"]
