"""The spectrum inside the brain finds waves where they are, and no border."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.style.spectrum import brain_spectrum, log_ratio

SHAPE = (3, 64, 48)


@pytest.fixture
def brain() -> np.ndarray:
    _, i, j = np.indices(SHAPE)
    return (np.hypot(i - 31, j - 23) < 20).astype(np.float32)


def wave(frequency: float, amplitude: float = 1.0) -> np.ndarray:
    _, i, j = np.indices(SHAPE)
    return amplitude * np.sin(2 * np.pi * frequency * (0.6 * i + 0.8 * j))


@pytest.mark.parametrize("frequency", [0.11, 0.234, 0.42])
def test_a_wave_has_its_power_at_its_frequency(brain, frequency):
    found, power = brain_spectrum(wave(frequency), brain)
    assert abs(found[power.argmax()] - frequency) < 0.5 / 16
    assert power.max() > 30 * power[np.abs(found - frequency) > 0.1].max()


def test_power_goes_with_the_square(brain):
    one, three = (brain_spectrum(wave(0.2, a), brain)[1] for a in (1.0, 3.0))
    np.testing.assert_allclose(three, 9 * one, rtol=1e-9)


def test_white_noise_is_flat_at_its_variance(brain):
    noise = 0.3 * np.random.default_rng(0).standard_normal((40, 64, 48))
    frequency, power = brain_spectrum(noise, np.repeat(brain[:1], 40, 0))
    np.testing.assert_allclose(power[2:], 0.09, rtol=0.1)
    np.testing.assert_allclose(frequency, (np.arange(16) + 0.5) / 32)


def test_neither_border_nor_level_nor_what_lies_outside_counts(brain):
    texture = 0.01 * wave(0.3)
    plain = brain_spectrum(texture, brain)[1]
    skull = 5.0 * (1 - brain)
    np.testing.assert_allclose(brain_spectrum(2.0 + texture + skull, brain)[1], plain, rtol=1e-6)


def test_the_log_ratio_is_of_the_fine_part(brain):
    frequency, low = brain_spectrum(wave(0.05) + wave(0.22), brain)
    _, high = brain_spectrum(wave(0.05) + wave(0.22, 2.0), brain)
    assert log_ratio(frequency, low, low) == 0
    assert 0.9 < log_ratio(frequency, high, low) <= np.log(4) + 1e-9


def test_other_shapes_and_no_brain_are_refused(brain):
    with pytest.raises(ValueError, match="both are"):
        brain_spectrum(wave(0.2), brain[0])
    with pytest.raises(ValueError, match="no brain"):
        brain_spectrum(wave(0.2), 0 * brain)
