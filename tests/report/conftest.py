"""One subject's content of a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mri2pet import WARNING
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.report import ReportInput

NOTE = "90 % interval, calibrated on 40 people of lab & <co>"


def _sidecar() -> dict[str, Any]:
    return {
        "warning": WARNING,
        "warnings": [],
        "created": "2025-01-02T10:00:00+00:00",
        "settings": {"seed": 7, "sampler": "dpmpp", "steps": 25, "samples": 4},
        "model": {
            "name": "demo",
            "sha256": "ab" * 32,
            "provenance": {"training_pairs": 5671, "config": {"lr": 0.125}},
        },
        "measurements": {
            "cortical_suvr": {
                "mean": 1.234,
                "sd_of_samples": 0.0341,
                "samples": [1.2, 1.21, 1.26, 1.27],
                "interval": {
                    "level": 0.9,
                    "low": 0.951,
                    "high": 1.517,
                    "method": "split-conformal, score |y − m|",
                    "people": 40,
                    "cohort": "lab",
                    "label": NOTE,
                },
            },
            "regional_suvr": {
                "lateral_temporal": {
                    "mean": 1.3,
                    "sd_of_samples": 0.1,
                    "samples": [1.1, 1.3, 1.3, 1.5],
                    "interval": {"level": 0.9, "low": 0.2, "high": 2.9},
                },
            },
            "uncertainty": NOTE,
            "cerebellum_suvr": {"mean": 1.002},
        },
        "checks": {
            "extractor_used": "deepbet",
            "mask_volume_ml": 1432.2,
            "dice_with_template": 0.951,
        },
        "seconds": {"read": 1.0, "sampling": 40.5},
        "device": "cpu (2 threads)",
        "peak_memory_mib": {"process": 2048},
        "versions": {"mri2pet": "0.1.0", "torch": "2.9"},
        "input": {"file": "/data/<b>&.nii.gz", "sha256": "cd" * 32},
    }


@pytest.fixture(scope="session")
def content() -> ReportInput:
    t1, mask = template(2), template_mask(2).data
    pet = np.where(mask, 1.3, 0.0).astype(np.float32)
    return ReportInput("sub-01 <script>", t1, mask, pet, pet * 0.1, np.eye(4), _sidecar())
