"""A T1 from DICOM in one call: `read_t1_series`, and what `synthesize` and `preprocess` take."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mri2pet.dicom.collect import collect, is_dicom
from mri2pet.dicom.decode import decode
from mri2pet.dicom.frames import Frame
from mri2pet.dicom.select import Chosen, choose
from mri2pet.dicom.source import DicomT1, Source, SourceFrame
from mri2pet.dicom.stack import stack
from mri2pet.errors import InputError

if TYPE_CHECKING:
    from mri2pet.imaging.files.reading import T1Image

__all__ = ["DicomInput", "DicomT1", "is_dicom", "read_t1_series"]


def read_t1_series(
    path: Path | str,
    *,
    series: int | None = None,
    acquisition: str | None = None,
    echo: str | None = None,
) -> DicomT1:
    """The T1 of a DICOM folder, zip archive or file.

    Args:
        series: its number as `mri2pet dicom list` shows it; None takes the best T1.
        acquisition: takes the slices of one AcquisitionNumber.
        echo: takes those of one EchoNumbers (Enhanced: effective echo time in ms).

    Raises:
        InputError: one sentence with the input, what is wrong and what to do. No sentence holds
            a value that names a person.
        UsageError: pydicom is not installed.
    """
    return _read(str(path), choose(collect(path), series), acquisition, echo)


@dataclass(frozen=True)
class DicomInput:
    """DICOM that stands for one T1: what the user named, for work now or in another process."""

    path: Path
    series: int | None = None
    acquisition: str | None = None
    echo: str | None = None

    def look(self) -> tuple[str, str]:
        """What results are called, and the sentence which series is taken, by headers alone.

        A name is `dicom-` and 8 hex digits of SHA-256 of the Series Instance UID and of the
        acquisition and the echo that were named: the same series gets the same name wherever it
        lies, and nothing of a header or of a folder's name stands in a result. An input that will
        be refused is named by its path in the same way, and has no sentence.
        """
        try:
            chosen = choose(collect(self.path), self.series)
            what, took = chosen.series.uid, chosen.took
        except InputError:
            what, took = str(self.path.absolute()), ""
        named = [part for part in (self.acquisition, self.echo) if part is not None]
        digest = hashlib.sha256("\0".join([what, *named]).encode(errors="surrogateescape"))
        return f"dicom-{digest.hexdigest()[:8]}", took

    def read(self) -> DicomT1:
        """As `read_t1_series`."""
        return read_t1_series(
            self.path, series=self.series, acquisition=self.acquisition, echo=self.echo
        )

    def t1(self, name: str) -> T1Image:
        """The T1 for preprocessing, known as `name`.

        Raises:
            InputError: as `read_t1_series`, or it is no T1 that can be used, as of NIfTI.
        """
        return t1_of(self.read(), name, str(self.path))


def t1_of(read: DicomT1, name: str, shown: str) -> T1Image:
    """The T1 for preprocessing, known as `name`; messages here call it as it is `shown`.

    Raises:
        InputError: it is no T1 that can be used, as of NIfTI.
    """
    from mri2pet.imaging.files.reading import read_t1

    try:
        t1 = read_t1(read.image)
    except InputError as error:
        raise InputError(str(error).replace("image in memory", shown, 1)) from None
    return replace(t1, name=name, warnings=[*read.source.warnings, *t1.warnings])


def _read(name: str, chosen: Chosen, acquisition: str | None, echo: str | None) -> DicomT1:
    import nibabel

    stacked = stack(name, chosen.series, acquisition, echo)
    image = nibabel.Nifti1Image(decode(stacked), stacked.affine)
    image.set_sform(stacked.affine, code=1)
    image.set_qform(stacked.affine, code=1)
    image.header.set_xyzt_units("mm")
    source = Source(
        frames=tuple(map(_source_frame, stacked.frames)),
        orientation=stacked.orientation,
        pixel_spacing=stacked.pixel_spacing,
        slice_spacing_mm=stacked.slice_spacing_mm,
        rows=stacked.rows,
        columns=stacked.columns,
        affine=stacked.affine,
        frame_of_reference_uid=stacked.frame_of_reference_uid,
        took=chosen.took,
        warnings=(*chosen.warnings, *stacked.warnings),
    )
    return DicomT1(image, source)


def _source_frame(frame: Frame) -> SourceFrame:
    assert frame.position is not None
    x, y, z = frame.position
    return SourceFrame(frame.instance.header, frame.number, (x, y, z))
