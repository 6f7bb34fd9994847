"""The linear denoiser of a run, from the targets that it learns."""

from __future__ import annotations

import numpy as np
import torch

from mri2pet.nn.linear_denoiser import LinearDenoiser
from mri2pet.nn.network import mri_on_pet_grid
from mri2pet.training.targets import StageData

MOST = 1000
"""Pairs that are held at once: 1 GB of 32 x 64 x 64 voxels."""


def fit_linear_denoiser(linear: LinearDenoiser, data: StageData) -> None:
    """Fits it to the training targets, evenly chosen ones where there are more than `MOST`."""
    count = len(data.train)
    chosen = np.linspace(0, count - 1, min(count, MOST)).round().astype(int)
    volumes, mris = torch.empty(2, len(chosen), linear.mean.numel())
    for n, index in enumerate(chosen.tolist()):
        mri, target = data.train[index][:2]
        volumes[n] = (target.flatten() - data.mean) / data.std
        k, i, j = target.shape[-3:]
        mris[n] = mri_on_pet_grid(mri[None], (k, i, j)).flatten()
    linear.fit(volumes, mris, [data.rows[index].subject for index in chosen.tolist()])
