"""The template that model space is defined by, read offline from nilearn's own files.

MNI152NLin2009aSym (symmetric ICBM 152, 2009a), skull-stripped; Fonov et al. 2011,
NeuroImage 54:313.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mri2pet.imaging.space.volume import Volume


def template(resolution_mm: int = 2) -> Volume:
    """The stripped T1 template, values 0 to 1, at 1 or 2 mm, RAS+ axes."""
    return _load("load_mni152_template", resolution_mm, "a.u.")


def template_mask(resolution_mm: int = 2) -> Volume:
    """The template's brain mask, bool."""
    return _load("load_mni152_brain_mask", resolution_mm, "1")


def template_gm(resolution_mm: int = 2) -> Volume:
    """Grey-matter probability, 0 to 1."""
    return _load("load_mni152_gm_template", resolution_mm, "1")


def template_wm(resolution_mm: int = 2) -> Volume:
    """White-matter probability, 0 to 1."""
    return _load("load_mni152_wm_template", resolution_mm, "1")


def grid_around(margin_mm: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """The template's 1 mm grid with a margin on every side: its shape and its affine."""
    coarse = template_mask(2)
    x, y, z = (2 * n - 1 + 2 * margin_mm for n in coarse.shape)
    affine = np.eye(4)
    affine[:3, 3] = coarse.affine[:3, 3] - margin_mm
    return (x, y, z), affine


@cache
def _load(loader: str, resolution_mm: int, unit: str) -> Volume:
    if resolution_mm not in (1, 2):
        raise ValueError(f"the template comes at 1 or 2 mm, not {resolution_mm}")
    from nilearn import datasets

    image = getattr(datasets, loader)(resolution=resolution_mm)
    values = np.asarray(image.dataobj, dtype=np.float32)
    data = values > 0.5 if loader == "load_mni152_brain_mask" else values
    data.setflags(write=False)
    return Volume(data, image.affine, unit)
