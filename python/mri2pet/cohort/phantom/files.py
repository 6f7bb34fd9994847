"""The files of the simulated cohort: images, sidecars, truth and tables, written atomically."""

from __future__ import annotations

import csv
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIMULATED = (
    "Simulated by mri2pet phantom from the MNI152NLin2009aSym template. "
    "No person was scanned; the image means nothing about anybody."
)

_COMPRESSION = 1


def _atomically(path: Path, write: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; the file has its name only when it is complete."""
    text = json.dumps(content, indent=2) + "\n"
    _atomically(path, lambda partial: _write_bytes(partial, text.encode()))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a tab-separated table; None becomes n/a."""

    def write(partial: Path) -> None:
        with partial.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([["n/a" if v is None else v for v in row] for row in rows])

    _atomically(path, write)


def write_nifti(
    path: Path,
    data: np.ndarray,
    affine: np.ndarray,
    *,
    orientation: str = "RAS",
    slope: float = 1.0,
    vector: bool = False,
) -> None:
    """Write a .nii.gz.

    Args:
        data: integers [X, Y, Z, ...], stored as they are; values are data * slope.
        affine: 4x4 of the array as it is given.
        orientation: axis codes that the file stores; the array is reordered and flipped.
        vector: mark the last axis as the components of a displacement in mm.
    """
    import nibabel
    from nibabel import orientations

    now = nibabel.io_orientation(affine)
    change = orientations.ornt_transform(now, orientations.axcodes2ornt(orientation))
    stored = orientations.apply_orientation(data, change)
    affine = affine @ orientations.inv_ornt_aff(change, data.shape[:3])
    header = nibabel.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(stored.shape)
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", "sec" if data.ndim == 4 else None)
    header.set_slope_inter(slope, 0.0)
    header["descrip"] = b"mri2pet phantom: SIMULATED"
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    if vector:
        header.set_intent("vector")
    raw = header.binaryblock + bytes(4)
    compressor = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, 31, 9)
    pieces = [compressor.compress(raw), compressor.compress(stored.tobytes(order="F"))]
    pieces.append(compressor.flush())
    _atomically(path, lambda partial: _write_bytes(partial, b"".join(pieces)))


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)


def quantise(data: np.ndarray, levels: int) -> tuple[np.ndarray, float]:
    """int16 and the slope that gives the values back, with `levels` steps up to the largest."""
    slope = max(float(np.abs(data).max()) / levels, 1e-12)
    return np.rint(data / np.float32(slope)).astype(np.int16), slope


def t1_sidecar(visit_day: int) -> dict[str, Any]:
    """Sidecar of a simulated T1."""
    return {
        "Modality": "MR",
        "PulseSequenceType": "simulated T1-weighted",
        "Manufacturer": "mri2pet phantom",
        "Simulated": True,
        "Description": SIMULATED,
        "DaysSinceBaseline": visit_day,
    }


def pet_sidecar(
    visit_day: int, frame_start_s: list[float], frame_duration_s: list[float]
) -> dict[str, Any]:
    """Sidecar of a simulated AV45 PET, with all that BIDS requires; the dose is the usual one."""
    return {
        "Modality": "PT",
        "TracerName": "florbetapir",
        "TracerRadionuclide": "F18",
        "BodyPart": "brain",
        "Units": "Bq/mL",
        "TimeZero": "00:00:00",
        "ScanStart": 0,
        "InjectionStart": 0,
        "FrameTimesStart": frame_start_s,
        "FrameDuration": frame_duration_s,
        "ModeOfAdministration": "bolus",
        "InjectedRadioactivity": 370,
        "InjectedRadioactivityUnits": "MBq",
        "InjectedMass": "n/a",
        "InjectedMassUnits": "ug",
        "SpecificRadioactivity": "n/a",
        "SpecificRadioactivityUnits": "MBq/ug",
        "AcquisitionMode": "simulated",
        "AttenuationCorrection": "none: simulated",
        "ReconMethodName": "simulated",
        "ReconMethodParameterLabels": ["none"],
        "ReconMethodParameterUnits": ["none"],
        "ReconMethodParameterValues": [0],
        "ReconFilterType": "none",
        "ReconFilterSize": 0,
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": 0,
        "Manufacturer": "mri2pet phantom",
        "ManufacturersModelName": "simulated",
        "Simulated": True,
        "Description": SIMULATED,
        "DaysSinceBaseline": visit_day,
    }
