"""Files of any name become series; what is hostile is refused before anything is decoded."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from mri2pet.dicom import collect as module
from mri2pet.dicom.collect import collect
from mri2pet.dicom.header import text
from mri2pet.errors import InputError

from .make_series import head, in_syntax, save, series


@pytest.fixture
def slices():
    """Three small ones: nothing here looks at their voxels."""
    return series(*head((8, 9, 3)))


def test_any_name_and_depth_and_nothing_else(slices, tmp_path: Path) -> None:
    for k, one in enumerate(slices):
        save([one], tmp_path.joinpath(*["a"] * k), f"0{k}A7")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "viewer.exe").write_bytes(b"MZ" + bytes(300))
    (tmp_path / ".hidden").write_bytes((tmp_path / "00A7").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "00A7")
    (tmp_path / "DICOMDIR").write_bytes(_directory())
    found = collect(tmp_path)
    assert [len(one.instances) for one in found.series] == [3]
    assert found.ignored == 5
    assert all("PixelData" not in one.header for one in found.series[0].instances)


def _directory() -> bytes:
    made = Dataset()
    made.FileSetID = "MADE"
    made.file_meta = series(*head((8, 9, 2)))[0].file_meta
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    made.preamble = bytes(128)
    stream = io.BytesIO()
    dcmwrite(stream, made)
    return stream.getvalue()


def test_a_data_set_without_preamble_is_implicit_little_endian(slices, tmp_path: Path) -> None:
    (one,) = in_syntax(slices[:1], ImplicitVRLittleEndian)
    path = save([one], tmp_path)[0]
    body = path.read_bytes()
    start = body.index(b"\x08\0\x05\0", 132)  # SpecificCharacterSet comes first
    path.write_bytes(body[start:])
    (found,) = collect(path).series
    assert found.instances[0].syntax == ImplicitVRLittleEndian
    assert text(found.instances[0].header, "SeriesDescription") == "T1_MPRAGE"


def test_bulky_elements_are_no_part_of_a_header(slices, tmp_path: Path) -> None:
    block = slices[0].private_block(0x0029, "MAKER", create=True)
    block.add_new(0x10, "OB", bytes(100_000))
    save(slices, tmp_path)
    header = collect(tmp_path).series[0].instances[0].header
    assert (0x0029, 0x1010) not in header
    assert header.PatientID == "P1"


def test_copies_are_dropped_and_counterfeits_a_fault(slices, tmp_path: Path) -> None:
    save(slices, tmp_path / "one")
    save(slices[:2], tmp_path / "two")
    found = collect(tmp_path)
    assert (len(found.series[0].instances), found.duplicates) == (3, 2)
    assert found.series[0].fault is None
    other = copy.deepcopy(slices[2])
    other.PixelData = bytes(len(other.PixelData))
    save([other], tmp_path / "three")
    assert "one SOP Instance UID and different content" in str(collect(tmp_path).series[0].fault)


@pytest.mark.parametrize("uid", ["../../../x", "1.2.$(id)", "", "1" * 65])
def test_uids_are_digits_and_dots(slices, tmp_path: Path, uid: str) -> None:
    path = save(slices, tmp_path)[0]
    one = dcmread(path)
    one["SOPInstanceUID"]._value = uid
    one.save_as(path)
    assert collect(tmp_path).series[0].fault == "has no valid SOPInstanceUID"


def test_series_get_numbers_of_their_own(made, tmp_path: Path) -> None:
    many, few = series(*head((8, 9, 5))), series(*head((8, 9, 2)), salt="few")
    bare = series(*head((8, 9, 2)), salt="bare", SeriesNumber="")
    for k, one in enumerate((few, bare, many)):
        save(one, tmp_path / str(k))
    found = collect(tmp_path).series
    assert [one.number for one in found] == [4, 5, 6]
    assert len(found[0].instances) == 5


def test_a_file_damaged_in_its_header_is_refused_not_left_out(slices, tmp_path: Path) -> None:
    path = save(slices, tmp_path)[1]
    path.write_bytes(path.read_bytes()[:170])
    with pytest.raises(InputError, match="IM0002: is a damaged DICOM file"):
        collect(tmp_path)


def test_sequences_nested_without_end(slices, tmp_path: Path) -> None:
    path = save(slices[:1], tmp_path)[0]
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + item  # ReferencedImageSequence
    content = path.read_bytes()
    at = content.index(b"\x10\0\x10\0PN")
    path.write_bytes(content[:at] + sequence * 3000 + content[at:])
    with pytest.raises(InputError, match=r"IM0001: (nests its sequences|is a damaged DICOM)"):
        collect(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        collect(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no DICOM image"):
        collect(tmp_path)


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("../x", b"", "names a place outside"),
        ("/etc/x", b"", "names a place outside"),
        ("..\\..\\x", b"", "names a place outside"),
        ("C:x", b"", "names a place outside"),
        ("a", bytes(2**21), "would inflate from 0.0 to 2 MiB"),
        ("inner.bin", b"PK\x03\x04" + bytes(200), "archive within an archive"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, name, content, pattern) -> None:
    path = _zip(tmp_path / "x.zip", {name: content})
    with pytest.raises(InputError, match=pattern):
        collect(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_archives_that_hold_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _zip(tmp_path / "x.zip", {f"{n}": os.urandom(3000) for n in range(4)})
    for limit, value, pattern in (
        ("MAX_MEMBERS", 3, "holds 4 files, more than 3"),
        ("MAX_INFLATED", 2000, "which no image does"),
        ("MAX_ARCHIVE", 10_000, "would inflate to"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, value)
            with pytest.raises(InputError, match=pattern):
                collect(path)


def test_archives_that_cannot_be_read(slices, tmp_path: Path) -> None:
    content = save(slices[:1], tmp_path / "in")[0].read_bytes()
    packed = _zip(tmp_path / "x.zip", {"a": content}, zipfile.ZIP_BZIP2)
    with pytest.raises(InputError, match="packed in a way that is not read"):
        collect(packed)
    secret = bytearray(_zip(tmp_path / "y.zip", {"a": content}).read_bytes())
    secret[secret.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(secret)
    with pytest.raises(InputError, match="is encrypted"):
        collect(tmp_path / "y.zip")
    (tmp_path / "z.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match="is a damaged zip archive"):
        collect(tmp_path / "z.zip")


def test_a_member_that_lies_about_its_size_is_cut_off(slices, tmp_path: Path) -> None:
    content = save(slices[:1], tmp_path / "in")[0].read_bytes()
    lying = bytearray(_zip(tmp_path / "x.zip", {"a": content + bytes(2**20)}).read_bytes())
    at = lying.index(b"PK\x01\x02") + 24
    lying[at : at + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(lying)
    with pytest.raises(InputError, match=r"x\.zip: a: is (a )?damaged"):
        collect(tmp_path / "x.zip")


def test_a_deflated_bomb_takes_little_memory(slices, tmp_path: Path) -> None:
    """In a process that may have 512 MiB more than it begins with; the bomb holds 1 GiB."""
    one = in_syntax(slices[:1], DeflatedExplicitVRLittleEndian)[0]
    path = save([one], tmp_path)[0]
    meta = path.read_bytes().partition(b"\x08\0\x05\0CS")[0]
    pack = zlib.compressobj(9, wbits=-15)
    part = pack.compress(bytes(2**24)) + pack.flush(zlib.Z_FULL_FLUSH)
    body = part * 64 + pack.flush()
    start = 132 + 12 + int.from_bytes(meta[140:144], "little")
    path.write_bytes(path.read_bytes()[:start] + body)
    program = """
import resource, sys
import mri2pet.dicom.collect as c, mri2pet.dicom.header as h
h.library()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 512 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    c.collect(sys.argv[1])
except c.InputError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert "MiB, which no image does" in ran.stdout


def test_without_pydicom_one_sentence_says_what_to_install(
    slices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mri2pet.errors import UsageError

    save(slices, tmp_path)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UsageError, match=r"pip install 'mri2pet\[dicom\]'"):
        collect(tmp_path)
