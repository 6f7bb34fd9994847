"""Made series, and what they are compared with."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the extra dicom")
pytest.importorskip("highdicom", reason="needs the extra dicom")

from .make_series import head, save, series


@pytest.fixture(scope="session")
def made() -> tuple[np.ndarray, np.ndarray]:
    """A head `[X, Y, Z]` and its affine; never to be changed."""
    return head()


@pytest.fixture
def slices(made):
    """Its classic axial instances."""
    return series(*made)


@pytest.fixture
def folder(slices, tmp_path: Path) -> Path:
    """A folder of them."""
    save(slices, tmp_path / "in")
    return tmp_path / "in"


def distances(
    image: nibabel.Nifti1Image, values: np.ndarray, affine: np.ndarray
) -> tuple[float, float]:
    """Largest difference of the values, and of the corners' places in mm, in RAS+ order."""
    one = nibabel.as_closest_canonical(image)
    other = nibabel.as_closest_canonical(nibabel.Nifti1Image(values.astype(np.float64), affine))
    assert one.shape == other.shape
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]).T
    corners = corners * np.array([*np.array(one.shape) - 1, 1])[:, None]
    apart = np.linalg.norm(((one.affine - other.affine) @ corners)[:3], axis=0)
    return float(np.abs(one.get_fdata() - other.get_fdata()).max()), float(apart.max())
