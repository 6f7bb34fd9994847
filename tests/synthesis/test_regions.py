"""Regions of every sample: in the sidecar, the table and the page, and again by `quantify`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import mri2pet
from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.space.template import template_mask
from mri2pet.quantification import Quantification, quantify
from mri2pet.synthesis import SynthesisResult

Quick = dict[str, Any]
CENTILOID = "Centiloid (royse2021-fbp, uncalibrated)"
P = "P(SUVR > our lab 0.9, uncalibrated)"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Front and back of the template's brain."""
    folder, mask = tmp_path_factory.mktemp("atlas"), template_mask(2)
    labels = mask.data.astype(np.int16)
    labels[:, : labels.shape[1] // 2] *= 5
    nibabel.save(nibabel.Nifti1Image(labels, mask.affine), folder / "atlas.nii.gz")
    (folder / "names.tsv").write_text("index\tname\n1\tfront\n5\tback\n")
    return {"atlas": folder / "atlas.nii.gz", "labels": folder / "names.tsv"}


@pytest.fixture(scope="module")
def done(
    head_file: Path,
    small_model: Path,
    atlas: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> SynthesisResult:
    (result,) = mri2pet.synthesize(
        head_file,
        tmp_path_factory.mktemp("results"),
        model=small_model,
        steps=2,
        samples=3,
        skull_stripped=True,
        centiloid="royse2021-fbp",
        threshold="our lab=0.9",
        **atlas,
    )
    return result


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_table_lies_beside_the_pet(done: SynthesisResult) -> None:
    assert done.paths is not None
    assert done.sidecar["outputs"]["regions"] == done.paths.regions.name
    composite, front, back = table(done.paths.regions)
    cortical = done.sidecar["measurements"]["cortical_suvr"]
    assert float(composite["mean_suvr"]) == pytest.approx(cortical["mean"], rel=1e-5)
    assert float(composite["sd_samples"]) == pytest.approx(cortical["sd_of_samples"], rel=1e-4)
    assert (front["region"], front["index"], back["index"]) == ("front", "1", "5")
    assert composite["subject"] == "sub-01"
    assert composite["source"] == "synthetic"
    assert float(front["sd_samples"]) > 0
    share = np.mean(np.array(cortical["samples"]) > 0.9)
    assert float(composite[P]) == pytest.approx(share, abs=1e-4)
    assert float(composite[CENTILOID]) == pytest.approx(
        188.22 * cortical["mean"] - 189.16, abs=0.01
    )


def test_uncalibrated_stands_in_every_form(done: SynthesisResult, atlas: dict[str, Path]) -> None:
    assert done.paths is not None
    page = done.paths.report.read_text()
    for text in (page, done.paths.regions.read_text()):
        assert CENTILOID.replace("&", "&amp;") in text
        assert "not calibrated against PiB" in text
        assert "positive" not in text.lower().partition("<script")[0]
    kept = json.loads(done.paths.sidecar.read_text())["quantification"]
    assert kept["values"]["centiloid"]["calibrated"] is False
    assert kept["values"]["status"]["calibrated"] is False
    assert kept["atlas"]["sha256"] in page
    assert "front" in page
    assert "P(SUVR &gt; our lab 0.9, uncalibrated)" in page


def test_quantify_finds_the_samples_again(
    done: SynthesisResult, atlas: dict[str, Path], tmp_path: Path
) -> None:
    assert done.paths is not None
    what = Quantification.of(**atlas, centiloid="royse2021-fbp", threshold="our lab=0.9")
    quantify([done.paths.folder.parent], tmp_path / "t.tsv", what)
    theirs, ours = table(done.paths.regions), table(tmp_path / "t.tsv")
    for one, other in zip(theirs, ours, strict=True):
        assert one["region"] == other["region"]
        for column in ("mean_suvr", "sd_samples", "covered"):
            assert float(one[column]) == pytest.approx(float(other[column]), abs=1e-4)


def test_the_mean_measures_in_its_place_what_the_samples_do(
    done: SynthesisResult, tmp_path: Path
) -> None:
    """The way from the subject's grid, oblique and flipped, back to the template."""
    assert done.paths is not None
    mask = template_mask(2)
    labels = np.zeros(mask.shape, np.int16)
    labels[40:60, 40:50, 40:55], labels[30:50, 70:90, 30:50] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, mask.affine), tmp_path / "inside.nii")
    (tmp_path / "names.tsv").write_text("index\tname\n1\ta\n2\tb\n")
    what = Quantification.of(atlas=tmp_path / "inside.nii", labels=tmp_path / "names.tsv")
    quantify([done.paths.folder], tmp_path / "t.tsv", what)
    found = table(tmp_path / "t.tsv")
    assert all("samples were not kept" in row["note"] for row in found[1:])
    assert all(float(row["covered"]) == pytest.approx(1) for row in found)


def test_another_atlas_is_another_result(
    done: SynthesisResult, head_file: Path, small_model: Path
) -> None:
    assert done.paths is not None
    settings = done.sidecar["settings"]
    assert settings["quantification"]["atlas"] == done.sidecar["quantification"]["atlas"]
    out = done.paths.folder.parent
    options = {"model": small_model, "steps": 2, "samples": 3, "skull_stripped": True}
    regions = done.paths.regions.read_bytes()
    (again,) = mri2pet.synthesize(head_file, out, **options)
    assert again.status == "done"
    assert again.sidecar["quantification"] is None
    assert not done.paths.regions.exists()
    assert regions


def test_a_bad_atlas_is_refused_before_any_work(
    head_file: Path, tmp_path: Path, quick: Quick, atlas: dict[str, Path]
) -> None:
    (tmp_path / "few.tsv").write_text("index\tname\n1\tfront\n")
    with pytest.raises(InputError, match=r"have no name in few\.tsv"):
        mri2pet.synthesize(
            head_file, tmp_path / "out", atlas=atlas["atlas"], labels=tmp_path / "few.tsv", **quick
        )
    with pytest.raises(UsageError, match="has no name"):
        mri2pet.synthesize(head_file, tmp_path / "out", threshold="1.11", **quick)
    assert not (tmp_path / "out").exists()
