"""Rules and faults of an import, one made-up person each."""

from __future__ import annotations

import csv
import random
from datetime import date
from pathlib import Path

import pytest

from mri2pet.cli.main import main
from mri2pet.cohort.importing.clinical import read_clinical
from mri2pet.cohort.importing.days import agreed, day_first, read_day
from mri2pet.cohort.importing.lists import read_lists
from mri2pet.cohort.importing.words import step_of, t1_class, tracer_of, why_no_t1
from mri2pet.cohort.importing.xml_facts import read_xml
from mri2pet.cohort.manifest import build_manifest
from mri2pet.cohort.tracers import Tracer

from .loni import make_loni
from .test_import_adni import left_out, rows

COLUMNS = (
    "path", "form", "header_modality", "shape", "frames", "frame_seconds", "header_date", "sex",
    "age", "defect",
)  # fmt: skip
PET = "AV45 Coreg, Avg, Std Img and Vox Siz, Uniform 6mm Res"


def line(image: int, description: str, day: str, *, part: str = "part1", **more: str) -> dict:
    """A row of `tree.tsv`, and what the list says of it."""
    form, kind = more.get("form", "dicom"), "PT" if "AV45" in description else "MR"
    folder = "".join(c if c.isalnum() or c in "-._" else "_" for c in description)
    person = more.get("person", "990_S_9001")
    stem = f"ADNI_{person}_{folder}" + ("_*" if form == "dicom" else "")
    ending = {"dicom": "dcm", "nifti": "nii", "ecat": "v"}[form]
    return {
        "path": f"{part}/ADNI/{person}/{folder}/{day}_10_11_12.0/I{image}/{stem}_I{image}.{ending}",
        "form": form,
        "header_modality": kind,
        "shape": "10x20x20" if kind == "PT" else "12x24x24",
        "frames": more.get("frames", "1"),
        "frame_seconds": more.get("frame_seconds", ""),
        "header_date": more.get("header_date", day),
        "defect": more.get("defect", ""),
        "Image Data ID": f"I{image}",
        "Subject": person,
        "Modality": "PET" if kind == "PT" else "MRI",
        "Description": description,
        "Acq Date": more.get("listed", day),
    }


def imported(tmp_path: Path, lines: list[dict], *more: str) -> tuple[int, Path]:
    """Exit code and output of an import of these files."""
    with (tmp_path / "tree.tsv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(lines)
    make_loni(tmp_path / "tree.tsv", tmp_path / "src")
    parts = sorted(str(path) for path in (tmp_path / "src").iterdir())
    listed = ["Image Data ID", "Subject", "Modality", "Description", "Acq Date", "MagStrength"]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, listed, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    out = tmp_path / "out"
    arguments = ["cohort", "import", "adni", *parts, "--collection", str(tmp_path / "list.csv")]
    return main([*arguments, "-o", str(out), "-q", *more]), out


def reasons(root: Path) -> dict[str, str]:
    return {row["image_id"]: row["reason"] for row in left_out(root)}


@pytest.fixture(autouse=True)
def _with_dicom() -> None:
    pytest.importorskip("pydicom", reason="needs the extra dicom")
    pytest.importorskip("dcm2niix", reason="needs the extra dicom")


def test_a_missing_slice_gives_way_to_the_next_and_keeps_its_reason(tmp_path):
    lines = [
        line(101, "MPRAGE", "2012-03-05", defect="missing_slice"),
        line(102, "MPRAGE", "2012-03-05"),
    ]
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (3, {"I101": "incomplete_series"})
    assert [path.name for path in out.rglob("*.nii.gz")] == ["sub-ADNI990S9001_ses-M000_T1w.nii.gz"]


def test_slices_that_dcm2niix_finds_missing_leave_nothing(tmp_path, monkeypatch):
    from mri2pet.cohort.importing import heads

    monkeypatch.setattr(heads, "_missing", lambda numbers, count: "")
    code, out = imported(tmp_path, [line(101, "MPRAGE", "2012-03-05", defect="missing_slice")])
    assert (code, reasons(out)) == (1, {"I101": "incomplete_series"})
    assert not list(out.rglob("*.nii*"))
    assert not list(out.glob("sub-*"))


def test_two_contents_under_one_id_stay_both_out(tmp_path):
    lines = [
        line(101, "MPRAGE", "2012-03-05"),
        line(101, "MPRAGE", "2012-03-05", part="part2", defect="other_content"),
        line(102, "MPRAGE", "2013-03-05"),
        line(102, "MPRAGE", "2013-03-05", part="part2"),
    ]
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (3, {"I101": "id_conflict"})


def test_one_image_of_two_people_stays_out(tmp_path):
    lines = [line(101, "MPRAGE", "2012-03-05"), line(102, "MPRAGE", "2012-03-05")]
    lines[0]["Subject"] = "991_S_9002"
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (3, {"I101": "id_conflict"})


def test_a_pair_of_365_days_is_one_and_of_366_is_none(tmp_path):
    lines = [
        line(101, "MPRAGE", "2013-01-01", person="990_S_9001"),
        line(102, PET, "2014-01-01", person="990_S_9001"),
        line(103, "MPRAGE", "2013-01-01", person="990_S_9002"),
        line(104, PET, "2014-01-02", person="990_S_9002"),
    ]
    lines[1]["path"] = lines[1]["path"].replace("10_11_12", "23_59_59")
    code, out = imported(tmp_path, lines)
    assert code == 0
    assert [row.days_apart for row in build_manifest(out)] == [365, None]


def test_bad_quality_counts_by_day_and_a_series_that_failed_is_out(tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "AV45QC.csv").write_text("RID,EXAMDATE,LONIUID,PASS\n9001,2012-03-06,I999,0\n")
    (tables / "AMYQC_02Nov2025.csv").write_text("RID,SCANDATE,LONIUID,SCANQLTY\n9002,1/2/2013,,1\n")
    lines = [
        line(101, "MPRAGE", "2012-03-05"),
        line(102, PET, "2012-03-05"),
        line(103, PET, "2013-01-02", person="990_S_9002"),
    ]
    code, out = imported(tmp_path, lines, "--tables", str(tables))
    assert (code, reasons(out)) == (0, {"I102": "qc_failed"})


def test_later_steps_are_preferred_as_named(tmp_path):
    eight = PET.replace("6mm Res", "Resolution")
    lines = [
        line(101, eight, "2012-03-05"),
        line(102, PET, "2012-03-05"),
        line(103, eight, "2012-03-05", person="990_S_9002"),
        line(104, "AV45 Co-registered Dynamic", "2012-03-05"),
    ]
    code, out = imported(tmp_path, lines, "--pet-step", "6mm,8mm")
    assert code == 0
    assert reasons(out) == {"I101": "worse_duplicate", "I104": "other_step"}


def test_of_several_pets_the_earliest_day_goes_first_and_then_the_last_made(tmp_path):
    lines = [
        line(101, PET, "2012-03-05"),
        line(102, PET, "2012-03-05"),
        line(103, PET, "2012-03-07"),
    ]
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (0, {"I101": "worse_duplicate", "I103": "worse_duplicate"})


def test_of_several_t1s_field_rating_and_repeat_count_before_the_id(tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "REGISTRY.csv").write_text(
        "Phase,RID,VISCODE,EXAMDATE\nADNI1,9001,bl,2006-03-01\nADNI2,9002,bl,2012-03-01\n"
    )
    (tables / "MAYOADIRL_MRI_IMAGEQC_12_08_15.csv").write_text(
        "RID,loni_image,series_type,series_quality,series_selected\n"
        "9003,I131,T1,3,0\n9003,I132,T1,1,0\n9003,I133,T1,4,1\n9003,I134,T1,2,1\n"
    )
    lines = [
        line(111, "MPRAGE", "2006-03-05") | {"MagStrength": "3"},
        line(112, "MPRAGE", "2006-03-05") | {"MagStrength": "1.5"},
        line(121, "MPRAGE", "2012-03-05", person="990_S_9002") | {"MagStrength": "1.5"},
        line(122, "MPRAGE", "2012-03-05", person="990_S_9002") | {"MagStrength": "3"},
        *(line(n, "MPRAGE", "2012-03-05", person="990_S_9003") for n in range(131, 135)),
        line(141, "MPRAGE REPEAT", "2012-03-05", person="990_S_9004"),
        line(142, "MPRAGE", "2012-03-05", person="990_S_9004"),
        line(143, "MPRAGE", "2012-03-05", person="990_S_9004"),
    ]
    code, out = imported(tmp_path, lines, "--tables", str(tables))
    table = rows(out / "sourcedata" / "import.tsv")
    taken = [row["image_id"] for row in table if row["taken"] == "yes"]
    assert (code, taken) == (0, ["I112", "I122", "I134", "I142"])
    assert {row["image_id"]: row["reason"] for row in table}["I133"] == "qc_failed"


def test_frames_in_files_of_their_own_become_one_image(tmp_path):
    import nibabel

    lines = [line(101, "AV45 Co-registered Dynamic", "2012-03-05", form="nifti")]
    lines[0]["path"] = lines[0]["path"].replace("_I101.nii", "_frame1_I101.nii")
    second = dict(lines[0], path=lines[0]["path"].replace("frame1", "frame2"))
    code, out = imported(tmp_path, [*lines, second])
    assert code == 0
    (made,) = out.rglob("*.nii.gz")
    assert nibabel.load(made).shape == (20, 20, 10, 2)
    (row,) = rows(out / "sourcedata" / "import.tsv")
    assert row["note"] == "frames 2xunknown"


def test_a_dry_run_with_other_options_leaves_the_old_table(tmp_path):
    lines = [line(101, "MPRAGE", "2012-03-05")]
    _, out = imported(tmp_path, lines)
    table = (out / "sourcedata" / "import.tsv").read_bytes()
    assert imported(tmp_path, lines, "--t1", "original", "--dry-run")[0] == 2
    assert (out / "sourcedata" / "import.tsv").read_bytes() == table


def test_dates_that_agree_win_and_an_even_split_does_not():
    a, b = date(2012, 3, 5), date(2014, 1, 1)
    both = agreed({"header": [a], "folder": [date(2012, 3, 6)]})
    assert (both.day, both.source) == (date(2012, 3, 6), "folder")
    most = agreed({"header": [a], "xml": [a], "folder": [b]})
    assert (most.day, most.source, most.note) == (a, "header", "another date in folder")
    assert agreed({"header": [a], "xml": [a], "folder": [b], "list": [b]}).reason == "date_conflict"
    assert agreed({"folder": [a], "list": [b]}).reason == "date_conflict"
    assert agreed({"list": [b]}).source == "list"
    assert agreed({}).reason == "no_date"


def test_dates_of_tables():
    assert read_day("3/5/2012") == read_day("2012-03-05 10:00:00") == date(2012, 3, 5)
    assert read_day("3/5/12") == date(2012, 3, 5)
    assert read_day("3/5/2012", day_first=True) == date(2012, 5, 3)
    assert read_day("2012-13-01") is None
    assert read_day("-4") is None
    assert day_first(["3/5/2012", "13/5/2012"])
    assert not day_first(["3/25/2012"])


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("MPRAGE", None),
        ("MP-RAGE REPEAT", None),
        ("MPRAGE SENSE2", None),
        ("sT1W_3D_TFE", None),
        ("t1_mpr_ns_sag_p2_iso", None),
        ("MPR; GradWarp; B1 Correction; N3 <- MP-RAGE", None),
        ("B1-calibration Head", "not_t1"),
        ("Sagittal 3D FLAIR", "not_t1"),
        ("2D GRE-MT", "not_t1"),
        ("SAG", "not_t1"),
        ("AX T1 SE C+", "contrast"),
        ("T1 post contrast", "contrast"),
        ("Spatially Normalized, Masked and N3 corrected T1 images", "derived_space"),
    ],
)
def test_which_descriptions_are_a_t1(description, reason):
    why = why_no_t1(description, of_folder=False, known_t1=False)
    assert (why[0] if why else None) == reason
    if not set("+") & set(description):
        folder = "".join(c if c.isalnum() or c in "-._" else "_" for c in description)
        assert why_no_t1(folder, of_folder=True, known_t1=False) == why


def test_t1s_go_in_the_order_of_their_processing():
    order = [
        "MPR; GradWarp; B1 Correction; N3; Scaled <- MP-RAGE",
        "MPR; GradWarp; B1 Correction; N3; Scaled_2 <- MP-RAGE",
        "MT1; GradWarp; N3m <- MPRAGE",
        "MT1; N3m <- MPRAGE",
        "MPR; N3 <- MPRAGE",
        "MPR; GradWarp; B1 Correction <- MPRAGE",
        "MPRAGE",
        "Accelerated Sagittal MPRAGE",
        "Accelerated Sagittal MPRAGE_ND",
    ]
    assert [t1_class(text).number for text in order] == list(range(1, 10))
    ranks = [t1_class(text).rank("original") for text in order]
    assert ranks == [3, 4, 5, 6, 7, 8, 0, 1, 2]
    assert t1_class("MPR-R; GradWarp <- MPRAGE").repeat


def test_steps_and_tracers():
    steps = {
        "ADNI Brain PET: Raw AV45": "raw",
        "AV45 Co-registered Dynamic": "dynamic",
        "AV45 Co-registered, Averaged": "averaged",
        "AV45 Coreg, Avg, Standardized Image and Voxel Size": "standard",
        "AV45 Coreg, Avg, Std Img and Voxel Size, Uniform Resolution": "8mm",
        PET: "6mm",
    }
    assert {text: step_of(text) for text in steps} == steps
    assert tracer_of("18F-AV-45 x")[0] is Tracer.AV45
    for other in ("FBB", "AV1451", "AV-1451 Tau", "[11C]PIB", "FDG", "NAV4694", "PI-2620"):
        assert tracer_of(f"{other} Coreg, Avg")[0] is Tracer.OTHER, other
    assert tracer_of("PET Brain", "Florbetapir F18")[0] is Tracer.AV45
    assert tracer_of("PET Brain")[0] is None


def test_xml_with_a_doctype_or_too_large_says_nothing():
    good = b"<a><imagingProtocol><imageUID>7</imageUID></imagingProtocol></a>"
    assert [facts.image for facts in read_xml(good)] == ["7"]
    assert read_xml(b'<!DOCTYPE a [<!ENTITY b "c">]>' + good) == []
    assert read_xml(good + b" " * (1 << 20)) == []
    assert read_xml(b"<a><b>") == []


@pytest.mark.parametrize("seed", range(4))
def test_the_form_of_a_table_does_not_count(shared_reference, tmp_path, seed):
    folder = shared_reference / "loni_example"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    shuffled = random.Random(seed)
    files = [*(folder / "tables").glob("*.csv"), next(folder.glob("*_collection_*.csv"))]
    for path in files:
        with path.open(newline="") as file:
            table = list(csv.reader(file))
        order = list(range(len(table[0])))
        shuffled.shuffle(order)
        body = [[row[i] for i in order] for row in table[1:]]
        shuffled.shuffle(body)
        header = [shuffled.choice([str.lower, str.upper, str])(table[0][i]) for i in order]
        quoting = shuffled.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
        ends, encoding = shuffled.choice(["\n", "\r\n"]), shuffled.choice(["utf-8", "utf-8-sig"])
        with (tmp_path / path.name).open("w", newline="", encoding=encoding) as file:
            csv.writer(file, lineterminator=ends, quoting=quoting).writerows([header, *body])

    def read(folder: Path, listed: Path):
        clinical = read_clinical(folder.glob("*.csv"))
        people = {
            rid: (p.sex, p.born, p.baseline, p.diagnosis, p.mmse, sorted(p.phases))
            for rid, p in clinical.people.items()
        }
        return read_lists([listed], []), people, clinical.pet_quality

    name = files[-1].name
    assert read(tmp_path, tmp_path / name) == read(folder / "tables", folder / name)


def test_every_row_has_a_reason_of_the_list(tmp_path):
    lines = [line(101, "MPRAGE", "2012-03-05"), line(102, "SURVEY", "2012-03-05")]
    _, out = imported(tmp_path, lines)
    assert len(rows(out / "sourcedata" / "import.tsv")) == 2
