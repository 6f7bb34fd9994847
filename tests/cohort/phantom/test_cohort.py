"""The study on disk: layout, truth, transforms, resuming, reproducibility."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mri2pet.cohort.phantom import make_cohort
from mri2pet.errors import UsageError
from mri2pet.imaging.suvr.regions import tissue_maps


def _truth(cohort: Path, label: str) -> tuple[Path, dict]:
    path = cohort / "derivatives" / "truth" / label / "ses-01" / f"{label}_ses-01_truth.json"
    return path, json.loads(path.read_text())


def _t1(cohort: Path, label: str):
    return nibabel.load(cohort / label / "ses-01" / "anat" / f"{label}_ses-01_T1w.nii.gz")


def _pet(cohort: Path, label: str):
    name = f"{label}_ses-01_trc-18FAV45_pet.nii.gz"
    return nibabel.load(cohort / label / "ses-01" / "pet" / name)


def _truth_image(path: Path, suffix: str):
    return nibabel.load(str(path).replace("_truth.json", suffix))


def _resample(image: np.ndarray, affine: np.ndarray, shape, target_affine: np.ndarray):
    matrix = np.linalg.inv(affine) @ target_affine
    return ndimage.affine_transform(
        image, matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=1
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def _content(folder: Path) -> dict[str, str]:
    """A hash for each file: a failing comparison of the bytes themselves is never printed."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_tables(cohort, people):
    participants = _rows(cohort / "participants.tsv")
    assert [r["participant_id"] for r in participants] == [p.label for p in people]
    for table in ("diagnosis", "mmse"):
        rows = _rows(cohort / "phenotype" / f"{table}.tsv")
        assert [r[table] for r in rows] == [
            str(getattr(v, table)) for p in people for v in p.visits
        ]
    sessions = _rows(cohort / people[0].label / f"{people[0].label}_sessions.tsv")
    assert sessions[0]["mri_days"] == "0"
    assert json.loads((cohort / "dataset_description.json").read_text())["DatasetType"] == "raw"


def test_files_say_that_they_are_simulated(cohort, people):
    for person in people:
        for image in (cohort / person.label).rglob("*.nii.gz"):
            assert "phantom" in image.name
            assert b"SIMULATED" in nibabel.load(image).header["descrip"].item()
            sidecar = json.loads(Path(str(image).replace(".nii.gz", ".json")).read_text())
            assert sidecar["Simulated"] is True


def test_the_tree_passes_the_validator_of_bids(cohort):
    program = shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("bids-validator-deno is not installed (pip install 'mri2pet[bids-test]')")
    done = subprocess.run([program, "--json", cohort], capture_output=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_unpaired_has_no_pet(cohort, people):
    assert not list((cohort / people[2].label).rglob("*_pet.nii.gz"))
    assert _truth(cohort, people[2].label)[1]["pet_scale_to_suvr"] is None


def test_t1_fits_the_template_through_the_true_affine(cohort, people):
    template, _, _, affine = tissue_maps(2)
    for person in people:
        path, truth = _truth(cohort, person.label)
        image = _t1(cohort, person.label)
        mask = _truth_image(path, "_space-T1w_desc-brain_mask.nii.gz")
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine)
        to_template = np.asarray(truth["template_from_t1"]) @ image.affine
        t1, brain = (
            _resample(np.asarray(i.dataobj, np.float32), to_template, template.shape, affine)
            for i in (image, mask)
        )
        both = (brain > 0.5) & (template > 0)
        assert 2 * both.sum() / ((brain > 0.5).sum() + (template > 0).sum()) > 0.9
        assert np.corrcoef(t1[both], template[both])[0, 1] > 0.6


def test_grids_are_what_was_drawn(cohort, people):
    images = [_t1(cohort, person.label) for person in people]
    axes = ["".join(nibabel.aff2axcodes(i.affine)) for i in images]
    assert axes == ["LAS", "RAS", "PIR"]
    offset = [np.abs(i.affine[:3, :3] / nibabel.affines.voxel_sizes(i.affine)) for i in images]
    oblique = [float(np.sort(o, axis=0)[:2].max()) > 0.02 for o in offset]
    assert any(oblique)
    for image in images:
        assert image.get_data_dtype() == np.int16
        np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)


def test_pet_fits_the_true_suvr_through_the_true_rigid(cohort, people):
    frames = []
    for person in people[:2]:
        path, truth = _truth(cohort, person.label)
        image = _pet(cohort, person.label)
        rigid = np.asarray(truth["t1_from_pet"])
        np.testing.assert_allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.linalg.norm(rigid[:3, 3]) > 0.5
        data = image.get_fdata(dtype=np.float32) * truth["pet_scale_to_suvr"]
        first = data[..., 0] if data.ndim == 4 else data
        frames.append(len(truth["frames"]))
        assert frames[-1] == (data.shape[3] if data.ndim == 4 else 1)
        true = _truth_image(path, "_space-T1w_desc-true_suvr.nii.gz")
        found = _resample(first, rigid @ image.affine, true.shape, true.affine)
        expected = true.get_fdata(dtype=np.float32)
        brain = _truth_image(path, "_space-T1w_desc-brain_mask.nii.gz")
        mask = np.asarray(brain.dataobj, np.float32)
        inside = _resample(mask, brain.affine, true.shape, true.affine) > 0.99
        assert np.abs(found - expected)[inside].mean() < 0.12
        assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.85
    assert sorted(frames) == [1, 5]


def test_truth_tells_the_latent_values(cohort, people):
    low, high = (_truth(cohort, person.label)[1] for person in people[:2])
    assert low["amyloid"] == people[0].visits[0].amyloid
    assert low["cortical_suvr"] < 1.15 < 1.35 < high["cortical_suvr"]
    assert low["centiloid_like"] < high["centiloid_like"]
    assert low["diagnosis"] == people[0].visits[0].diagnosis


def test_displacement_leads_to_the_template(cohort, people):
    path, truth = _truth(cohort, people[0].label)
    image = _truth_image(path, "_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz")
    assert min(image.header.get_zooms()[:3]) >= 4.0 - 1e-6
    field = image.get_fdata(dtype=np.float32)[:, :, :, 0]
    index = np.stack(np.meshgrid(*map(np.arange, field.shape[:3]), indexing="ij"), axis=-1)
    world = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    target = world + field
    affine = np.asarray(truth["template_from_t1"])
    linear = world @ affine[:3, :3].T + affine[:3, 3]
    brain = (np.abs(target - [0, -18, 10]) < [55, 70, 50]).all(axis=-1)
    assert 0.3 < np.linalg.norm(target - linear, axis=-1)[brain].mean() < 6.0


def test_the_same_call_goes_on_and_gives_the_same_bytes(cohort, settings, people, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(cohort, copy)
    whole = _content(copy)
    path, _ = _truth(copy, people[2].label)
    path.unlink()
    shutil.rmtree(copy / people[2].label / "ses-01")
    untouched = copy / people[0].label / "ses-01" / "anat"
    before = {p: p.stat().st_mtime_ns for p in untouched.iterdir()}
    seen: list[tuple[str, int, int]] = []
    make_cohort(copy, **settings, on_subject=lambda *event: seen.append(event))
    assert seen == [(people[2].label, 3, 3)]
    assert {p: p.stat().st_mtime_ns for p in untouched.iterdir()} == before
    assert _content(copy) == whole


@pytest.mark.slow
def test_jobs_do_not_change_a_byte(cohort, settings, tmp_path):
    parallel = make_cohort(tmp_path / "parallel", **settings, jobs=2)
    assert _content(parallel) == _content(cohort)


def test_another_cohort_in_the_folder_is_refused(cohort, settings):
    with pytest.raises(UsageError, match="other settings"):
        make_cohort(cohort, **(settings | {"seed": 1}))


@pytest.mark.parametrize(
    "wrong",
    [{"pairs": 0}, {"pairs": -1}, {"unpaired": -2}, {"seed": -1}, {"jobs": 0}, {"pairs": 10_000}],
)
def test_senseless_numbers_are_refused_before_writing(tmp_path, wrong):
    with pytest.raises(UsageError):
        make_cohort(tmp_path / "study", **({"pairs": 1, "seed": 0, "unpaired": 0} | wrong))
    assert not (tmp_path / "study").exists()
