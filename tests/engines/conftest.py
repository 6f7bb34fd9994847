"""A TensorRT that is not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def fake():
    path = Path(__file__).with_name("fake_tensorrt.py")
    spec = importlib.util.spec_from_file_location("fake_tensorrt", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeTensorRT()
