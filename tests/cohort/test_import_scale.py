"""Large and troubled sources: many files, two zips, disks that go away."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from mri2pet.cli.main import main
from mri2pet.cohort.importing import convert, index, run, sources, zips

from .loni import make_loni, nifti, phantom
from .test_import_adni import rows
from .test_import_rules import PET, imported, line, reasons

T1S = [
    line(100 + n, "MPRAGE", f"201{n}-03-05", part=f"part{1 + n % 2}", person=f"990_S_900{n}")
    for n in range(4)
]
TABLE = ("sourcedata", "import.tsv")


@pytest.fixture(autouse=True)
def _with_dicom() -> None:
    pytest.importorskip("pydicom", reason="needs the extra dicom")
    pytest.importorskip("dcm2niix", reason="needs the extra dicom")


def again(tmp_path: Path, *more: str) -> int:
    """The command of `imported` once more, with the list that it finds itself."""
    parts = sorted(str(path) for path in (tmp_path / "src").iterdir())
    return main(["cohort", "import", "adni", *parts, "-o", str(tmp_path / "out"), "-q", *more])


def test_after_the_refusal_of_several_steps_one_can_be_chosen(tmp_path, capsys):
    eight = PET.replace("6mm Res", "Resolution")
    code, _ = imported(tmp_path, [line(100, PET, "2012-03-05"), line(101, eight, "2012-03-05")])
    assert code == 2
    assert "6mm (1 person, 1 scan)" in capsys.readouterr().err
    assert again(tmp_path, "--pet-step", "6mm") == 0
    assert again(tmp_path, "--pet-step", "8mm") == 2
    assert "another pet_step" in capsys.readouterr().err


def test_processes_are_at_least_one(tmp_path, capsys):
    code, out = imported(tmp_path, T1S[:1], "--jobs", "0")
    assert code == 2
    assert "--jobs 0" in capsys.readouterr().err
    assert not out.exists()


def test_lists_are_found_in_the_one_walk_and_read_from_a_warm_index(tmp_path, monkeypatch):
    make_tree(tmp_path, T1S[:2])
    part = tmp_path / "src" / "part1"
    (part / "list.csv").write_text("Image Data ID,Subject,Description\nI7,990_S_9007,MPRAGE\n")
    walked = []
    whole = sources.Sources.walk

    def walk(self, *given, **named):
        walked.append(self)
        return whole(self, *given, **named)

    monkeypatch.setattr(sources.Sources, "walk", walk)
    monkeypatch.setattr(Path, "rglob", None)
    monkeypatch.setattr(run, "_clean", lambda root: None)
    for times in (1, 1):
        assert again(tmp_path, "--dry-run") == 0
        assert len(walked) == times
        ids = [row["image_id"] for row in rows(tmp_path.joinpath("out", *TABLE))]
        assert "I7" in ids


def make_tree(tmp_path: Path, lines: list[dict], **how: bool) -> None:
    columns = sorted({key for row in lines for key in row})
    text = ["\t".join(columns), *("\t".join(row.get(c, "") for c in columns) for row in lines)]
    text[0] += "\tsex\tage"
    (tmp_path / "tree.tsv").write_text("\n".join(text) + "\n")
    make_loni(tmp_path / "tree.tsv", tmp_path / "src", **how)


def test_one_folder_of_all_files_is_read_in_parts(tmp_path, monkeypatch):
    make_tree(tmp_path, T1S)
    flat = tmp_path / "src" / "flat"
    flat.mkdir()
    for path in sorted((tmp_path / "src").rglob("*.dcm")):
        path.rename(flat / path.name)
    (flat / "stray.dcm").write_bytes(b"of no image")
    for part in ("part1", "part2"):
        shutil.rmtree(tmp_path / "src" / part)
    whole = index.build_index(sources.Sources([flat]), run.archive.ADNI.subject, header_person=True)
    assert whole.files == 49
    monkeypatch.setattr(sources, "MAX_NAMES", 20)
    folders = list(sources.Sources([flat]).walk())
    assert len(folders) > 1
    parts = index.build_index(sources.Sources([flat]), run.archive.ADNI.subject, header_person=True)
    assert parts.files == 49
    assert {k: [c] for k, (c,) in parts.copies.items()} == whole.copies
    assert {k: c[0].count for k, c in parts.copies.items()} == dict.fromkeys(whole.copies, 12)
    held = index.names_of(whole.copies["100"][0], sources.Reader(sources.Sources([flat])))
    assert len(held) == 12


def test_each_zip_is_opened_once_for_all_its_images(tmp_path, monkeypatch):
    make_tree(tmp_path, T1S, zipped=True)
    opened = []
    whole = zips.ZipDirectory.__init__

    def init(self, path):
        opened.append(Path(path).name)
        whole(self, path)

    assert again(tmp_path, "--dry-run") == 0
    monkeypatch.setattr(zips.ZipDirectory, "__init__", init)
    zips.kept_directory.cache_clear()
    assert again(tmp_path) == 0
    assert opened == ["part1.zip", "part2.zip"]


def test_what_the_disk_did_not_give_is_tried_again(tmp_path, monkeypatch):
    whole = sources.Reader.read

    def read(self, source, archive, path, *limit):
        if path.endswith("I100.nii"):
            raise OSError(5, "Input/output error")
        return whole(self, source, archive, path, *limit)

    lines = [line(100 + n, "MPRAGE", "2012-03-05", form="nifti", person=f"990_S_900{n}")
             for n in range(2)]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(sources.Reader, "read", read)
        code, out = imported(tmp_path, lines)  # during the walk
        assert (code, reasons(out)) == (3, {"I100": "unreadable"})
        assert not (out / "sourcedata" / "index.tsv").exists()
    code, out = imported(tmp_path, lines, "--dry-run")
    assert (code, reasons(out)) == (0, {})
    with monkeypatch.context() as patch:
        patch.setattr(convert, "_reader", lambda paths: Broken(sources.Sources(paths)))
        code, out = imported(tmp_path, lines)  # while it is copied
        assert (code, reasons(out)) == (3, {"I100": "unreadable"})
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (0, {})


class Broken(sources.Reader):
    def read(self, source, archive, path, *limit):
        raise OSError(5, "Input/output error")


def test_a_source_that_vanished_ends_in_one_sentence(tmp_path, monkeypatch, capsys):
    lines = [line(100, "MPRAGE", "2012-03-05", form="nifti")]
    whole = run._convert_one

    def gone(item):
        (tmp_path / "src" / "part1").rename(tmp_path / "away")
        return whole(item)

    with monkeypatch.context() as patch:
        patch.setattr(run, "_convert_one", gone)
        code, out = imported(tmp_path, lines)
    assert code == 1
    assert "part1: is not there any more" in capsys.readouterr().err
    assert not list(out.rglob("*.nii.gz"))
    (tmp_path / "away").rename(tmp_path / "src" / "part1")
    code, out = imported(tmp_path, lines)
    assert (code, reasons(out)) == (0, {})
    assert json.loads((out / "sourcedata" / "import.json").read_text())["counts"] == {"taken": 1}


def test_slices_without_numbers_are_compared_too(tmp_path):
    import pydicom

    other = line(100, "MPRAGE", "2012-03-05", part="part2", defect="other_content")
    make_tree(tmp_path, [line(100, "MPRAGE", "2012-03-05"), other])
    held = sorted((tmp_path / "src").rglob("*.dcm"))
    for number, path in enumerate(held):
        data = pydicom.dcmread(path)
        del data.InstanceNumber
        if number % 12 == 11:  # the last one of both is the same
            data.PixelData = bytes(len(data.PixelData))
        data.save_as(path)
    assert again(tmp_path, "--dry-run") == 1
    assert set(reasons(tmp_path / "out").values()) == {"id_conflict"}


@pytest.mark.parametrize(("second", "reason"), [(50, "taken"), (60, "id_conflict")])
def test_an_item_of_uk_biobank_in_two_places(tmp_path, second, reason):
    for source, value in (("a", 50), ("b", second)):
        place = tmp_path / source / "1000001_20252_2_0" / "T1"
        place.mkdir(parents=True)
        (place / "T1.nii").write_bytes(nifti(phantom(12, 24, 24, 1, value)))
        (place / "T1.nii.gz").write_bytes(gzip.compress((place / "T1.nii").read_bytes(), mtime=0))
    (tmp_path / "w.csv").write_text("1000007\n1000008\n")
    for person in ("1000007", "1000008"):
        shutil.copytree(
            tmp_path / "a" / "1000001_20252_2_0", tmp_path / "a" / f"{person}_20252_2_0"
        )
    out = tmp_path / "out"
    given = [str(tmp_path / "a"), str(tmp_path / "b"), "--withdrawn", str(tmp_path / "w.csv")]
    code = main(["cohort", "import", "ukb", *given, "-o", str(out), "-q"])
    assert code == (0 if reason == "taken" else 1)
    assert rows(out.joinpath(*TABLE))[0]["reason"] == reason
    assert json.loads((out / "sourcedata" / "import.json").read_text())["withdrawn_people"] == 2
