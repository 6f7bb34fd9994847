"""Whether to believe the registration of a PET to its T1: measurements, and limits on them.

The limits on the mutual information were set on what must pass (14 simulated scans at their true
place: 0.6 to 0.9; the FBP and perfusion averages on two T1s of other people: 0.36 to 0.52) and on
what must fail (averages turned upside down or back to front: at most 0.24; noise, a sphere and
masks of regions: at most 0.15; the T1 itself or another T1 of the same person: at least 1.29).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.pet.to_t1 import mutual_information, working_brain
from mri2pet.imaging.space.volume import Volume

SMOOTHING_FWHM_MM = 3.0
MUTUAL_INFORMATION_NATS = (0.30, 1.10)

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class PetFit:
    """Figures of one registration.

    Attributes:
        mutual_information: nats, of the T1's brain and the PET, 3 mm FWHM smoother, inside the
            brain mask dilated by 6 mm; 32 x 32 bins.
        axis_scaling: singular values of the transform's linear part, PET mm → T1 mm, largest
            first; 1 for a rigid one.
    """

    mutual_information: float
    axis_scaling: tuple[float, float, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, rounded to four digits after the point."""
        return {
            "mutual_information": round(self.mutual_information, 4),
            "axis_scaling": [round(scale, 4) for scale in self.axis_scaling],
        }


def measure_fit(pet: Volume, t1: Volume, brain_mask: np.ndarray, t1_from_pet: np.ndarray) -> PetFit:
    """Measure a registration.

    Args:
        pet: any unit.
        t1: on its own grid.
        brain_mask: bool `[X, Y, Z]` on the grid of `t1`.
        t1_from_pet: 4 x 4, PET RAS mm → T1 RAS mm.
    """
    from scipy.ndimage import gaussian_filter

    brain, inside = working_brain(t1, brain_mask)
    sigma = SMOOTHING_FWHM_MM / _FWHM_PER_SIGMA / pet.voxel_size_mm
    uptake = Volume(gaussian_filter(np.clip(pet.data, 0.0, None), sigma), pet.affine)
    shared = mutual_information(brain, inside, uptake, t1_from_pet)
    x, y, z = np.linalg.svd(t1_from_pet[:3, :3], compute_uv=False)
    return PetFit(shared, (float(x), float(y), float(z)))


def refuse_misfit(name: str, fit: PetFit) -> None:
    """Refuse a PET that does not fit its T1, with the figure that says so.

    Raises:
        InputError: one sentence.
    """
    low, high = MUTUAL_INFORMATION_NATS
    found = f"mutual information {fit.mutual_information:.2f} nats"
    if fit.mutual_information < low:
        raise InputError(
            f"{name}: does not fit the T1 after registration ({found}, at least {low:.2f} is "
            "needed); check that it is a brain PET, of this person, and the right way up."
        )
    if fit.mutual_information > high:
        raise InputError(
            f"{name}: follows the T1 so closely ({found}, a PET has at most {high:.2f}) that it "
            "must be an MRI of the same person; give the PET."
        )
