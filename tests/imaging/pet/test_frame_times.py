"""The late frames of a scan count, each by its duration, and what was assumed is told."""

from __future__ import annotations

import json
import re

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.imaging.pet.frame_times import choose_frames, read_sidecar
from mri2pet.imaging.pet.frames import PetSeries, read_pet, static_pet

from ..pet_phantom import frame, pet_grid, rigid


def times(starts, seconds):
    return {"FrameTimesStart": list(starts), "FrameDuration": list(seconds)}


@pytest.mark.parametrize(
    ("starts", "seconds", "frames", "told"),
    [
        ([0, 60, 120, 3000], [60, 60, 60, 600], [3], "50 to 70 minutes count: 4"),
        (np.arange(18) * 300, [300] * 18, [10, 11, 12, 13], "count: 11, 12, 13, 14"),
        ([0, 300, 600, 900], [300] * 4, [0, 1, 2, 3], "scan of 20 minutes"),
        ([3000, 3300, 3600, 3900], [300] * 4, [0, 1, 2, 3], "count: 1, 2, 3, 4"),
        ([5400, 6000], [600, 600], [0, 1], "No frame lies 50 to 70 minutes"),
        ([0, 900, 1800], [900, 900, 800], [2], "last 20 minutes count: 3"),
        ([0, 2700], [2700, 1500], [1], "count: 2"),
    ],
)
def test_the_late_frames_are_chosen(starts, seconds, frames, told):
    choice = choose_frames(len(seconds), times(starts, seconds))
    assert list(choice.frames) == frames
    assert list(choice.seconds) == [seconds[i] for i in frames]
    assert told in choice.told[0]


def test_times_count_from_the_injection_where_it_is_known():
    early = times([3600, 3900, 4200, 4500], [300] * 4) | {"InjectionStart": 3600}
    with pytest.raises(InputError, match=r"^its frames end 20 minutes after injection"):
        choose_frames(4, early)
    late = times([-1200, -900, -600, -300], [300] * 4) | {"InjectionStart": -4200}
    assert choose_frames(4, late).frames == (0, 1, 2, 3)
    assert "50 to 70 minutes count: 1, 2, 3, 4" in choose_frames(4, late).told[0]
    for unknown in ({"InjectionStart": None}, {"InjectionStart": 0, "ScanStart": 0}):
        choice = choose_frames(2, times([0, 300], [300] * 2) | unknown)
        assert "taken as one 50 to 70 minutes" in choice.told[0]


def test_a_scan_of_the_perfusion_phase_is_refused_by_name(tmp_path):
    path = tmp_path / "sub-01_pet.nii.gz"
    data = 1 + np.random.default_rng(0).random((9, 10, 11, 2), np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    sidecar = times([0, 300], [300, 300]) | {"InjectionStart": 0}
    (tmp_path / "sub-01_pet.json").write_text(json.dumps(sidecar))
    with pytest.raises(InputError, match=r"sub-01_pet\.nii\.gz: its frames end 10 minutes after"):
        read_pet(path)


@pytest.mark.parametrize(
    ("sidecar", "told"),
    [
        (None, "No sidecar gives FrameTimesStart"),
        ({"Units": "Bq/mL"}, "No sidecar gives FrameTimesStart"),
        ({"FrameDuration": [1, 1, 1]}, "gives no FrameTimesStart"),
        (times([0, 1], [1, 1]), "has 2 values for 3 frames"),
        (times([0, 1, "x"], [1, 1, 1]), "other things than numbers"),
        (times([0, 1, None], [1, 1, 1]), "other things than numbers|not finite"),
        (times([0, 2, 1], [1, 1, 1]), "do not follow each other"),
        (times([0, 1, 2], [1, 0, 1]), "do not follow each other"),
    ],
)
def test_without_usable_times_all_frames_count_equally(sidecar, told):
    choice = choose_frames(3, sidecar)
    assert choice.frames == (0, 1, 2)
    assert choice.seconds == (1.0, 1.0, 1.0)
    (sentence,) = choice.told
    assert re.search(told, sentence)
    assert "all 3 frames were taken as late ones" in sentence


def test_a_single_frame_needs_no_times():
    assert choose_frames(1, None).told == ()
    assert choose_frames(1, times([0], [1200])).told == ()
    with pytest.raises(InputError, match="perfusion"):
        choose_frames(1, times([0], [1200]) | {"InjectionStart": 0})


@pytest.mark.parametrize("name", ["a_pet.nii.gz", "a_pet.nii", "a_pet.NII.GZ", "a_pet.mgz"])
def test_the_sidecar_lies_beside_the_file(tmp_path, name):
    (tmp_path / "a_pet.json").write_text('{"Units": "Bq/mL"}')
    assert read_sidecar(tmp_path / name) == {"Units": "Bq/mL"}
    (tmp_path / "a_pet.json").write_text("[1]")
    assert read_sidecar(tmp_path / name) is None
    (tmp_path / "a_pet.json").write_text("{")
    assert read_sidecar(tmp_path / name) is None
    assert read_sidecar(tmp_path / "b_pet.nii") is None


def test_early_frames_are_not_read(tmp_path):
    """Not even one without signal is in the way; a late one is."""
    data = 1 + np.random.default_rng(0).random((9, 10, 11, 4), np.float32)
    data[..., 0] = 0
    path = tmp_path / "sub-01_pet.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), path)
    sidecar = tmp_path / "sub-01_pet.json"
    sidecar.write_text(json.dumps(times([0, 60, 3000, 3300], [60, 60, 300, 600])))
    series = read_pet(path)
    np.testing.assert_array_equal(series.frames, np.moveaxis(data, 3, 0)[2:])
    assert series.numbers == (2, 3)
    assert series.seconds == (300.0, 600.0)
    sidecar.write_text(json.dumps(times([0, 300, 600, 900], [300] * 4)))
    with pytest.raises(InputError, match="frame 1 is empty"):
        read_pet(path)


@pytest.mark.slow
def test_frames_count_by_their_duration_and_a_noisy_first_one_does_not_lead():
    grid = pet_grid()
    clear = [frame(rigid(), grid, scale, 0.05, seed) for seed, scale in enumerate((2000.0, 4000.0))]
    noise = np.random.default_rng(9).normal(0, 3000, clear[0].shape)
    noise = noise.astype(np.float32) + 0.1 * clear[0]
    series = PetSeries("s", np.stack([noise, *clear]), grid[1], (1.0, 100.0, 300.0), (4, 5, 6))
    static = static_pet(series)
    assert [motion.frame for motion in static.motion] == [4, 5, 6]
    expected = (noise + 100 * clear[0] + 300 * clear[1]) / 401
    head = clear[0] > 0.3 * clear[0].max()
    ratio = float(static.volume.data[head].mean() / expected[head].mean())
    assert ratio == pytest.approx(1.0, abs=0.01)
    apart = np.linalg.inv(static.mean_from_frame[1]) @ static.mean_from_frame[2]
    np.testing.assert_allclose(apart, np.eye(4), atol=0.2)
