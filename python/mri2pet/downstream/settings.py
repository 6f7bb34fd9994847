"""The tasks, the settings of the paper's Tables 2 and 3, and this project's controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mri2pet.cohort.manifest import ManifestRow
from mri2pet.errors import UsageError

LABEL_DAYS = 365.0  # from an MRI to the visit of its label
MMSE_MIN = 20.0
SEED_STEP = 4  # the authors' seeds are 4 · run

Pet = Literal["none", "measured", "drawn", "mean"]
"""What stands for the PET of an MRI: nothing, what was measured, what the model drew for it, or the
mean training PET warped to it."""


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        classes: in the order of the probabilities; none for MMSE.
        table: the paper's, "table2" or "table3".
    """

    key: str
    classes: tuple[str, ...]
    table: str

    def label(self, row: ManifestRow, mmse_min: float = MMSE_MIN) -> float | None:
        """Of a scan, by the visit nearest to it: number of its class, or the score; None for none.

        The nearest score is found first and dropped if it lies below `mmse_min`.
        """
        value = row.mmse if not self.classes else _place(self, row.diagnosis)
        days = row.mmse_days if not self.classes else row.diagnosis_days
        if value is None or abs(days or 0) > LABEL_DAYS:
            return None
        return None if not self.classes and value < mmse_min else float(value)


def _place(task: Task, diagnosis: str | None) -> int | None:
    if diagnosis not in ("CN", "MCI", "AD"):
        return None
    return task.classes.index(diagnosis) if diagnosis in task.classes else 0


TASKS = {
    task.key: task
    for task in (
        Task("diagnosis", ("CN", "MCI", "AD"), "table2"),
        Task("binary", ("other", "AD"), "table2"),
        Task("mmse", (), "table3"),
    )
}


@dataclass(frozen=True)
class Setting:
    """A row of the table: what goes in, and who trains with which PET.

    Attributes:
        title: as the paper prints it, or ours.
        inputs: `mri`, `pet` or both; none for what looks at no image.
        pairs, alone: the PET of labelled real pairs, and of labelled MRIs that have none; None
            where those do not train.
        control: stands under a rule.
        permuted: every person who trains has the label of another, see `training.permute_labels`.
    """

    key: str
    title: str
    inputs: tuple[str, ...]
    pairs: Pet | None
    alone: Pet | None = None
    control: bool = False
    permuted: bool = False

    @property
    def by_network(self) -> bool:
        """Whether a network learns it, once for each seed."""
        return bool(self.inputs)

    @property
    def drawn(self) -> bool:
        """Whether it trains on drawn PETs."""
        return "drawn" in (self.pairs, self.alone)


_MRI, _PET, _BOTH = ("mri",), ("pet",), ("mri", "pet")
SETTINGS = {
    setting.key: setting
    for setting in (
        Setting("real-mri", "Real MRI", _MRI, "none", "none"),
        Setting("real-limited-mri", "Real Limited MRI", _MRI, "none"),
        Setting("real-pet", "Real PET", _PET, "measured"),
        Setting("generated-pet", "MRI2PET Generated PET", _PET, "drawn"),
        Setting("real-paired", "Real Paired", _BOTH, "measured"),
        Setting("augmented-paired", "MRI2PET Augmented Paired", _BOTH, "measured", "drawn"),
        Setting("augmented-pet", "MRI2PET Augmented PET", _PET, "measured", "drawn"),
        Setting("generated-paired", "MRI2PET Generated Paired", _BOTH, "drawn"),
        Setting(
            "control-paired",
            "Augmented Paired with the cohort-mean PET",
            *(_BOTH, "measured", "mean", True),
        ),
        Setting(
            "permuted-labels",
            "Real Paired, labels permuted",
            *(_BOTH, "measured", None, True, True),
        ),
        Setting("majority", "commonest class", (), "none", "none", True),
        Setting("training-mean", "training mean", (), "none", "none", True),
        Setting("covariates", "age and sex", (), "none", "none", True),
    )
}
REFERENCE, MRI_ALONE, CONTROL = "real-paired", "real-mri", "control-paired"
OF_PETS = "real-pet"
TABLE = "table"  # among names, the rows of the table
_OFFERED = ("augmented-pet", "generated-paired", "permuted-labels")
_ONE_TASK = {"majority": False, "training-mean": True}  # whether of MMSE


def settings_of(task: Task) -> list[str]:
    """The keys of the settings that a task has."""
    return [k for k in SETTINGS if _ONE_TASK.get(k, not task.classes) is not bool(task.classes)]


def chosen_settings(task: Task, names: list[str]) -> list[Setting]:
    """The settings of these names, or those of the table, in its order; `table` stands for these.

    Raises:
        UsageError: an unknown name, or one that is not of this task.
    """
    of_task = settings_of(task)
    if unknown := [name for name in names if name not in (*of_task, TABLE)]:
        raise UsageError(
            f"--settings {','.join(unknown)}: the task {task.key} has {', '.join(of_task)}"
        )
    wanted = set(names)
    if not names or TABLE in names:
        wanted |= {key for key in of_task if key not in _OFFERED}
    return [SETTINGS[key] for key in of_task if key in wanted]


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in TASKS:
        raise UsageError(f"--task {name!r} is none of {', '.join(TASKS)}")
    return TASKS[name]


def seeds_of(setting: Setting, runs: int) -> list[int]:
    """The authors' seeds 0, 4, 8 …; one where no network learns."""
    return [SEED_STEP * run for run in range(runs if setting.by_network else 1)]
