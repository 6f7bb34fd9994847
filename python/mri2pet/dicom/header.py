"""One DICOM file: its header, its whole content, and values of it that may be missing or wrong.

Files come from anywhere. What inflates is counted, what cannot be parsed is refused in one
sentence, and no message repeats a value that a person typed into a scanner.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

from mri2pet.errors import InputError, UsageError

if TYPE_CHECKING:
    from pydicom import Dataset

MIB = 2**20
MAX_INFLATED = 512 * MIB
MAX_RATIO = 200
FREE_RATIO_BYTES = MIB  # a smaller file may be packed as tightly as it likes

_HEAD = 132
_BULK_BYTES = 64 * 1024  # a longer element is no fact that anything here asks for
_PIXEL_GROUP = 0x7FE00000
_DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT = "1.2.840.10008.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True, eq=False)
class Stored:
    """A file in a folder or a zip archive: its name for messages, its bytes and how many."""

    name: str
    size: int
    open: Callable[[], Any]


@dataclass(frozen=True, eq=False)
class Instance:
    """A DICOM instance: its header without pixel data, and the bytes behind the header."""

    header: Dataset
    stored: Stored
    pixel_bytes: int

    @property
    def syntax(self) -> str:
        """The transfer syntax UID."""
        return str(self.header.file_meta.TransferSyntaxUID)


def library() -> ModuleType:
    """pydicom.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import highdicom  # noqa: F401
        import pydicom
    except ImportError:
        raise UsageError(
            "the input is DICOM; install what reads it: pip install 'mri2pet[dicom]'"
        ) from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its remarks repeat values
    return pydicom


@contextmanager
def quiet_values() -> Iterator[None]:
    """pydicom warns of odd values and repeats them; nobody asked, and they may be a name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def looks_like_dicom(stored: Stored) -> bool:
    """Whether a file has the mark of a DICOM file, or begins with a data set's first group."""
    with stored.open() as stream:
        head = stream.read(_HEAD)
    return head[128:] == b"DICM" or head[:2] in (b"\x02\0", b"\x08\0")


def read_header(stored: Stored) -> Instance | None:
    """The header of a DICOM file; None for anything else, and for a DICOMDIR.

    Raises:
        InputError: it is a DICOM file whose header cannot be read.
    """
    library()
    with _refusing(stored), stored.open() as stream, quiet_values():
        marked, meta = _file_meta(stream)
        if not marked and meta is None:
            return None
        body, left = _data_set(stored, stream, meta, stop=True)
        header = _without_bulk(body)
        header.file_meta = meta
        sop_class = text(header, "SOPClassUID")
        if not marked and not sop_class.startswith("1.2.840.10008."):
            return None
        if not sop_class and text(meta, "MediaStorageSOPClassUID").startswith("1.2.840.10008.1.3"):
            return None
        if not sop_class:
            raise ValueError("no SOP class")
        return Instance(header, stored, left)


def read_whole(stored: Stored) -> Dataset:
    """A DICOM file with its pixel data, deflation undone.

    Raises:
        InputError: it cannot be read, ends early, or inflates beyond measure.
    """
    from pydicom.uid import UID

    with _refusing(stored), stored.open() as stream, quiet_values():
        _, meta = _file_meta(stream)
        dataset, _ = _data_set(stored, stream, meta, stop=False)
        dataset.file_meta = meta
        if meta.TransferSyntaxUID == _DEFLATED:
            meta.TransferSyntaxUID = UID(_EXPLICIT)
        return dataset


def content_hash(stored: Stored) -> str:
    """SHA-256 of the data set: all bytes behind the file's own meta information."""
    digest = hashlib.sha256()
    with _refusing(stored), stored.open() as stream, quiet_values():
        _file_meta(stream)
        while block := stream.read(MIB):
            digest.update(block)
    return digest.hexdigest()


def text(dataset: Any, keyword: str | int) -> str:
    """A value as text, '' where it is missing or cannot be read; several joined by a backslash."""
    try:
        with quiet_values():
            value = dataset.get(keyword)
            value = getattr(value, "value", value)  # of a tag that is named by number
            if value is None:
                return ""
            if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
                return "\\".join(str(item).strip() for item in value)
            return str(value).strip()
    except Exception:  # whatever a parser makes of a damaged value
        return ""


def number(dataset: Any, keyword: str) -> float | None:
    """The largest number of a value, None where there is none."""
    found = [part for part in map(_float, text(dataset, keyword).split("\\")) if part is not None]
    return max(found, default=None)


def count(dataset: Any, keyword: str) -> int | None:
    """A whole number not below 0."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def digits(dataset: Any, keyword: str, length: int) -> tuple[str, ...] | None:
    """So many finite numbers in the file's own digits."""
    parts = tuple(text(dataset, keyword).split("\\"))
    return parts if len(parts) == length and None not in map(_float, parts) else None


def first(dataset: Any, keyword: str) -> Any:
    """The first item of a sequence, None where there is none."""
    try:
        with quiet_values():
            sequence = dataset.get(keyword)
            return sequence[0] if sequence else None
    except Exception:
        return None


def shown(words: str, longest: int = 64) -> str:
    """Foreign text for one line of a message: printable characters alone, cut to a length."""
    plain = "".join(c if c.isprintable() else "?" for c in words)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def inflate(stored: Stored, packed: bytes) -> bytes:
    """The deflated part of a file, as long as it stays within measure.

    Raises:
        InputError: it would inflate to more than 512 MiB, or to more than 1 MiB and 200 times
            its size.
    """
    limit = min(MAX_INFLATED, max(FREE_RATIO_BYTES, MAX_RATIO * len(packed)))
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit + 1)
    if len(unpacked) > limit:
        raise InputError(
            f"{stored.name}: inflates from {len(packed)} bytes to more than {limit / MIB:.0f} MiB, "
            "which no image does; send it uncompressed."
        )
    return unpacked


def _float(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


@contextmanager
def _refusing(stored: Stored) -> Iterator[None]:
    """What goes wrong in a hostile or damaged file, as one sentence without its values."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{stored.name}: does not fit into the memory; leave it out.") from None
    except RecursionError:
        raise InputError(
            f"{stored.name}: nests its sequences deeper than any image does; leave it out."
        ) from None
    except Exception:  # whatever a parser makes of bytes that are no data set
        raise InputError(
            f"{stored.name}: is a damaged DICOM file that cannot be read; copy or export it again."
        ) from None


def _file_meta(stream: BinaryIO) -> tuple[bool, Any]:
    """Whether the file has the mark, and its meta information; the stream stands behind it.

    Without a mark and without a data set's first group there is none.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    head = stream.read(_HEAD)
    marked = head[128:] == b"DICM"
    if not marked:
        stream.seek(0)
        if head[:2] not in (b"\x02\0", b"\x08\0"):
            return False, None
    meta = FileMetaDataset()
    if marked or head[:2] == b"\x02\0":
        meta.update(read_dataset(stream, False, True, stop_when=lambda tag, vr, n: tag.group != 2))
    if not text(meta, "TransferSyntaxUID"):
        here = stream.tell()
        vr = stream.read(6)[4:]
        stream.seek(here)
        meta.TransferSyntaxUID = UID(_EXPLICIT if vr.isalpha() and vr.isupper() else IMPLICIT)
    return marked, meta


def _data_set(stored: Stored, stream: Any, meta: Any, *, stop: bool) -> tuple[Dataset, int]:
    """The data set, up to its pixel data if so asked, and how many bytes stand behind."""
    from pydicom.filereader import read_dataset

    syntax = str(meta.TransferSyntaxUID)
    size = stored.size
    if syntax == _DEFLATED:
        body = inflate(stored, stream.read())
        stream, size = io.BytesIO(body), len(body)
    implicit, little = syntax == IMPLICIT, syntax != _BIG_ENDIAN
    dataset = read_dataset(
        stream,
        implicit,
        little,
        stop_when=(lambda tag, vr, n: tag >= _PIXEL_GROUP) if stop else None,
        defer_size=_BULK_BYTES if stop else None,
    )
    dataset.set_original_encoding(implicit, little, dataset._character_set)
    return dataset, max(size - stream.tell(), 0)


def _without_bulk(dataset: Dataset) -> Dataset:
    """The same without what was too long to be read."""
    from pydicom.dataelem import RawDataElement

    for tag, element in list(dataset.items()):
        if isinstance(element, RawDataElement) and element.value is None and element.length:
            del dataset[tag]
    return dataset
