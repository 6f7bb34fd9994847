"""Gaussian smoothing on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from mri2pet.imaging.space.resampling import cores


def gaussian(
    values: np.ndarray, sigma: Sequence[float], mode: str = "reflect", truncate: float = 4.0
) -> np.ndarray:
    """`scipy.ndimage.gaussian_filter` to the bit, each axis in as many parts as there are cores.

    Args:
        values: `[X, Y, Z]`.
        sigma: standard deviation along each axis, voxels.
        mode: what lies beyond the edges, as scipy names it.
        truncate: standard deviations at which the filter ends.

    Returns:
        float32 `[X, Y, Z]`.
    """
    from scipy.ndimage import gaussian_filter1d

    smoothed = np.asarray(values, dtype=np.float32)
    with ThreadPoolExecutor(cores()) as pool:  # scipy filters outside the interpreter lock
        for axis, width in enumerate(sigma):
            if width <= 1e-15:  # as scipy
                continue
            source, smoothed = smoothed, np.empty_like(smoothed)
            # The filter runs along one axis, so parts may lie side by side along another.
            across = 0 if axis else 1
            ends = np.linspace(0, source.shape[across], cores() + 1).astype(int)
            parts = [
                (slice(None),) * across + (slice(start, end),)
                for start, end in pairwise(ends)
                if end > start
            ]
            options = {"mode": mode, "truncate": truncate}
            jobs = [
                pool.submit(
                    gaussian_filter1d, source[p], width, axis, output=smoothed[p], **options
                )
                for p in parts
            ]
            for job in jobs:
                job.result()
    return smoothed
