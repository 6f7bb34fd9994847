"""With pseudonyms nobody is named in any byte of an output at any time, and work is kept."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from mri2pet.cli.main import main
from mri2pet.cohort.importing import convert, run
from mri2pet.cohort.importing.convert import Done
from mri2pet.cohort.importing.names import Names
from mri2pet.cohort.importing.record import Record
from mri2pet.errors import InputError

from .loni import SECRETS, nifti, phantom
from .test_import_adni import contents, rows
from .test_import_rules import line
from .test_import_scale import make_tree

T1S = [line(731000 + n, "MPRAGE", f"201{n}-03-05", person=f"990_S_731{n}") for n in range(3)]
PLANTED = (*SECRETS, "990_S_731", "990S731", "I73100", "part1")


class KilledError(Exception):
    pass


@pytest.fixture(autouse=True)
def _with_dicom() -> None:
    pytest.importorskip("pydicom", reason="needs the extra dicom")
    pytest.importorskip("dcm2niix", reason="needs the extra dicom")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """An import of three people out of a zip, which is where headers are unpacked."""
    make_tree(tmp_path, T1S, zipped=True)
    given = ["cohort", "import", "adni", str(tmp_path / "src" / "part1.zip"), "-q"]
    return [*given, "-o", str(tmp_path / "out"), "--pseudonyms", str(tmp_path / "key.tsv")]


def planted(out: Path) -> list[str]:
    """The files that hold a planted word in their name, their bytes or what they link to."""
    found = []
    for path in out.rglob("*"):
        said = str(path.relative_to(out)).encode()
        said += os.readlink(path).encode() if path.is_symlink() else b""
        if path.is_file():
            content = path.read_bytes()
            said += content
            said += gzip.decompress(content) if content[:2] == b"\x1f\x8b" else b""
        found += [f"{path.name}: {word}" for word in PLANTED if word.encode() in said]
    return found


def unable(item: object) -> Done:
    raise AssertionError("makes an image again")


def test_a_second_run_makes_no_image(arguments, tmp_path, monkeypatch):
    assert main(arguments) == 0
    before = contents(tmp_path / "out")
    assert planted(tmp_path / "out") == []
    assert len(before["sourcedata/converted.jsonl"].splitlines()) == 3
    monkeypatch.setattr(run, "_convert_one", unable)
    assert main(arguments) == 0
    assert contents(tmp_path / "out") == before


def test_no_header_lies_in_the_output_while_images_are_made(arguments, tmp_path, monkeypatch):
    seen = []
    whole = convert._dcm2niix

    def looked_at(*folders):
        made = whole(*folders)
        seen.append(planted(tmp_path / "out"))
        return made

    monkeypatch.setattr(convert, "_dcm2niix", looked_at)
    assert main(arguments) == 0
    assert seen == [[], [], []]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"src", "out", "key.tsv", "tree.tsv"}


def test_a_killed_run_names_nobody_and_the_next_goes_on(arguments, tmp_path, monkeypatch):
    whole, done = run._convert_one, []

    def one(item):
        if done:
            raise KilledError
        done.append(item)
        return whole(item)

    monkeypatch.setattr(run, "_convert_one", one)
    with pytest.raises(KilledError):
        main(arguments)
    record = tmp_path / "out" / "sourcedata" / "converted.jsonl"
    assert len(record.read_text().splitlines()) == 1
    assert planted(tmp_path / "out") == []
    made = []
    monkeypatch.setattr(run, "_convert_one", lambda item: made.append(item) or whole(item))
    assert main(arguments) == 0
    assert len(made) == 2


def test_what_a_run_without_pseudonyms_left_goes_first(arguments, tmp_path, monkeypatch):
    assert main([*arguments[:-2], "--dry-run"]) == 0
    record = tmp_path / "out" / "sourcedata" / "converted.jsonl"
    record.write_text(json.dumps({"image": "I731000"}) + '\n{"image": "I731001')
    assert planted(tmp_path / "out") != []

    def killed(item):
        raise KilledError

    monkeypatch.setattr(run, "_convert_one", killed)
    with pytest.raises(KilledError):
        main(arguments)
    assert planted(tmp_path / "out") == []


def test_another_key_is_refused_and_a_poorer_one_mixes_nobody_up(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    key = tmp_path / "key.tsv"
    assert key.stat().st_mode & 0o777 == 0o600
    whole, before = key.read_text(), images_by_person(tmp_path)
    assert len({image for images in before.values() for image in images}) == 3
    key.unlink()
    assert main(arguments) == 2
    assert "with another key" in capsys.readouterr().err
    poorer = [row for row in whole.splitlines() if "sub-0001" not in row and "image-" not in row]
    key.write_text("\n".join(poorer) + "\n")
    assert main(arguments) == 0
    pseudonyms = [row["pseudonym"] for row in rows(key)]
    assert len(pseudonyms) == len(set(pseudonyms))
    assert images_by_person(tmp_path) == before


def images_by_person(tmp_path: Path) -> dict[str, list[bytes]]:
    """The study's code → the person's images; nobody else is in the output."""
    people = {row["pseudonym"]: row["original"] for row in rows(tmp_path / "key.tsv")}
    folders = sorted((tmp_path / "out").glob("sub-*"))
    return {people[f.name]: [p.read_bytes() for p in f.rglob("*.nii.gz")] for f in folders}


def test_a_key_that_is_none_is_told_before_any_work(arguments, tmp_path, monkeypatch, capsys):
    (tmp_path / "key.tsv").write_text("a\tb\n1\t2\n")
    monkeypatch.setattr(run, "_open", unable)
    assert main(arguments) == 1
    assert "is no key" in capsys.readouterr().err
    with pytest.raises(InputError):
        Names.read(tmp_path / "key.tsv", tmp_path / "out")


def test_of_two_images_of_one_file_the_later_counts(tmp_path):
    path = tmp_path / "converted.jsonl"
    record = Record(path, Names())
    record.add("I1", "nifti 1 10", "sub-1/a.nii.gz", Done())
    record.add("I2", "nifti 1 10", "sub-1/a.nii.gz", Done())
    for held in (record, Record(path, Names())):
        assert held.of("I1") is None
        assert held.of("I2") is not None
    record.finish({"I1", "I2"})
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("links", [True, False])
def test_linked_files_tell_no_path(links, tmp_path, monkeypatch):
    tree, out = tmp_path / "part1", tmp_path / "out"
    folder = tree / "sub-990S7310" / "anat"
    folder.mkdir(parents=True)
    voxels = convert._without_texts(nifti(phantom(12, 24, 24, 1, 50)))
    with gzip.GzipFile(folder / "sub-990S7310_run-1_T1w.nii.gz", "wb", mtime=0) as file:
        file.write(voxels)  # as gzip does it: with the name of the file
    other = tree / "sub-990S7311" / "anat"
    other.mkdir(parents=True)
    (other / "sub-990S7311_T1w.nii.gz").write_bytes(gzip.compress(voxels, mtime=0))

    def link(source, target):
        raise OSError("another disk")

    if not links:
        monkeypatch.setattr(os, "link", link)
    given = ["cohort", "import", "bids", str(tree), "-o", str(out), "-q", "--link"]
    assert main([*given, "--pseudonyms", str(tmp_path / "key.tsv")]) == 0
    assert planted(out) == []
    made = sorted(out.rglob("*.nii.gz"))
    assert [path.stat().st_nlink for path in made] == ([1, 2] if links else [1, 1])
