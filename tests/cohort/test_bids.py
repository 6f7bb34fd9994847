"""Pairs are found by names, tables and headers; what is not taken is listed with its reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mri2pet.cohort.bids import find_pairs
from mri2pet.cohort.filters import Filters
from mri2pet.cohort.passed_over import REASONS
from mri2pet.errors import InputError, UsageError

from .conftest import empty_image


def put(root: Path, *names: str) -> None:
    for name in names:
        empty_image(root / name)


def sessions(root: Path, text: str) -> None:
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(text.replace(" ", "\t"))


def names(root: Path, **options) -> list[tuple[str, str | None]]:
    pairs = find_pairs(root, **options).pairs
    return [(p.t1.session, p.pet.session if p.pet else None) for p in pairs]


def taken(root: Path, *filters: str, **options) -> list[tuple[str, str | None]]:
    """Names of the files of every pair."""
    found = find_pairs(root, filters=Filters.of(filters), **options)
    return [(p.t1.path.name, p.pet.path.name if p.pet else None) for p in found.pairs]


def reasons(root: Path, *filters: str, **options) -> dict[str, str]:
    """File name → why it is left out."""
    found = find_pairs(root, filters=Filters.of(filters), **options)
    assert {image.reason for image in found.passed_over} <= set(REASONS)
    assert all(image.sentence and not image.file.startswith("/") for image in found.passed_over)
    assert not any(str(root) in image.sentence for image in found.passed_over)
    return {Path(image.file).name: image.reason for image in found.passed_over}


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


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["run-1", "run-02", "rec-norm"], "run-1"),
        (["run-10", "run-9"], "run-9"),
        (["acq-mprage", "run-02"], "run-02"),
        (["acq-mprage_run-2", "run-1_acq-mprage"], "run-1_acq-mprage"),
        (["acq-b", "acq-a"], "acq-a"),
        (["rec-b", "rec-a"], "rec-a"),
        (["ce-gadolinium", "acq-localizer", "rec-norm_run-1", "run-02"], "run-02"),
        (["desc-preproc", "space-MNI152", "res-1mm", "label-brain", "rec-norm"], "rec-norm"),
        (["acq-postGd", "acq-gad", "acq-tfe"], "acq-tfe"),
        (["echo-1", "part-phase", "acq-AAHeadScout", "acq-highres"], "acq-highres"),
    ],
)
def test_the_full_t1_of_a_session_is_taken_and_the_others_are_listed(tmp_path, names, expected):
    put(tmp_path, *(f"sub-01/anat/sub-01_{name}_T1w.nii.gz" for name in names))
    assert taken(tmp_path) == [(f"sub-01_{expected}_T1w.nii.gz", None)]
    passed = reasons(tmp_path)
    assert len(passed) == len(names) - 1
    of_entity = {
        "ce": "contrast", "desc": "derived_space", "space": "derived_space", "echo": "not_t1",
        "res": "derived_space", "label": "derived_space", "part": "not_t1",
    }  # fmt: skip
    for name, reason in passed.items():
        entity = name.split("_")[1].split("-")[0]
        no_head = "localizer" in name or "Scout" in name
        contrast = "acq-post" in name or "acq-gad" in name
        usual = of_entity.get(entity, "contrast" if contrast else "worse_duplicate")
        assert reason == ("not_t1" if no_head else usual)


def test_contrast_is_taken_when_asked_for(tmp_path):
    put(tmp_path, "sub-01/anat/sub-01_ce-gad_T1w.nii.gz")
    with pytest.raises(InputError, match=r"left out: 1 contrast.*--use-contrast"):
        find_pairs(tmp_path)
    assert taken(tmp_path, use_contrast=True) == [("sub-01_ce-gad_T1w.nii.gz", None)]


@pytest.mark.parametrize(
    ("shape", "voxel_mm", "unit", "usable"),
    [
        ((20, 20, 20), 10.0, "mm", True),
        ((20, 20, 20), 0.01, "meter", True),
        ((20, 20, 20), 1e4, "micron", True),
        ((20, 20, 20), 3.9, "mm", False),
        ((20, 20, 1), 10.0, "mm", False),
        ((20, 20), 10.0, "mm", False),
        ((20, 1, 20, 20), 10.0, "mm", False),
        ((20, 20, 20, 3), 10.0, "mm", False),
    ],
)
def test_the_header_tells_a_localizer_from_a_t1(tmp_path, shape, voxel_mm, unit, usable):
    empty_image(tmp_path / "sub-01/anat/sub-01_run-1_T1w.nii", shape, voxel_mm, unit)
    put(tmp_path, "sub-01/anat/sub-01_run-2_T1w.nii.gz")
    assert taken(tmp_path) == [(f"sub-01_run-{1 if usable else 2}_T1w.nii{'' if usable else '.gz'}",
                                None)]  # fmt: skip
    assert set(reasons(tmp_path).values()) == {"worse_duplicate" if usable else "not_t1"}


def test_an_image_that_cannot_be_opened_gives_way(tmp_path):
    put(tmp_path, "sub-01/anat/sub-01_run-3_T1w.nii.gz")
    (tmp_path / "sub-01/anat/sub-01_run-1_T1w.nii.gz").write_bytes(b"no image")
    (tmp_path / "sub-01/anat/sub-01_run-2_T1w.nii.gz").symlink_to("../.git/annex/objects/x")
    (tmp_path / "sub-01/anat/._sub-01_T1w.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "._sub-01").write_bytes(b"\x00\x05\x16\x07")
    assert taken(tmp_path) == [("sub-01_run-3_T1w.nii.gz", None)]
    assert reasons(tmp_path) == {
        "sub-01_run-1_T1w.nii.gz": "unreadable",
        "sub-01_run-2_T1w.nii.gz": "not_downloaded",
    }


def test_linked_people_are_found_and_loops_are_not(tmp_path):
    put(tmp_path, "store/anat/sub-01_T1w.nii.gz", "bids/sub-03/anat/sub-03_T1w.nii.gz")
    root = tmp_path / "bids"
    (root / "sub-01").symlink_to("../store")
    (root / "sub-02").symlink_to("../../" + tmp_path.name)
    (root / "sub-04").symlink_to("../absent")
    (root / "sub-05").symlink_to("sub-05")
    (root / "sub-03" / "ses-01").symlink_to("..")
    assert [name for name, _ in taken(root)] == ["sub-01_T1w.nii.gz", "sub-03_T1w.nii.gz"]
    assert reasons(root) == {
        "sub-02": "unreadable", "sub-04": "not_downloaded", "sub-05": "not_downloaded"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("sub-02/pet/sub-01_trc-18FAV45_pet.nii.gz", "id_conflict"),
        ("sub-01/ses-1/pet/sub-01_ses-2_pet.nii.gz", "id_conflict"),
        ("sub-01/pet/sub-01_ses-2_pet.nii.gz", "id_conflict"),
        ("sub-01/pet/sub-1_pet.nii.gz", "id_conflict"),
        ("sub-01/ses-1/anat/sub-02_ses-1_T1w.nii.gz", "id_conflict"),
        ("sub-01/pet/pet.nii.gz", "not_bids"),
        ("sub-01/sub-01_pet.nii.gz", "not_bids"),
        ("sub-01/anat/sub-01_pet.nii.gz", "not_bids"),
        ("sub-01_T1w.nii.gz", "not_bids"),
        ("sub-01/anat/sub-01_UNIT1.nii.gz", "not_t1"),
    ],
)
def test_folder_and_name_must_agree(tmp_path, file, reason):
    put(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz", file)
    assert taken(tmp_path) == [("sub-01_T1w.nii.gz", None), ("sub-02_T1w.nii.gz", None)]
    assert reasons(tmp_path) == {Path(file).name: reason}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("trc-18FAV45", "taken"), ("trc-av45", "taken"), ("trc-AV45F18", "taken"),
        ("trc-18FFBP", "taken"), ("trc-18Fflorbetapir", "taken"), ("trc-florbetapir18F", "taken"),
        ("trc-Amyvid", "taken"), ("acq-av45_task-rest", "taken"),
        ("task-rest_acq-18FAV45", "taken"),
        ("acq-AV45dynamic", "taken"), ("trc-18FFDG", "other_tracer"), ("acq-fdg", "other_tracer"),
        ("acq-PIB", "other_tracer"), ("acq-tau", "other_tracer"), ("trc-11CPIB", "other_tracer"),
        ("trc-18FFBB", "other_tracer"), ("trc-18FAV1451", "other_tracer"),
        ("trc-18FMK6240", "other_tracer"), ("trc-18FPI2620", "other_tracer"),
        ("trc-NAV4694", "other_tracer"), ("trc-Xyz7", "unknown_tracer"),
        ("acq-18FXyz7", "unknown_tracer"), ("acq-dynamic", "unknown_tracer"),
        ("run-1", "unknown_tracer"), ("trc-AV45_acq-early", "early_phase"),
        ("trc-AV45_space-MNI152", "derived_space"), ("trc-AV45_desc-synthetic", "derived_space"),
    ],
)  # fmt: skip
def test_the_tracer_is_read_from_the_name(tmp_path, given, expected):
    put(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", f"sub-01/pet/sub-01_{given}_pet.nii.gz")
    put(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz", "sub-02/pet/sub-02_trc-FDG_pet.nii.gz")
    name = f"sub-01_{given}_pet.nii.gz"
    assert taken(tmp_path)[0][1] == (name if expected == "taken" else None)
    assert reasons(tmp_path).get(name, "taken") == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("[18F]Florbetapir (Amyvid)", "taken"), ("18F-AV-45", "taken"), ("AV-1451", "other_tracer"),
     ("Flutemetamol (18F)", "other_tracer"), ("compound X", "unknown_tracer")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("place", "encoding"),
    [("pet.json", "utf-8-sig"), ("sub-01/sub-01_pet.json", "latin-1"),
     ("sub-01/pet/sub-01_run-1_pet.json", "utf-16")],
)  # fmt: skip
def test_the_tracer_is_read_from_a_sidecar_of_any_folder(tmp_path, said, expected, place, encoding):
    name = "sub-01_acq-fdg_run-1_pet.nii.gz"
    put(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", f"sub-01/pet/{name}")
    (tmp_path / "sub-01/pet/sub-01_run-2_pet.json").write_text('{"TracerName": "FDG"}')
    (tmp_path / "T1w.json").write_text('{"TracerName": "FDG"}')
    content = json.dumps({"Institution": "Münch", "TracerName": said}, ensure_ascii=False)
    (tmp_path / place).write_bytes(content.encode(encoding))
    assert taken(tmp_path)[0][1] == (name if expected == "taken" else None)
    assert reasons(tmp_path).get(name, "taken") == expected


def test_the_nearer_sidecar_wins_and_a_broken_one_is_named(tmp_path):
    put(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/pet/sub-01_pet.nii.gz")
    (tmp_path / "pet.json").write_text('{"TracerName": "FDG"}')
    assert reasons(tmp_path) == {"sub-01_pet.nii.gz": "other_tracer"}
    (tmp_path / "sub-01/pet/sub-01_pet.json").write_text('{"TracerName": "AV45"}')
    assert reasons(tmp_path) == {}
    (tmp_path / "sub-01/pet/sub-01_pet.json").write_text("{")
    (image,) = find_pairs(tmp_path).passed_over
    assert (image.reason, "sub-01_pet.json" in image.sentence) == ("unreadable", True)


def steps(root: Path) -> None:
    for person, recs in (("sub-01", ("rec-coregiso6", "rec-coregiso8")),
                         ("sub-02", ("rec-coregiso8",))):  # fmt: skip
        put(root, f"{person}/anat/{person}_T1w.nii.gz")
        put(root, *(f"{person}/pet/{person}_trc-18FAV45_{rec}_pet.nii.gz" for rec in recs))


def test_several_steps_are_refused_until_one_is_chosen(tmp_path):
    steps(tmp_path)
    with pytest.raises(UsageError) as caught:
        find_pairs(tmp_path)
    assert "rec-coregiso6 (1 person, 1 scan), rec-coregiso8 (2 people, 2 scans)" in str(
        caught.value
    )
    assert "--filter 'pet:rec=coregiso6'" in str(caught.value)
    six, eight = (f"sub-0{n}_trc-18FAV45_rec-coregiso{m}_pet.nii.gz" for n, m in ((1, 6), (1, 8)))
    other = eight.replace("sub-01", "sub-02")
    assert [pet for _, pet in taken(tmp_path, "pet:rec=coregiso6")] == [six, None]
    assert reasons(tmp_path, "pet:rec=CoregIso6") == {eight: "other_step", other: "other_step"}
    assert [pet for _, pet in taken(tmp_path, "pet:rec=coregiso8")] == [eight, other]
    mixed = "pet:rec=coregiso6,coregiso8"
    assert [pet for _, pet in taken(tmp_path, mixed)] == [six, other]
    assert find_pairs(tmp_path, filters=Filters.of([mixed])).steps == {
        "coregiso6": 1, "coregiso8": 1
    }  # fmt: skip


def test_a_step_may_stand_in_the_sidecar_and_none_is_one_too(tmp_path):
    for person in ("sub-01", "sub-02"):
        put(tmp_path, f"{person}/anat/{person}_T1w.nii.gz", f"{person}/pet/{person}_pet.nii.gz")
    assert find_pairs(tmp_path).steps == {"unknown": 2}
    (tmp_path / "sub-01/sub-01_pet.json").write_text('{"ReconstructionStep": "acstat"}')
    with pytest.raises(UsageError, match=r"rec-acstat \(1 person, 1 scan\), without rec- \(1"):
        find_pairs(tmp_path)
    assert [pet for _, pet in taken(tmp_path, "pet:rec=")] == [None, "sub-02_pet.nii.gz"]
    assert [pet for _, pet in taken(tmp_path, "pet:rec=acstat")] == ["sub-01_pet.nii.gz", None]


def test_filters_choose_among_t1s(tmp_path):
    put(tmp_path, *(f"sub-01/anat/sub-01_{name}_T1w.nii.gz"
                    for name in ("acq-mprage", "acq-spgr", "run-01", "desc-x")))  # fmt: skip
    assert taken(tmp_path, "T1w:acq=MPRAGE")[0][0] == "sub-01_acq-mprage_T1w.nii.gz"
    assert taken(tmp_path, "t1w:acq=ir,spgr,mprage")[0][0] == "sub-01_acq-spgr_T1w.nii.gz"
    assert taken(tmp_path, "T1w:run=1")[0][0] == "sub-01_run-01_T1w.nii.gz"
    assert taken(tmp_path, "T1w:desc=x")[0][0] == "sub-01_desc-x_T1w.nii.gz"
    assert reasons(tmp_path, "T1w:acq=mprage")["sub-01_run-01_T1w.nii.gz"] == "not_chosen"
    with pytest.raises(InputError, match=r"left out: .*4 not_chosen|3 not_chosen"):
        find_pairs(tmp_path, filters=Filters.of(["T1w:acq=none"]))


@pytest.mark.parametrize(
    "wrong", ["acq=mprage", "T1w:acq", "bold:run=1", "T1w:acq=a b", "T1w:acq=a;T1w:acq=b"]
)
def test_filters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError, match="--filter"):
        Filters.of(wrong.split(";"))


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
