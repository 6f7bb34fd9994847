"""From the device a user names to one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    settings, before = _tf32_settings(), []
    for place, name in settings:
        # Where a caller has set `fp32_precision`, `allow_tf32` may not be read beside it.
        with suppress(RuntimeError):
            before.append((place, name, getattr(place, name)))
    try:
        for place, name in settings:
            values = ("tf32", "ieee") if name == "fp32_precision" else (True, False)
            setattr(place, name, values[wanted])
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def _tf32_settings() -> list[tuple[Any, str]]:
    """Objects and attributes that decide about TF32.

    `fp32_precision` exists from torch 2.9 on, also for all operations at once, which `allow_tf32`
    does not overrule. Set together they agree, so that both can be read.
    """
    from torch.backends import cuda, cudnn

    places = [(cudnn, "allow_tf32"), (cuda.matmul, "allow_tf32")]
    if hasattr(cudnn, "conv"):
        places += [(place, "fp32_precision") for place in (cudnn.conv, cudnn.rnn, cuda.matmul)]
    return places
