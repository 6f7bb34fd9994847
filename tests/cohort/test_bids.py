"""Scans are paired by session and by date; what stays alone is listed with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mri2pet.cohort.bids import find_pairs
from mri2pet.cohort.passed_over import REASONS
from mri2pet.errors import InputError

from .trees import put, reasons


def sessions(root: Path, text: str) -> None:
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(text.replace(" ", "\t"))


def names(root: Path, **options) -> list[tuple[str, str | None]]:
    pairs = find_pairs(root, **options).pairs
    return [(p.t1.session, p.pet.session if p.pet else None) for p in pairs]


def test_scans_of_one_session_pair_without_dates(tmp_path):
    put(
        tmp_path,
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-01/pet/sub-01_ses-01_pet.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii",
        "sub-02/anat/sub-02_T1w.NII.GZ",
        "sub-02/pet/sub-02_pet.nii.gz",
        "derivatives/other/sub-03/anat/sub-03_T1w.nii.gz",
    )
    pairs = find_pairs(tmp_path).pairs
    assert [(p.t1.subject, p.t1.session, p.pet is not None) for p in pairs] == [
        ("sub-01", "ses-01", True),
        ("sub-01", "ses-02", False),
        ("sub-02", "", True),
    ]
    assert reasons(tmp_path) == {}


def test_nearest_dates_pair_across_sessions_within_a_year(tmp_path):
    for session in ("ses-01", "ses-02", "ses-03"):
        stem = f"sub-01/{session}"
        put(
            tmp_path,
            f"{stem}/anat/sub-01_{session}_T1w.nii.gz",
            f"{stem}/pet/sub-01_{session}_trc-AV45_pet.nii.gz",
        )
    sessions(
        tmp_path,
        "session_id mri_days pet_days\nses-01 0 390\nses-02 400 800\nses-03 2000 2365.5\n",
    )
    assert names(tmp_path) == [("ses-01", None), ("ses-02", "ses-01"), ("ses-03", None)]
    assert find_pairs(tmp_path).pairs[1].days_apart == 10
    assert set(reasons(tmp_path).values()) == {"not_paired"}
    sentences = [image.sentence for image in find_pairs(tmp_path).passed_over]
    assert sentences == [
        "the nearest T1 is 400 days away, more than 365",
        "the nearest T1 is 366 days away, more than 365",
    ]
    assert names(tmp_path, max_days=366)[2] == ("ses-03", "ses-03")


@pytest.mark.parametrize(
    "dates",
    [
        ("2020-01-01T10:00:00", "2020-01-31T10:00:00"),
        ("2020-01-01", "2020-01-31"),
        ("2020-01-01T23:00:00Z", "2020-01-31 23:00:00.123456789+02:00"),
        ("1871-03-01T10:00", "1871-03-31T10:00"),
    ],
)
def test_dates_of_scans_tables_count(tmp_path, dates):
    put(
        tmp_path,
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-02/pet/sub-01_ses-02_trc-AV45_pet.nii.gz",
    )
    (tmp_path / "sub-01/ses-01/sub-01_ses-01_scans.tsv").write_text(
        f"filename\tacq_time\nanat/sub-01_ses-01_T1w.nii.gz\t{dates[0]}\n"
    )
    assert names(tmp_path) == [("ses-01", None)]
    assert reasons(tmp_path) == {"sub-01_ses-02_trc-AV45_pet.nii.gz": "no_date"}
    (tmp_path / "sub-01/ses-02/sub-01_ses-02_scans.tsv").write_text(
        f"filename\tacq_time\n./pet/sub-01_ses-02_trc-AV45_pet.nii.gz\t{dates[1]}\n"
    )
    assert names(tmp_path) == [("ses-01", "ses-02")]
    assert find_pairs(tmp_path).pairs[0].days_apart == pytest.approx(30, abs=0.1)


def two_sessions(root: Path, first: str, second: str) -> None:
    put(root, f"sub-01/{first}/anat/sub-01_{first}_T1w.nii.gz",
        f"sub-01/{second}/pet/sub-01_{second}_trc-AV45_pet.nii.gz")  # fmt: skip


@pytest.mark.parametrize(
    "table",
    [
        "session_id acq_time\nses-a 2020-01-01\nses-b 2020-03-01\n",
        "session_id examination_date\na 2020-01-01\nb 2020-03-01\n",
        "Session_ID Acq_Time\nses-a 2020-01-01\nses-b 2020-03-01\n",
        "session_id days_since_baseline\nses-a 0\nses-b 60\n",
        "session_id mri_days pet_days\nses-a 10 0\nses-b 0 70\n",
    ],
)
def test_dates_of_sessions_tables_count(tmp_path, table):
    two_sessions(tmp_path, "ses-a", "ses-b")
    sessions(tmp_path, table)
    assert find_pairs(tmp_path).pairs[0].days_apart == 60


def test_dates_of_two_origins_are_not_compared(tmp_path):
    two_sessions(tmp_path, "ses-a", "ses-b")
    sessions(tmp_path, "session_id acq_time pet_days\nses-a 2020-01-01 n/a\nses-b n/a 0\n")
    assert list(reasons(tmp_path).values()) == ["no_date"]


def test_dates_that_contradict_or_cannot_be_read_are_told(tmp_path):
    two_sessions(tmp_path, "ses-a", "ses-b")
    sessions(
        tmp_path, "session_id acq_time\nses-a 2020-01-01\nses-b 2020-03-01\nses-b 2020-04-01\n"
    )
    assert list(reasons(tmp_path).values()) == ["date_conflict"]
    sessions(tmp_path, "session_id acq_time\nses-a 2020-01-01\nses-b 31/03/2020\n")
    assert list(reasons(tmp_path).values()) == ["no_date"]
    assert find_pairs(tmp_path).notes == [
        "1 date cannot be read and does not count, such as '31/03/2020'; write YYYY-MM-DD"
    ]


@pytest.mark.parametrize(
    ("mri", "pet", "pairs"),
    [
        ("M00", "M000", True), ("M06", "M6", True), ("m012", "M12", True), ("01", "1", True),
        ("M00", "M100", False), ("M1", "M01x", False), ("M12", "12", False), ("a", "b", False),
    ],
)  # fmt: skip
def test_sessions_that_differ_by_leading_zeros_are_one(tmp_path, mri, pet, pairs):
    two_sessions(tmp_path, f"ses-{mri}", f"ses-{pet}")
    assert names(tmp_path) == [(f"ses-{mri}", f"ses-{pet}" if pairs else None)]
    assert list(reasons(tmp_path).values()) == ([] if pairs else ["no_date"])


def test_sessions_that_may_be_two_are_not_paired(tmp_path):
    two_sessions(tmp_path, "ses-M0", "ses-M000")
    put(tmp_path, "sub-01/ses-M00/anat/sub-01_ses-M00_T1w.nii.gz")
    assert {pet for _, pet in names(tmp_path)} == {None}
    put(tmp_path, "sub-01/ses-M000/anat/sub-01_ses-M000_T1w.nii.gz")
    assert ("ses-M000", "ses-M000") in names(tmp_path)


def test_every_reason_is_documented(repository):
    text = (repository / "docs" / "cohort.md").read_text()
    table = text.partition("## Reasons")[2].partition("##")[0]
    codes = {code for line in table.splitlines() if line.startswith("| `")
             for code in re.findall("`(.*?)`", line.split("|")[1])}  # fmt: skip
    assert codes == set(REASONS)


def test_a_folder_that_is_no_cohort_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_pairs(tmp_path / "absent")
    with pytest.raises(InputError, match="expected BIDS names"):
        find_pairs(tmp_path)
    put(tmp_path, "sub-01/pet/sub-01_pet.nii.gz")
    with pytest.raises(InputError, match=r"no T1-weighted image .*1 not_paired"):
        find_pairs(tmp_path)
