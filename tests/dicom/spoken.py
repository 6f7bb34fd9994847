"""All that a file says, however it is packed."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator

from PIL import Image
from pydicom import Dataset


def spoken(content: bytes) -> bytes:
    """A file's bytes and what is packed in them: gzip, the streams and the text of a PDF, what a
    page carries as base64, the notes in a picture."""
    parts = [content]
    if content.startswith(b"\x1f\x8b"):
        parts.append(gzip.decompress(content))
    if content.startswith(b"%PDF"):
        parts += _streams(content)
    if content.startswith(b"<!DOCTYPE html"):
        parts += [spoken(packed) for packed in _base64(content)]
    if content.startswith(b"\x89PNG"):
        notes = Image.open(io.BytesIO(content)).info
        parts.append(str(notes).encode())
    return b"\n".join(parts)


def mentions(content: bytes, words: Iterable[str]) -> list[str]:
    """Which of the words are in it, in an encoding that a PDF or an EXIF note may have."""
    text = spoken(content)
    codes = ("utf-8", "utf-16-be", "utf-16-le")
    return [word for word in words if any(word.encode(code) in text for code in codes)]


def own_elements(one: Dataset, copied: Iterable[str]) -> bytes:
    """The elements of an instance without those that are copied from the source."""
    left = [e for e in one.iterall() if e.keyword not in set(copied) and e.VR != "SQ"]
    return b"\n".join(
        e.value if isinstance(e.value, bytes) else str(e.value).encode() for e in left
    )


def _streams(pdf: bytes) -> Iterator[bytes]:
    """Each stream, inflated, and its text without the kerning that splits words."""
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            stream = zlib.decompressobj().decompress(found[1])
        except zlib.error:
            continue
        yield stream
        for shown in re.findall(rb"\[((?:[^\]\\]|\\.)*)\]\s*TJ", stream):
            yield b"".join(re.findall(rb"\(((?:[^)\\]|\\.)*)\)", shown))


def _base64(page: bytes) -> Iterator[bytes]:
    for found in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", page):
        try:
            yield base64.b64decode(found, validate=True)
        except binascii.Error:
            continue
