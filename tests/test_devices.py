"""The device a user names must be there."""

from __future__ import annotations

import pytest

from mri2pet.devices import choose_device
from mri2pet.errors import UsageError


def test_cuda_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(UsageError, match="use cpu"):
        choose_device("cuda")


def test_auto_takes_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert choose_device("cpu") == "cpu"


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageError, match="'gpu' is none of auto, cpu, cuda"):
        choose_device("gpu")
