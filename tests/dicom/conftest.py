"""A series that a scanner could have sent, and the sidecar of a result on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """`made_source.py`, which makes series."""
    path = Path(__file__).with_name("made_source.py")
    spec = importlib.util.spec_from_file_location("dicom_made_source", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sidecar() -> dict[str, Any]:
    """What of a sidecar the instances need."""
    of = {"mean": 1.31, "sd_of_samples": 0.02, "samples": [1.29, 1.33], "interval": None}
    return {
        "synthetic": True,
        "ReferenceRegion": "whole cerebellum",
        "input": {"sha256": "1" * 64},
        "model": {"name": "small", "sha256": "2" * 64},
        "settings": {"seed": 0, "sampler": "dpmpp", "steps": 2, "samples": 2},
        "measurements": {
            "cortical_suvr": of,
            "regional_suvr": {"precuneus": of, "posterior_cingulate": of},
            "cerebellum_suvr": {"mean": 1.0},
            "uncertainty": "not calibrated for these settings",
        },
        "space": {
            "template_from_subject": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        },
        "checks": {"dice_with_template": 0.95},
        "warnings": ["The cerebellum's mean is 0.80 SUVR where 1 is expected."],
        "engine": "torch",
        "device": "cpu (1 threads)",
        "versions": {"mri2pet": "0.1.0"},
        "outputs": {},
    }
