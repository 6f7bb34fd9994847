"""The manifest of a cohort and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mri2pet.cli import main as cli
from mri2pet.cohort.cache import build_cache
from mri2pet.cohort.manifest import build_manifest, load_manifest, read_manifest, write_cohort
from mri2pet.cohort.splits import split_subjects
from mri2pet.errors import InputError, UsageError

from .conftest import MRI_SHAPE, PET_SHAPE


def test_rows_carry_labels_truth_and_split(tiny_cohort):
    manifest = build_manifest(tiny_cohort.root, seed=5)
    assert [row.name for row in manifest] == [f"sub-{i:04d}_ses-01" for i in range(1, 7)]
    assert [row.diagnosis for row in manifest] == ["CN"] * 3 + ["AD"] * 3
    assert [row.mmse for row in manifest] == [29.0] + [None] * 5
    assert all(row.truth is not None for row in manifest)
    assert [row.pet is None for row in manifest] == [False] * 5 + [True]
    places = split_subjects([row.subject for row in manifest if row.pet], seed=5)
    assert {row.subject: row.split for row in manifest if row.pet} == places


def test_select_takes_a_split_with_pets_or_all(tiny_cohort):
    manifest = build_manifest(tiny_cohort.root)
    assert len(manifest.select()) == 5
    assert len(manifest.select(paired=False)) == 6
    by_split = [manifest.select(split, paired=False) for split in ("train", "val", "test")]
    assert sum(map(len, by_split)) == 6


@pytest.mark.parametrize("seed", range(8))
def test_every_split_of_a_small_cohort_has_a_pet(tiny_cohort, seed):
    manifest = build_manifest(tiny_cohort.root, seed=seed)
    assert all(manifest.select(split) for split in ("train", "val", "test"))


def test_the_table_reads_back_the_same(tiny_cohort, tmp_path):
    manifest = build_manifest(tiny_cohort.root, seed=1)
    manifest.write(tmp_path / "manifest.tsv")
    assert str(tiny_cohort.root) not in (tmp_path / "manifest.tsv").read_text()
    assert read_manifest(tmp_path / "manifest.tsv", manifest.root) == manifest


def test_another_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(tmp_path / "absent.tsv", tmp_path)


def visits(root: Path, *rows: str) -> Path:
    """One person: three dated sessions, MRIs in the first and the last, labels as given."""
    for session in ("ses-01", "ses-03"):
        path = root / "sub-01" / session / "anat" / f"sub-01_{session}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        path.touch()
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tmri_days\nses-01\t0\nses-02\t300\nses-03\t700\n"
    )
    (root / "phenotype").mkdir()
    table = "\n".join(("participant_id session_id acq_time mmse", *rows)).replace(" ", "\t")
    (root / "phenotype" / "mmse.tsv").write_text(table + "\n")
    return root


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["sub-01 ses-01 n/a 30", "sub-01 ses-02 n/a 25", "sub-01 ses-03 n/a 20"], [30, 20]),
        (["sub-01 ses-02 n/a 25"], [25, 25]),
        (["sub-01 ses-01 n/a 30", "sub-01 ses-02 n/a 25"], [30, 25]),
        (["sub-01 n/a n/a 28"], [28, 28]),
        (["sub-01 ses-09 n/a 28"], [None, None]),
        (["sub-02 ses-01 n/a 28"], [None, None]),
    ],
)
def test_labels_come_from_the_visit_nearest_in_time(tmp_path, rows, found):
    manifest = build_manifest(visits(tmp_path, *rows))
    assert [row.mmse for row in manifest] == found


def test_a_label_s_own_date_counts(tmp_path):
    root = visits(
        tmp_path, "sub-01 n/a 2020-01-10T00:00:00 29", "sub-01 n/a 2022-01-10T00:00:00 21"
    )
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tacq_time\nses-01\t2020-03-01T00:00:00\nses-03\t2021-12-24T00:00:00\n"
    )
    assert [row.mmse for row in build_manifest(root)] == [29, 21]


def test_the_command_writes_a_table_that_training_takes(tiny_cohort, tmp_path, capsys):
    table = tmp_path / "cohort.tsv"
    assert (
        cli.main(["cohort", "build", str(tiny_cohort.root), "-o", str(table), "--seed", "3"]) == 0
    )
    assert "train" in capsys.readouterr().out
    manifest = build_manifest(tiny_cohort.root, seed=3)
    assert load_manifest(table) == manifest
    record = json.loads(table.with_suffix(".json").read_text())
    assert record["people_in_several_splits"] == 0
    assert sum(counts["pairs"] for counts in record["splits"].values()) == 5
    assert sum(counts["unpaired"] for counts in record["splits"].values()) == 1
    shapes = {"mri_shape": MRI_SHAPE, "pet_shape": PET_SHAPE, "registration": "truth"}
    cache = build_cache(table, **shapes)
    assert cache.rows("train") == manifest.select("train")
    assert build_cache(tiny_cohort.root, **shapes).root == cache.root


def test_a_split_that_the_user_wrote_is_kept(tiny_cohort, tmp_path):
    table = tmp_path / "cohort.tsv"
    write_cohort(build_manifest(tiny_cohort.root), table)
    lines = table.read_text().splitlines()
    moved = [lines[0]] + [line.rsplit("\t", 1)[0] + "\tval" for line in lines[1:]]
    table.write_text("\n".join(moved) + "\n")
    assert {row.split for row in load_manifest(table)} == {"val"}


def test_a_split_by_scan_is_warned_about(tmp_path, capsys):
    root = tmp_path / "data"
    for subject in range(30):
        for session in ("ses-01", "ses-02"):
            path = root / f"sub-{subject:02d}" / session / "anat"
            path.mkdir(parents=True)
            (path / f"sub-{subject:02d}_{session}_T1w.nii.gz").touch()
    table = tmp_path / "cohort.tsv"
    arguments = ["cohort", "build", str(root), "-o", str(table)]
    assert cli.main([*arguments, "--split-by-scan"]) == 0
    people = json.loads(table.with_suffix(".json").read_text())["people_in_several_splits"]
    assert people > 5
    assert f"warning: {people} people are in more than one split" in capsys.readouterr().err
    assert load_manifest(table).split_by == "scan"
    assert cli.main(arguments) == 0
    assert "warning" not in capsys.readouterr().err
    assert load_manifest(table).split_by == "subject"


def test_tables_and_options_that_cannot_be_used_are_refused(tiny_cohort, tmp_path):
    table = tmp_path / "cohort.tsv"
    manifest = build_manifest(tiny_cohort.root)
    with pytest.raises(UsageError, match=r"ends in \.tsv"):
        write_cohort(manifest, tmp_path / "cohort.csv")
    manifest.write(table)
    with pytest.raises(InputError, match=r"cohort\.json is missing"):
        load_manifest(table)
    write_cohort(manifest, table)
    record = json.loads(table.with_suffix(".json").read_text())
    record["cohort"] = str(tmp_path / "moved")
    table.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="is not there"):
        load_manifest(table)
    with pytest.raises(UsageError, match="split by 'family'"):
        build_manifest(tiny_cohort.root, split_by="family")
    build = ["cohort", "build", str(tiny_cohort.root), "-o", str(table)]
    assert cli.main([*build, "--fractions", "1,0"]) == 2
