"""What a synthesis hands to the writer."""

from __future__ import annotations

from typing import Any

import numpy as np


def made_sidecar() -> dict[str, Any]:
    """Of a sidecar what instances and report need."""
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
        "space": {"template_from_subject": np.eye(4).tolist()},
        "checks": {"dice_with_template": 0.95},
        "warnings": ["The cerebellum's mean is 0.80 SUVR where 1 is expected."],
        "engine": "torch",
        "device": "cpu (1 threads)",
        "versions": {"mri2pet": "0.1.0"},
        "outputs": {},
    }
