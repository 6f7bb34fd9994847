"""The whole way from a series to files, with a stand-in for the network."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from mri2pet.cli.main import main
from mri2pet.dicom.reading import read_t1_series
from mri2pet.dicom.uids import Identity
from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.space.volume import Volume
from mri2pet.synthesis import dicom_files
from mri2pet.synthesis.dicom_module import checked_settings, run_module
from mri2pet.synthesis.dicom_series import DicomResult, synthesize_series, write_series
from mri2pet.synthesis.outputs import OutputPaths, packed_image
from mri2pet.synthesis.result import SynthesisResult

from .make_series import head, save
from .make_series import series as slices_of
from .results import made_sidecar
from .spoken import mentions

SHAPE = (36, 30, 26)  # columns, rows and sagittal slices
MARKERS = {
    "PatientName": "MARKERname^Xq",
    "PatientID": "MARKERid/../$(x)",
    "PatientBirthDate": "19011231",
    "AccessionNumber": "MARKERacc",
    "StudyID": "MARKERstudy",
    "StudyDescription": "MARKERdescription",
    "ReferringPhysicianName": "MARKERphysician",
    "OtherPatientIDs": "MARKERother",
    "SeriesDescription": "MARKERseries",
}


@pytest.fixture
def runs() -> list[Any]:
    """The subjects that were synthesised."""
    return []


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> Path:
    """A folder with a series, and a synthesis that makes a PET of it in a moment."""
    folder = tmp_path / "MARKERfolder"
    save(slices_of(*head((26, 36, 30)), "sagittal", **MARKERS), folder)

    class Runner:
        def __init__(self, options: Any, out: Path | None) -> None:
            self.out = out
            self.settings = {"samples": options.samples, "steps": options.steps}
            self.settings |= {"seed": options.seed, "sampler": options.sampler}
            sha256 = "f" * 64 if options.model == "other" else "2" * 64
            self.model = SimpleNamespace(sha256=sha256, engine="torch", device="cpu")

        def run(self, subject: Any) -> SynthesisResult:
            runs.append(subject)
            t1 = subject.source
            said = made_sidecar() | {"settings": self.settings, "warnings": t1.warnings}
            said["input"] = {"file": subject.name, "sha256": t1.sha256}
            said["model"] = {"name": "small", "sha256": self.model.sha256}
            level = np.where(t1.volume.data > 1500, t1.volume.data / 2000, 0)
            pet, std = (
                nibabel.Nifti1Image((level * share).astype(np.float32), t1.volume.affine)
                for share in (1.0, 0.1)
            )
            paths = None
            if self.out is not None:
                paths = OutputPaths.of(self.out, subject.stem)
                paths.folder.mkdir()
                said["outputs"] = {"pet": paths.pet.name, "std": paths.std.name}
                paths.pet.write_bytes(packed_image(pet))
                paths.std.write_bytes(packed_image(std))
                paths.sidecar.write_text(json.dumps(said))
            return SynthesisResult(subject.label, "done", pet, std, said, paths=paths)

    monkeypatch.setattr(
        "mri2pet.synthesis.run.make_runner",
        lambda options, out, observer, layout: (Runner(options, out), None),
    )
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_pet_series_and_a_report_of_one_study(series, tmp_path):
    result = synthesize_series(series, tmp_path / "out")
    assert result.status == "done"
    assert sorted(p.name for p in result.files) == sorted(contents(tmp_path / "out"))
    found = [dcmread(path) for path in result.files]
    assert [one.Modality for one in found] == ["PT"] * SHAPE[2] + ["DOC"]
    assert len({one.StudyInstanceUID for one in found}) == 1
    assert len({one.SeriesInstanceUID for one in found}) == 2


def test_again_is_the_same_bytes_wherever_it_runs(series, tmp_path, runs):
    first = synthesize_series(series, tmp_path / "one")
    synthesize_series(series, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(runs) == 2
    again = synthesize_series(series, tmp_path / "one")
    assert (again.status, again.files) == ("skipped", first.files)
    assert len(runs) == 2


def test_what_is_missing_is_made_again(series, tmp_path, runs):
    first = synthesize_series(series, tmp_path / "out", report="none")
    before = contents(tmp_path / "out")
    first.files[3].unlink()
    assert synthesize_series(series, tmp_path / "out", report="none").status == "done"
    assert contents(tmp_path / "out") == before
    again = synthesize_series(series, tmp_path / "out", report="none", overwrite=True)
    assert (again.status, len(runs)) == ("done", 3)


def test_another_model_goes_beside_the_first(series, tmp_path):
    one = synthesize_series(series, tmp_path / "out", report="none")
    other = synthesize_series(series, tmp_path / "out", report="none", model="other")
    assert not set(one.files) & set(other.files)
    assert all(path.is_file() for path in (*one.files, *other.files))


def test_written_later_it_is_the_same_bytes(series, tmp_path):
    kept = synthesize_series(series, tmp_path / "one", nifti=True, std=True)
    (pet,) = (tmp_path / "one").glob("*/*synthetic_pet.nii.gz")
    later = write_series(pet, series, tmp_path / "two", std=True)
    assert [p.name for p in later.files] == [p.name for p in kept.files]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_report_as_picture_or_none(series, tmp_path):
    none = synthesize_series(series, tmp_path / "out", report="none")
    picture = synthesize_series(series, tmp_path / "out", report="sc")
    (page,) = set(picture.files) - set(none.files)
    found = dcmread(page)
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    pixels = found.pixel_array
    assert pixels.shape == (1169, 827, 3)
    assert (np.abs(pixels.astype(int) - (160, 0, 0)).sum(axis=2) < 30).sum() > 1000  # headline
    with pytest.raises(UsageError, match="--report html"):
        synthesize_series(series, tmp_path / "out", report="html")


def test_a_single_sample_has_no_spread(series, tmp_path):
    one = synthesize_series(series, tmp_path / "out", samples=1, std=True, report="none")
    assert len(one.files) == SHAPE[2]


def test_nothing_tells_whose_it_is_but_the_copied_fields(series, tmp_path, capfd, monkeypatch):
    out = tmp_path / "out"
    task = {"process": {"settings": {"nifti": True, "std": True}}}
    (series / "task.json").write_text(json.dumps(task))
    monkeypatch.setenv("MERCURE_IN_DIR", str(series))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(out))
    assert main(["dicom", "module"]) == 0
    assert "MARKER" not in "".join(capfd.readouterr())
    names = [path.name for path in out.rglob("*")]
    (told,) = out.glob("*/*.json")
    assert "MARKER" not in "".join(names) + told.read_text()
    for path in out.glob("*.dcm"):
        one = dcmread(path)
        copied = {e.keyword for e in one.iterall() if "MARKER" in str(e.value)}
        assert copied == set(MARKERS) - {"SeriesDescription", "PatientBirthDate"}
        if one.Modality == "DOC":
            page = one.EncapsulatedDocument
            assert mentions(page, ["NOT ACQUIRED", "Provenance"]) == ["NOT ACQUIRED", "Provenance"]
            assert mentions(page, ["MARKER", "1901"]) == []


@pytest.mark.parametrize("kind", ["pdf", "sc"])
def test_the_report_is_drawn_from_no_header(kind, series, tmp_path):
    """Whoever it is of, what can be seen on the page and what lies behind it are the same."""
    others = tmp_path / "OTHERfolder"
    other = {name: value[::-1].replace("MARKER", "") for name, value in MARKERS.items()}
    other["PatientBirthDate"] = "19550607"
    save(slices_of(*head((26, 36, 30)), "sagittal", **other), others)
    pages = []
    for number, folder in enumerate((series, others)):
        made = synthesize_series(folder, tmp_path / str(number), report=kind)
        (page,) = [one for one in map(dcmread, made.files) if one.Modality != "PT"]
        pages.append(page.EncapsulatedDocument if kind == "pdf" else page.PixelData)
        assert page.PatientName == (MARKERS, other)[number]["PatientName"]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("how", ["as it is", "canonical", "turned"])
def test_axes_of_a_nifti_may_run_anywhere(how, series):
    source = read_t1_series(series).source
    values = np.random.default_rng(2).random(SHAPE).astype(np.float32)
    image = nibabel.Nifti1Image(values, source.affine)
    if how == "canonical":
        image = nibabel.as_closest_canonical(image)
    if how == "turned":
        image = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    assert np.array_equal(
        dicom_files.on_slices(Volume(np.asarray(image.dataobj), image.affine), source), values
    )


def test_a_pet_of_another_series_is_refused(series):
    source = read_t1_series(series).source
    moved = source.affine.copy()
    moved[0, 3] += 0.3
    values = np.zeros(SHAPE, np.float32)
    with pytest.raises(InputError, match=r"up to 0\.30 mm"):
        dicom_files.on_slices(Volume(values, moved), source)
    fewer = replace(source, frames=source.frames[:-1])
    with pytest.raises(InputError, match="36 x 30 x 26 voxels"):
        dicom_files.on_slices(Volume(values, source.affine), fewer)


def test_a_damaged_pet_is_one_sentence(series, tmp_path, capsys):
    synthesize_series(series, tmp_path / "one", nifti=True, report="none")
    (pet,) = (tmp_path / "one").glob("*/*synthetic_pet.nii.gz")
    pet.write_bytes(pet.read_bytes()[:-2000])
    command = ["dicom", "write", str(pet), str(tmp_path / "two"), "--source", str(series)]
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert pet.name in line


@pytest.mark.parametrize("wrong", ["no sidecar", "of something else", "no image"])
def test_only_a_result_with_its_sidecar_is_written(wrong, series, tmp_path, capsys):
    pet = tmp_path / "a_pet.nii.gz"
    pet.write_bytes(b"")
    if wrong == "of something else":
        (tmp_path / "a_pet.json").write_text('{"synthetic": false}')
    if wrong == "no image":
        pet.unlink()
    code = main(["dicom", "write", str(pet), str(tmp_path / "o"), "--source", str(series)])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert "a_pet.json beside it" in line
    assert not (tmp_path / "o").exists()


class TestModule:
    """The entry point of containers."""

    @pytest.fixture
    def given(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What arrives at the synthesis."""
        given: dict[str, Any] = {}

        def synthesize(source: Path, out: Path, **choices: Any) -> DicomResult:
            given.update(choices, source=source, out=out)
            return DicomResult("done", "", [], None)

        synthesize.__signature__ = inspect.signature(synthesize_series)
        monkeypatch.setattr("mri2pet.synthesis.dicom_module.synthesize_series", synthesize)
        return given

    def test_mercure_names_folders_and_settings(self, given, tmp_path):
        task = {"process": {"settings": {"model": "m", "steps": 3, "std": True, "report": "sc"}}}
        (tmp_path / "task.json").write_text(json.dumps(task))
        out = str(tmp_path / "out")
        holoscan = {"HOLOSCAN_INPUT_PATH": "/x", "HOLOSCAN_OUTPUT_PATH": "/y"}
        run_module({"MERCURE_IN_DIR": str(tmp_path), "MERCURE_OUT_DIR": out, **holoscan})
        assert given == {
            "source": tmp_path, "out": tmp_path / "out", "observer": None,
            "model": "m", "steps": 3, "std": True, "report": "sc",
        }  # fmt: skip

    def test_holoscan_names_folders(self, given, tmp_path):
        run_module({"HOLOSCAN_INPUT_PATH": str(tmp_path), "HOLOSCAN_OUTPUT_PATH": "/y"})
        assert given == {"source": tmp_path, "out": Path("/y"), "observer": None}

    @pytest.mark.parametrize(
        ("environment", "words"),
        [({}, "names no folders"), ({"MERCURE_IN_DIR": "/x"}, "no MERCURE_OUT_DIR")],
    )
    def test_without_folders_it_is_misuse(self, environment, words):
        with pytest.raises(UsageError, match=words):
            run_module(environment)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"step": 3}, "unknown setting 'step'"),
            ({"observer": 3}, "unknown setting 'observer'"),
            ({"steps": "3"}, "steps takes int, not '3'"),
            ({"steps": True}, "steps takes int, not True"),
            ({"std": 1}, "std takes bool"),
            ({"model": [1]}, "model takes str"),
        ],
    )
    def test_settings_are_arguments_of_the_call(self, settings, words):
        with pytest.raises(UsageError, match=words):
            checked_settings(settings, "task.json")

    def test_several_models_and_nothing_are_settings(self):
        fine = {"model": ["a", "b"], "series": None, "threshold": "lab=1.2", "overlay": True}
        assert checked_settings(fine, "task.json") == fine

    @pytest.mark.parametrize("text", ["{", '{"process": {"settings": [1]}}', '{"process": []}x'])
    def test_a_task_that_is_none_is_one_sentence(self, text, tmp_path, monkeypatch, capsys):
        (tmp_path / "task.json").write_text(text)
        monkeypatch.setenv("MERCURE_IN_DIR", str(tmp_path))
        monkeypatch.setenv("MERCURE_OUT_DIR", str(tmp_path / "out"))
        assert main(["dicom", "module"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "task.json" in line

    def test_in_a_container(self, series, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("HOLOSCAN_INPUT_PATH", str(series))
        monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", str(tmp_path / "out"))
        assert main(["dicom", "module"]) == 0
        assert capsys.readouterr().out == f"wrote {SHAPE[2] + 1} instances\n"
        assert len(contents(tmp_path / "out")) == SHAPE[2] + 1


def test_the_command_says_which_series_it_took(series, tmp_path, capsys):
    command = ["dicom", "synthesize", str(series), str(tmp_path / "out"), "--report", "none"]
    assert main(command) == 0
    said = capsys.readouterr()
    (took,), (wrote,) = said.err.splitlines(), said.out.splitlines()
    assert took.startswith(f'{series}: took series 4 "MARKERseries"')
    assert wrote == f"wrote {SHAPE[2]} instances in {tmp_path / 'out'}"
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(command) == 0
    assert "already done: 26 instances" in capsys.readouterr().out


def test_what_is_no_series_is_one_sentence(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert main(["dicom", "synthesize", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mri2pet: error: ")
    assert not (tmp_path / "out").exists()


def test_with_a_network(tmp_path, monkeypatch, small_concat_model):
    """All but the registration is real here."""
    from mri2pet.imaging.pipeline import Preprocessed, SpaceRecord

    def preprocess(t1: Any, *, mri_shape: Any, pet_shape: Any, **options: Any) -> Preprocessed:
        mask = t1.volume.data > 1500
        record = SpaceRecord(np.eye(4), t1.grid, pet_shape, mask)
        return Preprocessed(np.ones(mri_shape, np.float32), record, t1, mask, {})

    monkeypatch.setattr("mri2pet.imaging.pipeline.preprocess", preprocess)
    monkeypatch.setattr("mri2pet.synthesis.subject._report", lambda *of: "<!DOCTYPE html>")
    save(slices_of(*head((26, 36, 30)), "sagittal"), tmp_path / "in")
    options = {"model": small_concat_model, "samples": 2, "steps": 1}
    one = synthesize_series(tmp_path / "in", tmp_path / "one", nifti=True, **options)
    assert len(one.files) == SHAPE[2] + 1
    (pet,) = (tmp_path / "one").glob("*/*synthetic_pet.nii.gz")
    image = nibabel.load(pet)
    source = read_t1_series(tmp_path / "in").source
    values = dicom_files.on_slices(Volume(image.get_fdata(), image.affine), source)
    for k, path in enumerate(one.files[: SHAPE[2]]):
        read = dcmread(path)
        found = read.pixel_array * float(read.RescaleSlope)
        assert np.abs(found - values[:, :, k].T).max() <= read.RescaleSlope / 2 + 1e-9
    again = synthesize_series(tmp_path / "in", tmp_path / "one", nifti=True, **options)
    assert again.status == "skipped"


def test_command_and_call_are_one(monkeypatch):
    from mri2pet.cli.dicom_write import OWN, synthesize

    call = inspect.signature(synthesize_series).parameters
    theirs = {n: p.default for n, p in call.items() if n not in ("source", "out", "observer")}
    ours = {
        name: parameter.default
        for name, parameter in inspect.signature(synthesize).parameters.items()
        if name not in ("context", *OWN)
    }
    assert ours == theirs


def test_identity_before_and_after_a_result_is_one(series, tmp_path, monkeypatch):
    """What is looked for before the synthesis is what is written after it."""
    identities = []
    of = Identity.of.__func__

    def noted(cls: Any, *arguments: Any) -> Identity:
        identities.append(of(cls, *arguments))
        return identities[-1]

    monkeypatch.setattr(Identity, "of", classmethod(noted))
    synthesize_series(series, tmp_path / "one", nifti=True, report="none")
    (pet,) = (tmp_path / "one").glob("*/*synthetic_pet.nii.gz")
    write_series(pet, series, tmp_path / "two", report="none")
    assert identities[0] == identities[1]
