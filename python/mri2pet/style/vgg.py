"""The first five convolutions of VGG19 as torchvision has them, and where their weights come from.

Style transfer needs nothing behind conv_5, so only that much is built, with torchvision's own
parameter names; torchvision itself is not needed. Simonyan & Zisserman 2015,
arXiv:1409.1556.

Two files are known by their hashes. Both take RGB in [0, 1] standardised by ImageNet's mean and
standard deviation, but their features differ in scale, and with it the balance of style and
content, so each has a style weight of its own.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.files import missing_target

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

#: Index in VGG19's `features` → (input channels, output channels), conv_1 to conv_5.
CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
MIN_SIZE = 4

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_POOLS = (4, 9)
_RANDOM_SEED = 0


@dataclass(frozen=True)
class KnownFile:
    """A weights file that is known by its hash.

    Attributes:
        source: what it is.
        sha256: of the file, or as much of it as its publisher tells.
        style_weight: beside a content weight of 1, see `transfer.StyleOptions`.
    """

    source: str
    sha256: str
    style_weight: float


#: As published; its name gives the first digits of its SHA-256. The weight is the paper's.
TORCHVISION = KnownFile("torchvision VGG19_Weights.IMAGENET1K_V1", "dcbb9e9d", 1e3)

#: The weights of Simonyan & Zisserman's Caffe model, every filter scaled to a mean activation of
#: about 1 over natural images (Gatys et al. 2016), as AdaIN and WCT use them. Their own first
#: layer, RGB in [0, 1] → BGR less the mean colour, is folded into conv_1, so that they take what
#: torchvision's take. The weight was measured, see docs/style_transfer.md.
NORMALISED = KnownFile(
    "VGG19 normalised (Oxford)",
    "e9e3459ff5493f75ca3f6223c1a5ac09bdc98c2df98325ad5da8844d5a793fa9",
    1e5,
)

KNOWN_FILES = (TORCHVISION, NORMALISED)


def known_file(sha256: str) -> KnownFile | None:
    """The known file with this SHA-256, or None."""
    return next((file for file in KNOWN_FILES if sha256.startswith(file.sha256)), None)


@dataclass(frozen=True)
class WeightsOrigin:
    """Where the weights come from; recorded with every volume made with them.

    Attributes:
        source: what a known file is, another file's name, or `random`.
        sha256: of the file, or of the random parameters.
        pretrained: False for random weights: the volumes are good for tests only.
    """

    source: str
    sha256: str
    pretrained: bool

    @property
    def style_weight(self) -> float | None:
        """The style weight that goes with a known file; None for other weights."""
        known = known_file(self.sha256)
        return None if known is None or not self.pretrained else known.style_weight

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


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
    """VGG19 with weights from exactly one of a file, a download, or chance.

    Args:
        weights: torchvision's `vgg19-dcbb9e9d.pth`, or a `.safetensors` with its names.
        sha256: what the file's SHA-256 is or begins with (at least 8 digits); by default it must
            be that of a known file.
        download: fetch torchvision's file once into torch's hub folder, with the hash checked.
        random: He-initialised weights from a fixed seed, for tests and timing.

    Raises:
        UsageError: none or several of the three; a hash that is none.
        ModelError: the file is missing, has another hash, or lacks parameters.
        Mri2petError: the download failed.
    """
    if sum([weights is not None, download, random]) != 1:
        raise UsageError(
            "give VGG19's weights in exactly one way: --vgg-weights FILE (torchvision's "
            "vgg19-dcbb9e9d.pth), --download, or --random-vgg for a test."
        )
    if random:
        return _random_vgg()
    expected = None if sha256 is None else sha256.lower()
    if expected is not None and not re.fullmatch("[0-9a-f]{8,64}", expected):
        raise UsageError(f"{sha256!r} is no SHA-256; give at least 8 hexadecimal digits.")
    path = _downloaded() if download else Path(weights or "")
    return _from_file(path, expected)


def _random_vgg() -> Vgg19:
    vgg = Vgg19(WeightsOrigin("random", "", pretrained=False))
    generator = torch.Generator().manual_seed(_RANDOM_SEED)
    digest = hashlib.sha256()
    for index in CONVOLUTIONS:
        layer = vgg.features[index]
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        fan_out = layer.out_channels * 9
        with torch.no_grad():
            layer.weight.normal_(0.0, (2.0 / fan_out) ** 0.5, generator=generator)
            layer.bias.zero_()
        digest.update(layer.weight.numpy().tobytes())
    vgg.origin = WeightsOrigin(f"random, seed {_RANDOM_SEED}", digest.hexdigest(), False)
    return vgg


def _from_file(path: Path, expected: str | None) -> Vgg19:
    if not path.is_file():
        absent = f"{path}: there is no such file; give torchvision's vgg19-dcbb9e9d.pth."
        raise ModelError(missing_target(path) or absent)
    found = _sha256(path)
    known = known_file(found)
    if known is None if expected is None else not found.startswith(expected):
        wanted = expected or " or ".join(f"{k.sha256[:8]} ({k.source})" for k in KNOWN_FILES)
        raise ModelError(
            f"{path}: its SHA-256 begins with {found[:8]}, not {wanted}; give a known file, "
            "or say with --vgg-sha256 which other you mean."
        )
    vgg = Vgg19(WeightsOrigin(known.source if known else path.name, found, pretrained=True))
    try:
        given = _read_parameters(path)
        vgg.load_state_dict({name: given[name].float() for name in vgg.state_dict()})
    except (KeyError, RuntimeError, ValueError, OSError) as error:
        reason = (
            f"no parameter {error}"
            if isinstance(error, KeyError)
            else "unreadable or of other sizes"
        )
        raise ModelError(f"{path}: holds no VGG19 of torchvision ({reason}).") from None
    return vgg


def _read_parameters(path: Path) -> dict[str, Tensor]:
    import pickle

    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _downloaded() -> Path:
    from urllib.error import URLError

    path = Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            URL, str(path), hash_prefix=TORCHVISION.sha256, progress=False
        )
    except (URLError, OSError, RuntimeError) as error:
        raise Mri2petError(
            f"{URL}: cannot be downloaded ({error}); fetch it elsewhere and give it with "
            "--vgg-weights."
        ) from None
    return path
