"""The manifest of a cohort and its table."""

from __future__ import annotations

import pytest

from mri2pet.cohort.manifest import build_manifest, read_manifest
from mri2pet.cohort.splits import split_subjects
from mri2pet.errors import InputError


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
