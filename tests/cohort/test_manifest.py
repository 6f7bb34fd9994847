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
from mri2pet.tables import read_table

from .conftest import MRI_SHAPE, PET_SHAPE, empty_image


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
        empty_image(root / "sub-01" / session / "anat" / f"sub-01_{session}_T1w.nii.gz")
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tmri_days\nses-01\t0\nses-02\t150\nses-03\t700\n"
    )
    (root / "phenotype").mkdir()
    table = "\n".join(("participant_id session_id acq_time mmse", *rows)).replace(" ", "\t")
    (root / "phenotype" / "mmse.tsv").write_text(table + "\n")
    return root


def labels(root: Path, **options) -> list[tuple[str | None, float | None]]:
    manifest = build_manifest(root, **options)
    return [(row.diagnosis, row.mmse) for row in manifest]


def notes(root: Path, **options) -> list[str]:
    found = build_manifest(root, **options).found
    return [] if found is None else found.notes


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["sub-01 ses-01 n/a 30", "sub-01 ses-02 n/a 25", "sub-01 ses-03 n/a 20"], [30, 20]),
        (["sub-01 ses-02 n/a 25"], [25, None]),
        (["sub-01 ses-01 n/a 30", "sub-01 ses-02 n/a 25"], [30, None]),
        (["sub-01 ses-01 n/a -4", "sub-01 ses-02 n/a 25"], [25, None]),
        (["sub-01 ses-01 n/a 35", "sub-01 ses-02 n/a 25,5"], [25.5, None]),
        (["01 1 n/a 30", "1 ses-2 n/a 25"], [30, None]),
        (["01 1 n/a 30", "SUB-1 003 n/a 25"], [30, None]),
        (["1 ses-1 n/a 30", "1 03 n/a 20"], [30, 20]),
        (["sub-01 ses-01 n/a 30", "sub-01 ses-01 n/a 29"], [None, None]),
        (["sub-01 n/a n/a 28"], [28, 28]),
        (["sub-01 ses-09 n/a 28"], [None, None]),
        (["sub-02 ses-01 n/a 28"], [None, None]),
    ],
)
def test_labels_come_from_the_visit_nearest_in_time(tmp_path, rows, found):
    manifest = build_manifest(visits(tmp_path, *rows))
    assert [row.mmse for row in manifest] == found


@pytest.mark.parametrize(
    ("word", "diagnosis"),
    [
        ("CN", "CN"), ("nl", "CN"), ("Normal", "CN"), ("SMC", "CN"), ("EMCI", "MCI"),
        ("LMCI", "MCI"), ("mci", "MCI"), ("Dementia", "AD"), ("AD", "AD"),
        ("MCI to Dementia", "AD"),
        ("NL to MCI", "MCI"), ("n/a", None), ("NA", None), ("-4", None), ("-1.0", None),
        ("PD", None), ("1", None),
    ],
)  # fmt: skip
def test_words_of_a_diagnosis(tmp_path, word, diagnosis):
    root = visits(tmp_path, "sub-01 n/a n/a 28")
    (root / "participants.tsv").write_text(f"participant_id\tdx\nsub-01\t{word}\n")
    assert labels(root) == [(diagnosis, 28)] * 2
    told = [f"diagnosis: not understood and taken as missing: {word!r} (1 times)"]
    assert notes(root) == (told if word in ("PD", "1") else [])


@pytest.mark.parametrize(
    ("encoding", "separator", "person"),
    [("utf-8-sig", "\t", "sub-01"), ("latin-1", ";", "01"), ("utf-16", ",", "1")],
)
def test_participants_of_any_spreadsheet(tmp_path, encoding, separator, person):
    root = visits(tmp_path)
    rows = [["participant_id", "Diagnosis", "site", "MMSCORE"], [person, "CN", "Münch", "29"]]
    text = "\r\n".join(separator.join(row) for row in rows)
    (root / "participants.tsv").write_bytes(text.encode(encoding))
    assert labels(root) == [("CN", 29)] * 2


def test_sessions_tables_and_every_phenotype_table_are_read(tmp_path):
    root = visits(tmp_path)
    (root / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tdays_since_baseline\tdiagnosis\tMMSE\nM1\t0\tCN\t29\n"
        "ses-01\t0\tCN\t29\nses-03\t700\tMCI\t-1\nM36\t760\tAD\t21\n"
    )
    assert labels(root) == [("CN", 29), ("MCI", 21)]
    (root / "phenotype" / "clinical.tsv").write_text(
        "participant_id\tsession_id\tDX\nsub-01\tses-03\tLMCI to Dementia\n"
    )
    assert labels(root) == [("CN", 29), ("AD", 21)]
    assert [row.mmse_days for row in build_manifest(root)] == [0, 60]
    assert [row.diagnosis_days for row in build_manifest(root)] == [0, 0]
    assert labels(root, label_days=50)[1] == ("AD", None)


def test_columns_of_other_names_are_taken_when_named(tmp_path):
    root = visits(tmp_path)
    (root / "participants.tsv").write_text("participant_id\tkind\tdx\nsub-01\tAD\tCN\n")
    assert labels(root, label_columns={"diagnosis": "kind"})[0] == ("AD", None)
    with pytest.raises(UsageError, match="no table has that column"):
        build_manifest(root, label_columns={"mmse": "score"})
    build = ["cohort", "build", str(root), "-o", str(tmp_path / "cohort.tsv")]
    assert cli.main([*build, "--label-columns", "diagnosis=kind"]) == 0
    assert cli.main([*build, "--label-columns", "kind"]) == 2


def test_people_of_the_table_that_are_no_folder_are_told(tmp_path):
    root = visits(tmp_path)
    (root / "participants.tsv").write_text("participant_id\tdx\nsub-01\tCN\nsub-09\tAD\n")
    assert notes(root) == ["participants.tsv: 1 of 2 people are no sub- folder (sub-09)"]
    (root / "participants.tsv").write_text("Participant_ID\tdx\nsub-01\tCN\n")
    assert (labels(root)[0][0], notes(root)) == ("CN", [])
    (root / "participants.tsv").write_text("person\tdx\nsub-01\tCN\n")
    (note,) = notes(root)
    assert "no column participant_id" in note


def test_a_broken_table_is_named(tmp_path, capsys):
    root = visits(tmp_path)
    (root / "participants.tsv").write_bytes(b"PK\x03\x04\x00")
    assert cli.main(["cohort", "build", str(root), "-o", str(tmp_path / "cohort.tsv")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "participants.tsv: is a spreadsheet" in error


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
    shown = capsys.readouterr().out
    assert "taken: 6 T1s and 5 AV45 PETs (step unknown)\n" in shown
    assert "left out" not in shown
    manifest = build_manifest(tiny_cohort.root, seed=3)
    assert load_manifest(table) == manifest
    record = json.loads(table.with_suffix(".json").read_text())
    assert record["people_in_several_splits"] == 0
    assert record["cohort"] == "cohort"
    assert str(tmp_path) not in "".join(path.read_text() for path in tmp_path.glob("cohort*.*"))
    assert sum(counts["pairs"] for counts in record["splits"].values()) == 5
    assert sum(counts["unpaired"] for counts in record["splits"].values()) == 1
    shapes = {"mri_shape": MRI_SHAPE, "pet_shape": PET_SHAPE, "registration": "truth"}
    cache = build_cache(table, **shapes)
    assert cache.rows("train") == manifest.select("train")
    assert build_cache(tiny_cohort.root, **shapes).root == cache.root


def test_what_is_left_out_is_counted_and_listed(tiny_cohort, tmp_path, capsys):
    folder = tiny_cohort.root / "sub-0001" / "ses-01"
    empty_image(folder / "anat" / "sub-0001_ses-01_ce-gad_T1w.nii.gz")
    empty_image(folder / "pet" / "sub-0001_ses-01_trc-18FFDG_pet.nii.gz")
    empty_image(folder / "pet" / "sub-0002_ses-01_trc-18FAV45_pet.nii.gz")
    table, listed = tmp_path / "cohort.tsv", tmp_path / "cohort_passed_over.tsv"
    assert cli.main(["cohort", "build", str(tiny_cohort.root), "-o", str(table)]) == 0
    expected = f"left out: 1 id_conflict, 1 contrast, 1 other_tracer; why of each: {listed}\n"
    assert expected in capsys.readouterr().out
    assert [(row["file"].split("/")[-1], row["reason"]) for row in read_table(listed)] == [
        ("sub-0001_ses-01_ce-gad_T1w.nii.gz", "contrast"),
        ("sub-0001_ses-01_trc-18FFDG_pet.nii.gz", "other_tracer"),
        ("sub-0002_ses-01_trc-18FAV45_pet.nii.gz", "id_conflict"),
    ]
    record = json.loads(table.with_suffix(".json").read_text())
    assert record["left_out"] == {"id_conflict": 1, "contrast": 1, "other_tracer": 1}
    assert record["pet_steps"] == {"unknown": 5}


def test_steps_are_chosen_on_the_command_line(tiny_cohort, tmp_path, capsys):
    pet = tiny_cohort.pet("sub-0001")
    pet.rename(pet.with_name("sub-0001_ses-01_trc-18FAV45_rec-acstat_pet.nii.gz"))
    build = ["cohort", "build", str(tiny_cohort.root), "-o", str(tmp_path / "cohort.tsv")]
    assert cli.main(build) == 2
    assert "rec-acstat (1 person, 1 scan), without rec- (4 people" in capsys.readouterr().err
    assert not list(tmp_path.glob("cohort*.tsv"))
    assert cli.main([*build, "--filter", "pet:rec=acstat"]) == 0
    assert "taken: 6 T1s and 1 AV45 PET (rec-acstat)" in capsys.readouterr().out
    assert cli.main([*build, "--filter", "pet:rec=acstat,"]) == 0
    shown = capsys.readouterr()
    assert "taken: 6 T1s and 5 AV45 PETs (unknown, rec-acstat)" in shown.out
    assert "warning: PETs of several reconstruction steps are mixed" in shown.err


def test_a_table_and_its_cohort_may_move_together(tiny_cohort, tmp_path):
    (tmp_path / "study").mkdir()
    root = tiny_cohort.root.rename(tmp_path / "study" / "bids")
    write_cohort(build_manifest(root), tmp_path / "study" / "cohort.tsv")
    moved = (tmp_path / "study").rename(tmp_path / "elsewhere")
    assert load_manifest(moved / "cohort.tsv").root == moved / "bids"


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
            name = f"sub-{subject:02d}_{session}_T1w.nii.gz"
            empty_image(root / f"sub-{subject:02d}" / session / "anat" / name)
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


def test_age_is_that_at_the_scan_and_sex_of_the_person(tmp_path):
    root = visits(tmp_path)
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t70.5\tfemale\n")
    rows = build_manifest(root).rows
    assert [row.sex for row in rows] == ["F", "F"]
    assert [row.day for row in rows] == [0, 700]
    assert [row.age for row in rows] == [70.5, pytest.approx(70.5 + 700 / 365.25, abs=0.006)]
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tmri_days\tage\nses-01\t0\t71\nses-02\t150\t71.4\nses-03\t700\tn/a\n"
    )
    rows = build_manifest(root).rows
    assert [row.age for row in rows] == [71, pytest.approx(71.4 + 550 / 365.25, abs=0.006)]


def test_an_age_or_a_sex_that_is_none_is_told(tmp_path):
    root = visits(tmp_path)
    (root / "participants.tsv").write_text("participant_id\tage\tgender\nsub-01\t89+\tx\n")
    (row, _) = (manifest := build_manifest(root)).rows
    assert (row.age, row.sex) == (89, None)
    assert "sex: not understood and taken as missing: 'x' (1 times)" in manifest.found.notes


def test_rows_tell_step_resolution_and_which_scan_was_first(tmp_path):
    from .trees import put

    for session, rec in (("ses-01", "coregiso6"), ("ses-02", "acdyn")):
        stem = f"sub-01/{session}"
        put(tmp_path, f"{stem}/anat/sub-01_{session}_T1w.nii.gz")
        put(tmp_path, f"{stem}/pet/sub-01_{session}_trc-18FAV45_rec-{rec}_pet.nii.gz")
    (tmp_path / "sub-01" / "sub-01_sessions.tsv").write_text(
        "session_id\tmri_days\tpet_days\nses-01\t20\t0\nses-02\t400\t410\n"
    )
    manifest = build_manifest(tmp_path, filters=["pet:rec=coregiso6,acdyn"])
    told = [(row.step, row.resolution_mm, row.pair_days_signed) for row in manifest]
    assert told == [("coregiso6", 6.0, -20.0), ("acdyn", None, 10.0)]
    write_cohort(manifest, tmp_path / "cohort.tsv")
    again = load_manifest(tmp_path / "cohort.tsv")
    assert [(r.step, r.resolution_mm, r.pair_days_signed) for r in again] == told
    assert any("several reconstruction steps" in line for line in again.summary("x"))
