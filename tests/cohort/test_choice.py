"""Which T1 and which PET of a session are taken; the others are listed with their reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mri2pet.cohort.bids import find_pairs
from mri2pet.cohort.filters import Filters
from mri2pet.errors import InputError, UsageError

from .conftest import empty_image
from .trees import put, reasons, taken


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
