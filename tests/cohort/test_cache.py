"""The model-space cache: right values, atomic, resumable, shared by several writers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import nibabel
import numpy as np
import pytest

from mri2pet.cohort import cache as cache_module
from mri2pet.cohort.cache import build_cache, default_cache_dir
from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.cohort.manifest import build_manifest
from mri2pet.cohort.pet import static_pet
from mri2pet.cohort.prepare import ModelSpaceSubject, prepare
from mri2pet.errors import InputError, Mri2petError, ProcessLost, UsageError
from mri2pet.imaging.space.grid import grid_affine, to_kij
from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.tables import read_table

from .conftest import MRI_SHAPE, PET_SHAPE, TinyCohort, ellipsoid, save, uptake


def build(cohort: TinyCohort, **options):
    settings = {"mri_shape": MRI_SHAPE, "pet_shape": PET_SHAPE, "registration": "truth"}
    return build_cache(cohort.root, **{**settings, **options})


@pytest.fixture
def prepared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the imaging work: what is tested is how its results are kept."""

    def ready(row, mri_shape, pet_shape, registration, reference):
        pet = None if row.pet is None else np.asarray(static_pet(row.pet).data[:16, :16, :16])
        return ModelSpaceSubject(np.ones(mri_shape), np.ones(pet_shape), pet)

    monkeypatch.setattr(cache_module, "prepare", ready)


def files(cache) -> dict[str, int]:
    paths = (cache.root / "rows").rglob("*")
    return {str(p): p.stat().st_mtime_ns for p in paths if p.is_file()}


def test_arrays_are_in_model_space_and_in_suvr(tiny_cohort):
    cache = build(tiny_cohort)
    assert cache.mri_shape == MRI_SHAPE
    assert cache.pet_shape == PET_SHAPE
    assert len(cache.rows()) == 5
    assert not cache.failures
    k, i, j = PET_SHAPE
    brain = to_kij(ellipsoid((i, j, k), grid_affine(PET_SHAPE), np.eye(4)))
    well_inside = to_kij(
        ellipsoid((i, j, k), grid_affine(PET_SHAPE), np.eye(4), (45.0, 60.0, 40.0))
    )
    far_outside = ~to_kij(
        ellipsoid((i, j, k), grid_affine(PET_SHAPE), np.eye(4), (90.0, 105.0, 85.0))
    )
    relative = to_kij(uptake((i, j, k), grid_affine(PET_SHAPE)))
    for row in cache.rows():
        mri, pet = cache.mri(row), cache.pet(row)
        assert mri.shape == MRI_SHAPE
        assert pet.shape == PET_SHAPE
        assert isinstance(mri, np.memmap)
        assert mri.min() >= 0
        assert mri.max() == 1
        found = cache.brain(row) > 0.5
        assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.95
        expected = tiny_cohort.level[row.subject] * relative[well_inside]
        assert pet[well_inside] == pytest.approx(expected, rel=0.01)
        assert not pet[far_outside].any()


def test_a_dynamic_pet_lies_where_its_frames_lie_on_average(tiny_cohort):
    row = next(r for r in build_manifest(tiny_cohort.root) if r.subject == "sub-0002")
    frames = json.loads(row.truth.read_text())["frames"]
    assert len(frames) == 4
    found = np.asarray(prepare(row, MRI_SHAPE, PET_SHAPE, "truth").details["t1_from_pet"])
    expected = np.mean([frame["t1_from_frame"] for frame in frames], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found - frames[0]["t1_from_frame"]).max() > 4


@pytest.mark.usefixtures("prepared_at_once")
def test_mean_and_std_are_those_of_the_training_pets(tiny_cohort):
    cache = build(tiny_cohort)
    pets = np.stack([cache.pet(row) for row in cache.rows("train")]).astype(np.float64)
    assert len(pets) < 5
    assert cache.pet_mean == pytest.approx(pets.mean(), rel=1e-9)
    assert cache.pet_std == pytest.approx(pets.std(), rel=1e-9)


@pytest.mark.usefixtures("prepared_at_once")
def test_unpaired_subjects_come_when_asked_for(tiny_cohort):
    assert len(build(tiny_cohort).rows(paired=False)) == 5
    cache = build(tiny_cohort, include_unpaired=True)
    assert len(cache.rows(paired=False)) == 6
    assert len(cache.rows()) == 5


@pytest.mark.usefixtures("prepared_at_once")
def test_an_mri_comes_to_the_pet_grid_once_and_anew_with_its_row(tiny_cohort):
    cache = build(tiny_cohort)
    row = cache.rows()[1]
    moved = cache.mri_on_pet_grid(row)
    assert moved.shape == PET_SHAPE
    expected = to_pet_size(cache.mri(row), PET_SHAPE)
    np.testing.assert_allclose(moved, expected, atol=1e-3)
    (path,) = cache.root.glob(f"rows/{row.name}/mri_on_pet_grid.npy")
    made = path.stat().st_mtime_ns
    cache.mri_on_pet_grid(row)
    assert path.stat().st_mtime_ns == made
    os.utime(row.t1, (1, 1))
    build(tiny_cohort)
    assert not path.exists()


@pytest.mark.usefixtures("prepared_at_once")
def test_a_second_build_does_no_work_and_a_changed_file_is_redone(tiny_cohort):
    first = build(tiny_cohort)
    before = files(first)
    calls: list[tuple] = []
    second = build(tiny_cohort, on_subject=lambda *call: calls.append(call))
    assert files(second) == before
    assert calls == []
    os.utime(tiny_cohort.t1("sub-0002"), (1, 1))
    third = build(tiny_cohort, on_subject=lambda *call: calls.append(call))
    assert calls == [(1, 1, "sub-0002_ses-01", None)]
    changed = {path for path, date in files(third).items() if before[path] != date}
    assert changed
    assert all("sub-0002" in path for path in changed)


@pytest.mark.usefixtures("prepared_at_once")
def test_other_settings_have_another_key(tiny_cohort):
    first, second = build(tiny_cohort), build(tiny_cohort, mri_shape=(16, 32, 32))
    assert first.root != second.root
    assert first.root.parent == second.root.parent == default_cache_dir(tiny_cohort.root)


@pytest.mark.usefixtures("prepared_at_once")
def test_the_reference_is_part_of_the_key_by_content(tiny_cohort, tmp_path):
    region = np.zeros((91, 109, 91), np.uint8)
    region[40:50, 30:40, 20:30] = 1
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    grid[:3, 3] = -90, -126, -72
    first, second = tmp_path / "a.nii", tmp_path / "b.nii"
    nibabel.save(nibabel.Nifti1Image(region, grid), first)
    second.write_bytes(first.read_bytes())
    roots = [
        build(tiny_cohort, reference=setting).root
        for setting in ("cerebellum", "minmax", str(first), str(second), Reference.of(first))
    ]
    assert len(set(roots)) == 3
    assert roots[2] == roots[3] == roots[4]
    assert build(tiny_cohort).root == roots[0]
    region[40] = 0
    nibabel.save(nibabel.Nifti1Image(region, grid), first)
    changed = build(tiny_cohort, reference=str(first))
    assert changed.root not in roots
    assert changed.settings["reference"].startswith("sha256:")
    with pytest.raises(InputError, match="no such file"):
        build(tiny_cohort, reference=str(tmp_path / "absent.nii"))


@pytest.mark.slow
def test_known_transforms_take_any_reference(tiny_cohort, tmp_path):
    """By a VOI in the middle its SUVR is 1 there, by nothing but itself its maximum is 1."""
    grid = np.diag([2.0, 2.0, 2.0, 1.0])
    grid[:3, 3] = -20, -40, -10
    nibabel.save(nibabel.Nifti1Image(np.ones((20, 20, 20), np.uint8), grid), tmp_path / "voi.nii")
    by_voi = build(tiny_cohort, reference=tmp_path / "voi.nii", jobs=2)
    k, i, j = PET_SHAPE
    relative = to_kij(uptake((i, j, k), grid_affine(PET_SHAPE)))
    alone = build(tiny_cohort, reference="minmax")
    for row in by_voi.rows():
        inside = by_voi.brain(row) > 0.99
        of_middle = by_voi.pet(row)[inside] / relative[inside]
        assert np.median(of_middle) == pytest.approx(1, abs=0.01)
        details = by_voi.record(row)
        level = tiny_cohort.level[row.subject]
        assert details["pet_scale_to_suvr"] == pytest.approx(1 / (2500 * level), rel=0.01)
        assert details["pet_reference"].startswith("voi.nii, sha256 ")
        assert (alone.pet(row).min(), alone.pet(row).max()) == (0, 1)
        assert alone.record(row)["pet_unit"] == "0 to 1"
    assert build(tiny_cohort).record(by_voi.rows()[0])["pet_unit"] == "SUVR"


@pytest.mark.usefixtures("prepared_at_once")
def test_a_deepbet_that_may_find_brains_is_part_of_the_key(
    tiny_cohort, prepared_at_once, monkeypatch
):
    def build_with(version, registration="estimate"):
        monkeypatch.setattr("mri2pet.imaging.brain.deepbet.version", lambda: version)
        return build(tiny_cohort, registration=registration)

    without, with_one = build_with(None), build_with("1.0.2")
    assert "deepbet" not in without.settings
    assert with_one.settings["deepbet"] == "1.0.2"
    assert len({without.root, with_one.root, build_with("1.0.3").root}) == 3
    assert build_with(None, "truth").root == build_with("1.0.2", "truth").root


def test_a_worker_without_the_builders_deepbet_is_refused(
    tiny_cohort, prepared_at_once, monkeypatch
):
    versions = iter(["1.0.2"])
    monkeypatch.setattr("mri2pet.imaging.brain.deepbet.version", lambda: next(versions, None))
    with pytest.raises(InputError, match=r"has deepbet \(none\), the cache was begun with 1\.0\.2"):
        build(tiny_cohort, registration="estimate")


def test_failures_are_listed_and_tried_again(tiny_cohort):
    pet = tiny_cohort.pet("sub-0003")
    whole = pet.read_bytes()
    pet.write_bytes(whole[: len(whole) // 2])
    cache = build(tiny_cohort)
    assert list(cache.failures) == ["sub-0003_ses-01"]
    assert len(cache.rows()) == 4
    (failure,) = read_table(cache.root / "failures.tsv")
    assert failure["subject"] == "sub-0003"
    assert failure["error"].startswith(pet.relative_to(tiny_cohort.root).as_posix())
    assert str(tiny_cohort.root) not in "".join(
        path.read_text() for path in cache.root.glob("*.*") if path.is_file()
    )
    pet.write_bytes(whole)
    cache = build(tiny_cohort)
    assert not cache.failures
    assert len(cache.rows()) == 5
    assert read_table(cache.root / "failures.tsv") == []


def test_pets_without_spread_are_left_out(tiny_cohort):
    """Everywhere, in the head, and but for chance."""
    reasons = {
        "sub-0003": "all its voxels are 700",
        "sub-0004": "no spread in the brain",
        "sub-0005": "no spread in the brain",
    }
    for subject in reasons:
        path = tiny_cohort.pet(subject)
        image = nibabel.load(path)
        values = {
            "sub-0003": np.full(image.shape, 700.0),
            "sub-0004": 700.0 * (np.asarray(image.dataobj) > 0),
            "sub-0005": 700.0 + np.random.default_rng(0).normal(0, 2, image.shape),
        }[subject]
        save(path, values, image.affine)
    cache = build(tiny_cohort)
    assert set(cache.failures) == {f"{subject}_ses-01" for subject in reasons}
    failures = read_table(cache.root / "failures.tsv")
    assert len(failures) == len(reasons)
    for failure in failures:
        assert reasons[failure["subject"]] in failure["error"]
    assert {row.subject for row in cache.rows()}.isdisjoint(reasons)


def test_a_folder_says_what_was_taken_and_what_was_left_out(tiny_cohort, prepared_at_once):
    pet = tiny_cohort.pet("sub-0003")
    pet.rename(pet.with_name("sub-0003_ses-01_trc-18FFDG_pet.nii.gz"))
    notes: list[str] = []
    cache = build(tiny_cohort, on_note=notes.append)
    assert notes == [
        "taken: 6 T1s and 4 AV45 PETs (step unknown)",
        f"left out: 1 other_tracer; why of each: {cache.root / 'passed_over.tsv'}",
    ]
    (row,) = read_table(cache.root / "passed_over.tsv")
    assert row["file"] == "sub-0003/ses-01/pet/sub-0003_ses-01_trc-18FFDG_pet.nii.gz"
    assert build(tiny_cohort, on_note=notes.append).root == cache.root
    assert notes[:2] == notes[2:]


def test_a_cohort_of_failures_only_is_an_error(tiny_cohort):
    for path in tiny_cohort.root.glob("derivatives/truth/*/*/*_truth.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"no subject could be prepared.*no truth file"):
        build(tiny_cohort)


def test_a_full_disk_leaves_no_row_half_written(tiny_cohort, prepared_at_once, monkeypatch):
    def full(file, array):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module.np, "save", full)
        with pytest.raises(InputError, match="No space left"):
            build(tiny_cohort)
    cache = build(tiny_cohort)
    assert len(cache.rows()) == 5
    assert not list((cache.root / "rows").glob(".part-*"))


def test_a_cache_folder_that_cannot_be_written_is_one_sentence(tiny_cohort, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Mri2petError, match="cannot be written"):
        build(tiny_cohort, cache_dir=tmp_path / "file")


@pytest.mark.parametrize("option", [{"jobs": 0}, {"registration": "guess"}])
def test_impossible_settings_are_refused(tiny_cohort, option):
    with pytest.raises(UsageError, match=next(iter(option))):
        build(tiny_cohort, **option)


def test_a_killed_build_goes_on_where_it_was(tiny_cohort, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from mri2pet.cohort.cache import build_cache\n"
        "def stop(done, total, name, error):\n"
        "    if done == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"build_cache(sys.argv[1], mri_shape={MRI_SHAPE}, pet_shape={PET_SHAPE},\n"
        "            registration='truth', on_subject=stop)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tiny_cohort.root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (root,) = default_cache_dir(tiny_cohort.root).iterdir()
    (root / "rows" / ".part-left-over").mkdir()
    done: list[str] = []
    cache = build(tiny_cohort, on_subject=lambda d, n, name, e: done.append(name))
    assert len(done) == 3
    assert len(cache.rows()) == 5
    assert not list((root / "rows").glob(".part-*"))


def test_a_lost_process_ends_the_build_and_is_no_fault_of_its_row(tiny_cohort, monkeypatch):
    def killed(*_):
        raise ProcessLost("ANTs' process ended without an answer; run it with fewer jobs.")

    monkeypatch.setattr(cache_module, "prepare", killed)
    with pytest.raises(ProcessLost, match="fewer jobs"):
        build(tiny_cohort)
    (root,) = default_cache_dir(tiny_cohort.root).iterdir()
    assert not list(root.glob("failures.tsv"))


def test_two_writers_take_turns(tiny_cohort, prepared_at_once, monkeypatch):
    make, active, most = cache_module._make_row, [], []

    def watched(reference, task):
        active.append(task)
        most.append(len(active))
        time.sleep(0.02)
        result = make(reference, task)
        active.pop()
        return result

    monkeypatch.setattr(cache_module, "_make_row", watched)
    threads = [threading.Thread(target=build, args=(tiny_cohort,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) == 5
    assert len(build(tiny_cohort).rows()) == 5


@pytest.mark.slow
def test_worker_processes_give_the_same_arrays(tiny_cohort, tmp_path):
    alone = build(tiny_cohort, cache_dir=tmp_path / "alone")
    beside = build(tiny_cohort, cache_dir=tmp_path / "beside", jobs=2)
    for row in alone.rows():
        np.testing.assert_array_equal(alone.pet(row), beside.pet(row))
        np.testing.assert_array_equal(alone.mri(row), beside.mri(row))
    assert alone.pet_mean == beside.pet_mean


@pytest.mark.usefixtures("prepared_at_once")
def test_settings_are_written_down(tiny_cohort):
    cache = build(tiny_cohort, split_seed=7)
    assert json.loads((cache.root / "settings.json").read_text()) == cache.settings
    assert (cache.root / "manifest_seed-7.tsv").is_file()


@pytest.mark.usefixtures("prepared_at_once")
def test_the_dataset_gives_tensors_of_its_split(tiny_cohort):
    cache = build(tiny_cohort)
    dataset = ModelSpaceDataset(cache, "train")
    assert len(dataset) == len(cache.rows("train"))
    mri, pet, name = dataset[0]
    assert mri.shape == (1, *MRI_SHAPE)
    assert pet.shape == (1, *PET_SHAPE)
    assert str(mri.dtype) == str(pet.dtype) == "torch.float32"
    assert name == cache.rows("train")[0].name
    with pytest.raises(InputError, match="holdout split"):
        ModelSpaceDataset(cache, "holdout")
