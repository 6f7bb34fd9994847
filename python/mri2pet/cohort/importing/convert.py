"""One image of a source as a NIfTI file and its sidecar, or the reason why not."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.headers import why_no_t1, why_unusable
from mri2pet.cohort.importing.index import NOT_NOW, UNREADABLE, Copy, names_of
from mri2pet.cohort.importing.sources import Reader, Sources
from mri2pet.errors import InputError, UsageError
from mri2pet.files import written_whole

TOO_SLOW = "dcm2niix did not end in time"
#: Notes of faults that may be gone the next time: such an image is tried again by the next run.
PASSING = frozenset({NOT_NOW, TOO_SLOW})
SECONDS = 900.0  # for one series; a whole head takes 2 s
#: What a sidecar may hold. All else that converters write is dropped: some of it names people.
ALLOWED = frozenset({
    "Modality", "Manufacturer", "ManufacturersModelName", "MagneticFieldStrength",
    "SliceThickness", "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "ImageType",
    "FrameDuration", "FrameTimesStart", "Units", "TracerName", "TracerRadionuclide",
    "SkullStripped", "Description", "SourceImageID", "ResolutionFWHM", "Sources",
    "ConversionSoftware", "ConversionSoftwareVersion",
})  # fmt: skip
_WARNINGS = re.compile(r"missing images|interslice distance varies", re.IGNORECASE)
_TEXTS = ("descrip", "aux_file", "db_name", "intent_name", "data_type")


@dataclass(frozen=True)
class Task:
    """What a process needs to make one image.

    Attributes:
        paths: of the sources, in their order.
        target: of the image, `.nii.gz`.
        scratch: a folder on the target's disk, for images without a text in their head.
        workshop: a folder outside of the output, for files of the source and their links.
        sidecar: what is known beside the head.
        link: NIfTI is linked where its head holds no text.
        private: no path of the source may be told, not even by a link.
    """

    copy: Copy
    paths: tuple[str, ...]
    target: str
    scratch: str
    workshop: str
    kind: str
    sidecar: dict[str, Any]
    link: bool = False
    private: bool = False


@dataclass(frozen=True)
class Done:
    """What became of a task: `reason` '' or a fault; `frames` of what was written."""

    reason: str = ""
    note: str = ""
    frames: int = 1
    seconds: tuple[float, ...] = ()


class _UnusableError(Exception):
    """Reason and note."""


def convert(task: Task) -> Done:
    """Writes the image and its sidecar, both whole; on a fault neither.

    Raises:
        UsageError: DICOM, and dcm2niix is not installed. OSError: the disk is full.
        InputError: a source vanished.
    """
    target = Path(task.target)
    scratch = Path(tempfile.mkdtemp(dir=task.scratch))
    workshop = Path(tempfile.mkdtemp(dir=task.workshop))
    try:
        made = scratch / "made.nii.gz"
        sources = _reader(task.paths).sources
        facts = _MAKE[task.copy.form](task, sources, workshop, made)
        frames = _check(made, task.kind)
        sidecar = {key: value for key, value in facts.items() if key in ALLOWED} | task.sidecar
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target.with_name(f"{_stem(target)}.json")) as part:
            part.write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n")
        if task.link and task.copy.form == "nifti" and _link(task, sources, target):
            return Done(frames=frames)
        os.chmod(made, 0o644)
        os.replace(made, target)
        seconds = facts.get("FrameDuration", ())
        return Done(frames=frames, seconds=tuple(seconds) if isinstance(seconds, list) else ())
    except _UnusableError as error:
        if error.args[1] == NOT_NOW:
            _refuse_vanished(task.paths)
        return Done(*error.args)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(workshop, ignore_errors=True)


def _nifti(task: Task, sources: Sources, workshop: Path, made: Path) -> dict[str, Any]:
    reader, copy = _reader(task.paths), task.copy
    try:
        names = names_of(copy, reader) if copy.count > 1 else [copy.first]
    except UNREADABLE as error:
        raise _unreadable(error) from None
    if copy.count != len(names):
        raise _UnusableError("unreadable", NOT_NOW)
    frames = [_without_texts(_unpacked(_bytes(task, reader, name))) for name in names]
    if len(frames) == 1:
        _write_gz(frames[0], made)
    else:
        _stack(frames, made)
    return {"ConversionSoftware": "mri2pet"}


def _unpacked(content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise _UnusableError("unreadable", "is cut or damaged") from None


def _stack(frames: Sequence[bytes], made: Path) -> None:
    """Frames of one grid, one file each, as one image of float32."""
    import nibabel

    images = [nibabel.Nifti1Image.from_bytes(frame) for frame in frames]
    first = images[0]
    if len(first.shape) != 3 or any(
        image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=1e-3)
        for image in images
    ):
        raise _UnusableError("incomplete_series", f"{len(frames)} files that are no frames")
    data = np.stack([np.asarray(image.dataobj, dtype=np.float32) for image in images], axis=-1)
    _write_image(data, first.affine, made)


def _without_texts(content: bytes) -> bytes:
    """A NIfTI file without the texts and extensions of its head; every voxel stays as it is.

    Where the head names no unit of length it is given mm, which all of these images have.
    """
    import io

    import nibabel

    try:
        kind = nibabel.Nifti2Header if content[4:8] in _NIFTI2_MAGIC else nibabel.Nifti1Header
        header = kind.from_fileobj(io.BytesIO(content))
        begin = int(header["vox_offset"])
        count = int(np.prod(header.get_data_shape(), dtype=np.int64))
        voxels = content[begin : begin + count * header.get_data_dtype().itemsize]
    except Exception:  # nibabel raises what it likes for a damaged head
        raise _UnusableError("unreadable", "is no NIfTI file") from None
    if len(voxels) < count * header.get_data_dtype().itemsize:
        raise _UnusableError("unreadable", "is cut")
    for name in _TEXTS:
        if name in header.structarr.dtype.names:
            header[name] = b""
    length, time = header.get_xyzt_units()
    if length == "unknown":
        header.set_xyzt_units("mm", "sec" if time == "unknown" else time)
    header.extensions.clear()
    header["vox_offset"] = header.single_vox_offset
    gap = header.single_vox_offset - header.structarr.dtype.itemsize
    return bytes(header.binaryblock) + b"\0" * gap + voxels


_NIFTI2_MAGIC = (b"n+2\0", b"ni2\0")


def _ecat(task: Task, sources: Sources, workshop: Path, made: Path) -> dict[str, Any]:
    """All frames of an ECAT 7 file; their times, ms in its heads, as s in the facts."""
    import nibabel

    path = workshop / "in.v"
    path.write_bytes(_bytes(task, _reader(task.paths), task.copy.first))
    try:
        image = nibabel.ecat.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
        order = nibabel.ecat.get_frame_order(image.get_mlist())
        heads = [image.get_subheaders().subheaders[order[n][0]] for n in sorted(order)]
        lasts = [float(head["frame_duration"]) / 1000 for head in heads]
        starts = [float(head["frame_start_time"]) / 1000 for head in heads]
    except Exception:  # as above
        raise _UnusableError("unreadable", "is no ECAT file that can be read") from None
    if data.shape[3] == 1:
        data = data[..., 0]
    _write_image(data, image.affine, made)
    facts: dict[str, Any] = {
        "ConversionSoftware": "nibabel",
        "ConversionSoftwareVersion": nibabel.__version__,
    }
    if min(lasts) > 0:
        facts |= {"FrameDuration": lasts, "FrameTimesStart": [s - starts[0] for s in starts]}
    return facts


def _dicom(task: Task, sources: Sources, workshop: Path, made: Path) -> dict[str, Any]:
    files = _dicom_files(task, sources, workshop / "in")
    head = task.copy.head
    if head.fault:
        raise _UnusableError(head.fault, head.note)
    if len(files) < task.copy.count:
        raise _UnusableError("unreadable", NOT_NOW)
    content, facts = _dcm2niix(workshop / "in", workshop / "out")
    _write_gz(_without_texts(content), made)
    return facts


def _dicom_files(task: Task, sources: Sources, folder: Path) -> list[Path]:
    """The files of the series under names of our own: links, or what a zip holds."""
    folder.mkdir()
    copy, made = task.copy, []
    reader = _reader(task.paths)
    try:
        in_zip = sources.is_in_zip(copy.source, copy.archive)
        for number, name in enumerate(names_of(copy, reader)):
            path, target = f"{copy.folder}/{name}", folder / f"{number:06d}.dcm"
            if in_zip:
                target.write_bytes(reader.read(copy.source, copy.archive, path))
            else:
                target.symlink_to((sources.paths[copy.source] / path).resolve())
            made.append(target)
    except UNREADABLE as error:
        raise _unreadable(error) from None
    return made


def _dcm2niix(series: Path, out: Path) -> tuple[bytes, dict[str, Any]]:
    """The one NIfTI file and the sidecar that dcm2niix makes of a folder of one series."""
    program = dcm2niix_program()
    out.mkdir()
    command = [program, "-b", "y", "-ba", "y", "-z", "n", "-i", "n", "-f", "out", "-o", str(out)]
    try:
        ran = subprocess.run(
            [*command, str(series)], capture_output=True, text=True, errors="replace",
            timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _UnusableError("unreadable", TOO_SLOW) from None
    made = sorted(path.name for path in out.glob("*.nii"))
    if not made:
        raise _UnusableError("unreadable", "dcm2niix makes no image of it")
    if any("_Eq" in name for name in made) or _WARNINGS.search(ran.stdout + ran.stderr):
        raise _UnusableError("incomplete_series", "dcm2niix finds slices missing")
    if made != ["out.nii"]:
        raise _UnusableError("incomplete_series", f"dcm2niix makes {len(made)} images of it")
    if ran.returncode != 0:
        raise _UnusableError("unreadable", f"dcm2niix ended with {ran.returncode}")
    facts: dict[str, Any] = {}
    sidecar = out / "out.json"
    if sidecar.is_file():
        facts = json.loads(sidecar.read_text(errors="replace"))
    return (out / "out.nii").read_bytes(), facts


def dcm2niix_program() -> str:
    """Where dcm2niix is: of its wheel, else on the search path.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import dcm2niix

        return str(dcm2niix.bin)
    except ImportError:
        found = shutil.which("dcm2niix")
    if found is None:
        raise UsageError(
            "the sources hold DICOM files; install what converts them: pip install 'mri2pet[dicom]'"
        )
    return found


def _bytes(task: Task, reader: Reader, name: str) -> bytes:
    copy = task.copy
    path = f"{copy.folder}/{name}" if copy.folder else name
    try:
        return reader.read(copy.source, copy.archive, path)
    except UNREADABLE as error:
        raise _unreadable(error) from None


def _unreadable(error: BaseException) -> Exception:
    """The fault for what the source does; a full disk stays what it is."""
    if isinstance(error, OSError):
        return error if error.errno == errno.ENOSPC else _UnusableError("unreadable", NOT_NOW)
    return _UnusableError("unreadable", "is damaged in its source")


@lru_cache(maxsize=1)
def _reader(paths: tuple[str, ...]) -> Reader:
    """Of this process, so that a folder or zip is listed once for all its images."""
    _refuse_vanished(paths)
    return Reader(Sources(paths))


def _refuse_vanished(paths: Sequence[str]) -> None:
    gone = [Path(path).name for path in paths if not os.path.exists(path)]
    if gone:
        raise InputError(
            f"{gone[0]}: is not there any more; when it is, run the same command again, it goes on "
            "where it was."
        )


def _check(made: Path, kind: str) -> int:
    """Frames of what was made.

    Raises:
        _UnusableError: it cannot be opened, or is no T1 of a head by its head.
    """
    import nibabel

    if why_unusable(made):
        raise _UnusableError("unreadable", "what was made of it cannot be opened")
    if kind == "mri" and (why := why_no_t1(made)):
        raise _UnusableError("not_t1", why)
    shape = nibabel.Nifti1Image.from_filename(made).shape
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise _UnusableError("unreadable", "has fewer than three axes")
    return int(np.prod(shape[3:]))


def _link(task: Task, sources: Sources, target: Path) -> bool:
    """Links instead of copying where the source's own head holds nothing to hide."""
    copy = task.copy
    if (
        sources.is_in_zip(copy.source, copy.archive)
        or copy.count > 1
        or not copy.first.endswith(".nii.gz")
    ):
        return False
    source = sources.paths[copy.source] / copy.folder / copy.first
    packed = source.read_bytes()
    content = gzip.decompress(packed)
    told = packed[3:8] if task.private else packed[3:4]  # gzip keeps a file's name and time
    if any(told) or content != _without_texts(content):
        return False
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        if task.private:
            return False
        target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))
    return True


def _write_image(data: np.ndarray, affine: np.ndarray, made: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    _write_gz(_without_texts(image.to_bytes()), made)


def _write_gz(content: bytes, path: Path) -> None:
    """Without name and time in its head, so that the same voxels are the same bytes."""
    path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


_MAKE = {"nifti": _nifti, "ecat": _ecat, "dicom": _dicom}
