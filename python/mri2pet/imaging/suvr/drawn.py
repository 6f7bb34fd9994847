"""What a model drew of one MRI. Without torch, so that a process that draws nothing can hold it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EXPECTED_LEVEL, OF_THE_SAMPLES = "at the level that the model expects", "of the samples"
"""What the mean of a result is, as its settings say it."""


class Drawn(NamedTuple):
    """Of one MRI in model space, float32, SUVR.

    Attributes:
        samples: [S, K, I, J].
        mean: [K, I, J], by `engines.mean.mean_of_samples`.
    """

    samples: np.ndarray
    mean: np.ndarray
