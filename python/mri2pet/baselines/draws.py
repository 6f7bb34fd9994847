"""Everything random of a micro-batch but dropout: each number a function of (seed, volume).

A run that was killed goes on with the same numbers, and nothing random has to be saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mri2pet.baselines.networks import NOISE
from mri2pet.randomness import random_of


@dataclass(frozen=True)
class Draws:
    """What the volumes first … first + count − 1 of a run get in one part's turn.

    Attributes:
        seed: of the run.
        phase: whose turn; the parts draw apart.
        first, count: the numbers of the volumes.
        pairs: training pairs, and so anchors.
        device: where the tensors are needed.
    """

    seed: int
    phase: str
    first: int
    count: int
    pairs: int
    device: torch.device | str = "cpu"

    def normal(self, name: str, *shape: int) -> Tensor:
        """Standard normal, float32 [B, *shape]."""
        return self._each(name, lambda r: r.standard_normal(shape, np.float32), np.float32)

    def uniform(self, name: str) -> Tensor:
        """In [0, 1), float32 [B]."""
        return self._each(name, lambda r: r.random((), np.float32), np.float32)

    def integers(self, name: str, low: int, high: int) -> Tensor:
        """low … high − 1, int64 [B]."""
        return self._each(name, lambda r: r.integers(low, high), np.int64)

    def kept(self, name: str, share: float, *shape: int) -> Tensor:
        """Each place is 1 with the probability `share`, else 0; float32 [B, *shape]."""
        return self._each(name, lambda r: r.random(shape) < share, np.float32)

    def subset(self, name: str, size: int, chosen: int) -> Tensor:
        """Exactly `chosen` of `size` places, one set for the whole micro-batch; bool [size]."""
        places = random_of(self.seed, self.phase, name, "all", self.first).permutation(size)
        return torch.from_numpy(places < chosen).to(self.device)

    def z(self) -> Tensor:
        """The generator's noise, [B, 256]."""
        return self.normal("z", NOISE)

    def z_near_anchors(self, spread: float) -> Tensor:
        """a_k + spread · ξ, [B, 256]: one anchor a_k for each training pair, k uniform.

        An anchor is a function of (seed, k) and never stored.
        """

        def near(r: np.random.Generator) -> NDArray[Any]:
            anchor = random_of(self.seed, "anchor", r.integers(self.pairs)).standard_normal(NOISE)
            return anchor + spread * r.standard_normal(NOISE)

        return self._each("z near anchors", near, np.float32)

    def noisy(self, mri: Tensor) -> Tensor:
        """The MRI with N(0, 1) added to each voxel, as the published baselines condition on it."""
        return mri + self.normal("noise of the MRI", *mri.shape[1:])

    def _each(
        self,
        name: str,
        draw: Callable[[np.random.Generator], ArrayLike],
        dtype: type[np.float32 | np.int64],
    ) -> Tensor:
        numbers = range(self.first, self.first + self.count)
        values = [draw(random_of(self.seed, self.phase, name, n)) for n in numbers]
        return torch.from_numpy(np.stack(values).astype(dtype)).to(self.device)
