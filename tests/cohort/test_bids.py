"""Pairs are found by names and dates."""

from __future__ import annotations

from pathlib import Path

import pytest

from mri2pet.cohort.bids import find_pairs
from mri2pet.errors import InputError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def sessions(root: Path, text: str) -> None:
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(text.replace(" ", "\t"))


def names(pairs) -> list[tuple[str, str | None]]:
    return [(p.t1.session, p.pet.session if p.pet else None) for p in pairs]


def test_scans_of_one_session_pair_without_dates(tmp_path):
    touch(
        tmp_path,
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-01/pet/sub-01_ses-01_trc-18FAV45_pet.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_T1w.nii",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/pet/sub-02_pet.nii.gz",
        "derivatives/other/sub-03/anat/sub-03_T1w.nii.gz",
    )
    pairs = find_pairs(tmp_path)
    assert [(p.t1.subject, p.t1.session, p.pet is not None) for p in pairs] == [
        ("sub-01", "ses-01", True),
        ("sub-01", "ses-02", False),
        ("sub-02", "", True),
    ]


def test_other_tracers_are_no_av45_pet(tmp_path):
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/pet/sub-01_trc-18FFDG_pet.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-02/pet/sub-02_trc-18FFDG_pet.nii.gz",
        "sub-02/pet/sub-02_trc-AV45_pet.nii.gz",
    )
    first, second = find_pairs(tmp_path)
    assert first.pet is None
    assert second.pet is not None
    assert "AV45" in second.pet.path.name


def test_nearest_dates_pair_across_sessions_within_a_year(tmp_path):
    for session in ("ses-01", "ses-02", "ses-03"):
        stem = f"sub-01/{session}"
        touch(
            tmp_path,
            f"{stem}/anat/sub-01_{session}_T1w.nii.gz",
            f"{stem}/pet/sub-01_{session}_trc-AV45_pet.nii.gz",
        )
    sessions(
        tmp_path,
        "session_id mri_days pet_days\nses-01 0 390\nses-02 400 800\nses-03 2000 2365.5\n",
    )
    pairs = find_pairs(tmp_path)
    assert names(pairs) == [("ses-01", None), ("ses-02", "ses-01"), ("ses-03", None)]
    assert pairs[1].days_apart == 10
    assert names(find_pairs(tmp_path, max_days=366))[2] == ("ses-03", "ses-03")


def test_dates_of_scans_tables_count(tmp_path):
    touch(
        tmp_path,
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-02/pet/sub-01_ses-02_trc-AV45_pet.nii.gz",
    )
    (tmp_path / "sub-01/ses-01/sub-01_ses-01_scans.tsv").write_text(
        "filename\tacq_time\nanat/sub-01_ses-01_T1w.nii.gz\t2020-01-01T10:00:00\n"
    )
    assert names(find_pairs(tmp_path)) == [("ses-01", None)]
    (tmp_path / "sub-01/ses-02/sub-01_ses-02_scans.tsv").write_text(
        "filename\tacq_time\npet/sub-01_ses-02_trc-AV45_pet.nii.gz\t2020-01-31T10:00:00\n"
    )
    pairs = find_pairs(tmp_path)
    assert names(pairs) == [("ses-01", "ses-02")]
    assert pairs[0].days_apart == pytest.approx(30, abs=0.1)


def test_a_folder_that_is_no_cohort_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_pairs(tmp_path / "absent")
    touch(tmp_path, "sub-01/pet/sub-01_pet.nii.gz")
    with pytest.raises(InputError, match="no T1-weighted image"):
        find_pairs(tmp_path)
