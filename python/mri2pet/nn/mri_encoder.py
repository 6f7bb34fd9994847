"""The condition: the whole MRI as one vector that is added to the time embedding."""

from __future__ import annotations

import itertools
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.nn.blocks import EMBEDDING, exact_gradients
from mri2pet.nn.convolution import Conv3d

CHANNELS = (1, 8, 16, 32, 64)


class MRIEncoder(nn.Module):
    """Four times [conv, ReLU, max-pool], then two linear layers. [B, 1, K, I, J] → [B, 256]."""

    def __init__(self, mri_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.mri_shape = mri_shape
        self.conv = nn.ModuleList(
            Conv3d(cin, cout, bias=True) for cin, cout in itertools.pairwise(CHANNELS)
        )
        features = CHANNELS[-1] * prod(n // 16 for n in mri_shape)
        self.fc1 = nn.Linear(features, EMBEDDING)
        self.fc2 = nn.Linear(EMBEDDING, EMBEDDING)

    def forward(self, mri: Tensor) -> Tensor:
        if mri.dim() != 5 or mri.shape[1:] != (1, *self.mri_shape):
            raise ValueError(f"MRI {tuple(mri.shape)} is not [B, 1, {self.mri_shape}]")
        x = mri
        for conv in self.conv:
            with exact_gradients(x) as x:
                x = F.max_pool3d(F.relu(conv(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))
