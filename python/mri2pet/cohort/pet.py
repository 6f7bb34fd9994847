"""The measured PET of a cohort whose transforms are known: its frames as one volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mri2pet.imaging.space.volume import Volume


def static_pet(path: Path) -> Volume:
    """A PET of one or several frames as one volume, in its raw unit: the mean over its late frames.

    The frames are as they are, each by its duration.

    Raises:
        InputError: what `read_pet` raises.
    """
    from mri2pet.imaging.pet.frames import read_pet

    series = read_pet(path)
    mean = np.average(series.frames, axis=0, weights=series.seconds)
    return Volume(mean.astype(np.float32), series.affine, "raw PET")
