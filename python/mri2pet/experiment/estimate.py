"""How long the steps of an experiment will take: by rates that were measured, for a plan.

Cohort work on one core; training and sampling on two cores or one H100 (docs/performance.md,
docs/train_your_own.md, docs/experiment.md), by the voxels of the PET grid.
"""

from __future__ import annotations

import math

VISIT_S = 2.2  # of a simulated cohort
PREPARE_S = {"truth": 0.6, "estimate": 30.0}
STYLE_S = 0.25  # an L-BFGS step of one MRI of 65,536 voxels
GRID = 16 * 64 * 64
VOLUMES_PER_S = {"cpu": 9.0, "cuda": 830.0}  # trained, of GRID
EVALUATIONS_PER_S = {"cpu": 25.0, "cuda": 2200.0}  # of the network, of GRID
SLICE_S = {"cpu": 0.15, "cuda": 0.005}  # through Inception
START_S = 8.0
WARP_S = 4.0  # the cohort mean, warped to a scan
LEARNT_S = {"cpu": 0.015, "cuda": 0.0005}  # an epoch of a volume of GRID; on CUDA not measured


def training_s(device: str, volumes: int, voxels: int) -> float:
    """Seconds of so many volumes."""
    return START_S + volumes * voxels / GRID / VOLUMES_PER_S[device]


def evaluation_s(
    device: str, scans: int, evaluations: int, voxels: int, slices: int, *, first: bool
) -> float:
    """Seconds of an evaluation: network evaluations and Inception slices of one scan.

    The first one registers the cohort mean, and has five kinds of volumes beside the drawn one;
    the others find these.
    """
    drawing = evaluations * voxels / GRID / EVALUATIONS_PER_S[device]
    shared = WARP_S + 5 * slices * SLICE_S[device] if first else 0.0
    return START_S + scans * (drawing + slices * SLICE_S[device] + shared)


def downstream_s(device: str, voxels: int, patience: int, epochs: int) -> float:
    """Seconds of networks of Tables 2 and 3 that read so many voxels an epoch, all together.

    Between the fewest epochs, with which a network that gets no better stops, and the most.
    """
    typical = (min(patience + 1, epochs) + epochs) / 2
    return START_S + typical * voxels / GRID * LEARNT_S[device]


def style_s(device: str, mris: int, steps: int, voxels: int) -> float:
    """Seconds of the style transfer."""
    return START_S + mris * steps * STYLE_S * voxels / GRID / (1 if device == "cpu" else 50)


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2 d`."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"
