"""VGG19 with random weights, and small volumes."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.style.vgg import Vgg19, load_vgg

PET_SHAPE = (4, 12, 16)
MRI_SHAPE = (6, 18, 24)


@pytest.fixture(scope="session")
def random_vgg() -> Vgg19:
    return load_vgg(random=True)


def blobs(shape, seed):
    """A smooth random volume in [0, 1], empty in its lowest slice."""
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.random.default_rng(seed).random(shape), 2.0)
    values = (values - values.min()) / (values.max() - values.min())
    values[0] = 0.0
    return values.astype(np.float32)


@pytest.fixture
def mri() -> np.ndarray:
    return blobs(MRI_SHAPE, 1)


@pytest.fixture
def pet() -> np.ndarray:
    return blobs(PET_SHAPE, 2)
