"""Several models draw one person's PET in turns, and sidecar and page say which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import mri2pet
from mri2pet.checkpoint import save_model
from mri2pet.config import ModelConfig
from mri2pet.errors import ModelError, UsageError
from mri2pet.nn import Network

from .conftest import SHAPE

Quick = dict[str, Any]


def made(folder: Path, seed: int, **known: Any) -> Path:
    torch.manual_seed(seed)
    config = ModelConfig(mri_shape=SHAPE, pet_shape=SHAPE, prediction="v", cond="concat")
    return save_model(folder, Network(config), pet_mean=0.9, pet_std=0.2, provenance=known)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("models") / "other", 7)


def test_sidecar_and_page_name_all_members(
    head_file: Path, small_model: Path, other: Path, tmp_path: Path, quick: Quick
) -> None:
    several = quick | {"model": [small_model, other], "samples": 3}
    (result,) = mri2pet.synthesize(head_file, tmp_path, **several)
    told = result.sidecar["model"]
    assert told["name"] == "small + other"
    assert [member["name"] for member in told["members"]] == ["small", "other"]
    hashes = [mri2pet.load_model(folder).sha256 for folder in (small_model, other)]
    assert [member["sha256"] for member in told["members"]] == hashes
    assert all("provenance" in member for member in told["members"])
    page = result.paths.report.read_text()
    assert f"small, SHA-256 {hashes[0]}" in page
    assert f"other, SHA-256 {hashes[1]}" in page
    assert "samples 2, 4 … drawn by" in page
    (again,) = mri2pet.synthesize(head_file, tmp_path, **several)
    assert again.status == "skipped"


def test_what_cannot_be_drawn_is_refused_before_any_work(
    head_file: Path, small_model: Path, other: Path, tmp_path: Path, quick: Quick
) -> None:
    out = tmp_path / "out"
    options = quick | {"model": [small_model, other], "samples": 1}
    with pytest.raises(UsageError, match="samples must be at least 2, not 1"):
        mri2pet.synthesize(head_file, out, **options)
    early = made(tmp_path / "early", 8, config={"training": {"stage": "pretrain"}})
    with pytest.raises(ModelError, match="early: is pre-trained on PET-like MRIs"):
        mri2pet.synthesize(head_file, out, **quick | {"model": [small_model, early]})
    assert not out.exists()
