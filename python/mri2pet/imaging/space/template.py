"""The template that model space is defined by: nilearn's own files, offline.

MNI152NLin2009aSym (symmetric ICBM 152, 2009a), skull-stripped; Fonov et al. 2011,
NeuroImage 54:313. The 2 mm form, which every registration needs and nilearn takes seconds to
resample, lies beside this file (`template_2mm.md` says under which terms).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from mri2pet.imaging.space.volume import Volume

STORED = Path(__file__).with_name("template_2mm.npz")
"""The 2 mm form, packed by `tools/store_template.py`."""

_UNITS = {"template": "a.u.", "brain_mask": "1", "gm": "1", "wm": "1"}


def template(resolution_mm: int = 2) -> Volume:
    """The stripped T1 template, values 0 to 1, at 1 or 2 mm, RAS+ axes."""
    return _load("template", resolution_mm)


def template_mask(resolution_mm: int = 2) -> Volume:
    """The template's brain mask, bool."""
    return _load("brain_mask", resolution_mm)


def template_gm(resolution_mm: int = 2) -> Volume:
    """Grey-matter probability, 0 to 1."""
    return _load("gm", resolution_mm)


def template_wm(resolution_mm: int = 2) -> Volume:
    """White-matter probability, 0 to 1."""
    return _load("wm", resolution_mm)


def grid_around(margin_mm: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """The template's 1 mm grid with a margin on every side: its shape and its affine."""
    coarse = template_mask(2)
    x, y, z = (2 * n - 1 + 2 * margin_mm for n in coarse.shape)
    affine = np.eye(4)
    affine[:3, 3] = coarse.affine[:3, 3] - margin_mm
    return (x, y, z), affine


@cache
def _load(name: str, resolution_mm: int) -> Volume:
    if resolution_mm not in (1, 2):
        raise ValueError(f"the template comes at 1 or 2 mm, not {resolution_mm}")
    volume = _stored(name) if resolution_mm == 2 else from_nilearn(name, resolution_mm)
    volume.data.setflags(write=False)
    return volume


def _stored(name: str) -> Volume:
    """What `from_nilearn` gives at 2 mm, to float32's rounding: it comes in steps of 1/255."""
    with np.load(STORED) as stored:
        steps, affine = stored[name], stored["affine"]
    data = steps > 0 if name == "brain_mask" else steps.astype(np.float32) / np.float32(255)
    return Volume(data, affine, _UNITS[name])


def from_nilearn(name: str, resolution_mm: int) -> Volume:
    """One of `template`, `brain_mask`, `gm` and `wm`, as nilearn resamples it."""
    from nilearn import datasets

    suffix = "_template" if name in ("gm", "wm") else ""
    image = getattr(datasets, f"load_mni152_{name}{suffix}")(resolution=resolution_mm)
    values = np.asarray(image.dataobj, dtype=np.float32)
    data = values > 0.5 if name == "brain_mask" else values
    return Volume(data, image.affine, _UNITS[name])
