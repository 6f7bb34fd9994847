"""A small model, a small head, and its preprocessing done once for all tests."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from mri2pet.checkpoint import save_model
from mri2pet.config import ModelConfig
from mri2pet.imaging import pipeline
from mri2pet.imaging.brain import registration, starts
from mri2pet.imaging.space.itk import Schedule
from mri2pet.imaging.space.template import template
from mri2pet.nn import Network
from mri2pet.synthesis import subject as subject_module

SHAPE = (16, 32, 32)
TURN_DEG = 8.0


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights on a grid of 16 x 32 x 32 voxels.

    It has a linear denoiser, so that the mean of samples is not their plain mean.
    """
    torch.manual_seed(0)
    shapes = {"mri_shape": SHAPE, "pet_shape": SHAPE}
    config = ModelConfig(**shapes, prediction="v", cond="concat", linear_components=1)
    folder, network = tmp_path_factory.mktemp("models") / "small", Network(config)
    people = torch.Generator().manual_seed(1)
    level, own = (torch.randn(80, n, generator=people) for n in (1, 16384))
    upwards = torch.linspace(-1, 1, 16).repeat_interleave(1024)  # cortex against cerebellum
    network.linear.fit(3 * level * upwards + 0.3 * own, torch.rand(80, 16384, generator=people))
    return save_model(folder, network, pet_mean=1.2, pet_std=0.3)


@pytest.fixture(scope="session")
def head() -> nibabel.Nifti1Image:
    """A skull-stripped T1: the template at 2 mm, int16, oblique, stored as L-A-S, in mm."""
    brain = template(2)
    data = np.rint(brain.data[::-1] * 400).astype(np.int16)
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = data.shape[0] - 1
    turn = np.eye(4)
    c, s = np.cos(np.deg2rad(TURN_DEG)), np.sin(np.deg2rad(TURN_DEG))
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    affine = turn @ brain.affine @ flip
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=2)
    image.header.set_xyzt_units("mm", "sec")
    return image


@pytest.fixture(scope="session")
def head_file(head: nibabel.Nifti1Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("head") / "sub-01_T1w.nii.gz"
    nibabel.save(head, path)
    return path


@pytest.fixture(scope="session")
def prepared() -> dict[Any, Any]:
    """What was prepared, by grid and options."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def _prepare_once(
    prepared: dict[Any, Any], made_once: Callable[[str, Callable[[Path], object]], Path]
) -> Iterator[None]:
    """The real preprocessing runs once per grid: images on one grid stand for the same head.

    That is nearly upright and without a bias: it is looked for where it is, from one start, in few
    iterations.
    """
    preprocess = pipeline.preprocess

    def remembered(t1: Any, **options: Any) -> Any:
        grid = (t1.volume.shape, np.round(t1.volume.affine, 3).tobytes())
        key = (grid, options["mri_shape"], options["skull_stripped"], options["brain_mask"])
        if key not in prepared and options["brain_mask"] is None:
            name = f"prepared_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"

            def make(out: Path) -> None:
                out.write_bytes(pickle.dumps(replace(preprocess(t1, **options), t1=None)))

            prepared[key] = pickle.loads(made_once(name, make).read_bytes())
        elif key not in prepared:
            prepared[key] = replace(preprocess(t1, **options), t1=None)
        same = prepared[key]
        return replace(same, t1=t1, record=replace(same.record, grid=t1.grid))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "preprocess", remembered)
        patch.setattr(pipeline, "_BRAIN_N4", (10, 10, 10))
        patch.setattr(registration, "STARTS", 1)
        patch.setattr(registration, "FINE", Schedule((200, 100), (4, 2), (2, 1)))
        patch.setattr(starts, "YAW_DEG", (0.0,))
        patch.setattr(starts, "ROLL_DEG", (0.0,))
        yield


@pytest.fixture
def quick(small_model: Path) -> dict[str, Any]:
    """Options of a synthesis that takes a moment."""
    return {"model": small_model, "steps": 2, "samples": 2, "skull_stripped": True}


@pytest.fixture
def changed(head: nibabel.Nifti1Image, tmp_path: Path) -> Callable[..., Path]:
    """A file with the head after a change of its voxel values."""

    def write(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
        data = change(np.asarray(head.dataobj, dtype=np.float32))
        path = tmp_path / name
        nibabel.save(nibabel.Nifti1Image(data, head.affine), path)
        return path

    return write


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without its pictures, which take most of the time."""
    monkeypatch.setattr(subject_module, "_report", lambda *of: "<!DOCTYPE html>")
