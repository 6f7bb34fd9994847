"""Numbers of people and scans by split, counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mri2pet.cohort.manifest import Manifest, ManifestRow
from mri2pet.cohort.statistics import Spread, first_scans, split_statistics

PET = Path("pet.nii.gz")


def row(subject: str, session: str = "ses-01", split: str = "train", **known) -> ManifestRow:
    return ManifestRow(subject, session, Path("t1.nii.gz"), split=split, **{"pet": PET, **known})


def test_people_count_once_at_their_first_paired_scan():
    manifest = Manifest(
        Path("/cohort"),
        (
            row("a", "ses-01", age=70.0, sex="M", diagnosis="CN", mmse=30.0, pet=None),
            row("a", "ses-02", age=72.0, sex="M", diagnosis="MCI", mmse=19.0, days_apart=4.0),
            row("a", "ses-03", age=74.0, sex="M", diagnosis="AD", mmse=10.0, days_apart=8.0),
            row("b", age=80.0, sex="F", diagnosis="AD", mmse=24.0),
            row("c"),
            row("d", split="test", age=60.0),
        ),
    )
    found = split_statistics(manifest, lambda row: 1.5 if row.subject == "b" else None)
    train = found["train"]
    assert (train.scans, train.people, train.in_other_splits) == (4, 3, 0)
    assert (train.male, train.female, train.sex_unknown) == (1, 1, 1)
    assert train.age == Spread(76.0, pytest.approx(math.sqrt(32)), 76.0, 72.0, 80.0)
    assert train.diagnoses == {"CN": 0, "MCI": 1, "AD": 1, "": 1}
    assert (train.mmse.mean, train.mmse_known) == (21.5, 2)
    assert (train.mmse_kept.mean, train.mmse_kept_people) == (24.0, 1)
    assert (train.days.median, train.days_unknown) == (6.0, 2)
    assert (train.suvr.mean, train.suvr_known) == (1.5, 1)
    assert found["test"].people == 1
    assert found["val"].people == 0
    assert math.isnan(found["val"].age.mean)


def test_a_person_in_two_splits_is_counted_in_both():
    rows = (row("a"), row("a", "ses-02", "test"), row("b"), row("b", "ses-02", "test", pet=None))
    found = split_statistics(Manifest(Path("/cohort"), rows, "scan"))
    assert [found[split].in_other_splits for split in ("train", "val", "test")] == [1, 0, 1]


def test_the_first_scan_is_by_date_and_by_name_where_one_is_unknown():
    late, early = row("a", "ses-01", day=700.0), row("a", "ses-02", day=0.0)
    assert first_scans([late, early]) == [early]
    assert first_scans([row("a", "ses-03"), early]) == [early]
    assert first_scans([row("a", "ses-01"), early])[0].session == "ses-01"
