"""`mri2pet quantify` from files to the table, and what it refuses before it writes anything."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mri2pet.cli.main import main
from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.files.reading import file_sha256
from mri2pet.imaging.suvr.means import region_mean_mm
from mri2pet.imaging.suvr.regions import cerebellum, cortical_composite
from mri2pet.quantification import Quantification, quantify
from mri2pet.quantification.inputs import find_sources

from .conftest import NAMES, save_image

BASE = [
    *("subject", "session", "source", "region", "index", "volume_ml", "mean_suvr"),
    *("sd_samples", "low", "high", "level", "covered"),
]


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text()), delimiter="\t"))


def sidecar(folder: Path, pet, *, stored=None, samples=(1.1, 1.2, 1.3, 1.4)) -> Path:
    """A folder as `mri2pet synthesize` leaves it."""
    base = folder / f"{folder.name}_trc-18FAV45_space-T1w_desc-synthetic"
    image = save_image(base.with_name(f"{base.name}_pet.nii.gz"), pet.data, pet.affine)
    tree = {
        "outputs": {"pet": image.name},
        "measurements": {"cortical_suvr": {"samples": list(samples), "mean": 1.27}},
        "model": {"name": "demo", "sha256": "ab"},
        "space": {"template_from_subject": np.eye(4).tolist()},
        "quantification": stored,
    }
    base.with_name(f"{base.name}_pet.json").write_text(json.dumps(tree))
    return folder


@pytest.fixture
def result(tmp_path, pet_image):
    folder = tmp_path / "results" / "sub-03_ses-1"
    folder.mkdir(parents=True)
    return sidecar(folder, pet_image)


def test_a_measured_pet_in_template_space(pet_file, pet_image, atlas_file, names, tmp_path):
    what = Quantification.of(atlas=atlas_file, labels=names)
    done = quantify([pet_file], tmp_path / "out" / "table.tsv", what)
    found = rows(done.table)
    assert list(found[0]) == [*BASE, "note"]
    assert [row["region"] for row in found[1:]] == list(NAMES.values())
    assert {(r["subject"], r["session"], r["source"]) for r in found} == {
        ("sub-07", "ses-2", "measured")
    }
    level = region_mean_mm(pet_image, cerebellum(2))[0]
    cortex = region_mean_mm(pet_image, cortical_composite(2))[0]
    assert float(found[0]["mean_suvr"]) == pytest.approx(cortex / level, rel=1e-5)
    assert found[0]["sd_samples"] == "n/a"
    tree = json.loads(done.description.read_text())
    assert tree["atlas"] == {"file": "atlas.nii.gz", "sha256": file_sha256(atlas_file)}
    assert tree["reference"] == "whole cerebellum, built in"
    assert tree["space"] == "MNI152NLin2009aSym"
    assert "mri2pet" in tree["versions"]
    assert "predicted from an MRI" not in tree["warning"]
    assert str(tmp_path) not in done.description.read_text()


def test_the_names_of_vois_stand_everywhere(pet_file, voi_files, tmp_path):
    target, reference = voi_files
    what = Quantification.of(target=target, reference=reference)
    done = quantify([pet_file], tmp_path / "table.tsv", what)
    for text in (done.table.read_text(), done.description.read_text()):
        for file in voi_files:
            assert file.name in text
            assert file_sha256(file) in text
    assert what.composite.key != Quantification.of().composite.key
    assert Quantification.of(target=reference, reference=target).composite.key != what.composite.key


def test_a_region_outside_the_field_of_view_has_no_value(pet_image, atlas_file, names, tmp_path):
    """Cut off in front, by the grid and by zeros."""
    cut = pet_image.affine.copy()
    keep = slice(0, 82)  # y up to 50 mm
    zeros = pet_image.data.copy()
    zeros[:, keep.stop :] = 0
    (tmp_path / "zeros").mkdir()
    what = Quantification.of(atlas=atlas_file, labels=names)
    for folder, data in ((tmp_path, pet_image.data[:, keep]), (tmp_path / "zeros", zeros)):
        path = save_image(folder / "sub-1_pet.nii", data, cut)
        quantify([path], folder / "t.tsv", what)
        found = {row["region"]: row for row in rows(folder / "t.tsv")}
        assert found["front left"]["mean_suvr"] == "n/a"
        assert float(found["front left"]["covered"]) < 0.9
        assert "% of the region lies in the field of view" in found["front left"]["note"]
        assert float(found["back"]["mean_suvr"]) > 0.5


def test_samples_of_the_composite_are_kept_by_the_sidecar(result, tmp_path):
    what = Quantification.of(threshold="lab=1.25", centiloid="royse2021-fbp")
    done = quantify([result.parent], tmp_path / "t.tsv", what)
    (row,) = rows(done.table)
    assert (row["subject"], row["session"], row["source"]) == ("sub-03", "ses-1", "synthetic")
    assert float(row["mean_suvr"]) == pytest.approx(1.27), "of the mean PET"
    assert float(row["sd_samples"]) == pytest.approx(np.std([1.1, 1.2, 1.3, 1.4], ddof=1), rel=1e-5)
    assert float(row["P(SUVR > lab 1.25, uncalibrated)"]) == 0.5
    assert float(row["Centiloid (royse2021-fbp, uncalibrated)"]) == pytest.approx(49.879, abs=1e-3)
    assert (row["low"], row["high"], row["level"]) == ("n/a",) * 3
    (value,) = json.loads(done.description.read_text())["values"]
    assert value["centiloid"]["calibrated"] is False
    assert "not calibrated" in value["centiloid"]["note"]
    assert value["status"]["calibrated"] is False
    assert value["model"] == {"name": "demo", "sha256": "ab"}


def kept_status(p, calibrated=True, question=None, key="built-in"):
    """What `synthesize --threshold lab=1.25` keeps."""
    question = question or Quantification.of(threshold="lab=1.25").threshold.question
    status = {"p": p, "calibrated": calibrated, "question": question, "note": "residuals of 50"}
    composite = {"region": "c", "index": None, "volume_ml": 1.0, "covered": 1.0, "note": ""}
    return {
        "composite": {"key": key},
        "values": {"status": status},
        "regions": [composite | {"suvr": [1.1, 1.2, 1.3, 1.4]}],
    }


def test_the_interval_of_a_calibrated_result_is_kept(result, voi_files, tmp_path):
    (path,) = result.glob("*_pet.json")
    tree = json.loads(path.read_text())
    interval = {"level": 0.9, "low": 0.95, "high": 1.55, "method": "split-conformal", "people": 50}
    tree["measurements"]["cortical_suvr"]["interval"] = interval
    path.write_text(json.dumps(tree))
    done = quantify([result], tmp_path / "t.tsv", Quantification.of())
    (row,) = rows(done.table)
    assert (row["low"], row["high"], row["level"]) == ("0.95", "1.55", "0.9")
    (value,) = json.loads(done.description.read_text())["values"]
    assert value["interval"] == interval
    target, reference = voi_files
    what = Quantification.of(target=target, reference=reference)
    quantify([result], tmp_path / "u.tsv", what)
    (row,) = rows(tmp_path / "u.tsv")
    assert (row["low"], row["high"], row["level"]) == ("n/a",) * 3, "of the built-in one alone"


@pytest.mark.parametrize(
    ("stored", "heading", "p"),
    [
        (kept_status(0.31), "P(SUVR > lab 1.25)", 0.31),
        (kept_status(0.31, calibrated=False), "P(SUVR > lab 1.25, uncalibrated)", 0.5),
        (kept_status(0.31, question="another"), "P(SUVR > lab 1.25, uncalibrated)", 0.5),
        (kept_status(0.31, key="target"), "P(SUVR > lab 1.25, uncalibrated)", 0.5),
    ],
)
def test_the_probability_of_a_calibrated_result_is_kept(stored, heading, p, pet_image, tmp_path):
    folder = tmp_path / "sub-03"
    folder.mkdir()
    sidecar(folder, pet_image, stored=stored)
    quantify([folder], tmp_path / "t.tsv", Quantification.of(threshold="lab=1.25"))
    (row,) = rows(tmp_path / "t.tsv")
    assert float(row[heading]) == p


def test_files_of_others_are_not_overwritten(result, tmp_path):
    what, table = Quantification.of(), tmp_path / "sub-03_pet.tsv"
    other = table.with_suffix(".json")
    other.write_text('{"FrameDuration": [300]}')
    with pytest.raises(UsageError, match=r"sub-03_pet\.json is there and is none of"):
        quantify([result], table, what)
    assert other.read_text() == '{"FrameDuration": [300]}'
    other.write_text("no JSON")
    with pytest.raises(UsageError, match=r"sub-03_pet\.json is there and is none of"):
        quantify([result], table, what)
    assert not table.exists()
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n1\tfront\n")
    with pytest.raises(UsageError, match=r"names\.tsv is there"):
        quantify([result], names, what)
    quantify([result], tmp_path / "t.tsv", what)
    quantify([result], tmp_path / "t.tsv", what)  # its own are made again


def test_other_regions_of_a_result_are_of_the_mean(result, pet_image, atlas_file, names, tmp_path):
    what = Quantification.of(atlas=atlas_file, labels=names, threshold="lab=1.25")
    quantify([result], tmp_path / "t.tsv", what)
    found = rows(tmp_path / "t.tsv")
    assert found[0]["sd_samples"] != "n/a"
    assert all(row["sd_samples"] == "n/a" for row in found[1:])
    assert all("samples were not kept" in row["note"] for row in found[1:])


def test_vois_on_a_result_tell_no_probability(result, voi_files, tmp_path):
    target, reference = voi_files
    what = Quantification.of(target=target, reference=reference, threshold="lab=1.25")
    quantify([result], tmp_path / "t.tsv", what)
    (row,) = rows(tmp_path / "t.tsv")
    assert row["P(SUVR > lab 1.25, uncalibrated)"] == "n/a"
    assert "tells no probability" in row["note"]


def test_measured_and_synthetic_stand_in_one_table(result, pet_file, tmp_path):
    what = Quantification.of(threshold="lab=1.25")
    quantify([pet_file, result], tmp_path / "t.tsv", what)
    assert [row["source"] for row in rows(tmp_path / "t.tsv")] == ["measured", "synthetic"]
    assert "predicted from an MRI" in (tmp_path / "t.json").read_text()


def test_a_simulated_pet_is_never_calibrated(pet_file, tmp_path):
    pet_file.with_name("sub-07_ses-2_pet.json").write_text('{"Simulated": true}')
    level2 = {"pairs": 30, "r_squared": 0.9, "slope": 1, "intercept": 0}
    ours = {"name": "ours", "a": 100, "b": -100, "composite": "built-in", "level2": level2}
    (tmp_path / "ours.json").write_text(json.dumps(ours))
    what = Quantification.of(centiloid=f"custom={tmp_path / 'ours.json'}")
    quantify([pet_file], tmp_path / "t.tsv", what)
    (row,) = rows(tmp_path / "t.tsv")
    assert "Centiloid (ours, uncalibrated)" in row
    pet_file.with_name("sub-07_ses-2_pet.json").unlink()
    quantify([pet_file], tmp_path / "t.tsv", what)
    (row,) = rows(tmp_path / "t.tsv")
    assert "Centiloid (ours)" in row


def test_a_pet_of_another_space_is_refused(pet_image, tmp_path):
    moved = pet_image.affine.copy()
    moved[:3, 3] += (5, 25, 40)
    path = save_image(tmp_path / "pet.nii", pet_image.data, moved)
    with pytest.raises(
        InputError, match=r"does not lie in template space .* give its T1 with --t1"
    ):
        quantify([path], tmp_path / "t.tsv", Quantification.of())
    assert not (tmp_path / "t.tsv").exists()


def test_one_of_several_that_fails_is_told(result, pet_image, tmp_path):
    bad = save_image(tmp_path / "sub-9_pet.nii", 0 * pet_image.data + 1, pet_image.affine)
    done = quantify([result, bad], tmp_path / "t.tsv", Quantification.of())
    assert len(rows(done.table)) == 1
    assert list(done.failures) == ["sub-9_pet.nii"]
    assert json.loads(done.description.read_text())["failures"] == done.failures
    assert main(["quantify", str(result), str(bad), "-q", "-o", str(tmp_path / "u.tsv")]) == 3


def test_inputs_that_make_no_sense(result, pet_file, tmp_path):
    with pytest.raises(InputError, match="is a synthetic PET"):
        find_sources([next(result.glob("*_pet.nii.gz"))])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no result of mri2pet synthesize"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(InputError, match="no such file"):
        find_sources([tmp_path / "absent.nii"])
    with pytest.raises(UsageError, match="given 2 times for 1 PET images"):
        find_sources([pet_file, result], [pet_file, pet_file])
    with pytest.raises(UsageError, match="would both be sub-07, ses-2"):
        find_sources([pet_file, pet_file])
    with pytest.raises(UsageError, match=r"must end in \.tsv"):
        quantify([pet_file], tmp_path / "t.csv", Quantification.of())


def test_options_that_make_no_sense(pet_file, atlas_file, names):
    with pytest.raises(UsageError, match="--atlas and --labels belong together"):
        Quantification.of(atlas=atlas_file)
    with pytest.raises(UsageError, match="--target and --reference belong together"):
        Quantification.of(target=atlas_file)
    with pytest.raises(InputError, match="several labels"):
        Quantification.of(target=atlas_file, reference=atlas_file)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--threshold", "1.11"], 2),
        (["--centiloid", "klunk"], 2),
        (["--target", "t.nii"], 2),
        (["--atlas", "absent.nii", "--labels", "absent.tsv"], 1),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(
    options, code, pet_file, tmp_path, capsys
):
    out = tmp_path / "out" / "t.tsv"
    assert main(["quantify", str(pet_file), "-o", str(out), *options]) == code
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.parent.exists()


def test_an_old_result_is_refused(result, tmp_path):
    (path,) = result.glob("*_pet.json")
    tree = json.loads(path.read_text())
    del tree["space"]
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match="make it again with mri2pet synthesize"):
        quantify([result], tmp_path / "t.tsv", Quantification.of())


def test_a_prepared_pet_is_placed_as_it_was(pet_image, tmp_path):
    """The folder of `mri2pet preprocess`: its image and both of its transforms."""
    folder = tmp_path / "sub-5_ses-b"
    folder.mkdir()
    t1_from_pet, template_from_t1 = np.eye(4), np.eye(4)
    t1_from_pet[:3, 3], template_from_t1[:3, 3] = (3, 0, -20), (4, 5, 6)
    there = np.linalg.inv(template_from_t1 @ t1_from_pet) @ pet_image.affine
    save_image(folder / "pet_suvr.nii.gz", pet_image.data, there)
    summary = {
        "pet": "pet.nii.gz",
        "t1_from_pet": t1_from_pet.tolist(),
        "template_from_t1": template_from_t1.tolist(),
    }
    (folder / "preprocess.json").write_text(json.dumps(summary | {"pet_simulated": True}))
    quantify([folder], tmp_path / "t.tsv", Quantification.of())
    (row,) = rows(tmp_path / "t.tsv")
    level = region_mean_mm(pet_image, cerebellum(2))[0]
    cortex = region_mean_mm(pet_image, cortical_composite(2))[0]
    assert (row["subject"], row["session"]) == ("sub-5", "ses-b")
    assert json.loads((tmp_path / "t.json").read_text())["values"][0]["simulated"] is True
    assert float(row["mean_suvr"]) == pytest.approx(cortex / level, rel=1e-4)
    (folder / "pet_suvr.nii.gz").unlink()
    with pytest.raises(InputError, match="holds no PET in SUVR"):
        quantify([folder], tmp_path / "t.tsv", Quantification.of())


def test_a_pet_with_its_t1_goes_through_both_transforms(pet_image, tmp_path, monkeypatch):
    from mri2pet.imaging import pipeline
    from mri2pet.imaging.pet import prepare
    from mri2pet.imaging.pet.fit import PetFit
    from mri2pet.imaging.pet.frames import static_pet

    t1_from_pet, template_from_t1 = np.eye(4), np.eye(4)
    t1_from_pet[:3, 3], template_from_t1[:3, 3] = (3, 0, -20), (4, 5, 6)
    there = np.linalg.inv(template_from_t1 @ t1_from_pet) @ pet_image.affine
    pet = save_image(tmp_path / "sub-5_pet.nii", pet_image.data, there)
    t1 = save_image(tmp_path / "sub-5_T1w.nii", pet_image.data, there)

    def preprocess(source, **options):
        assert source == t1
        return SimpleNamespace(
            t1=SimpleNamespace(volume=None),
            brain_mask=None,
            record=SimpleNamespace(template_from_subject=template_from_t1),
            checks={"seconds": {}},
            warnings=["dark"],
        )

    def place_pet(series, *given, **options):
        return prepare.PlacedPet(series, static_pet(series), t1_from_pet, PetFit(0.5, (1, 1, 1)))

    monkeypatch.setattr(pipeline, "preprocess", preprocess)
    monkeypatch.setattr(prepare, "place_pet", place_pet)
    done = quantify([pet], tmp_path / "t.tsv", Quantification.of(), t1=[t1])
    level = region_mean_mm(pet_image, cerebellum(2))[0]
    cortex = region_mean_mm(pet_image, cortical_composite(2))[0]
    assert float(rows(done.table)[0]["mean_suvr"]) == pytest.approx(cortex / level, rel=1e-4)
    (value,) = json.loads(done.description.read_text())["values"]
    assert (value["t1"], value["t1_warnings"]) == ("sub-5_T1w.nii", ["dark"])
    assert value["template_from_pet"] == (template_from_t1 @ t1_from_pet).tolist()


def test_the_centiloid_vois_on_the_real_average(shared_data, tmp_path):
    """Their qform is wrong: two axes are flipped against the sform."""
    vois = shared_data / "atlas"
    out = tmp_path / "t.tsv"
    command = ["quantify", str(shared_data / "pet" / "rPOP_Template_FBP_pos.nii")]
    command += ["--target", str(vois / "centiloid_voi_ctx_2mm.nii")]
    command += ["--reference", str(vois / "centiloid_voi_WhlCbl_2mm.nii")]
    assert main([*command, "--centiloid", "navitsky2018-standard", "-q", "-o", str(out)]) == 0
    (row,) = rows(out)
    assert float(row["mean_suvr"]) == pytest.approx(1.505, abs=0.01)
    heading = "Centiloid (navitsky2018-standard, uncalibrated)"
    assert float(row[heading]) == pytest.approx(175.17 * float(row["mean_suvr"]) - 182.23, abs=0.01)
    assert "belongs to" not in row["note"]
