"""From the device a user names to one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mri2pet.errors import UsageError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> str:
    """`cpu` or `cuda`; `auto` is CUDA where torch sees it.

    Raises:
        UsageError: an unknown name, or CUDA is asked for and torch sees none.
    """
    if name not in DEVICES:
        raise UsageError(f"device {name!r} is none of {', '.join(DEVICES)}")
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UsageError("device cuda: torch sees no CUDA device here; use cpu")
    return "cpu"


@contextmanager
def whole_float32(wanted: bool = True) -> Iterator[None]:
    """Float32 products without TF32, which keeps 11 bits of each factor and is torch's default in
    cuDNN; `wanted` False allows it. The settings before come back."""
    import torch

    places: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = not wanted
        yield
    finally:
        for place, allowed in zip(places, before, strict=True):
            place.allow_tf32 = allowed
