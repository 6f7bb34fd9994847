"""People of a BIDS dataset become a BIDS derivative: its tree, its labels, its group table."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mri2pet.cli.bids import main
from mri2pet.cohort.filters import Filter
from mri2pet.errors import InputError, UsageError
from mri2pet.synthesis.group import write_group
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.participants import read_filters, synthesize_participants

BASE = "sub-01_ses-a_trc-18FAV45_space-T1w_desc-synthetic"
VALIDATOR = shutil.which("bids-validator-deno")
WARNED = {
    "JSON_KEY_RECOMMENDED",
    "SIDECAR_KEY_RECOMMENDED",
    "TOO_FEW_AUTHORS",
    "README_FILE_SMALL",
    "AMBIGUOUS_AFFINE",
}
"""What the validator says of the tree beside errors: keys of an acquired PET that none has; and the
header's two affines, which are those of the T1."""


@pytest.fixture
def dataset(head: nibabel.Nifti1Image, tmp_path: Path) -> Path:
    """Two people: one with two sessions and two runs in the first, one without sessions."""
    root = tmp_path / "bids"
    names = ("sub-01/ses-a/anat/sub-01_ses-a_run-1", "sub-01/ses-a/anat/sub-01_ses-a_run-2")
    for number, name in enumerate((*names, "sub-01/ses-b/anat/sub-01_ses-b", "sub-x/anat/sub-x")):
        path = root / f"{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = np.asarray(head.dataobj, dtype=np.int16).copy()
        data[0, 0, 0] = number + 1  # so that no two files hold the same
        image = nibabel.Nifti1Image(data, head.affine, head.header)
        image.header.set_xyzt_units("unknown")
        nibabel.save(image, path)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{}\n")
    description = {"Name": "study", "BIDSVersion": "1.10.0", "DatasetDOI": "doi:10.1/study"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("A study.\n")
    return root


@pytest.fixture
def go(dataset: Path, quick: dict[str, Any]) -> Callable[..., Any]:
    def run(out: Path, **choices: Any) -> Any:
        return synthesize_participants(dataset, out, SynthesisOptions(**quick), **choices)

    return run


def test_the_tree_of_a_derivative(dataset: Path, go: Callable[..., Any], tmp_path: Path) -> None:
    out = dataset / "derivatives" / "mri2pet"
    results = go(out)
    assert [r.status for r in results] == ["done"] * 3
    folder = out / "sub-01" / "ses-a" / "pet"
    pet = nibabel.load(folder / f"{BASE}_pet.nii.gz")
    assert pet.header.get_xyzt_units()[0] == "mm"
    uri = "bids:raw:sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w.nii.gz"
    for name in ("_pet", "std_pet"):
        sidecar = json.loads((folder / f"{BASE}{name}.json").read_text())
        assert sidecar["SpatialReference"] == uri
        assert sidecar["Sources"] == [uri]
        assert sidecar["SkullStripped"] is True
    assert (out / "sub-x" / "pet").is_dir()
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert description["SourceDatasets"] == [{"DOI": "doi:10.1/study"}]
    assert not any(str(tmp_path) in path.read_text(errors="replace") for path in texts(out))
    assert [r.status for r in go(out)] == ["skipped"] * 3
    if VALIDATOR:
        assert problems(out) == ([], [])


def texts(folder: Path) -> list[Path]:
    return [
        p for p in folder.rglob("*") if p.suffix in (".json", ".html", ".tsv", "") and p.is_file()
    ]


def problems(folder: Path) -> tuple[list[str], list[str]]:
    """Errors, and warnings that are not known, as the validator finds them."""
    done = subprocess.run([VALIDATOR, "--json", folder], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [f"{i['code']} {i.get('location')}" for i in issues if i["severity"] == "error"]
    warned = {i["code"] for i in issues if i["severity"] == "warning"}
    return errors, sorted(warned - WARNED)


@pytest.mark.usefixtures("no_report")
def test_labels_choose_people_and_sessions(go: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(out, participants=["01"], sessions=["ses-b"])
    assert sorted(p.name for p in out.glob("sub-*/ses-*")) == ["ses-b"]
    assert not (out / "sub-x").exists()


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"participants": ["01", "9", "sub-8"]}, r"no participant 9, sub-8"),
        ({"sessions": ["c"]}, r"no session c"),
    ],
)
def test_an_unknown_label_is_misuse_before_any_work(
    choices: dict[str, Any], told: str, go: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        go(tmp_path / "out", **choices)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [".", "sub-01", "results"])
def test_results_lie_inside_the_dataset_in_its_derivatives_alone(
    place: str, dataset: Path, go: Callable[..., Any]
) -> None:
    with pytest.raises(UsageError, match="only do in a folder of its derivatives"):
        go(dataset / place)
    assert not (dataset / "results").exists()


@pytest.mark.usefixtures("no_report")
def test_a_failure_is_kept_until_it_goes_well(
    dataset: Path, go: Callable[..., Any], tmp_path: Path
) -> None:
    broken = dataset / "sub-x" / "anat" / "sub-x_T1w.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    results = go(out, participants=["x", "01"], sessions=[])
    assert [r.status for r in results] == ["done", "done", "failed"]
    note = out / "logs" / "sub-x_failure.txt"
    assert "sub-x_T1w.nii.gz" in note.read_text()
    found = write_group(out, ["sub-x", "sub-y"])
    assert "sub-x_T1w.nii.gz" in found.missing["sub-x"]
    assert found.missing["sub-y"] == "not done yet"
    broken.write_bytes(whole)
    go(out, participants=["x"])
    assert not note.exists()


@pytest.mark.usefixtures("no_report")
def test_the_group_table_holds_every_result(
    dataset: Path, go: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    go(out)
    (out / "sub-x" / "pet").joinpath(
        f"{BASE.replace('sub-01_ses-a', 'sub-x')}_pet.json"
    ).write_text("{")
    assert main([str(dataset), str(out), "group", "--quiet"]) == 0
    with (out / "group_measurements.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [(r["participant_id"], r["session_id"]) for r in rows] == [
        ("sub-01", "ses-a"),
        ("sub-01", "ses-b"),
    ]
    described = json.loads((out / "group_measurements.json").read_text())
    assert set(rows[0]) - {"session_id"} <= set(described)
    page = (out / "group.html").read_text()
    assert "sub-01/ses-a/pet/sub-01_ses-a_trc" in page
    assert "sub-x: its sidecar cannot be read" in page
    (path,) = (out / "sub-01" / "ses-b" / "pet").glob("*desc-synthetic_pet.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    found = write_group(out)
    assert [row["session_id"] for row in found.rows] == ["ses-a"]
    assert found.missing["sub-01_ses-b"].startswith("made by another version")


@pytest.mark.usefixtures("no_report")
def test_a_filter_file_chooses_the_t1(
    dataset: Path, go: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"t1w": {"suffix": "T1w", "run": [2, null]}, "bold": {"task": "rest"}}')
    filters = read_filters(file)
    assert filters.filters == (Filter("t1w", "run", ("2", "")),)
    out = tmp_path / "out"
    go(out, participants=["01"], filters=filters)
    folder = out / "sub-01" / "ses-a" / "pet"
    assert "run-2" in json.loads((folder / f"{BASE}_pet.json").read_text())["Sources"][0]


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("{", InputError, "is no filter file"),
        ("[]", InputError, "is no filter file"),
        ('{"t1w": {"acq": "x"}}', UsageError, "'acq' is no entity of a T1; there are acquisition"),
        ('{"t1w": {"suffix": "T2w"}}', UsageError, "suffix of a T1 is T1w"),
        ('{"t1w": {"run": {"a": 1}}}', UsageError, "must be a label"),
    ],
)
def test_a_bad_filter_file(text: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text(text)
    with pytest.raises(error, match=told):
        read_filters(file)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["participant", "--participant_label", "77"], 2, "there is no participant 77"),
        (["participant", "--nprocs", "0"], 2, "--nprocs 0 must be at least 1"),
        (["participant", "--mem-mb", "100", "--model", "SMALL"], 2, "--mem-mb 100: about"),
        (["analyse"], 2, "invalid choice"),
        (["participant", "--model", "none"], 1, "none"),
    ],
)
def test_misuse_is_one_sentence(
    arguments: list[str],
    code: int,
    told: str,
    dataset: Path,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(small_model) if given == "SMALL" else given for given in arguments]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert main([str(dataset), str(tmp_path / "out"), *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("mri2pet-bids: error: ")
    assert told in captured.err


def test_an_invalid_dataset_is_refused_where_the_validator_is(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    issue = {"severity": "error", "code": "NO_README", "location": "/README"}
    said = json.dumps({"issues": {"issues": [issue, {**issue, "severity": "warning"}]}})
    program = tmp_path / "bids-validator-deno"
    program.write_text(f"#!/bin/sh\necho '{said}'\nexit 16\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("mri2pet.cli.bids_validation.sys.executable", str(tmp_path / "python"))
    nobody = ["participant", "--participant-label", "nobody"]
    assert main([str(dataset), str(tmp_path / "out"), *nobody]) == 2  # labels go first
    assert "no participant nobody" in capsys.readouterr().err
    assert main([str(dataset), str(tmp_path / "out"), "participant"]) == 1
    assert "finds 1 error, the first NO_README in README" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
