"""An atlas, its names, and PETs that are linear in space, on any grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri2pet.imaging.space.template import template_mask
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.regions import cerebellum

NAMES = {1: "front left", 2: "front right", 7: "back"}
SLOPE = np.array([0.002, -0.003, 0.001])  # per mm
SaveAtlas = Callable[..., Path]


def linear(points_mm: np.ndarray) -> np.ndarray:
    """Uptake at points `[..., 3]`: linear interpolation repeats it exactly."""
    return 1.5 + points_mm @ SLOPE


def linear_pet(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return Volume(linear(index @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32), affine)


def save_image(path: Path, data: np.ndarray, sform: np.ndarray, qform: np.ndarray | None = None):
    image = nibabel.Nifti1Image(data, sform)
    image.set_sform(sform, code=2)
    image.set_qform(sform if qform is None else qform, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.fixture(scope="session")
def labels() -> Volume:
    """Two fronts and a back of the template's brain, 2 mm."""
    mask = template_mask(2)
    data = np.zeros(mask.shape, dtype=np.int16)
    x = np.arange(mask.shape[0])[:, None, None] * mask.affine[0, 0] + mask.affine[0, 3]
    y = np.arange(mask.shape[1])[None, :, None] * mask.affine[1, 1] + mask.affine[1, 3]
    data[mask.data & (y > 20) & (x < 0)] = 1
    data[mask.data & (y > 20) & (x > 0)] = 2
    data[mask.data & (y < -70)] = 7
    return Volume(data, mask.affine, "label")


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.tsv"
    lines = [
        "index\tname\tcolor",
        *(f"{i}\t{name}\t#fff" for i, name in NAMES.items()),
        "9\tno\t#0",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def atlas_file(labels: Volume, tmp_path: Path) -> Path:
    return save_image(tmp_path / "atlas.nii.gz", labels.data, labels.affine)


@pytest.fixture
def voi_files(tmp_path: Path, labels: Volume) -> tuple[Path, Path]:
    """A target and a reference VOI."""
    target = save_image(tmp_path / "t.nii", (labels.data == 1).astype(np.uint8), labels.affine)
    whole = cerebellum(2)
    reference = save_image(tmp_path / "r.nii", (whole.data > 0).astype(np.uint8), whole.affine)
    return target, reference


@pytest.fixture(scope="session")
def pet_image() -> Volume:
    """A PET in template space that `quantify` takes: grey and white matter, blurred."""
    from scipy.ndimage import gaussian_filter

    from mri2pet.imaging.space.template import template_gm, template_wm

    white, grey = template_wm(2), template_gm(2)
    blurred = gaussian_filter(1.5 * white.data + 1.1 * grey.data, 1.3)
    return Volume(blurred.astype(np.float32), white.affine)


@pytest.fixture
def pet_file(pet_image: Volume, tmp_path: Path) -> Path:
    return save_image(tmp_path / "sub-07_ses-2_pet.nii.gz", pet_image.data, pet_image.affine)
