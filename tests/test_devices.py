"""The device a user names must be there."""

from __future__ import annotations

import json
import subprocess
import sys

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


FLOAT32 = """
import json
import os
import sys
import torch
from torch.backends import cuda, cudnn
from mri2pet.devices import whole_float32

def precisions():
    return cudnn.conv.fp32_precision == "tf32", cuda.matmul.fp32_precision == "tf32"

def precisions_inside():
    assert precisions() == (cudnn.allow_tf32, cuda.matmul.allow_tf32)  # as parts of torch read it
    return precisions()

def run(settings, after):
    exec(settings)
    before = precisions()
    with whole_float32():
        assert precisions_inside() == (False, False)
        with whole_float32(False):
            assert precisions_inside() == (True, True)
        assert precisions_inside() == (False, False)
    assert precisions() == before
    if after == "readable":
        cudnn.allow_tf32, cuda.matmul.allow_tf32

# What was set cannot be taken back to torch's first state, so each runs in a process of its own.
failed = 0
for case in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        run(*case)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("failed:", case, file=sys.stderr)
        failed = 1
sys.exit(failed)
"""

SETTINGS = (
    ("pass", "readable"),
    ("cudnn.allow_tf32 = False", "readable"),
    ("torch.set_float32_matmul_precision('high')", "readable"),
    ("torch.backends.fp32_precision = 'tf32'", ""),
    ("cudnn.conv.fp32_precision = 'ieee'; cuda.matmul.fp32_precision = 'tf32'", ""),
)


def test_float32_is_whole_whatever_a_caller_has_set():
    pytest.importorskip("torch", "2.9")
    done = subprocess.run(
        [sys.executable, "-c", FLOAT32, json.dumps(SETTINGS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
