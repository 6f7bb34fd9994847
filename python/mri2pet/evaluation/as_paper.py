"""Figures as the MRI2PET paper's authors compute them, faults included, to stand beside theirs.

None of this is how a synthetic PET should be judged: every volume is scaled by its own minimum
and maximum, which takes away the level of SUVR, the background counts, and the ± are no
intervals. docs/evaluate.md says what is wrong with each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri2pet.errors import UsageError

RESAMPLES = 100


@dataclass(frozen=True)
class PlusMinus:
    """A mean and what the authors print behind ±."""

    mean: float
    plus_minus: float


def min_max(kij: np.ndarray) -> np.ndarray:
    """A volume scaled by its own minimum and maximum: float32 `[I, J, K]` in [0, 1].

    A constant volume gives 0 everywhere, one with a NaN gives NaN.

    Args:
        kij: `[K, I, J]`.
    """
    volume = np.asarray(kij, dtype=np.float32).transpose(1, 2, 0)
    low, high = float(volume.min()), float(volume.max())
    return (volume - low) / (high - low) if high > low else volume - low


def image_figures(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """`ssim_volume`, `ssim_slices` and `psnr` (dB) of two volumes `[K, I, J]`, each `min_max`.

    scikit-image's SSIM with its uniform window of 7, sample covariance and data range 1. The
    authors call it with `multichannel=True`: up to version 0.19 that took the axial slices as
    channels (`ssim_slices`, a mean of 2D values), from 0.20 on the word is ignored
    (`ssim_volume`, 3D). Which version they had is unknown.

    Raises:
        ValueError: the shapes differ.
        UsageError: scikit-image is not installed.
    """
    require_scikit_image()
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    drawn, real = min_max(predicted), min_max(measured)
    if drawn.shape != real.shape:
        raise ValueError(f"shapes differ: {predicted.shape} and {measured.shape}")
    return {
        "ssim_volume": float(structural_similarity(real, drawn, data_range=1)),
        "ssim_slices": float(structural_similarity(real, drawn, data_range=1, channel_axis=-1)),
        "psnr": float(peak_signal_noise_ratio(real, drawn, data_range=1)),
    }


def require_scikit_image() -> None:
    """Raises UsageError where scikit-image is not installed."""
    from importlib.util import find_spec

    if find_spec("skimage") is None:
        raise UsageError(
            "figures as in the paper need scikit-image; install it by pip install 'mri2pet[eval]'"
        )


def slices(kij: np.ndarray) -> np.ndarray:
    """Every axial slice of a volume as the authors give it to Inception: `[K, I, J]`, `min_max`."""
    return min_max(kij).transpose(2, 0, 1)


def growing_list(values: np.ndarray, seed: int = 0) -> PlusMinus:
    """The authors' bootstrap of SSIM, PSNR and others.

    100 times the mean of a resample *of the list so far* is appended to the list; printed are the
    mean of the n + 100 values and their SD (over n) / √100.

    Args:
        values: [n], one a scan.

    Raises:
        ValueError: no values.
    """
    grown = [float(value) for value in values]
    if not grown:
        raise ValueError("no values to resample")
    random = np.random.RandomState(seed)
    for _ in range(RESAMPLES):
        drawn = random.randint(0, len(grown), len(grown))
        grown.append(float(np.mean(np.asarray(grown)[drawn])))
    return PlusMinus(float(np.mean(grown)), float(np.std(grown)) / RESAMPLES**0.5)


def resampled_fid(real: np.ndarray, fake: np.ndarray, seed: int = 0) -> PlusMinus:
    """The authors' bootstrap of FID: 100 times the same slices drawn from both sets.

    Biased upwards, since repeated rows lower the rank of the covariance.

    Args:
        real, fake: features [n, D] of the same slices.

    Raises:
        ValueError: the sets differ in size.
    """
    from mri2pet.evaluation.distances import fid

    if real.shape != fake.shape:
        raise ValueError(f"features of the same slices are needed: {real.shape}, {fake.shape}")
    random = np.random.RandomState(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = random.randint(0, len(real), len(real))
        found.append(fid(real[drawn], fake[drawn]))
    return PlusMinus(float(np.mean(found)), float(np.std(found)) / RESAMPLES**0.5)


def inception_score(logits: np.ndarray) -> float:
    """exp of the mean Kullback–Leibler divergence of p(class | slice) from the mean over slices.

    Salimans et al. 2016, arXiv:1606.03498. Not in the paper, but in its authors' code.

    Args:
        logits: [n, classes].
    """
    from scipy.special import log_softmax

    log_p = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    p = np.exp(log_p)
    return float(np.exp((p * (log_p - np.log(p.mean(axis=0)))).sum(axis=1).mean()))
