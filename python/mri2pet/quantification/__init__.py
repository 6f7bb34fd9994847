"""Numbers of PET volumes: means over an atlas, a cortical composite, Centiloid, status."""

from mri2pet.quantification.run import Quantified, quantify
from mri2pet.quantification.settings import Quantification

__all__ = ["Quantification", "Quantified", "quantify"]
