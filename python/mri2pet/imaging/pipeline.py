"""One call from a T1 to model space: `preprocess`."""

from __future__ import annotations

from mri2pet.imaging.model_space import pet_to_model_space, to_model_space

__all__ = ["pet_to_model_space", "to_model_space"]
