"""From the device a user names to one that is there."""

from __future__ import annotations

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
