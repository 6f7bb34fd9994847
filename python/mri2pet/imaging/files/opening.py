"""From a path to a nibabel image, by what the file holds and not by what it is called."""

from __future__ import annotations

import errno
import gzip
import stat
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.files import missing_target

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEFLATE_RATIO = 1032  # of zlib's format: more than this a compressed byte cannot hold
MEMORY_A_VOXEL = 20  # bytes beside the file's own: float64 of a scaled image, float32, and a mask
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)

_HEAD_BYTES = 1024
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = (
    (0, b"PK\x03\x04", "a zip archive", "unpack it"),
    (0, b"BZh", "a bzip2 file", "unpack it"),
    (0, b"\xfd7zXZ", "an xz file", "unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
    (128, b"DICM", "a DICOM file", "convert its series with dcm2niix"),
    (0, b"NRRD", "an NRRD file", "convert it to NIfTI"),
    (0, b"\x89HDF", "an HDF5 or MINC file", "convert it to NIfTI"),
    (0, b"CDF", "a MINC file", "convert it to NIfTI"),
    (0, b"\x89PNG", "a PNG picture", "give the volume itself"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give the volume itself"),
    (0, b"%PDF", "a PDF", "give the volume itself"),
    (0, b"MATLAB", "a MATLAB file", "give the image itself"),
    (0, b"version https://git-lfs", "a git-lfs pointer without its content", "run git lfs pull"),
    (0, b"/annex/objects", "a git-annex pointer without its content", "run datalad get"),
    (0, b"../.git/annex", "a git-annex pointer without its content", "run datalad get"),
)  # fmt: skip
_ADVICE = {
    errno.EACCES: "may not be read by you; ask for the right to read it",
    errno.EPERM: "may not be read by you; ask for the right to read it",
    errno.ELOOP: "is a link that leads back to itself; name the file it should lead to",
    errno.ENAMETOOLONG: "has a name that is too long for the file system; shorten it",
}


@contextmanager
def opened(source: Any) -> Iterator[tuple[Any, str]]:
    """A nibabel spatial image and its name for messages; its voxels are read while it is open.

    Args:
        source: path, or nibabel spatial image.

    Raises:
        InputError: missing, a folder, a device, a link without content, unreadable, or no image;
            one sentence with the file, what is wrong and what to do.
    """
    from nibabel.spatialimages import SpatialImage

    if isinstance(source, SpatialImage):
        yield source, str(source.get_filename() or "image in memory")
        return
    path = Path(source)
    check_file(path)
    with refusing_io(str(path)), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        packed = head.startswith(_GZIP)
        stream: Any = gzip.GzipFile(fileobj=file) if packed else file
        file.seek(0)
        if packed:
            head = stream.read(_HEAD_BYTES)
            stream.seek(0)
        image = _from_stream(path, head, stream)
        if image is None:
            image = _by_name(path, head)
        _check_size(path, image, packed)
        yield image, str(path)


def check_file(path: Path) -> None:
    """Refuse what is no file with content.

    Raises:
        InputError: one sentence.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        absent = f"{path}: there is no such file; check the path."
        raise InputError(missing_target(path) or absent) from None
    except OSError as error:
        raise InputError(f"{path}: {reason(error)}.") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder; give the image file in it.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is a device or a pipe, not a file; give an image file.")


def reason(error: OSError) -> str:
    """Why the system did not let a file be read, and what to do."""
    told = _ADVICE.get(error.errno or 0)
    if told is not None:
        return told
    return (
        f"could not be read from its disk or network ({error.strerror or error}); "
        "check the connection and copy it again"
    )


def truncated(name: str) -> str:
    """The sentence for a file that ends early."""
    return f"{name}: is truncated or damaged (its data end early); copy or export it again."


@contextmanager
def refusing_io(name: str) -> Iterator[None]:
    """Errors of the disk, and data that end early, as one sentence."""
    try:
        yield
    except DAMAGED:
        raise InputError(truncated(name)) from None
    except OSError as error:
        if error.errno is None:  # nibabel's own, when it gets fewer bytes than it asked for
            raise InputError(truncated(name)) from None
        raise InputError(f"{name}: {reason(error)}.") from None


def _from_stream(path: Path, head: bytes, stream: Any) -> Any:
    """NIfTI-1 or -2 in one file, or MGH, whatever its name; None for anything else."""
    import nibabel
    from nibabel.fileholders import FileHolder

    kind: Any = None
    if head[344:348] == b"n+1\0":
        kind = nibabel.Nifti1Image
    elif head[4:7] == b"n+2":
        kind = nibabel.Nifti2Image
    elif head[:4] == b"\0\0\0\1" and len(head) >= 284:
        kind = nibabel.MGHImage
    if kind is None:
        return None
    with _parsing(path, head):
        return kind.from_file_map({"image": FileHolder(fileobj=stream)}, mmap=False)


def _by_name(path: Path, head: bytes) -> Any:
    """What nibabel makes of the name: pairs of header and image, and rarer formats."""
    import nibabel
    from nibabel.spatialimages import SpatialImage

    with _parsing(path, head):
        image = nibabel.load(path, mmap=False)
    if not isinstance(image, SpatialImage) or not hasattr(image, "dataobj"):
        raise InputError(f"{path}: holds no voxels; give a NIfTI, .mgz or Analyze volume.")
    return image


@contextmanager
def _parsing(path: Path, head: bytes) -> Iterator[None]:
    """What a header that nibabel cannot read says about the file."""
    try:
        yield
    except (EOFError, zlib.error):
        raise InputError(truncated(str(path))) from None
    except FileNotFoundError as error:
        raise InputError(_half(path, Path(str(error.filename)).name)) from None
    except Exception as error:  # whatever a parser makes of bytes that are no image
        raise InputError(f"{path}: {_what(path, head, error)}.") from None


def _half(path: Path, missing: str) -> str:
    return f"{path}: its other half {missing} is missing; keep .hdr and .img together."


def _what(path: Path, head: bytes, error: Exception) -> str:
    """What a file is that holds no image, or why its header cannot be read."""
    if not head.strip(b"\0"):
        held = "it is empty" if not head else "it holds zeros alone"
        return f"is not an image that can be read ({held}); copy or export it again"
    for start, magic, name, advice in _OTHER_FORMATS:
        if head[start : start + len(magic)] == magic:
            return f"is {name}, not an image that can be read; {advice}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not an image that can be read; download the file itself"
    if not head.strip(bytes(range(32, 127)) + b"\t\r\n"):
        return "is a text file, not an image that can be read; give NIfTI, .mgz or Analyze"
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    first = first.replace(str(path), path.name)
    return f"is not an image that can be read ({first}); give NIfTI, .mgz or Analyze"


def _check_size(path: Path, image: Any, packed: bool) -> None:
    """Refuse a header that promises more than the file or the memory can hold.

    Raises:
        InputError: with both sizes.
    """
    from nibabel import AnalyzeImage, MGHImage

    from mri2pet.memory import available_bytes

    name, shape = str(path), image.shape
    voxels = 1
    for n in shape:
        voxels *= int(n)
    kind = np.dtype(image.get_data_dtype())
    stored = voxels * kind.itemsize
    sizes = " x ".join(map(str, shape))
    if min(shape, default=0) < 1:
        raise InputError(f"{name}: has the shape {sizes}, so no voxels; export the image again.")
    holder = image.file_map["image"]
    file = path if holder.filename is None else Path(holder.filename)
    if not file.exists():
        raise InputError(_half(path, file.name))
    size = file.stat().st_size
    packed = packed or file.suffix.lower() in (".gz", ".bz2", ".zst", ".mgz")
    plain = isinstance(image, (AnalyzeImage, MGHImage))  # others may pack their voxels
    if stored > size * (MAX_DEFLATE_RATIO if packed or not plain else 1):
        raise InputError(
            f"{name}: is truncated or damaged (its header promises {sizes} voxels, "
            f"{_bytes(stored)}, the file has {_bytes(size)}); copy or export it again."
        )
    needed, free = stored + MEMORY_A_VOXEL * voxels, available_bytes("cpu")
    if needed > free:
        raise InputError(
            f"{name}: its {sizes} voxels take {_bytes(needed)} of memory and {_bytes(free)} are "
            "free; crop or resample it, or use a machine with more memory."
        )


def _bytes(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
