"""The directory of a zip, of which only the way to each folder is held in memory.

`zipfile` keeps an object of some 900 bytes for every member, 9 GB for ten million slices. Here the
directory at the end of the file is read once in order; of each folder it is remembered between
which bytes of the directory its members stand, and they are read again when they are asked for.
Layout: PKWARE's APPNOTE.TXT, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zipfile
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_END, _END64, _PLACE64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_HEAD = struct.Struct("<4s6H3L5H2L")  # of an entry of the directory
_LOCAL_BYTES = 30
_CHUNK = 1 << 20
_UTF8, _ENCRYPTED = 0x800, 0x1
_WHOLE16, _WHOLE32 = 0xFFFF, 0xFFFFFFFF


class ZipDirectory:
    """A zip file that is open for reading.

    Raises:
        OSError: it cannot be opened.
        zipfile.BadZipFile: it ends early or is no zip.
    """

    def __init__(self, path: Path | str) -> None:
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115  (as long as the object lives)
        try:
            self._begin, self._bytes, self._shift = _place(self._file)
            self._runs = self._find_runs()
        except (struct.error, ValueError):
            self._file.close()
            raise zipfile.BadZipFile("its directory is damaged") from None
        except BaseException:
            self._file.close()
            raise
        self._last: tuple[str, dict[str, zipfile.ZipInfo]] = ("", {})

    def __enter__(self) -> ZipDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def folders(self) -> list[str]:
        """The folders that hold files, sorted."""
        return sorted(self._runs)

    def members(self, folder: str) -> dict[str, zipfile.ZipInfo]:
        """Name → member, of the files of a folder; of two of one name the later."""
        if self._last[0] != folder or not self._last[1]:
            found = {}
            runs = self._runs.get(folder, array("Q"))
            for begin, end in zip(runs[::2], runs[1::2], strict=True):
                self._file.seek(begin)
                content = self._file.read(end - begin)
                place = 0
                while place < len(content):
                    info, place = self._member(content, place)
                    found[info.filename.rpartition("/")[2]] = info
            self._last = (folder, found)
        return self._last[1]

    def member(self, path: str) -> zipfile.ZipInfo:
        """Raises: KeyError: there is no such file."""
        folder, _, name = path.rpartition("/")
        return self.members(folder)[name]

    def read(self, path: str, limit: int) -> bytes:
        """A file, or its first `limit` bytes.

        Raises:
            KeyError, OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile: it is not
                there, damaged, encrypted or packed in an unknown way.
        """
        info = self.member(path)
        if info.flag_bits & _ENCRYPTED:
            raise RuntimeError(f"{path} is encrypted")
        self._file.seek(info.header_offset)
        head = self._file.read(_LOCAL_BYTES)
        if len(head) < _LOCAL_BYTES or not head.startswith(_LOCAL):
            raise zipfile.BadZipFile(f"{path} is not where the directory says")
        name, extra = struct.unpack_from("<2H", head, 26)
        self._file.seek(name + extra, 1)
        member = zipfile.ZipExtFile(self._file, "r", info)  # type: ignore[arg-type]
        return member.read(limit)

    def _find_runs(self) -> dict[str, array[int]]:
        """Folder → where the directory's entries of its files begin and end, by turns."""
        runs: dict[str, array[int]] = {}
        last, own = b"", array("Q")
        for begin, end, name, flags in self._entries():
            folder, slash, file = name.rpartition(b"/")
            if not file:
                continue
            key = folder + slash + (b"8" if flags & _UTF8 else b"4")
            if key != last:
                last = key
                own = runs.setdefault(_text(folder, flags), array("Q"))
            if own and own[-1] == begin:
                own[-1] = end
            else:
                own.extend((begin, end))
        return runs

    def _entries(self) -> Iterator[tuple[int, int, bytes, int]]:
        """Begin and end in the file, name and flags of every entry."""
        self._file.seek(self._begin)
        left, begin, content, place = self._bytes, self._begin, b"", 0
        while True:
            if len(content) - place < 3 * _WHOLE16 + _HEAD.size and left:
                more = self._file.read(min(left, _CHUNK))
                if not more:
                    raise zipfile.BadZipFile("its directory ends early")
                left -= len(more)
                content, place = content[place:] + more, 0
            if place == len(content):
                return
            head = _HEAD.unpack_from(content, place)
            if head[0] != _ENTRY:
                raise zipfile.BadZipFile("its directory is damaged")
            named, length = place + _HEAD.size, sum(head[10:13]) + _HEAD.size
            yield begin, begin + length, content[named : named + head[10]], head[3]
            begin, place = begin + length, place + length
            if place > len(content):
                raise zipfile.BadZipFile("its directory ends early")

    def _member(self, content: bytes, place: int) -> tuple[zipfile.ZipInfo, int]:
        head = _HEAD.unpack_from(content, place)
        named = place + _HEAD.size
        extra = named + head[10]
        end = extra + head[11] + head[12]
        info = zipfile.ZipInfo(_text(content[named:extra], head[3]))
        info.flag_bits, info.compress_type, info.CRC = head[3], head[4], head[7]
        sizes = [head[9], head[8], head[16]]  # whole, packed, where its local head stands
        wide = _wide(content[extra : extra + head[11]])
        for number, size in enumerate(sizes):
            if size == _WHOLE32 and wide:
                sizes[number] = wide.pop(0)
        info.file_size, info.compress_size = sizes[0], sizes[1]
        info.header_offset = sizes[2] + self._shift
        return info, end


@lru_cache(maxsize=1)
def kept_directory(path: str, size: int, time: int) -> ZipDirectory:
    """The directory of the last zip that this process read; size and time tell another file."""
    return ZipDirectory(path)


def _place(file: BinaryIO) -> tuple[int, int, int]:
    """Where the directory begins, its bytes, and by how much the zip begins later than it says."""
    whole = file.seek(0, 2)
    tail = min(whole, 22 + _WHOLE16)
    file.seek(whole - tail)
    content = file.read(tail)
    found = content.rfind(_END)
    if found < 0 or len(content) - found < 22:
        raise zipfile.BadZipFile("it ends early or is no zip")
    size, offset = struct.unpack_from("<2L", content, found + 12)
    end = whole - tail + found
    if end >= 20 + 56:
        file.seek(end - 20 - 56)  # where it stands unless it is longer than any that is known
        wide = file.read(20 + 56)
        if wide[56:].startswith(_PLACE64):
            if not wide.startswith(_END64):
                raise zipfile.BadZipFile("its directory is damaged")
            end -= 20 + 56
            size, offset = struct.unpack_from("<2Q", wide, 40)
    shift = end - size - offset
    if shift < 0:
        raise zipfile.BadZipFile("it ends early")
    return end - size, size, shift


def _wide(extra: bytes) -> list[int]:
    """The sizes of 64 bits of an entry, of those that 32 bits do not hold."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            return list(struct.unpack_from(f"<{min(length, len(extra) - 4) // 8}Q", extra, 4))
        extra = extra[4 + length :]
    return []


def _text(name: bytes, flags: int) -> str:
    return name.decode("utf-8", "replace") if flags & _UTF8 else name.decode("cp437")
