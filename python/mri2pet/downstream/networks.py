"""The classifier and the regressor of the MRI2PET paper's authors: an encoder a volume, a head."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from mri2pet.config import Shape

CODE = 256
CHANNELS = (1, 8, 16, 32)


class Encoder(nn.Module):
    """[B, 1, K, I, J] → [B, 256]: three times convolution 3, ReLU, MaxPool 2; two linear layers.

    No norm and no dropout, as in the authors' code, whose switch for dropout is inverted. Odd sizes
    lose their last slice in each pool.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        pairs = pairwise(CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv3d(i, o, 3, padding=1) for i, o in pairs)
        k, i, j = (n // 2 ** len(self.convolutions) for n in shape)
        self.linear1 = nn.Linear(CHANNELS[-1] * k * i * j, CODE)
        self.linear2 = nn.Linear(CODE, CODE)

    def forward(self, volume: Tensor) -> Tensor:
        for convolution in self.convolutions:
            volume = functional.max_pool3d(functional.relu(convolution(volume)), 2)
        code: Tensor = self.linear2(functional.relu(self.linear1(volume.flatten(1))))
        return code


class Predictor(nn.Module):
    """The codes of one or two volumes, MRI first, and a head.

    Args:
        shapes: `mri`, `pet` or both → (K, I, J).
        outputs: numbers that come out: classes, or 1.
        hidden: layers of 256 in the head: 1 for the authors' classifier, 2 for their regressor.
    """

    def __init__(self, shapes: Mapping[str, Shape], outputs: int, hidden: int) -> None:
        super().__init__()
        names = [name for name in ("mri", "pet") if name in shapes]
        self.encoders = nn.ModuleDict({name: Encoder(shapes[name]) for name in names})
        widths = [CODE * len(names)] + [CODE] * hidden
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(CODE, outputs))

    def forward(self, volumes: Mapping[str, Tensor]) -> Tensor:
        """`mri`, `pet` → [B, 1, K, I, J], those that the network has → [B, outputs]."""
        codes = [encoder(volumes[name]) for name, encoder in self.encoders.items()]
        output: Tensor = self.head(torch.cat(codes, dim=1))
        return output


def classifier(shapes: Mapping[str, Shape], outputs: int) -> Predictor:
    """One logit a class, or a single one."""
    return Predictor(shapes, outputs, hidden=1)


def regressor(shapes: Mapping[str, Shape]) -> Predictor:
    """One number."""
    return Predictor(shapes, 1, hidden=2)
