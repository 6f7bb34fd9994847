"""How fine an image's structure is: its power spectrum inside the brain, beside another's.

A PET-like MRI whose spectrum lies above the PETs' kept gyri that no PET shows; one whose spectrum
lies below has lost structure that PETs have.
"""

from __future__ import annotations

import numpy as np

BINS = 16
TAPER = 4.0
#: Cycles per voxel. On the grid of preset `compact` (3 mm) waves of 24 to 9.6 mm: the gyri. Above
#: them a PET has next to nothing, so that a ratio to it says nothing either.
FINE = (0.125, 0.3125)


def brain_spectrum(volume: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radially averaged power spectrum of the axial slices of a volume, inside the brain.

    A slice is its difference from its own mean in the brain, times a window that rises from 0 at
    the brain's border to 1 within 4 voxels (sin²), so that the border itself has no part in it.

    Args:
        volume: `[K, I, J]`.
        brain: `[K, I, J]`, the fraction of each voxel that is brain.

    Returns:
        Frequency in cycles per voxel `[16]`, up to 0.5, and power per voxel of the window `[16]`,
        in the square of the volume's unit.

    Raises:
        ValueError: other shapes, or no brain.
    """
    if volume.ndim != 3 or volume.shape != brain.shape:
        raise ValueError(f"volume {volume.shape}, brain {brain.shape}: both are [K, I, J]")
    window = _window(brain)
    total = window.sum((1, 2), keepdims=True)
    if not total.any():
        raise ValueError("there is no brain in this volume")
    values = np.asarray(volume, dtype=np.float64)
    mean = (values * window).sum((1, 2), keepdims=True) / np.maximum(total, 1e-12)
    power = np.abs(np.fft.fft2((values - mean) * window)) ** 2
    power = power.sum(0) / np.square(window).sum()
    rows, columns = (np.fft.fftfreq(n) for n in volume.shape[1:])
    radius = np.hypot(rows[:, None], columns[None])
    edges = np.linspace(0.0, 0.5, BINS + 1)
    place = np.digitize(radius.ravel(), edges[1:])
    inside = place < BINS
    counts, sums = (
        np.bincount(place[inside], weights, minlength=BINS)
        for weights in (np.ones(inside.sum()), power.ravel()[inside])
    )
    return (edges[:-1] + edges[1:]) / 2, sums / counts


def log_ratio(frequency: np.ndarray, power: np.ndarray, reference: np.ndarray) -> float:
    """Mean of ln(power / reference) over 0.125 to 0.3125 cycles per voxel, the size of gyri.

    Above 0 there is more fine structure than in the reference, below 0 less; +0.7 is twice.
    """
    fine = (frequency > FINE[0]) & (frequency < FINE[1])
    return float(np.log(power[fine] / reference[fine]).mean())


def _window(brain: np.ndarray) -> np.ndarray:
    """`[K, I, J]`: 0 outside the brain, rising to 1 in its slice within `TAPER` voxels."""
    from scipy.ndimage import distance_transform_edt

    inside = np.pad(np.asarray(brain) > 0.5, ((0, 0), (1, 1), (1, 1)))
    depth = np.stack([distance_transform_edt(piece) for piece in inside])[:, 1:-1, 1:-1]
    return np.sin(np.clip(depth / TAPER, 0.0, 1.0) * (np.pi / 2)) ** 2
