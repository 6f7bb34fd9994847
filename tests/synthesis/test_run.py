"""`mri2pet.synthesize`, end to end with a small model."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

import mri2pet
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.imaging.space.model_space import dilate_soft, mask_to_model_space
from mri2pet.imaging.suvr.drawn import EXPECTED_LEVEL, Drawn
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.imaging.suvr.regions import GREY_REGIONS
from mri2pet.synthesis import Observer, SynthesisResult, outputs
from mri2pet.synthesis import pet as pet_module
from mri2pet.synthesis import subject as subject_module
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.pet import measure
from mri2pet.tables import read_table
from mri2pet.uncertainty.calibrate import fit
from mri2pet.uncertainty.calibration import CALIBRATION, write_calibration
from mri2pet.uncertainty.people import People

Quick = dict[str, Any]


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def done(
    head_file: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SynthesisResult]:
    out = tmp_path_factory.mktemp("results")
    options = {"steps": 2, "samples": 2, "skull_stripped": True}
    (result,) = mri2pet.synthesize(head_file, out, model=small_model, **options)
    return out, result


def test_files_of_a_subject(done: tuple[Path, SynthesisResult]) -> None:
    out, result = done
    base = "sub-01/sub-01_trc-18FAV45_space-T1w_desc-synthetic"
    assert files_below(out) == sorted(
        [f"{base}_pet.nii.gz", f"{base}std_pet.nii.gz", f"{base}_pet.json", "sub-01/report.html"]
    )
    assert result.status == "done"
    assert result.paths is not None
    assert result.paths.report.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("name", ["pet", "std"])
def test_geometry_is_that_of_the_t1(
    name: str, done: tuple[Path, SynthesisResult], head: nibabel.Nifti1Image
) -> None:
    image = getattr(done[1], name)
    assert image.shape == head.shape
    np.testing.assert_allclose(image.affine, head.affine, atol=1e-5)
    for form in ("get_sform", "get_qform"):
        affine, code = getattr(image, form)(coded=True)
        expected, expected_code = getattr(head, form)(coded=True)
        assert code == expected_code
        np.testing.assert_allclose(affine, expected, atol=1e-5)
    assert image.header.get_xyzt_units() == head.header.get_xyzt_units()
    assert image.get_data_dtype() == np.float32
    assert bytes(image.header["descrip"]).rstrip(b"\0") == b"synthetic AV45 SUVR"


def test_values_are_suvr_in_the_brain_and_nothing_outside(
    done: tuple[Path, SynthesisResult], head: nibabel.Nifti1Image
) -> None:
    pet, brain = done[1].pet.get_fdata(), np.asarray(head.dataobj) > 0
    assert np.isfinite(pet).all()
    assert pet.min() >= 0
    assert 0.2 < pet[brain].mean() < 3
    assert not pet[:3].any()
    assert done[1].std.get_fdata()[brain].mean() > 0


def test_sidecar(done: tuple[Path, SynthesisResult], head_file: Path, small_model: Path) -> None:
    result = done[1]
    written = json.loads(result.paths.sidecar.read_text())
    assert written == result.sidecar
    assert written["synthetic"] is True
    assert written["warning"] == mri2pet.WARNING
    assert (written["Units"], written["ReferenceRegion"]) == ("SUVR", "whole cerebellum")
    assert written["input"]["file"] == head_file.name
    assert str(head_file.parent) not in result.paths.sidecar.read_text()
    assert str(head_file.parent) not in result.paths.report.read_text()
    assert len(written["input"]["sha256"]) == 64
    assert written["model"]["name"] == "small"
    assert written["model"]["sha256"] == mri2pet.load_model(small_model).sha256
    chosen = {"seed": 0, "sampler": "dpmpp", "steps": 2, "samples": 2}
    assert chosen.items() <= written["settings"].items()
    assert {"read", "sampling", "way back", "measurements", "report", "write"} <= set(
        written["seconds"]
    )
    assert written["peak_memory_mib"]["process"] > 50
    assert written["checks"]
    assert {"mri2pet", "git_revision", "torch", "antspyx"} <= set(written["versions"])
    cortical = written["measurements"]["cortical_suvr"]
    assert abs(cortical["mean"] - np.mean(cortical["samples"])) > 1e-3, "of the mean PET"
    assert written["settings"]["mean"] == EXPECTED_LEVEL
    assert EXPECTED_LEVEL in written["Description"]
    np.testing.assert_allclose(cortical["sd_of_samples"], np.std(cortical["samples"], ddof=1))
    assert cortical["interval"] is None
    regions = written["measurements"]["regional_suvr"]
    assert len(regions["precuneus"]["samples"]) == 2
    assert "cortex" not in regions
    assert written["measurements"]["uncertainty"].startswith("not calibrated for these settings")
    assert written["measurements"]["cerebellum_suvr"]["mean"] > 0


@pytest.mark.usefixtures("no_report")
def test_a_model_of_another_reference_says_so(
    head_file: Path, small_model: Path, tmp_path: Path, quick: Quick
) -> None:
    def synthesised(record: dict[str, str]) -> SynthesisResult:
        model = mri2pet.load_model(small_model)
        model.provenance = {"reference": record}
        (result,) = mri2pet.synthesize(head_file, **quick | {"model": model})
        return result

    by_pons = synthesised({"key": "sha256:abc", "name": "pons.nii, sha256 abc", "unit": "SUVR"})
    assert by_pons.sidecar["ReferenceRegion"] == "pons.nii, sha256 abc"
    assert not any("cerebellum" in text for text in by_pons.sidecar["warnings"])
    alone = synthesised(Reference.of("minmax").record())
    assert alone.sidecar["ReferenceRegion"] == "whole cerebellum"
    assert any("learnt PETs without SUVR" in text for text in alone.sidecar["warnings"])
    assert alone.sidecar["measurements"]["cerebellum_suvr"]["mean"] == pytest.approx(1, abs=1e-3)


def test_in_memory_the_same_without_files(
    done: tuple[Path, SynthesisResult], head: nibabel.Nifti1Image, quick: Quick
) -> None:
    (result,) = mri2pet.synthesize(head, **quick)
    assert result.paths is None
    assert result.report is not None
    assert result.report.startswith("<!DOCTYPE html>")
    np.testing.assert_array_equal(result.pet.get_fdata(), done[1].pet.get_fdata())
    assert result.sidecar["measurements"] == done[1].sidecar["measurements"]


def test_a_result_does_not_depend_on_what_runs_beside_it(
    done: tuple[Path, SynthesisResult],
    head_file: Path,
    changed: Callable[..., Path],
    tmp_path: Path,
    quick: Quick,
) -> None:
    other = changed("sub-02_T1w.nii", lambda data: data * 1.01)
    results = mri2pet.synthesize([other, head_file], tmp_path / "out", **quick)
    assert results[1].paths.pet.read_bytes() == done[1].paths.pet.read_bytes()
    assert results[1].paths.std.read_bytes() == done[1].paths.std.read_bytes()
    assert results[0].paths.pet.read_bytes() != done[1].paths.pet.read_bytes()


class Counting(Observer):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def run_started(self, subjects: int) -> None:
        self.events.append(("run", subjects))

    def subject_started(self, label: str) -> None:
        self.events.append(("subject", label))

    def stage(self, name: str, seconds: float | None) -> None:
        self.events.append((name, seconds is not None))

    def sampling_step(self, done: int, total: int) -> None:
        self.events.append((done, total))

    def subject_finished(self, result: SynthesisResult) -> None:
        self.events.append(result.status)


@pytest.mark.usefixtures("no_report")
def test_progress_is_told(head_file: Path, quick: Quick) -> None:
    observer = Counting()
    mri2pet.synthesize(head_file, observer=observer, **quick)
    events = observer.events
    assert events[:2] == [("run", 1), ("subject", str(head_file))]
    assert events[-1] == "done"
    assert [e for e in events if isinstance(e[0], int)] == [(i, 4) for i in (1, 2, 3, 4)]
    assert events.index(("sampling", False)) < events.index((1, 4)) < events.index((4, 4))
    assert events.index((4, 4)) < events.index(("sampling", True))


@pytest.mark.usefixtures("no_report")
def test_one_sample_has_no_spread(head_file: Path, tmp_path: Path, quick: Quick) -> None:
    mri2pet.synthesize(head_file, tmp_path, **quick)
    (result,) = mri2pet.synthesize(head_file, tmp_path, **quick | {"samples": 1})
    assert result.std is None
    assert not result.paths.std.exists()
    assert result.sidecar["measurements"]["cortical_suvr"]["sd_of_samples"] is None


@pytest.mark.usefixtures("no_report")
def test_done_subjects_are_skipped(head_file: Path, tmp_path: Path, quick: Quick) -> None:
    (first,) = mri2pet.synthesize(head_file, tmp_path, **quick)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (second,) = mri2pet.synthesize(head_file, tmp_path, **quick)
    assert second.status == "skipped"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    np.testing.assert_array_equal(second.pet.get_fdata(), first.pet.get_fdata())


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"steps": 3}, {"sampler": "ddpm"}, {"overwrite": True}]
)
def test_other_settings_are_done_again(
    change: Quick, head_file: Path, tmp_path: Path, quick: Quick
) -> None:
    (first,) = mri2pet.synthesize(head_file, tmp_path, **quick)
    before = first.paths.pet.read_bytes()
    (second,) = mri2pet.synthesize(head_file, tmp_path, **quick | change)
    assert second.status == "done"
    assert (second.paths.pet.read_bytes() == before) == ("overwrite" in change)


@pytest.mark.usefixtures("no_report")
def test_a_run_killed_before_the_sidecar_is_done_again(
    head_file: Path, tmp_path: Path, quick: Quick
) -> None:
    (first,) = mri2pet.synthesize(head_file, tmp_path, **quick)
    first.paths.sidecar.unlink()
    (second,) = mri2pet.synthesize(head_file, tmp_path, **quick)
    assert second.status == "done"


@pytest.mark.usefixtures("no_report")
def test_the_rest_goes_on_after_a_failure(
    head_file: Path, tmp_path: Path, quick: Quick, changed: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    bad = changed("sub-00_T1w.nii.gz", np.zeros_like)
    missing = tmp_path / "sub-09_T1w.nii.gz"
    results = mri2pet.synthesize([bad, head_file, missing], out, **quick)
    assert [r.status for r in results] == ["failed", "done", "failed"]
    assert isinstance(results[0].error, InputError)
    lines = (out / outputs.FAILURES).read_text().splitlines()
    assert lines[0] == "file\treason"
    assert [line.split("\t")[0] for line in lines[1:]] == [bad.name, missing.name]
    assert str(tmp_path) not in "".join(lines)
    mri2pet.synthesize(head_file, out, **quick)
    assert not (out / outputs.FAILURES).exists()


@pytest.mark.usefixtures("no_report")
def test_each_image_is_read_once_and_gone_before_the_next(
    head_file: Path,
    tmp_path: Path,
    quick: Quick,
    changed: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first is read while the model loads, and must not stay for the whole run."""
    other = changed("sub-02_T1w.nii", lambda data: data * 1.01)
    read, begun = SubjectInput.read, []

    def noted(self: SubjectInput, **options: Any) -> Any:
        gc.collect()
        alive = [stem for stem, image in begun if image() is not None]
        image = read(self, **options)
        begun.append((self.stem, weakref.ref(image)))
        assert alive == []
        return image

    monkeypatch.setattr(SubjectInput, "read", noted)
    results = mri2pet.synthesize([head_file, other], tmp_path / "out", **quick)
    assert [r.status for r in results] == ["done", "done"]
    assert [stem for stem, _ in begun] == ["sub-01", "sub-02"]


def test_a_fault_of_the_program_stops_one_subject_only(
    head_file: Path,
    tmp_path: Path,
    quick: Quick,
    changed: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = changed("sub-02_T1w.nii", lambda data: data * 1.01)
    work = subject_module.SubjectRunner.run

    def breaks(self: Any, subject: Any, reading: Any) -> SynthesisResult:
        if subject.stem == "sub-01":
            raise RuntimeError("a bug")
        return work(self, subject, reading)

    monkeypatch.setattr(subject_module.SubjectRunner, "run", breaks)
    results = mri2pet.synthesize([head_file, other], tmp_path / "out", **quick)
    assert [r.status for r in results] == ["failed", "done"]
    assert results[0].reason == "internal error (RuntimeError): a bug"


def test_a_brain_mask_belongs_to_one_image(head_file: Path, tmp_path: Path, quick: Quick) -> None:
    wrong = quick | {"skull_stripped": False, "brain_mask": head_file}
    with pytest.raises(UsageError, match="one image"):
        mri2pet.synthesize([head_file, tmp_path / "b.nii"], tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_options_are_checked_before_the_output_folder(tmp_path: Path, quick: Quick) -> None:
    with pytest.raises(UsageError):
        mri2pet.synthesize(tmp_path / "a.nii", tmp_path / "out", **quick | {"steps": 0})
    with pytest.raises(Mri2petError):
        mri2pet.synthesize(tmp_path / "a.nii", tmp_path / "out", **quick)
    assert files_below(tmp_path) == []
    assert not (tmp_path / "out").exists()


@pytest.fixture
def calibrated_model(small_model: Path, tmp_path: Path) -> Path:
    """The small model with a calibration for results of two samples and two steps."""
    folder = shutil.copytree(small_model, tmp_path / "calibrated")
    people = 20
    draw = np.random.default_rng(0)
    names = ("cortex", *GREY_REGIONS)
    settings = {
        "model_sha256": mri2pet.load_model(folder).sha256,
        "cohort": "c0ffee",
        "registration": "estimate",
        "split": "val",
        "samples": 2,
        "sampler": "dpmpp",
        "steps": 2,
    }
    drawn = {name: draw.normal(1.3, 0.05, (people, 2)) for name in names}
    measured = {name: draw.normal(1.3, 0.2, people) for name in names}
    subjects = [f"sub-{number}" for number in range(people)]
    mean = {name: values.mean(axis=1) for name, values in drawn.items()}
    made_up = People(settings, subjects, drawn, mean, measured, {}, simulated=False, rows=subjects)
    write_calibration(folder / CALIBRATION, fit(made_up, "lab", {}))
    return folder


@pytest.mark.slow
def test_a_calibrated_model_gives_intervals(
    head_file: Path, calibrated_model: Path, tmp_path: Path, quick: Quick
) -> None:
    (plain,) = mri2pet.synthesize(head_file, tmp_path / "out", **quick)
    options = quick | {"model": calibrated_model, "threshold": "our lab=1.2"}
    (result,) = mri2pet.synthesize(head_file, tmp_path / "out", **options)
    assert result.status == "done"
    before = plain.sidecar["measurements"]["cortical_suvr"]
    cortical = result.sidecar["measurements"]["cortical_suvr"]
    assert cortical["samples"] == before["samples"]
    interval = cortical["interval"]
    assert interval["low"] < cortical["mean"] < interval["high"]
    assert (interval["level"], interval["people"], interval["cohort"]) == (0.9, 20, "lab")
    for region in result.sidecar["measurements"]["regional_suvr"].values():
        assert region["interval"]["low"] < region["interval"]["high"]
    page = result.paths.report.read_text()
    assert "90 % interval, calibrated on 20 people of lab" in page
    assert 'class="bar" style' in page
    assert "The dashed line is the threshold our lab, 1.2 SUVR" in page
    (composite,) = read_table(result.paths.regions)
    limits = [float(composite[name]) for name in ("low", "high", "level")]
    assert limits == pytest.approx([interval["low"], interval["high"], 0.9], rel=1e-5)
    status = result.sidecar["quantification"]["values"]["status"]
    assert status["calibrated"] is True
    assert status["note"] == "residuals of 20 people of the calibration"
    assert "P(SUVR &gt; our lab 1.2)" in page
    assert "Spread of the samples, not an error bar" in page
    (again,) = mri2pet.synthesize(head_file, tmp_path / "out", **options)
    assert again.status == "skipped"
    (other,) = mri2pet.synthesize(head_file, tmp_path / "out", **options | {"samples": 3})
    assert other.sidecar["measurements"]["cortical_suvr"]["interval"] is None
    assert "samples 3 instead of 2" in other.sidecar["measurements"]["uncertainty"]


def test_the_numbers_are_measured_as_in_an_evaluation(
    head_file: Path, quick: Quick, prepared: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SUVR ≥ 0 in the dilated brain: else a calibration would speak of other numbers."""
    seen: list[Drawn] = []

    def watched(drawn: Drawn, uncertainty: Any) -> dict[str, Any]:
        seen.append(drawn)
        return measure(drawn, uncertainty)

    monkeypatch.setattr(pet_module, "measure", watched)
    (result,) = mri2pet.synthesize(head_file, **quick)
    ((samples, mean),) = seen
    (same,) = [p for key, p in prepared.items() if p.mri.shape == samples.shape[1:]][:1]
    brain = mask_to_model_space(
        same.brain_mask,
        same.record.grid.affine,
        same.record.template_from_subject,
        samples.shape[1:],
    )
    assert samples.min() == 0
    assert not samples[:, dilate_soft(brain) == 0].any()
    assert samples[:, brain > 0.5].any()
    assert mean.min() == 0
    assert not mean[dilate_soft(brain) == 0].any()
    inner = binary_erosion(same.brain_mask, iterations=10)
    image = np.asarray(result.pet.dataobj)[inner]
    np.testing.assert_allclose(image, same.record.to_subject(mean)[inner], atol=0.03)
    assert np.abs(image - same.record.to_subject(samples.mean(axis=0))[inner]).max() > 0.1
