"""The authors' checkpoint, a pickled state dict, into this project's format."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mri2pet.checkpoint import save_model
from mri2pet.config import ModelConfig, Shape, parse_config
from mri2pet.errors import ModelError
from mri2pet.files import missing_target
from mri2pet.nn import Network

_LAYER = {"0": "conv1", "1": "norm1", "3": "conv2", "4": "norm2"}
_HALF = {"0": "residual", "1": "conv"}


def our_name(authors_name: str) -> str:
    """The name in `Network.state_dict()` of one of the authors' parameters.

    Raises:
        ModelError: it is not one of theirs.
    """

    def number(match: re.Match[str], group: int = 1) -> int:
        return int(match[group]) - 1

    def double_conv(text: str) -> str:
        return re.sub(r"double_conv\.(\d)", lambda m: _LAYER.get(m[1], m[0]), text)

    rules = (
        (r"contextEmbedding\.conv(\d)\.(.+)", lambda m: f"mri_encoder.conv.{number(m)}.{m[2]}"),
        (r"contextEmbedding\.(fc\d\..+)", lambda m: f"mri_encoder.{m[1]}"),
        (r"inc\.(.+)", lambda m: f"unet.stem.{double_conv(m[1])}"),
        (
            r"down(\d)\.maxpool_conv\.([12])\.(.+)",
            lambda m: f"unet.down.{number(m)}.{_HALF[str(number(m, 2))]}.{double_conv(m[3])}",
        ),
        (
            r"up(\d)\.conv\.([01])\.(.+)",
            lambda m: f"unet.up.{number(m)}.{_HALF[m[2]]}.{double_conv(m[3])}",
        ),
        (r"down(\d)\.emb_layer\.1\.(.+)", lambda m: f"unet.bias_layers.{number(m)}.{m[2]}"),
        (r"up(\d)\.emb_layer\.1\.(.+)", lambda m: f"unet.bias_layers.{number(m) + 4}.{m[2]}"),
        (r"sa([1-4])\.(.+)", lambda m: f"unet.down_attention.{number(m)}.{m[2]}"),
        (r"sa([5-8])\.(.+)", lambda m: f"unet.up_attention.{number(m) - 4}.{m[2]}"),
        (r"bot(\d)\.(.+)", lambda m: f"unet.bottleneck.{number(m)}.{double_conv(m[2])}"),
        (r"outc\.(.+)", lambda m: f"unet.head.{m[1]}"),
    )
    for pattern, rename in rules:
        if match := re.fullmatch(pattern, authors_name):
            return rename(match)
    raise ModelError(f"parameter {authors_name!r} is not one of the authors' network")


def network_from_authors_state(state: Mapping[str, Tensor], config: ModelConfig) -> Network:
    """A network with the authors' parameters.

    Raises:
        ModelError: names or shapes are not those of the authors' network on these grids.
    """
    network = Network(config)
    renamed = {our_name(name.removeprefix("module.")): value for name, value in state.items()}
    expected = network.state_dict()
    missing = [name for name in expected if name not in renamed]
    if missing:
        raise ModelError(
            f"the checkpoint lacks {len(missing)} of {len(expected)} parameters "
            f"({_first(missing)}); it is not of the authors' network, or was cut"
        )
    unknown = [name for name in renamed if name not in expected]
    if unknown:
        raise ModelError(
            f"the checkpoint holds {len(unknown)} parameters that the authors' network has not "
            f"({_first(unknown)})"
        )
    wrong = [name for name, value in renamed.items() if value.shape != expected[name].shape]
    if wrong:
        found, needed = (tuple(t[wrong[0]].shape) for t in (renamed, expected))
        raise ModelError(
            f"the checkpoint does not fit an MRI of {config.mri_shape} voxels: {len(wrong)} "
            f"parameters have other shapes ({wrong[0]}: {found}, not {needed})"
        )
    network.load_state_dict(renamed)
    return network


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def read_authors_checkpoint(path: str | Path) -> Mapping[str, Tensor]:
    """The state dict under `model` in the authors' file, read without running its pickle.

    Raises:
        ModelError: the file is missing, is no such checkpoint, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise ModelError(missing_target(path) or f"{path}: {what}; give the authors' .pt file")
    with path.open("rb") as file:
        held = _other_content(file.read(512))
    if held is not None:
        raise ModelError(f"{path}: {held}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path}: holds more than tensors, or is damaged, and is not read for safety; save "
            "its state dict alone, or copy it again"
        ) from None
    except Exception:  # whatever torch makes of bytes that are no checkpoint
        raise ModelError(
            f"{path}: is no checkpoint of PyTorch, or is cut; copy or download it again"
        ) from None
    state = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(
            f"{path}: holds no state dict under 'model', as the authors' checkpoints do"
        )
    return state


def _other_content(head: bytes) -> str | None:
    """What a file is that cannot be a checkpoint, and what to do; None for one that may be."""
    if not head:
        return "is empty; copy or download it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer without its content; run git lfs pull"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a checkpoint; download the file itself"
    if head.startswith(b"\x1f\x8b"):
        return "is gzipped; unpack it"
    if not head.strip(bytes(range(32, 127)) + b"\t\r\n"):
        return "is a text file, not a checkpoint; give the authors' .pt file"
    return None


def convert_authors_checkpoint(
    path: str | Path,
    folder: str | Path,
    *,
    mri_shape: Shape = (64, 144, 144),
    pet_shape: Shape = (32, 128, 128),
    pet_mean: float = 0.0,
    pet_std: float = 1.0,
) -> Path:
    """Writes the authors' checkpoint as a model folder (preset `paper` on the given grids).

    Args:
        path: their `.pt` file.
        folder: where the model goes.
        mri_shape, pet_shape: (K, I, J) of the volumes that it was trained on.
        pet_mean, pet_std: the standardisation of the PET, in the units of its training data.

    Raises:
        ModelError: the file is not such a checkpoint or does not fit the shapes.
        UsageError: the shapes are impossible.
    """
    shapes = {"mri_shape": mri_shape, "pet_shape": pet_shape}
    config = parse_config({"model": shapes}).model
    network = network_from_authors_state(read_authors_checkpoint(path), config)
    provenance = {
        "source": Path(path).name,
        "source_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "converted_from": "the MRI2PET authors' checkpoint",
    }
    return save_model(folder, network, pet_mean=pet_mean, pet_std=pet_std, provenance=provenance)
