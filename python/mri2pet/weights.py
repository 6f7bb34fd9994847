"""Weights of a known network, from exactly one of a file, a download, or chance.

The package ships no weights of other people's networks. A user gives a file; it is taken when its
SHA-256 is that of a known file, or the one that the user names. Nothing is fetched unless the user
asks for it.
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


@dataclass(frozen=True)
class KnownFile:
    """A weights file that is known by its hash.

    Attributes:
        source: what it is.
        sha256: of the file, or as much of it as its publisher tells.
        url: where it can be fetched.
    """

    source: str
    sha256: str
    url: str = ""


@dataclass(frozen=True)
class WeightsOrigin:
    """Where weights come from; recorded with whatever is made with them.

    Attributes:
        source: what a known file is, another file's name, or `random`.
        sha256: of the file, or of the random parameters.
        pretrained: False for random weights: what they make is good for tests only.
    """

    source: str
    sha256: str
    pretrained: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def known(self, files: tuple[KnownFile, ...]) -> KnownFile | None:
        """Which of `files` it is, or None."""
        return next((f for f in files if self.sha256.startswith(f.sha256)), None)


@dataclass(frozen=True)
class WeightsSource:
    """The ways to give one network's weights.

    Attributes:
        network: its name, as `VGG19`.
        known: files known by their hash; the first is what a download fetches.
        name: as in the options `--NAME-weights`, `--NAME-sha256`, `--random-NAME`.
        download: the option that asks for a download.
    """

    network: str
    known: tuple[KnownFile, ...]
    name: str
    download: str

    @property
    def published(self) -> str:
        """The name of the file that most people have."""
        return self.known[0].url.rsplit("/", 1)[1]

    def parameters(
        self,
        weights: Path | str | None,
        *,
        sha256: str | None = None,
        download: bool = False,
        random: bool = False,
    ) -> tuple[dict[str, Tensor], WeightsOrigin] | None:
        """Name → value and their origin; None where they are to be random.

        Args:
            weights: a file of torch's (`weights_only`) or safetensors.
            sha256: what the file's SHA-256 is or begins with (at least 8 digits); by default it
                must be that of a known file.
            download: fetch the first known file once into torch's hub folder, its hash checked.
            random: no file at all.

        Raises:
            UsageError: none or several of the three ways; a hash that is none.
            ModelError: the file is missing, has another hash, or cannot be read.
            Mri2petError: the download failed.
        """
        if sum([weights is not None, download, random]) != 1:
            raise UsageError(
                f"give {self.network}'s weights in exactly one way: --{self.name}-weights FILE "
                f"(torchvision's {self.published}), {self.download}, or --random-{self.name} "
                "for a test."
            )
        if random:
            return None
        expected = None if sha256 is None else sha256.lower()
        if expected is not None and not re.fullmatch("[0-9a-f]{8,64}", expected):
            raise UsageError(f"{sha256!r} is no SHA-256; give at least 8 hexadecimal digits.")
        path = self._downloaded() if download else Path(weights or "")
        origin = self._checked(path, expected)
        try:
            return _read(path), origin
        except (RuntimeError, ValueError, OSError):
            raise ModelError(
                f"{path}: holds no {self.network} of torchvision (unreadable)."
            ) from None

    def fill(self, network: nn.Module, given: dict[str, Tensor], path: str | Path | None) -> None:
        """Puts the values into a network; others in the file are passed over.

        Raises:
            ModelError: one is missing or of another size.
        """
        try:
            network.load_state_dict({n: given[n].float() for n in network.state_dict()})
        except (KeyError, RuntimeError) as error:
            reason = f"no parameter {error}" if isinstance(error, KeyError) else "other sizes"
            raise ModelError(
                f"{path or self.published}: holds no {self.network} of torchvision ({reason})."
            ) from None

    def _checked(self, path: Path, expected: str | None) -> WeightsOrigin:
        if not path.is_file():
            absent = f"{path}: there is no such file; give torchvision's {self.published}."
            raise ModelError(missing_target(path) or absent)
        origin = WeightsOrigin(path.name, _sha256(path), pretrained=True)
        known = origin.known(self.known)
        if known is None if expected is None else not origin.sha256.startswith(expected):
            wanted = expected or " or ".join(f"{k.sha256[:8]} ({k.source})" for k in self.known)
            raise ModelError(
                f"{path}: its SHA-256 begins with {origin.sha256[:8]}, not {wanted}; give a known "
                f"file, or say with --{self.name}-sha256 which other you mean."
            )
        return origin if known is None else WeightsOrigin(known.source, origin.sha256, True)

    def _downloaded(self) -> Path:
        from urllib.error import URLError

        file = self.known[0]
        path = Path(torch.hub.get_dir()) / "checkpoints" / self.published
        if path.is_file():
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                file.url, str(path), hash_prefix=file.sha256, progress=False
            )
        except (URLError, OSError, RuntimeError) as error:
            raise Mri2petError(
                f"{file.url}: cannot be downloaded ({error}); fetch it elsewhere and give it with "
                f"--{self.name}-weights."
            ) from None
        return path


def he_normal(parameters: dict[str, nn.Parameter], seed: int = 0) -> WeightsOrigin:
    """Fills weights of more than one dimension by He's rule in place, biases by 0.

    The rule of He et al. 2015 with the fan out, as torchvision initialises convolutions. One
    generator of `seed` runs through the parameters in their order.
    """
    generator = torch.Generator().manual_seed(seed)
    digest = hashlib.sha256()
    with torch.no_grad():
        for value in parameters.values():
            if value.ndim > 1:
                fan_out = value.shape[0] * value[0, 0].numel()
                value.normal_(0.0, (2.0 / fan_out) ** 0.5, generator=generator)
                digest.update(value.numpy().tobytes())
            else:
                value.zero_()
    return WeightsOrigin(f"random, seed {seed}", digest.hexdigest(), pretrained=False)


def _read(path: Path) -> dict[str, Tensor]:
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
