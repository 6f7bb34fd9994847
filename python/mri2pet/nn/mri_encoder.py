"""The condition: the whole MRI as one vector that is added to the time embedding."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.nn.blocks import EMBEDDING, exact_gradients
from mri2pet.nn.convolution import Conv3d

CHANNELS = (1, 8, 16, 32, 64)


class MRIEncoder(nn.Module):
    """Four times [conv, ReLU, max-pool], then two linear layers. [B, 1, K, I, J] → [B, 256].

    Args:
        mri_shape: K, I, J.
        convolution: makes a 3 × 3 × 3 convolution, called as convolution(cin, cout, bias=True).
    """

    def __init__(
        self, mri_shape: tuple[int, int, int], convolution: Callable[..., nn.Module] = Conv3d
    ) -> None:
        super().__init__()
        self.mri_shape = mri_shape
        self.conv = nn.ModuleList(
            convolution(cin, cout, bias=True) for cin, cout in itertools.pairwise(CHANNELS)
        )
        features = CHANNELS[-1] * prod(n // 16 for n in mri_shape)
        self.fc1 = nn.Linear(features, EMBEDDING)
        self.fc2 = nn.Linear(EMBEDDING, EMBEDDING)

    def convolved(self, mri: Tensor, levels: int = 4) -> Tensor:
        """The map after so many poolings, [B, C, K / 2^levels, I / 2^levels, J / 2^levels]."""
        if mri.dim() != 5 or mri.shape[1:] != (1, *self.mri_shape):
            raise ValueError(f"MRI {tuple(mri.shape)} is not [B, 1, {self.mri_shape}]")
        x = mri
        for conv in self.conv[:levels]:
            with exact_gradients(x) as x:
                x = F.max_pool3d(F.relu(conv(x)), 2)
        return x

    def forward(self, mri: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(self.convolved(mri).flatten(1))))
