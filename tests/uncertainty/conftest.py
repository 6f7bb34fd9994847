"""The people of the reference file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REGIONS = ("cortex", "frontal", "thalamus")


def wave(name: str, shape: tuple[int, ...], scale: float, offset: float, seed: int) -> np.ndarray:
    """The reference file's generator of what it does not store."""
    generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    values = (offset + scale * generator.standard_normal(shape)).astype(np.float32)
    return values.astype(np.float64)


@pytest.fixture(scope="session")
def reference(shared_reference: Path) -> dict[str, Any]:
    path = shared_reference / "evaluation_small.json"
    if not path.is_file():
        pytest.skip(f"no reference numbers in {path}")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def people(reference: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Samples [P, K] and measured values [P], SUVR."""
    given = reference["inputs"]
    count, samples, seed = given["people"], given["samples"], given["seed"]
    centre = wave("centre", (count,), 0.18, 1.25, seed)
    measured = centre + wave("truth_error", (count,), 0.12, 0.0, seed)
    return centre[:, None] + wave("draws", (count, samples), 0.05, 0.02, seed), measured


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights on a small grid."""
    import torch

    from mri2pet.checkpoint import save_model
    from mri2pet.config import ModelConfig
    from mri2pet.nn import Network

    torch.manual_seed(0)
    shape = (16, 32, 32)
    config = ModelConfig(mri_shape=shape, pet_shape=shape, prediction="v", cond="concat")
    folder = tmp_path_factory.mktemp("models") / "small"
    return save_model(folder, Network(config), pet_mean=1.2, pet_std=0.3)


@pytest.fixture
def evaluated(tmp_path: Path, model_folder: Path) -> Callable[..., Path]:
    """Writes the folder of an evaluation of made-up people."""

    def write(
        people: int = 24, samples: int = 4, name: str = "evaluation", seed: int = 0, **settings: Any
    ) -> Path:
        draw, out = np.random.default_rng(seed), tmp_path / name
        (out / "subjects").mkdir(parents=True)
        lines = ["row\tmethod"]
        for number in range(people):
            row = f"sub-{number:03d}_ses-01"
            lines.append(f"{row}\tone_sample")
            centre = dict(zip(REGIONS, draw.normal(1.3, 0.2, 3), strict=True))
            drawn = {k: draw.normal(v, 0.03, samples).tolist() for k, v in centre.items()}
            record = {
                "row": row,
                "subject": f"sub-{number:03d}",
                "true_cortical_suvr": 1.3,
                "drawn": drawn,
                # Not that of the samples, which nothing may take in its place.
                "mean": {k: float(np.mean(v)) + 0.07 for k, v in drawn.items()},
                "measured": {k: draw.normal(v, 0.1) for k, v in centre.items()},
                "voxels": {"count": 100, "variance": 1.0, "squared_error": 4.0},
                "seconds": 1.5,
            }
            (out / "subjects" / f"{row}.json").write_text(json.dumps(record))
        (out / "metrics.tsv").write_text("\n".join(lines) + "\n")
        from mri2pet.evaluation.settings import FORMAT

        described = {
            "format": FORMAT,
            "model": "small",
            "model_sha256": json.loads((model_folder / "model.json").read_text())["sha256"],
            "cohort": "c0ffee",
            "registration": "estimate",
            "reference": "cerebellum",
            "split": "val",
            "samples": samples,
            "sampler": "dpmpp",
            "steps": 25,
            "seed": 0,
        }
        (out / "settings.json").write_text(json.dumps(described | settings))
        return out

    return write
