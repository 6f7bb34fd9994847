"""A simple head with a known pose, and its one expensive registration."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import nibabel
import numpy as np
import pytest

MRI_SHAPE = (32, 72, 72)
PET_SHAPE = (32, 64, 64)
STORED_AXES = ("L", "I", "A")


@dataclass(frozen=True)
class Head:
    """A simulated whole head: image (stored as LIA, oblique), truth."""

    image: nibabel.Nifti1Image
    brain_mask: np.ndarray
    template_from_subject: np.ndarray


def pose() -> np.ndarray:
    """Subject mm → template mm: turned, sheared by its sizes, shifted."""
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    turn = Rotation.from_euler("xyz", [14, -6, 8], degrees=True).as_matrix()
    matrix[:3, :3] = turn @ np.diag([1.06, 0.95, 1.02])
    matrix[:3, 3] = [5, -12, 9]
    return matrix


@pytest.fixture(scope="session")
def head() -> Head:
    """Template brain, CSF, dark skull and bright scalp with a neck, bias field and noise."""
    from scipy.ndimage import binary_dilation

    from mri2pet.imaging.space.resampling import resample
    from mri2pet.imaging.space.template import template, template_mask

    pad = 16
    brain = np.pad(template_mask(2).data, pad)
    values = np.pad(template(2).data, pad) * brain
    affine = template(2).affine.copy()
    affine[:3, 3] -= pad * 2
    csf = binary_dilation(brain, iterations=1)
    skull = binary_dilation(csf, iterations=3)
    solid = skull.copy()
    solid[50:80, 50:85, :30] = True
    scalp = binary_dilation(solid, iterations=3)
    anatomy = np.select([brain, csf, skull, scalp], [values, 0.2, 0.08, 1.5], 0.0)

    shape = (118, 110, 100)
    grid = np.diag([1.8, 2.1, 2.3, 1.0])
    turn = np.eye(4)
    turn[:3, :3] = [[0.98, -0.198997, 0], [0.198997, 0.98, 0], [0, 0, 1]]
    grid = turn @ grid
    grid[:3, 3] = (np.linalg.inv(pose()) @ [0, -17, 0, 1])[:3] - grid[:3, :3] @ np.array(shape) / 2
    # Exact in the float32 of a NIfTI header, in any axis order.
    grid = np.round(grid * 4096) / 4096
    intensity = resample(anatomy, affine, shape, grid, pose())
    truth = resample(brain, affine, shape, grid, pose()) > 0.5
    rng = np.random.default_rng(7)
    ramp = 1 + 0.25 * np.linspace(-1, 1, shape[1])[None, :, None]
    noisy = np.abs(intensity * ramp + rng.normal(0, 0.02, shape)) * 400
    stored = nibabel.Nifti1Image(noisy.astype(np.float32), grid)
    ornt = nibabel.orientations.axcodes2ornt(STORED_AXES)
    change = nibabel.orientations.ornt_transform(nibabel.io_orientation(grid), ornt)
    image = stored.as_reoriented(change)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    mask = nibabel.orientations.apply_orientation(truth, change)
    return Head(image, mask, pose())


@pytest.fixture(scope="session")
def scratch_folder(tmp_path_factory):
    """Where `prepared` had its temporary files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def prepared(head, scratch_folder):
    """The head after `preprocess`, with the stages it announced as `.stages`."""
    from mri2pet.imaging.pipeline import preprocess

    announced: list[tuple[str, float | None]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch_folder))
        result = preprocess(
            head.image,
            mri_shape=MRI_SHAPE,
            pet_shape=PET_SHAPE,
            on_stage=lambda name, seconds: announced.append((name, seconds)),
        )
    return result, announced
