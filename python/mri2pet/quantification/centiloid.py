"""Centiloid, only when asked for by the name of an equation, and what it is worth.

This pipeline was not calibrated against PiB, as level 2 of Klunk et al. 2015 (Alzheimer's &
Dementia 11:1–15) asks of a new tracer or method, so every value says that it is uncalibrated. The
one exception is a user's own equation that brings the figures of such a calibration, for measured
PETs of people.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.errors import InputError, UsageError
from mri2pet.files import missing_target
from mri2pet.imaging.suvr.equations import EQUATIONS, STANDARD, Equation
from mri2pet.quantification.composite import Composite

CUSTOM = "custom="
UNCALIBRATED = "this pipeline was not calibrated against PiB (Klunk 2015 level 2)"
NO_MEASUREMENT = "a synthetic or simulated PET has no calibrated Centiloid"
MIN_PAIRS, MIN_R_SQUARED = 25, 0.70
STANDARD_VOIS = {
    "target": "424d8611edb1f68deb4e08436af224a7e558f2dff2294d944015a44dde1341a5",
    "reference": "8bbf0aa0ee6f3f2d34e273689493b4d05ec8a2a5fbb39840d9694942b1c09c22",
}
"""SHA-256 of the Centiloid project's ctx and WhlCbl at 2 mm."""


@dataclass(frozen=True)
class Value:
    """One Centiloid value, never without what it is worth."""

    centiloid: float
    calibrated: bool
    note: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        value = round(self.centiloid, 3)
        return {"centiloid": value, "calibrated": self.calibrated, "note": self.note}


@dataclass(frozen=True)
class Centiloid:
    """An equation that was asked for, and how well it fits what is measured.

    Attributes:
        warning: why the equation and the composite do not belong together, '' where they do.
        why_not: why its values are not calibrated, '' where those of measured PETs are.
        level2: figures of the user's own calibration.
    """

    equation: Equation
    warning: str = ""
    why_not: str = UNCALIBRATED
    level2: dict[str, float] | None = None

    @classmethod
    def of(cls, name: str, composite: Composite) -> Centiloid:
        """An equation by its name, or `custom=FILE.json`.

        The file holds `name`, `a` and `b` of CL = a · SUVR + b and, where the equation was
        calibrated, `composite` (the key that the tables of this program tell) and `level2` with
        `pairs`, `r_squared`, `slope` and `intercept` of the regression against PiB.

        Raises:
            UsageError: an unknown name. InputError: the file cannot be used.
        """
        if name.startswith(CUSTOM):
            return _custom(Path(name.removeprefix(CUSTOM)), composite)
        if name not in EQUATIONS:
            known = ", ".join([*EQUATIONS, f"{CUSTOM}FILE"])
            raise UsageError(f"--centiloid {name}: no such equation; choose one of {known}")
        equation = EQUATIONS[name]
        given = {role: entry["sha256"] for role, entry in composite.files.items()}
        fits = equation is STANDARD and given == STANDARD_VOIS
        warning = (
            ""
            if fits
            else f"the equation belongs to {equation.belongs_to}, the SUVR is {composite.label}"
        )
        return cls(equation, warning)

    def value(self, suvr: float, *, measured: bool) -> Value:
        """Of a cortical SUVR by the composite.

        Args:
            measured: the PET was measured on a person, neither synthetic nor simulated.
        """
        calibrated = measured and not self.why_not
        reasons = () if calibrated else (self.why_not or NO_MEASUREMENT,)
        note = "; ".join(filter(None, (*reasons, self.warning)))
        return Value(self.equation.centiloid(suvr), calibrated, note)

    def heading(self, calibrated: bool) -> str:
        """Of a column of values, never of both kinds."""
        return f"Centiloid ({self.equation.name}{'' if calibrated else ', uncalibrated'})"

    def record(self) -> dict[str, Any]:
        """The equation and what it is worth, for a description of values."""
        equation = self.equation
        return {
            "name": equation.name,
            "a": equation.slope,
            "b": equation.intercept,
            "belongs_to": equation.belongs_to,
            "source": equation.source,
            "calibrated": not self.why_not,
            "note": self.why_not or f"calibrated by its own file; {NO_MEASUREMENT}",
            "warning": self.warning or None,
            "level2": self.level2,
        }


def _custom(path: Path, composite: Composite) -> Centiloid:
    tree = _read(path)
    name = tree.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{path}: has no name; give the calibration a name of its own.")
    if name in EQUATIONS:
        raise InputError(f"{path}: {name} is the name of a published equation; give another name.")
    slope, intercept = (_number(tree.get(key)) for key in "ab")
    if slope is None or intercept is None:
        raise InputError(f"{path}: a and b of CL = a x SUVR + b must be numbers; add both.")
    level2 = tree.get("level2")
    figures = None
    if level2 is not None:
        keys = ("pairs", "r_squared", "slope", "intercept")
        given = level2 if isinstance(level2, dict) else {}
        numbers = {key: _number(given.get(key)) for key in keys}
        missing = [key for key, value in numbers.items() if value is None]
        if missing:
            raise InputError(
                f"{path}: level2 has no number for {', '.join(missing)}; add it, or leave level2 "
                "out."
            )
        figures = {key: value for key, value in numbers.items() if value is not None}
    equation = Equation(name, slope, intercept, "the user's own calibration", path.name)
    return Centiloid(equation, why_not=_why_not(figures, tree, composite), level2=figures)


def _why_not(level2: dict[str, float] | None, tree: dict[str, Any], composite: Composite) -> str:
    """Why a user's equation is not calibrated; '' where it is."""
    if level2 is None:
        return UNCALIBRATED
    if tree.get("composite") != composite.key:
        return "the calibration names another composite than was used"
    if level2["pairs"] < MIN_PAIRS or not level2["r_squared"] > MIN_R_SQUARED:
        return (
            f"the calibration has {level2['pairs']:g} pairs and R² = {level2['r_squared']:g}; "
            f"Klunk 2015 level 2 asks for {MIN_PAIRS} and more than {MIN_R_SQUARED:.2f}"
        )
    return ""


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        advice = f"{path}: there is no such file; give a JSON file with name, a and b."
        raise InputError(missing_target(path) or advice)
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        tree = None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: is no JSON object; give a file with name, a and b.")
    return tree


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < float("inf") else None
