"""Inception v3 up to its 2,048 pooled features, with torchvision's parameter names.

Szegedy et al. 2016, arXiv:1512.00567, in the form of torchvision's ImageNet weights; torchvision
itself is not needed. The auxiliary head is not built. torchvision's `transform_input`, which goes
with those weights, undoes ImageNet's scaling: in effect the network sees 2x − 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mri2pet.weights import KnownFile, WeightsOrigin, WeightsSource, he_normal

TORCHVISION = KnownFile(
    "torchvision Inception_V3_Weights.IMAGENET1K_V1",
    "0cc3c7bd",
    "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
)
SOURCE = WeightsSource("Inception v3", (TORCHVISION,), "inception", "--download-inception")
SIZE, FEATURES, CLASSES = 299, 2048, 1000


class _Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.bn(self.conv(x)), inplace=True)


def _pool(x: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(x, 3, stride=1, padding=1)


class _A(nn.Module):
    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 64, 1)
        self.branch5x5_1 = _Conv(inputs, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)
        self.branch_pool = _Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        small = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), small, double, self.branch_pool(_pool(x))], 1)


class _B(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, nn.functional.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        row: dict[str, Any] = {"kernel": (1, 7), "padding": (0, 3)}
        column: dict[str, Any] = {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = _Conv(inputs, 192, 1)
        self.branch7x7_1 = _Conv(inputs, width, 1)
        self.branch7x7_2 = _Conv(width, width, **row)
        self.branch7x7_3 = _Conv(width, 192, **column)
        self.branch7x7dbl_1 = _Conv(inputs, width, 1)
        self.branch7x7dbl_2 = _Conv(width, width, **column)
        self.branch7x7dbl_3 = _Conv(width, width, **row)
        self.branch7x7dbl_4 = _Conv(width, width, **column)
        self.branch7x7dbl_5 = _Conv(width, 192, **row)
        self.branch_pool = _Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_pool(x))], 1)


class _D(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Conv(inputs, 192, 1)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(inputs, 192, 1)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        small = self.branch3x3_2(self.branch3x3_1(x))
        large = self.branch7x7x3_2(self.branch7x7x3_1(x))
        large = self.branch7x7x3_4(self.branch7x7x3_3(large))
        return torch.cat([small, large, nn.functional.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 320, 1)
        self.branch3x3_1 = _Conv(inputs, 384, 1)
        self.branch3x3_2a = _Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = _Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = _Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = _Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = _Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(_pool(x)),
        ]
        return torch.cat(parts, 1)


class InceptionV3(nn.Module):
    """The trunk and `fc`; frozen, in evaluation mode."""

    def __init__(self, origin: WeightsOrigin) -> None:
        super().__init__()
        self.origin = origin
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = _C(768, 128), _C(768, 160), _C(768, 160)
        self.Mixed_6e = _C(768, 192)
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280), _E(2048)
        self.fc = nn.Linear(FEATURES, CLASSES)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features [S, 2048] of slices [S, H, W] in [0, 1].

        The shorter side is enlarged to 299 by bilinear interpolation and the middle 299 × 299 are
        taken, as torchvision's transform for these weights does.

        Raises:
            ValueError: another shape.
        """
        if images.ndim != 3:
            raise ValueError(f"slices are [S, H, W], not {tuple(images.shape)}")
        x = _enlarged(images.float()) * 2 - 1
        # The three channels are equal; expanding costs no memory and keeps the published weights.
        x = x[:, None].expand(-1, 3, -1, -1)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = nn.functional.max_pool2d(x, 3, 2)
        x = nn.functional.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(self, f"Mixed_{name}")(x)
        return x.mean((2, 3))


def _enlarged(images: Tensor) -> Tensor:
    height, width = images.shape[1:]
    scale = SIZE / min(height, width)
    size = [SIZE if n == min(height, width) else int(n * scale) for n in (height, width)]
    x = nn.functional.interpolate(images[:, None], size=size, mode="bilinear", align_corners=False)[
        :, 0
    ]
    top, left = (round((n - SIZE) / 2) for n in size)
    return x[:, top : top + SIZE, left : left + SIZE]


def load_inception(
    weights: Path | str | None = None,
    *,
    sha256: str | None = None,
    download: bool = False,
    random: bool = False,
) -> InceptionV3:
    """Inception v3 with weights as `WeightsSource.parameters` takes and refuses them.

    Random weights (He, seed 0) are for tests: distances between their features mean nothing.
    """
    found = SOURCE.parameters(weights, sha256=sha256, download=download, random=random)
    network = InceptionV3(WeightsOrigin("", "", pretrained=False))
    if found is not None:
        given, network.origin = found
        # A counter that evaluation does not use; files in safetensors need not hold it.
        counters = {n: v for n, v in network.state_dict().items() if n.endswith("batches_tracked")}
        SOURCE.fill(network, {**counters, **given}, weights)
        return network
    scales = {n: v for n, v in network.named_parameters() if ".bn." not in n}
    network.origin = he_normal(scales)
    return network
