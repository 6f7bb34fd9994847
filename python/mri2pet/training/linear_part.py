"""The linear denoiser of a run, from the targets that it learns."""

from __future__ import annotations

import numpy as np
import torch

from mri2pet.nn.linear_denoiser import LinearDenoiser
from mri2pet.training.targets import StageData

MOST = 1000
"""Volumes that are held at once: 0.5 GB of 32 x 64 x 64 voxels."""


def fit_linear_denoiser(linear: LinearDenoiser, data: StageData) -> None:
    """Fits it to the training targets, evenly chosen ones where there are more than `MOST`."""
    count = len(data.train)
    chosen = np.linspace(0, count - 1, min(count, MOST)).round().astype(int)
    volumes = torch.empty(len(chosen), linear.mean.numel())
    for row, index in zip(volumes, chosen.tolist(), strict=True):
        row.copy_((data.train[index][1].flatten() - data.mean) / data.std)
    linear.fit(volumes)
