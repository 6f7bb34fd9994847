"""How long a registration goes on at which resolution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Resolution levels of a registration, coarse to fine."""

    iterations: tuple[int, ...]
    shrink: tuple[int, ...]
    smoothing_voxels: tuple[int, ...]
