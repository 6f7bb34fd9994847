"""From T1-weighted images to synthetic AV45 PET volumes with their spread, numbers and report."""

from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.result import SynthesisResult
from mri2pet.synthesis.run import synthesize

__all__ = ["Observer", "SynthesisOptions", "SynthesisResult", "synthesize"]
