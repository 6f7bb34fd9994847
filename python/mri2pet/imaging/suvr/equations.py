"""Published equations from florbetapir SUVR to Centiloid: CL = a · SUVR + b.

Each belongs to one way of measuring SUVR (regions, reference, space) and to no other; the
Centiloid scale is Klunk et al. 2015, Alzheimer's & Dementia 11:1–15. The numbers were taken from
other programs and from abstracts, and are to be compared with the printed papers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Equation:
    """CL = slope · SUVR + intercept.

    Attributes:
        name: to ask for it by.
        belongs_to: how the SUVR is measured that it is for.
        source: where it was published.
    """

    name: str
    slope: float
    intercept: float
    belongs_to: str
    source: str

    def centiloid(self, suvr: float) -> float:
        """Of a cortical SUVR."""
        return self.slope * suvr + self.intercept


ROYSE = Equation(
    "royse2021-fbp",
    188.22,
    -189.16,
    "FreeSurfer regions in the person's own space over whole cerebellum (Berkeley)",
    "Royse et al. 2021, doi 10.1186/s13195-021-00836-1",
)
AVID = Equation(
    "navitsky2018-avid",
    183.07,
    -177.26,
    "Avid's own target region and cerebellum in MNI space",
    "Navitsky et al. 2018, doi 10.1016/j.jalz.2018.06.1353",
)
STANDARD = Equation(
    "navitsky2018-standard",
    175.17,
    -182.23,
    "the standard Centiloid pipeline (SPM) and its VOIs, ctx over WhlCbl",
    "Navitsky et al. 2018, doi 10.1016/j.jalz.2018.06.1353, second-hand",
)
EQUATIONS = {equation.name: equation for equation in (ROYSE, AVID, STANDARD)}
