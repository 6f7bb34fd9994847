"""The phantom cohort: a simulated amyloid study that anyone can make, offline, from one seed."""

from __future__ import annotations

from mri2pet.cohort.phantom.cohort import draw_people, make_cohort

__all__ = ["draw_people", "make_cohort"]
