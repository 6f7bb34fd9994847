"""SUVR as 16 bit integers with one slope for a series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.errors import InputError

TOP = 32767


@dataclass(frozen=True, eq=False)
class Quantised:
    """Stored values and the slope as it stands in the header.

    Attributes:
        stored: int16, of the shape of the values.
        slope: a decimal string of at most 16 characters; value = stored * slope. Every value is
            met to half of it.
    """

    stored: np.ndarray
    slope: str


def quantise(values: np.ndarray) -> Quantised:
    """The values over the largest one's share of 32767.

    The slope is rounded to nine digits first, and the values are divided by what the digits say.

    Raises:
        InputError: a value is no number.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("the PET holds values that are no numbers; synthesise it again.")
    peak = float(np.abs(values).max())
    slope = f"{peak / TOP if peak > 0 else 1.0:.9g}"
    stored = np.clip(np.rint(values / float(slope)), -TOP, TOP).astype(np.int16)
    return Quantised(stored, slope)
