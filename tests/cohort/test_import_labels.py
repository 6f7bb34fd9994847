"""With `--dates days` no label of a session and no name of an image tells a date."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri2pet.cli.main import main
from mri2pet.cohort.importing.undated import session_labels, tells_date, told_apart, undated
from mri2pet.cohort.manifest import build_manifest

from .test_import_adni import contents, rows
from .trees import put

DATES = re.compile(rb"2012-?03-?05|2013-?03-?06|2014-?03-?07|2015-?03-?08")


def visit(root: Path, session: str, value: int, *more: str) -> None:
    for name in (f"anat/sub-01_{session}_T1w.nii", *more):
        path = root / "sub-01" / session / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(
            np.full((20, 20, 20), value, np.uint8), np.diag([10, 10, 10, 1])
        )
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)


def tree(root: Path) -> Path:
    visit(
        root, "ses-20120305", 1, "anat/sub-01_ses-20120305_acq-20120305_run-2_T1w.nii",
        "pet/sub-01_ses-20120305_trc-AV45_pet.nii",
    )  # fmt: skip
    visit(root, "ses-20130306", 2)
    put(root, "sub-01/ses-20130306/anat/sub-01_ses-20120305_T1w.nii.gz")  # misplaced
    put(root, "sub-02/ses-M00/anat/sub-02_ses-M00_T1w.nii.gz")
    sidecar = {"Description": "MPRAGE of 2012-03-05", "Sources": ["bids::sub-01/ses-20120305/x"]}
    (root / "sub-01/ses-20120305/anat/sub-01_ses-20120305_T1w.json").write_text(json.dumps(sidecar))
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tacq_time\tdiagnosis\nses-20120305\t2012-03-05\tCN\nses-20130306\t2013-03-06\t"
        "MCI\nses-20140307\t2014-03-07\tAD\nses-20150308\tn/a\tAD\n"
    )
    return root


def imported(root: Path, out: Path, *more: str) -> int:
    return main(["cohort", "import", "bids", str(root), "-o", str(out), "-q", *more])


def everything(out: Path) -> dict[str, bytes]:
    return {
        name: gzip.decompress(content) if name.endswith(".gz") else content
        for name, content in contents(out).items()
    }


@pytest.mark.parametrize("hidden", [False, True])
def test_days_leave_no_label_that_is_a_date(hidden, tmp_path):
    a, out = tree(tmp_path / "a"), tmp_path / "out"
    more = ["--pseudonyms", str(tmp_path / "key.tsv")] if hidden else []
    assert imported(a, out, "--dates", "days", *more) == 3  # one is misplaced
    for name, content in everything(out).items():
        assert not DATES.search(name.encode()), name
        assert not DATES.search(content), name
    person = "sub-0001" if hidden else "sub-01"
    sessions = [row["session_id"] for row in rows(out / person / f"{person}_sessions.tsv")]
    assert sessions == ["ses-01", "ses-02"]
    assert (out / person / "ses-02" / "anat" / f"{person}_ses-02_T1w.nii.gz").is_file()
    table = rows(out / "sourcedata" / "import.tsv")
    taken = {row["file"]: row["session_id"] for row in table if row["taken"] == "yes"}
    assert all(f"/{session}/" in file for file, session in taken.items())
    assert len({row["image_id"] for row in table}) == len(table) == 6
    visits = [
        (row["days_since_baseline"], row["diagnosis"])
        for row in rows(out / "phenotype" / "diagnosis.tsv")
    ]
    assert visits == [("0", "CN"), ("366", "MCI"), ("732", "AD")]
    days = [(r.subject, r.session, r.days_apart, r.diagnosis) for r in build_manifest(out)]
    assert (person, "ses-01", 0, "CN") in days
    assert (person, "ses-02", None, "MCI") in days


def test_other_people_and_other_runs_keep_their_labels(tmp_path):
    a = tree(tmp_path / "a")
    assert imported(a, tmp_path / "days", "--dates", "days") == 3
    assert (tmp_path / "days" / "sub-02" / "ses-M00").is_dir()
    assert imported(a, tmp_path / "real") == 3
    assert (tmp_path / "real" / "sub-01" / "ses-20130306").is_dir()


def test_an_earlier_visit_that_comes_later_is_not_taken_for_the_first(tmp_path, monkeypatch):
    from mri2pet.cohort.importing import run

    a, out = tmp_path / "a", tmp_path / "out"
    visit(a, "ses-20130306", 2)
    assert imported(a, out, "--dates", "days") == 0
    visit(a, "ses-20120305", 1)
    assert imported(a, out, "--dates", "days") == 0
    made = sorted(out.rglob("*_T1w.nii.gz"))
    assert [int(nibabel.load(path).get_fdata().max()) for path in made] == [1, 2]

    def unable(item):
        raise AssertionError("makes an image again")

    monkeypatch.setattr(run, "_convert_one", unable)
    assert imported(a, out, "--dates", "days") == 0


def test_a_person_with_and_without_sessions_loses_no_image(tmp_path):
    a, out = tmp_path / "a", tmp_path / "out"
    put(a, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz")
    assert imported(a, out) == 0
    made = sorted(path.name for path in out.rglob("*_T1w.nii.gz"))
    assert made == ["sub-01_ses-00_T1w.nii.gz", "sub-01_ses-01_T1w.nii.gz"]


def test_trees_whose_folders_give_one_name_are_refused(tmp_path, capsys):
    trees = [tmp_path / "x" / "site-1", tmp_path / "y" / "site1"]
    for place in trees:
        put(place, "sub-01/anat/sub-01_T1w.nii.gz")
    assert imported(trees[0], tmp_path / "out", str(trees[1])) == 2
    assert "rename one of the folders" in capsys.readouterr().err


@pytest.mark.parametrize(
    "label",
    ["20120305", "2012-03-05", "2012", "05032012", "120305", "20120305T1011", "5mar12", "Mar2012"],
)
def test_labels_that_tell_a_date(label):
    assert tells_date(label)
    assert session_labels({f"ses-{label}": 9, "ses-b": 3}) == {
        "ses-b": "ses-01", f"ses-{label}": "ses-02",
    }  # fmt: skip


@pytest.mark.parametrize(
    "label", ["01", "M000", "m120", "baseline", "BL2", "1234", "V04", "market"]
)
def test_labels_that_tell_none(label):
    assert not tells_date(label)
    assert session_labels({f"ses-{label}": 1}) == {}


def test_names_without_dates():
    labels = {"ses-20120305": "ses-02", "ses-02": "ses-01"}
    path = "sub-20120305/ses-20120305/anat/sub-20120305_ses-20120305_acq-2012_T1w.nii.gz"
    assert undated(path, labels) == (
        "sub-20120305/ses-02/anat/sub-20120305_ses-02_acq-date_T1w.nii.gz"
    )
    assert undated("lies in ses-02 but is named ses-2011", labels) == (
        "lies in ses-01 but is named ses-date"
    )
    assert told_apart([("a", "x"), ("b", "x"), ("c", "c")]) == {"a": "x", "b": "x#2"}
