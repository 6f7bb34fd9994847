"""Who trains and who is tested; each guard against leakage by people and labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mri2pet.downstream.groups import check_generator, find_groups
from mri2pet.downstream.settings import SETTINGS, TASKS, chosen_settings, seeds_of
from mri2pet.errors import InputError, UsageError
from mri2pet.training.people import Seen

DIAGNOSIS, MMSE = TASKS["diagnosis"], TASKS["mmse"]


def subjects(rows):
    return {row.subject for row in rows}


def test_the_settings_of_the_paper(study):
    groups = find_groups(study.cache(), DIAGNOSIS)
    assert len(groups.pairs) == 21
    assert [row.name for row in groups.alone] == [
        *(f"sub-0{n}_ses-02" for n in range(1, 7)),
        *("sub-31_ses-01", "sub-32_ses-01"),
    ]
    assert subjects(groups.test) == {f"sub-{n}" for n in range(22, 31)}
    pets = {
        key: [example.pet for example in groups.training_set(setting)]
        for key, setting in SETTINGS.items()
    }
    assert pets["real-mri"] == ["none"] * 29
    assert pets["real-limited-mri"] == ["none"] * 21
    assert pets["real-pet"] == pets["real-paired"] == ["measured"] * 21
    assert pets["generated-pet"] == pets["generated-paired"] == ["drawn"] * 21
    assert pets["augmented-paired"] == pets["augmented-pet"] == ["measured"] * 21 + ["drawn"] * 8
    assert pets["control-paired"] == ["measured"] * 21 + ["mean"] * 8
    for setting in SETTINGS.values():
        assert {e.pet for e in groups.test_set(setting)} <= {"none", "measured"}
        assert [e.row for e in groups.test_set(setting)] == groups.test


def test_the_rows_of_each_table():
    assert [s.key for s in chosen_settings(DIAGNOSIS, [])] == [
        *("real-mri", "real-limited-mri", "real-pet", "generated-pet", "real-paired"),
        *("augmented-paired", "control-paired", "majority", "covariates"),
    ]
    more = [s.key for s in chosen_settings(DIAGNOSIS, ["permuted-labels", "table", "real-pet"])]
    assert len(more) == 10
    assert more[-3:] == ["permuted-labels", "majority", "covariates"]
    assert "training-mean" in [s.key for s in chosen_settings(MMSE, [])]
    with pytest.raises(UsageError, match="majority: the task mmse has real-mri"):
        chosen_settings(MMSE, ["majority", "real-mri"])
    assert seeds_of(SETTINGS["real-mri"], 25) == list(range(0, 100, 4))
    assert seeds_of(SETTINGS["covariates"], 25) == [0]


def test_nobody_of_the_test_split_trains_whatever_the_session(study):
    """A table by hand: second visits of test people, and one with a PET, stand in train."""
    cache = study.cache()
    before = find_groups(cache, DIAGNOSIS)

    def change(row):
        return replace(row, split="train") if row.name == "sub-22_ses-02" else row

    study.write(change)
    groups = find_groups(study.cache(), DIAGNOSIS)
    for setting in SETTINGS.values():
        trained = {example.row.subject for example in groups.training_set(setting)}
        assert not trained & subjects(groups.test)
    assert groups.alone == before.alone
    assert groups.notes == ["1 scans of 1 people of the test split do not train."]


def test_a_person_without_pet_in_the_test_split_does_not_train(study):
    groups = find_groups(study.cache(), DIAGNOSIS)
    assert "sub-33" not in subjects([*groups.pairs, *groups.alone])


def test_a_split_by_scan_is_said_and_not_mended(study):
    study.write(
        lambda row: replace(row, split="train") if row.name == "sub-22_ses-02" else row,
        split_by="scan",
    )
    cache = study.cache()
    groups = find_groups(cache, DIAGNOSIS)
    assert "sub-22" in subjects(groups.alone)
    assert "1 people train and are tested" in groups.notes[0]
    seen = Seen(frozenset({"sub-22", "sub-01"}), True)
    assert check_generator("run", seen, cache) == ["The model has seen 1 people of the test split."]


def test_a_model_that_saw_people_of_the_test_split_is_refused(study):
    cache = study.cache()
    clean = frozenset({"sub-01", "sub-19"})
    assert check_generator("run", Seen(clean, True), cache) == []
    with pytest.raises(UsageError, match=r"1 people of the test split trained it \(sub-33"):
        # Without a PET this person can only have been in its pre-training.
        check_generator("run", Seen(clean | {"sub-33"}, True), cache)
    for unknown in (None, Seen(clean, False)):
        with pytest.raises(UsageError, match="does not record whom it has seen"):
            check_generator("run", unknown, cache)
        assert len(check_generator("run", unknown, cache, unseen=True)) == 1


def test_labels_are_those_of_the_visit(study):
    """As in the paper a person has one diagnosis, that of the last scan."""

    def change(row):
        if row.name == "sub-03_ses-02":
            return replace(row, diagnosis="AD", diagnosis_days=30.0)
        return replace(row, diagnosis_days=400.0) if row.subject == "sub-06" else row

    study.write(change)
    cache = study.cache()
    house, paper = (find_groups(cache, DIAGNOSIS, as_paper=paper).labels for paper in (False, True))
    assert (house["sub-03_ses-01"], house["sub-03_ses-02"]) == (0, 2)
    assert (paper["sub-03_ses-01"], paper["sub-03_ses-02"]) == (2, 2)
    assert "sub-06_ses-01" not in house  # more than 365 days away
    binary = find_groups(cache, TASKS["binary"]).labels
    assert (binary["sub-01_ses-01"], binary["sub-02_ses-01"]) == (0, 1)


def test_scores_below_20_are_dropped_after_the_nearest_was_found(study):
    study.write(lambda row: replace(row, mmse=18.0) if row.subject == "sub-03" else row)
    cache = study.cache()
    assert "sub-03_ses-01" not in find_groups(cache, MMSE).labels
    assert find_groups(cache, MMSE, mmse_min=0).labels["sub-03_ses-01"] == 18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: replace(row, diagnosis=None), "none of the people .* has a diagnosis"),
        (
            lambda row: None if row.diagnosis == "AD" and row.split == "train" else row,
            "nobody with an MRI-PET pair .* is AD",
        ),
        (
            lambda row: None if row.split == "test" and row.subject > "sub-22" else row,
            "1 of the people .* test split has a diagnosis, and 2 are needed",
        ),
        (lambda row: row if row.split == "test" else None, "train and val splits has a diagnosis"),
    ],
)
def test_too_little_is_refused_in_a_sentence(study, change, message):
    def altered(row):
        row = change(row)
        # A validation row of the class would be enough: let there be none.
        return None if row is not None and row.split == "val" and row.diagnosis == "AD" else row

    study.write(altered)
    with pytest.raises(InputError, match=message):
        find_groups(study.cache(), DIAGNOSIS)
