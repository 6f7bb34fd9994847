"""mri2pet: a synthetic AV45 (amyloid) PET volume from a T1-weighted brain MRI.

Importing this package is cheap: the public calls load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

WARNING = (
    "Research software, not a medical device. This image was predicted from an MRI: "
    "no tracer was given and no amyloid was measured."
)

_PUBLIC = {
    "synthesize": "mri2pet.synthesis",
    "preprocess": "mri2pet.imaging.pipeline",
    "load_model": "mri2pet.checkpoint",
    "save_model": "mri2pet.checkpoint",
    "convert_authors_checkpoint": "mri2pet.convert",
    "train": "mri2pet.training",
    "sample": "mri2pet.engines.sampling",
    "Mri2petError": "mri2pet.errors",
    "InputError": "mri2pet.errors",
    "ModelError": "mri2pet.errors",
    "UsageError": "mri2pet.errors",
}

__all__ = ["WARNING", "__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mri2pet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
