"""How much there is to do in an experiment, about: what the times of a plan are reckoned from."""

from __future__ import annotations

from mri2pet.config import Config
from mri2pet.experiment.config import CohortConfig
from mri2pet.experiment.work import Work


def device_of(work: Work) -> str:
    """`cpu` or `cuda`."""
    device = work.config.device
    if device == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def voxels_of(config: Config) -> int:
    """Of the PET grid."""
    k, i, j = config.model.pet_shape
    return k * i * j


def visits_of(cohort: CohortConfig) -> int:
    """MRIs, about: of a simulated cohort 1.46 a person, of a table its rows."""
    if cohort.phantom is not None:
        return round(1.46 * (cohort.phantom.pairs + cohort.phantom.unpaired))
    if cohort.table is not None and cohort.table.is_file():
        return max(cohort.table.read_bytes().count(b"\n") - 1, 1)
    if cohort.bids is not None:
        return sum(1 for _ in cohort.bids.glob("sub-*/**/*_T1w.nii*"))
    return 1


def evaluated_scans(work: Work) -> int:
    """MRI–PET pairs of the people evaluated."""
    cohort = work.config.evaluated
    return _pairs(cohort, 1.0 if cohort is not work.config.cohort else cohort.fractions[2])


def validation_scans(work: Work) -> int:
    """MRI–PET pairs of the validation split, which a calibration is made on."""
    return _pairs(work.config.cohort, work.config.cohort.fractions[1])


def _pairs(cohort: CohortConfig, share: float) -> int:
    if cohort.phantom is not None:
        return max(round(1.2 * share * cohort.phantom.pairs), 1)
    return max(round(share * visits_of(cohort) / 5), 1)


def learnt_scans(work: Work) -> tuple[int, int]:
    """MRI–PET pairs that networks of Tables 2 and 3 learn from, and MRIs that have no PET."""
    cohort = work.config.cohort
    visits, paired = visits_of(cohort), visits_of(cohort) / 5
    if cohort.phantom is not None:
        paired = 1.2 * cohort.phantom.pairs
    share = 1 - cohort.fractions[2]
    return max(round(share * paired), 1), max(round(share * (visits - paired)), 0)
