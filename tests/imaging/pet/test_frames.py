"""Frames of a PET are read, aligned and averaged; the motion found is the motion made."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mri2pet.errors import InputError
from mri2pet.imaging.pet.frames import PetSeries, read_pet, rigid_motion, static_pet
from mri2pet.imaging.space.volume import Volume

from ..pet_phantom import CENTRE_MM, error, frame, pet_grid, rigid

#: Head motion of each frame: degrees about R, A, S and mm along R, A, S.
MOTION = (
    ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ((2.0, -1.0, 3.0), (1.5, -2.0, 1.0)),
    ((1.0, 5.0, -2.0), (5.0, 3.0, -2.0)),
)
SCALES = (4000.0, 3600.0, 3200.0)
NOISE = (0.25, 0.15, 0.2)


@pytest.fixture(scope="module")
def moved():
    """A scan of three frames on an oblique grid, and its static PET."""
    grid = pet_grid(turn_deg=12.0)
    frames = np.stack(
        [
            frame(rigid(*motion), grid, scale, noise, seed)
            for seed, (motion, scale, noise) in enumerate(zip(MOTION, SCALES, NOISE, strict=True))
        ]
    )
    series = PetSeries("moved", frames, grid[1])
    seen = []
    return series, static_pet(series, on_frame=lambda done, of: seen.append((done, of))), seen


def test_known_motion_is_found(moved):
    _, static, _ = moved
    for i, motion in enumerate(MOTION):
        found = np.linalg.inv(static.mean_from_frame[i]) @ static.mean_from_frame[0]
        mm, degrees = error(found, rigid(*motion))
        assert mm <= 0.5, f"frame {i}: {mm:.2f} mm"
        assert degrees <= 0.5, f"frame {i}: {degrees:.2f} degrees"


def test_motion_is_reported_in_mm_and_degrees(moved):
    _, static, _ = moved
    assert [m.frame for m in static.motion] == [0, 1, 2]
    assert static.motion[0].displacement_mm == pytest.approx(0, abs=1e-6)
    for report, (rotation, shift) in zip(static.motion, MOTION, strict=True):
        np.testing.assert_allclose(report.rotation_deg, rotation, atol=0.5)
        np.testing.assert_allclose(report.translation_mm, shift, atol=1.0)
    assert static.motion[2].as_dict()["frame"] == 2


def test_the_mean_is_sharper_than_without_correction(moved):
    """It agrees with the frames' mean had nobody moved, far better than the plain mean does."""
    series, static, _ = moved
    grid = (series.frames.shape[1:], series.affine)
    still = np.mean([frame(rigid(), grid, s, 0.0, 0) for s in SCALES], axis=0)
    head = still > 0.3 * still.max()

    def distance(image):
        return float(np.abs(gaussian_filter(image - still, 1.0))[head].mean() / still[head].mean())

    assert distance(static.volume.data) < 0.02
    assert distance(static.volume.data) < 0.5 * distance(series.frames.mean(axis=0))
    np.testing.assert_array_equal(static.volume.affine, series.affine)


def test_progress_counts_every_registration(moved):
    assert moved[2] == [(i, 5) for i in range(1, 6)]


def test_a_single_frame_stays_as_it_is():
    data = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    static = static_pet(PetSeries("one", data[None], np.eye(4)))
    np.testing.assert_array_equal(static.volume.data, data)
    assert static.motion == ()


def test_displacement_is_the_rms_over_a_sphere():
    transform = rigid((3.0, -7.0, 4.0), (2.0, 1.0, -5.0))
    points = np.random.default_rng(1).standard_normal((200_000, 3))
    points *= (80 * np.random.default_rng(2).random(200_000) ** (1 / 3))[:, None] / (
        np.linalg.norm(points, axis=1)[:, None]
    )
    points += CENTRE_MM
    gone = points @ transform[:3, :3].T + transform[:3, 3] - points
    rms = float(np.sqrt((gone**2).sum(axis=1).mean()))
    motion = rigid_motion(1, transform, CENTRE_MM)
    assert motion.displacement_mm == pytest.approx(rms, rel=5e-3)
    np.testing.assert_allclose(motion.rotation_deg, (3.0, -7.0, 4.0))
    np.testing.assert_allclose(motion.translation_mm, (2.0, 1.0, -5.0))


def save(path, data, affine=None):
    image = nibabel.Nifti1Image(
        np.asarray(data, np.float32), np.eye(4) if affine is None else affine
    )
    nibabel.save(image, path)
    return path


def test_frames_and_place_are_read(tmp_path):
    data = 1 + np.arange(9 * 10 * 11 * 3, dtype=np.float32).reshape(9, 10, 11, 3)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    series = read_pet(save(tmp_path / "pet.nii.gz", data, affine))
    assert series.frames.shape == (3, 9, 10, 11)
    np.testing.assert_array_equal(series.frames[2], data[..., 2])
    np.testing.assert_array_equal(series.affine, affine)
    assert isinstance(series.frame(1), Volume)
    assert read_pet(save(tmp_path / "one.nii", data[..., :1])).frames.shape[0] == 1
    assert read_pet(save(tmp_path / "three.nii", data[..., 0])).frames.shape[0] == 1


def empty_frame():
    data = np.ones((9, 10, 11, 3)) + np.arange(11)[:, None]
    data[..., 1] = 0
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.ones((60, 60, 1)), "is 2D"),
        (np.ones((60, 60, 1, 4)), "is 2D"),
        (np.zeros((9, 10, 11)), "it is empty"),
        (empty_frame(), "frame 2 is empty"),
        (np.full((9, 10, 11), np.nan), "no finite number"),
        (np.ones((9, 10)), "is 2D"),
        (np.ones((9, 10, 11, 2, 2)), "shape"),
    ],
)
def test_unusable_pets_are_refused_in_one_sentence(tmp_path, data, reason):
    path = save(tmp_path / "pet.nii", data)
    with pytest.raises(InputError, match=reason) as refusal:
        read_pet(path)
    message = str(refusal.value)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message


def test_files_that_are_missing_cut_or_no_image_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_pet(tmp_path / "absent.nii")
    with pytest.raises(InputError, match="folder"):
        read_pet(tmp_path)
    path = save(tmp_path / "pet.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="truncated"):
        read_pet(path)
    text = tmp_path / "text.nii"
    text.write_text("no image")
    with pytest.raises(InputError, match="is a text file"):
        read_pet(text)
