"""DICOM goes in as an image does, and nothing of its headers or its folder's name comes out."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the extra dicom")

from pydicom import dcmread

from mri2pet.cli.main import main
from mri2pet.dicom.reading import DicomInput
from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.space.volume import reorder
from mri2pet.synthesis.inputs import find_inputs

from ..dicom.make_series import enhanced, save, series
from ..dicom.make_series import head as made_head
from ..dicom.spoken import mentions, own_elements

MARKER = "QxMark7"
PEOPLE = {
    "PatientName": f"{MARKER}name^Ann",
    "PatientID": f"{MARKER}id",
    "IssuerOfPatientID": f"{MARKER}issuer",
    "PatientBirthDate": "19010203",
    "AccessionNumber": f"{MARKER}number",
    "StudyID": f"{MARKER}study",
    "ReferringPhysicianName": f"{MARKER}doctor",
    "InstitutionName": f"{MARKER}hospital",
    "StudyDescription": f"{MARKER}words",
    "PatientComments": f"{MARKER}remark",
}


def test_a_folder_of_dicom_is_one_input(tmp_path: Path) -> None:
    save(series(*made_head((6, 7, 20))), tmp_path / "Doe_Jane")
    (found,) = find_inputs(tmp_path / "Doe_Jane", series=4)
    assert found.source == DicomInput(tmp_path / "Doe_Jane", 4)
    assert found.stem.startswith("dicom-")
    assert found.name == found.stem
    assert found.label == str(tmp_path / "Doe_Jane")
    assert "took series 4" in found.note
    assert pickle.loads(pickle.dumps(found)) == found
    assert len(find_inputs([tmp_path / "Doe_Jane", str(tmp_path / "Doe_Jane")])) == 1


def test_nifti_in_the_folder_comes_first(tmp_path: Path) -> None:
    save(series(*made_head((6, 7, 20))), tmp_path)
    (tmp_path / "a.nii.gz").touch()
    assert [found.stem for found in find_inputs(tmp_path)] == ["a"]
    with pytest.raises(UsageError, match="choose within DICOM"):
        find_inputs(tmp_path, series=4)


def test_dicom_that_is_refused_is_an_input_that_fails_later(tmp_path: Path) -> None:
    save(series(*made_head((6, 7, 20)), Modality="CT"), tmp_path)
    (found,) = find_inputs(tmp_path)
    assert found.note == ""
    with pytest.raises(InputError, match="series 4: modality CT"):
        found.read()


COPIED = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", *PEOPLE}


@pytest.mark.slow
def test_results_hold_nothing_of_a_header_or_a_folders_name(
    head: nibabel.Nifti1Image, small_model: Path, tmp_path: Path, capfd
) -> None:
    """NIfTI, sidecar and HTML; DICOM with the report as picture and as PDF; what was printed."""
    values, affine, _ = reorder(np.asarray(head.dataobj, np.float32), head.affine)
    slices = series(values, affine, "sagittal", **PEOPLE)
    folder, out = tmp_path / f"{MARKER}folder", tmp_path / "out"
    save([enhanced(slices)], folder)
    words = ["synthesize", folder, "-o", out, "--model", small_model, "--steps", 2]
    code = main([str(w) for w in [*words, "--samples", 2, "--skull-stripped"]])
    told = capfd.readouterr()
    assert code == 0, told.err
    (results,) = out.iterdir()
    assert results.name.startswith("dicom-")
    sidecar = json.loads(next(results.glob("*_pet.json")).read_text())
    assert sidecar["input"]["file"] == results.name
    image = next(results.glob("*synthetic_pet.nii.gz"))
    pet = nibabel.load(image)
    assert np.allclose(abs(np.linalg.det(pet.affine)), abs(np.linalg.det(head.affine)), rtol=1e-4)
    for kind in ("pdf", "sc"):
        words = ["dicom", "write", image, tmp_path / kind, "--source", folder, "--report", kind]
        assert main([str(w) for w in [*words, "--std", "--overlay"]]) == 0
    written = capfd.readouterr()
    said = "".join([*told, *written]).replace(str(folder), "")
    assert "took series 4" in said

    person = [MARKER, "19010203"]
    uids = [str(slices[0].StudyInstanceUID), str(slices[0].SeriesInstanceUID)]
    assert mentions(said.encode(), [*person, *uids]) == []
    (page,) = results.glob("*.html")
    assert mentions(page.read_bytes(), [results.name, "not acquired"]), "the page can be read"
    for path in results.iterdir():
        for content in (path.read_bytes(), path.name.encode()):
            assert mentions(content, [*person, *uids]) == [], path.name
    kinds = set()
    for path in [*(tmp_path / "pdf").iterdir(), *(tmp_path / "sc").iterdir()]:
        one = dcmread(path)
        kinds.add(one.Modality)
        assert mentions(path.name.encode(), [*person, *uids]) == []
        assert mentions(own_elements(one, COPIED), person) == []
        if one.Modality == "DOC":
            assert mentions(one.EncapsulatedDocument, [*person, *uids]) == []
    assert kinds == {"PT", "OT", "DOC"}
