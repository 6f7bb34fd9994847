"""What a model drew of one MRI. Without torch, so that a process that draws nothing can hold it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """Of one MRI in model space, float32, SUVR.

    Attributes:
        samples: [S, K, I, J].
        mean: [K, I, J], by `engines.mean.mean_of_samples`.
    """

    samples: np.ndarray
    mean: np.ndarray
