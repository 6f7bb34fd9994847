"""Other programs that read the written instances: each returns values and an affine in RAS mm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest


def by_dcm2niix(folder: Path, work: Path) -> nibabel.Nifti1Image:
    beside = Path(sys.executable).with_name("dcm2niix")
    if not beside.exists():
        pytest.skip("dcm2niix is not installed")
    work.mkdir()
    command = [str(beside), "-z", "n", "-f", "read_%s", "-o", str(work), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = work.glob("*.nii")
    return nibabel.load(found)


def by_simpleitk(folder: Path, work: Path) -> nibabel.Nifti1Image:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    image = reader.Execute()
    lps = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3)
    lps[:3, :3], lps[:3, 3] = directions * image.GetSpacing(), image.GetOrigin()
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return nibabel.Nifti1Image(values.astype(np.float64), np.diag([-1, -1, 1, 1]) @ lps)


def by_highdicom(folder: Path, work: Path) -> nibabel.Nifti1Image:
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    import pydicom

    series = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    volume = highdicom.get_volume_from_series(series)
    return nibabel.Nifti1Image(volume.array, np.diag([-1, -1, 1, 1]) @ volume.affine)


READERS = {"dcm2niix": by_dcm2niix, "SimpleITK": by_simpleitk, "highdicom": by_highdicom}
CORNERS_MM = {"dcm2niix": 0.005, "SimpleITK": 0.001, "highdicom": 0.001}


def apart_mm(one: nibabel.Nifti1Image, other: nibabel.Nifti1Image) -> float:
    """How far the corners of two images in canonical order lie from each other, at most."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in one.shape], (1,))).reshape(4, -1)
    return float(np.abs((one.affine - other.affine) @ ends).max())
