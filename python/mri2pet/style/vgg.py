"""The first five convolutions of VGG19 as torchvision has them, and where their weights come from.

Style transfer needs nothing behind conv_5, so only that much is built, with torchvision's own
parameter names; torchvision itself is not needed. Simonyan & Zisserman 2015,
arXiv:1409.1556.

Two files are known by their hashes. Both take RGB in [0, 1] standardised by ImageNet's mean and
standard deviation, but their features differ in scale, and with it the balance of style and
content, so each has a style weight of its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mri2pet.weights import KnownFile, WeightsOrigin, WeightsSource, he_normal

#: Index in VGG19's `features` → (input channels, output channels), conv_1 to conv_5.
CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
MIN_SIZE = 4

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_POOLS = (4, 9)

#: As published; its name gives the first digits of its SHA-256.
TORCHVISION = KnownFile(
    "torchvision VGG19_Weights.IMAGENET1K_V1",
    "dcbb9e9d",
    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
)

#: The weights of Simonyan & Zisserman's Caffe model, every filter scaled to a mean activation of
#: about 1 over natural images (Gatys et al. 2016), as AdaIN and WCT use them. Their own first
#: layer, RGB in [0, 1] → BGR less the mean colour, is folded into conv_1, so that they take what
#: torchvision's take.
NORMALISED = KnownFile(
    "VGG19 normalised (Oxford)",
    "e9e3459ff5493f75ca3f6223c1a5ac09bdc98c2df98325ad5da8844d5a793fa9",
)

SOURCE = WeightsSource("VGG19", (TORCHVISION, NORMALISED), "vgg", "--download")

#: Of the known files, beside a content weight of 1, see `transfer.StyleOptions`: the paper's, and
#: what was measured, see docs/style_transfer.md.
STYLE_WEIGHTS = {TORCHVISION: 1e3, NORMALISED: 1e5}


def style_weight_of(origin: WeightsOrigin) -> float | None:
    """The style weight that goes with a known file; None for other weights."""
    known = origin.known(tuple(STYLE_WEIGHTS)) if origin.pretrained else None
    return None if known is None else STYLE_WEIGHTS[known]


class Vgg19(nn.Module):
    """conv_1 … conv_5 of VGG19 behind ImageNet's normalisation; frozen, in evaluation mode.

    Args:
        origin: where the weights come from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, origin: WeightsOrigin) -> None:
        super().__init__()
        self.origin = origin
        layers: list[nn.Module] = []
        for index in range(max(CONVOLUTIONS) + 1):
            if index in CONVOLUTIONS:
                layers.append(nn.Conv2d(*CONVOLUTIONS[index], kernel_size=3, padding=1))
            else:
                layers.append(nn.MaxPool2d(2) if index in _POOLS else nn.ReLU())
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Outputs of conv_1 … conv_5, before their ReLUs.

        Args:
            image: `[S, 3, H, W]` in [0, 1], H and W at least 4.

        Returns:
            `[S, C, H', W']` each, C = 64, 64, 128, 128, 256.

        Raises:
            ValueError: another shape.
        """
        if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < MIN_SIZE:
            raise ValueError(f"images are [S, 3, H, W] with H, W >= 4, not {tuple(image.shape)}")
        x = (image - self.mean) / self.std
        outputs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in CONVOLUTIONS:
                outputs.append(x)
        return outputs


def load_vgg(
    weights: Path | str | None = None,
    *,
    sha256: str | None = None,
    download: bool = False,
    random: bool = False,
) -> Vgg19:
    """VGG19 with weights as `WeightsSource.parameters` takes and refuses them."""
    found = SOURCE.parameters(weights, sha256=sha256, download=download, random=random)
    vgg = Vgg19(WeightsOrigin("", "", pretrained=False))
    if found is None:
        vgg.origin = he_normal(dict(vgg.named_parameters()))
    else:
        given, vgg.origin = found
        SOURCE.fill(vgg, given, weights)
    return vgg
