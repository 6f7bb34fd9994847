"""Whether the slices of a series make a volume: the checks in their order, the first that fails.

Nothing is decoded here. Each refusal is one sentence with its numbers and never shows a value that
names a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mri2pet.dicom.collect import Series
from mri2pet.dicom.frames import Frame, frame_count, frames_of, is_enhanced, slices
from mri2pet.dicom.header import IMPLICIT, Instance, count, shown, text
from mri2pet.errors import InputError

MAX_BYTES = 4 * 2**30  # of the volume in float32
ORIENTATION_TOLERANCE = 1e-3
SHEAR_TOLERANCE = 1e-3  # of the stack's length
SAME_PLACE_MM = 0.01
SPACING_TOLERANCE_MM = 0.02
SPACING_TOLERANCE = 0.01

_OPTIONS = {"AcquisitionNumber": "--acquisition", "EchoNumbers": "--echo"}
_LOSSY = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 203))


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order of position along their normal, and the geometry of their volume.

    Attributes:
        name: of the input, for messages.
        orientation: six numbers in the source's own digits, of the first slice.
        pixel_spacing: between rows and between columns, mm, likewise.
        slice_spacing_mm: (last position − first) / (slices − 1) along the normal.
        affine: `[4, 4]`, indices `[column, row, slice]` to RAS+ in mm, by DICOM PS3.3, equation
            C.7.6.2.1-1.
        frame_of_reference_uid: None where the source has none.
        warnings: what is doubtful, one sentence each.
    """

    name: str
    frames: tuple[Frame, ...]
    orientation: tuple[str, ...]
    pixel_spacing: tuple[str, str]
    slice_spacing_mm: float
    rows: int
    columns: int
    affine: np.ndarray
    frame_of_reference_uid: str | None
    warnings: tuple[str, ...]


def stack(
    name: str, series: Series, acquisition: str | None = None, echo: str | None = None
) -> Stack:
    """Put the slices of a series in order.

    Args:
        name: of the input, for messages.
        acquisition: takes the slices of this AcquisitionNumber alone.
        echo: those of this EchoNumbers, or effective echo time of an Enhanced image.

    Raises:
        InputError: they do not make one volume.
    """

    def refuse(sentence: str) -> InputError:
        return InputError(f"{name}: series {series.number} {sentence}.")

    rows, columns = _matrix(series, refuse)
    chosen = {"AcquisitionNumber": acquisition, "EchoNumbers": echo}
    frames = _filtered(list(frames_of(series)), chosen, refuse)
    _one_person(series, refuse)
    _one_kind(series, refuse)
    _one_orientation(frames, refuse)
    spacing = _one_grid(series, frames, refuse)
    orientation = frames[0].orientation
    if orientation is None or any(frame.position is None for frame in frames):
        bare = [frame for frame in frames if frame.position is None or frame.orientation is None]
        raise refuse(
            f"has {len(bare)} of {len(frames)} slices without a position or an orientation; "
            "export it again with its geometry"
        )
    frames, along, across = _in_order(frames)
    _no_place_twice(frames, along, refuse)
    _no_shear(frames, along, across, refuse)
    _no_gaps(along, refuse)
    for instance in {id(frame.instance): frame.instance for frame in frames}.values():
        _complete(instance, refuse)
    slice_spacing = float(along[-1] - along[0]) / (len(frames) - 1)
    uid = text(frames[0].instance.header, "FrameOfReferenceUID") or None
    return Stack(
        name,
        tuple(frames),
        orientation,
        spacing,
        slice_spacing,
        rows,
        columns,
        _affine(frames[0], slice_spacing),
        uid,
        tuple(_doubts(series, len(frames), uid)),
    )


Refuse = Callable[[str], InputError]


def _matrix(series: Series, refuse: Refuse) -> tuple[int, int]:
    """Rows and columns of the first slice, once the memory that all of them take is bearable."""
    needed = 0
    for instance in series.instances:
        rows, columns = count(instance.header, "Rows"), count(instance.header, "Columns")
        if not rows or not columns:
            raise refuse(f"holds a file without rows or columns ({_file(instance)}); leave it out")
        needed += rows * columns * frame_count(instance) * 4
        if needed > MAX_BYTES:
            raise refuse(
                f"promises {slices(series)} slices that take more than {MAX_BYTES / 2**30:.0f} "
                f"GiB ({rows} × {columns} pixels in {_file(instance)}); it is no head"
            )
    for instance in series.instances:
        described = len(instance.header.get("PerFrameFunctionalGroupsSequence") or [])
        promised = frame_count(instance)
        if is_enhanced(instance) and promised != described:
            raise refuse(f"promises {promised} frames and describes {described}; export it again")
        if not is_enhanced(instance) and promised != 1:
            raise refuse(
                f"holds {promised} frames in a file for one slice ({_file(instance)}); export it "
                "again"
            )
    header = series.instances[0].header
    return count(header, "Rows") or 0, count(header, "Columns") or 0


def _filtered(frames: list[Frame], chosen: dict[str, str | None], refuse: Refuse) -> list[Frame]:
    for trait, value in chosen.items():
        if value is None:
            continue
        kept = [frame for frame in frames if frame.traits[trait] == value]
        if not kept:
            there = _listed(frame.traits[trait] for frame in frames)
            raise refuse(f"has no {trait} {shown(value, 16)}; {_OPTIONS[trait]} can be {there}")
        frames = kept
    if len(frames) < 2:
        raise refuse(f"has {len(frames)} slices; give the whole series")
    return frames


def _one_person(series: Series, refuse: Refuse) -> None:
    kinds = {
        "PatientID": "patients",
        "StudyInstanceUID": "studies",
        "FrameOfReferenceUID": "frames of reference",
    }
    for keyword, several in kinds.items():
        values = {text(instance.header, keyword) for instance in series.instances}
        if len(values) > 1:
            raise refuse(
                f"mixes {len(values)} {several} (its files differ in {keyword}); sort them apart"
            )


def _one_kind(series: Series, refuse: Refuse) -> None:
    for keyword in ("SamplesPerPixel", "BitsAllocated"):
        values = {count(instance.header, keyword) for instance in series.instances}
        if None in values or len(values) > 1 or (keyword == "SamplesPerPixel" and values != {1}):
            told = _listed("none" if value is None else str(value) for value in values)
            raise refuse(f"has slices of {keyword} {told}; give one grey image in one format")


def _one_orientation(frames: list[Frame], refuse: Refuse) -> None:
    turned = [frame for frame in frames if frame.orientation is not None]
    if not turned:
        return
    values = np.array([frame.orientation for frame in turned], float)
    usual = np.median(values, axis=0)
    off = np.abs(values - usual).max(axis=1)
    if off.max() > ORIENTATION_TOLERANCE:
        several = np.flatnonzero(off > ORIENTATION_TOLERANCE)
        raise refuse(
            f"has {len(several)} of {len(frames)} slices of another orientation, the first in "
            f"{_file(turned[several[0]].instance)} (a localizer?); take them out"
        )
    axes = usual.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 2 * ORIENTATION_TOLERANCE:
        raise refuse("has rows and columns that are not at right angles; export it again")


def _one_grid(series: Series, frames: list[Frame], refuse: Refuse) -> tuple[str, str]:
    for keyword in ("Rows", "Columns"):
        values = sorted({count(instance.header, keyword) or 0 for instance in series.instances})
        if len(values) > 1:
            raise refuse(f"has slices of {_listed(map(str, values))} {keyword.lower()}; "
                         "give one series of one matrix")  # fmt: skip
    spacings = [frame.spacing for frame in frames]
    if None in spacings or min(np.array(spacings, float).min(), 1.0) <= 0:
        raise refuse("has slices without a pixel spacing; export it again with its geometry")
    sizes = np.array(spacings, float)
    if np.ptp(sizes, axis=0).max() > 1e-3 * sizes.min():
        low, high = sizes.min(), sizes.max()
        raise refuse(f"has slices of pixel spacings from {low:.4g} to {high:.4g} mm; give one grid")
    (between_rows, between_columns) = spacings[0]  # type: ignore[misc]
    return between_rows, between_columns


def _in_order(frames: list[Frame]) -> tuple[list[Frame], np.ndarray, np.ndarray]:
    """Frames by position; their places along the normal, mm, and across it, `[N, 3]` mm."""
    positions = np.array([frame.position for frame in frames], float)
    normal = _normal(frames[0])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions = positions[order] - positions[order[0]]
    along = positions @ normal
    return [frames[i] for i in order], along, positions - np.outer(along, normal)


def _normal(frame: Frame) -> np.ndarray:
    row, column = np.array(frame.orientation, float).reshape(2, 3)
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal))


def _no_place_twice(frames: list[Frame], along: np.ndarray, refuse: Refuse) -> None:
    together = int(np.sum(np.diff(along) < SAME_PLACE_MM))
    if not together:
        return
    head = f"has {together} of {len(frames)} slices where another one lies"
    for trait in frames[0].traits:
        values = [frame.traits[trait] for frame in frames]
        apart = [along[[v == value for v in values]] for value in set(values)]
        if len(apart) > 1 and all((np.diff(part) >= SAME_PLACE_MM).all() for part in apart):
            option = _OPTIONS.get(trait)
            do = f"take one with {option}" if option else "export them as series of their own"
            raise refuse(f"{head}: {trait} {_listed(values)}; {do}")
    raise refuse(f"{head}, and nothing in their headers tells them apart; export it again")


def _no_shear(frames: list[Frame], along: np.ndarray, across: np.ndarray, refuse: Refuse) -> None:
    length = along[-1] - along[0]
    off = np.linalg.norm(across, axis=1)
    if off.max() <= SHEAR_TOLERANCE * length:
        return
    lean = (along @ across) / (along @ along)
    if np.linalg.norm(across - np.outer(along, lean), axis=1).max() <= SHEAR_TOLERANCE * length:
        angle = np.degrees(np.arctan(np.linalg.norm(lean)))
        raise refuse(
            f"is sheared: its slices are stacked at {angle:.1f} degrees to their normal (a tilted "
            "gantry?); have it resampled to a straight stack"
        )
    raise refuse(
        f"has slices that are shifted sideways by up to {off.max():.2f} mm "
        f"({_file(frames[int(off.argmax())].instance)}); give one straight stack"
    )


def _no_gaps(along: np.ndarray, refuse: Refuse) -> None:
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * usual)
    steps = np.maximum(np.round(gaps / usual), 1)
    if (np.abs(gaps - steps * usual) > tolerance * steps).any():
        raise refuse(
            f"has irregular spacing: {gaps.min():.2f} to {gaps.max():.2f} mm between slices, "
            f"{usual:.2f} mm usually; give an evenly spaced series"
        )
    after = np.flatnonzero(steps > 1) + 1
    if after.size:
        missing = int((steps - 1).sum())
        raise refuse(
            f"misses {missing} slices, after slice{'s' * (after.size > 1)} "
            f"{_listed(map(str, after))} of those present; copy or export all of them"
        )


def _complete(instance: Instance, refuse: Refuse) -> None:
    """Enough bytes behind the header for the pixels that it promises, where they are not packed."""
    header = instance.header
    promised = 1
    if not header.file_meta.TransferSyntaxUID.is_encapsulated:
        bits = count(header, "BitsAllocated") or 16
        pixels = (count(header, "Rows") or 0) * (count(header, "Columns") or 0)
        promised = pixels * frame_count(instance) * bits // 8
    # Before the pixels stand their tag and length, and of all but implicit syntaxes their type.
    there = max(instance.pixel_bytes - (8 if instance.syntax == IMPLICIT else 12), 0)
    if there < promised:
        raise refuse(
            f"is incomplete: {_file(instance)} promises {promised} bytes of pixels and has "
            f"{there}; copy or export it again"
        )


def _affine(first: Frame, slice_spacing_mm: float) -> np.ndarray:
    from highdicom.spatial import create_affine_matrix_from_attributes

    orientation = np.array(first.orientation, float)
    normal = np.cross(orientation[:3], orientation[3:])
    lps = create_affine_matrix_from_attributes(
        [float(value) for value in first.position or ()],
        orientation.tolist(),
        [float(value) for value in first.spacing or ()],
        slice_spacing_mm / float(np.linalg.norm(normal)),
    )
    return np.asarray(np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)


def _doubts(series: Series, number: int, frame_of_reference: str | None) -> list[str]:
    said = []
    if frame_of_reference is None:
        said.append(
            "The DICOM series has no Frame of Reference UID: viewers will not lay other series "
            "of the study over it by themselves."
        )
    headers = [instance.header for instance in series.instances]
    announced = max((count(header, "ImagesInAcquisition") or 0 for header in headers), default=0)
    if announced > number:
        said.append(f"The DICOM headers announce {announced} slices, and {number} were read.")
    lossy = any(text(header, "LossyImageCompression") == "01" for header in headers)
    if lossy or any(instance.syntax in _LOSSY for instance in series.instances):
        said.append("The DICOM images were compressed with loss.")
    return said


def _file(instance: Instance) -> str:
    return instance.stored.name.rsplit(": ", 1)[-1]


def _listed(values: Iterable[str]) -> str:
    """Each value once, as `1, 2 and 3`."""
    *before, last = [shown(value, 16) or "none" for value in dict.fromkeys(values)]
    return f"{', '.join(before)} and {last}" if before else last
