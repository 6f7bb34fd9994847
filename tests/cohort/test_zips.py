"""The directory of a zip: as `zipfile` reads it, at a few bytes a folder."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from mri2pet.cohort.importing.zips import ZipDirectory

NAMES = ("ADNI/a/1.dcm", "ADNI/b/1.dcm", "ADNI/a/2.dcm", "top.xml", "ADNI/é/ü.nii", "empty/")


def made(path: Path, kind: int = zipfile.ZIP_DEFLATED, *, before: bytes = b"") -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", kind) as file:
        for number, name in enumerate(NAMES):
            file.writestr(name, b"" if name.endswith("/") else name.encode() * (number + 1))
    path.write_bytes(before + content.getvalue())
    return path


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("before", [b"", b"a program that unpacks itself"])
def test_members_are_those_that_zipfile_reads(tmp_path, kind, before):
    path = made(tmp_path / "a.zip", kind, before=before)
    with ZipDirectory(path) as ours, zipfile.ZipFile(path) as theirs:
        assert ours.folders() == ["", "ADNI/a", "ADNI/b", "ADNI/é"]
        assert list(ours.members("ADNI/a")) == ["1.dcm", "2.dcm"]
        assert ours.members("nowhere") == {}
        for info in theirs.infolist():
            if not info.is_dir():
                assert ours.member(info.filename).file_size == info.file_size
                assert ours.read(info.filename, 1 << 20) == theirs.read(info)
                assert ours.read(info.filename, 3) == theirs.read(info)[:3]
        with pytest.raises(KeyError):
            ours.read("ADNI/a/3.dcm", 1)


def test_sizes_and_places_of_64_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    path = made(tmp_path / "a.zip")
    assert b"PK\x06\x06" in path.read_bytes()
    with ZipDirectory(path) as ours, zipfile.ZipFile(path) as theirs:
        for name in ("ADNI/a/1.dcm", "ADNI/a/2.dcm", "ADNI/é/ü.nii"):
            assert ours.read(name, 1 << 20) == theirs.read(name)


def test_of_two_members_of_one_name_the_later_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a/1.dcm", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a/1.dcm", b"new")
    with ZipDirectory(tmp_path / "a.zip") as ours:
        assert ours.read("a/1.dcm", 9) == b"new"


def test_a_zip_that_was_cut_or_changed_is_told(tmp_path):
    whole = made(tmp_path / "a.zip", zipfile.ZIP_STORED).read_bytes()
    begin = whole.index(b"PK\x01\x02")
    for content in (
        b"",
        b"no zip at all" * 100,
        whole[: len(whole) // 2],
        whole[:-1],
        whole[:begin] + b"XX" + whole[begin + 2 :],
        whole[:begin] + struct.pack("<4s42x", b"PK\x01\x02") + whole[begin + 46 :],
    ):
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(zipfile.BadZipFile):
            ZipDirectory(tmp_path / "b.zip")
    first = whole.index(b"ADNI/a/1.dcm", 40) if whole.count(b"ADNI/a/1.dcm") > 2 else 42
    (tmp_path / "b.zip").write_bytes(whole[:first] + b"Z" + whole[first + 1 :])
    with ZipDirectory(tmp_path / "b.zip") as ours, pytest.raises(zipfile.BadZipFile):
        ours.read("ADNI/a/1.dcm", 1 << 20)


def test_memory_grows_with_the_folders_and_not_with_the_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(6000):
            file.writestr(f"ADNI/I{number // 500}/slice_{number % 500}.dcm", b"")
    tracemalloc.start()
    try:
        with ZipDirectory(tmp_path / "a.zip") as ours:
            held, _ = tracemalloc.get_traced_memory()
            assert len(ours.folders()) == 12
    finally:
        tracemalloc.stop()
    assert held < 60_000  # zipfile holds 900 bytes a file, 5 MB
