"""What a command will do, resolved and checked before any work: tasks, people, PETs, runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.downstream.covariates import Covariates, read_covariates
from mri2pet.downstream.drawn import Wanted
from mri2pet.downstream.generator import Generator
from mri2pet.downstream.groups import Example, Groups
from mri2pet.downstream.runs import AS_PAPER, HOUSE, Run
from mri2pet.downstream.settings import MMSE_MIN, OF_PETS, Setting, Task, seeds_of
from mri2pet.downstream.training import Fit, Sample, permute_labels
from mri2pet.errors import InputError, UsageError
from mri2pet.evaluation.settings import Sampling
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.reference import CEREBELLUM

FORMAT = 1
SETTINGS_FILE = "settings.json"
ONE_SAMPLE = Sampling(samples=1)


@dataclass(frozen=True)
class Options:
    """How a command does its work.

    Attributes:
        settings: keys of `settings.SETTINGS`; none for those of the table.
        seeds: runs of each setting that a network learns.
        as_paper: also as the paper's authors do: PETs by min–max, a person's last diagnosis.
        unseen: the model has seen nobody of this cohort.
        crossfit: folds of people that get a model of their own, trained without them; 0 for none.
        mmse_min: scans with a lower score are left out.
        sampling: of the drawn PETs, one each.
        jobs, ray: processes, or a Ray cluster, see `cohort.cache.build_cache`.
        cache, registration, reference, device: as in `evaluation.evaluate`.
    """

    settings: tuple[str, ...] = ()
    seeds: int = 25
    as_paper: bool = False
    unseen: bool = False
    crossfit: int = 0
    mmse_min: float = MMSE_MIN
    fit: Fit = field(default_factory=Fit)
    sampling: Sampling = ONE_SAMPLE
    jobs: int = 1
    ray: str | None = None
    cache: str | Path | None = None
    registration: str = "estimate"
    reference: str | Path = CEREBELLUM
    device: str = "auto"

    @property
    def modes(self) -> tuple[str, ...]:
        return (HOUSE, AS_PAPER) if self.as_paper else (HOUSE,)

    def check(self) -> None:
        """Raises UsageError for what makes no sense."""
        if self.seeds < 1:
            raise UsageError(f"--seeds is {self.seeds}; it must be at least 1")
        if self.jobs < 1:
            raise UsageError(f"--jobs is {self.jobs}; it must be at least 1")
        if self.crossfit < 0 or self.crossfit == 1:
            raise UsageError(f"--crossfit is {self.crossfit}; it must be 0, or at least 2")
        if self.crossfit and self.unseen:
            raise UsageError("--crossfit is for a model that has seen people; leave out --unseen")
        if self.fit.class_weights not in ("none", "balanced"):
            raise UsageError(
                f"--class-weights {self.fit.class_weights} is neither none nor balanced"
            )


@dataclass(frozen=True)
class Plan:
    """Who trains what on which PETs.

    Attributes:
        groups: mode → its people.
        generator: None where nothing is drawn.
        notes: what is known of whom the model has seen.
    """

    out: Path
    cohort: CohortCache
    task: Task
    settings: list[Setting]
    groups: dict[str, Groups]
    generator: Generator | None
    options: Options
    device: str
    notes: list[str] = field(default_factory=list)

    def wanted(self) -> Iterable[Wanted]:
        """The PETs that networks will read."""
        for groups in self.groups.values():
            for setting in self.settings:
                for example in [*groups.training_set(setting), *groups.test_set(setting)]:
                    if "pet" in setting.inputs and example.pet != "none":
                        yield self._pet(example)
                if self.compares_drawn(setting):
                    yield from (self._drawn(row) for row in groups.test)

    def runs(self) -> list[Run]:
        """All of them, seed by seed, so that every setting has as many when stopped."""
        known = read_covariates(self.cohort.manifest.root, list(self.cohort.manifest))
        found = []
        for mode, groups in self.groups.items():
            for setting in self.settings:
                training = tuple(
                    self._sample(e, setting, known) for e in groups.training_set(setting)
                )
                test = tuple(
                    self._sample(e, setting, known, True) for e in groups.test_set(setting)
                )
                self._check_apart(training, test)
                found += [
                    Run(
                        *(self.out, self.task, setting, seed, mode, self.options.fit),
                        *(_labelled(training, setting, seed), test, self.device),
                    )
                    for seed in seeds_of(setting, self.options.seeds)
                ]
        return sorted(found, key=lambda run: run.seed)

    def compares_drawn(self, setting: Setting) -> bool:
        """Whether its networks also read the drawn PETs of the test scans."""
        return setting.key == OF_PETS and not self.task.classes and self.generator is not None

    def _check_apart(self, training: tuple[Sample, ...], test: tuple[Sample, ...]) -> None:
        both = {s.subject for s in training} & {s.subject for s in test}
        if both and self.cohort.manifest.split_by != "scan":
            raise AssertionError(f"{len(both)} people train and are tested")

    def _sample(
        self,
        example: Example,
        setting: Setting,
        known: dict[str, Covariates],
        tested: bool = False,
    ) -> Sample:
        row = example.row
        age, sex = known[row.name]
        reads = "pet" in setting.inputs and example.pet != "none"
        drawn = tested and self.compares_drawn(setting)
        return Sample(
            row.name,
            row.subject,
            example.label,
            self.cohort.root / "rows" / row.name / "mri.npy",
            self._pet(example).path(self.out) if reads else None,
            self._drawn(row).path(self.out) if drawn else None,
            age,
            sex,
        )

    def _pet(self, example: Example) -> Wanted:
        if example.pet == "drawn":
            return self._drawn(example.row)
        return Wanted(example.pet, example.row)

    def _drawn(self, row: ManifestRow) -> Wanted:
        if self.generator is None:
            raise ValueError("nothing draws")
        return self.generator.wanted("drawn", row)

    def open_folder(self) -> None:
        """Writes the settings of a new folder, or checks those of an old one.

        What an earlier call did not need, such as a model, may come later.

        Raises:
            UsageError: the folder is of other settings, or of something else.
            InputError: its settings are damaged.
        """
        options, sampling = self.options, self.options.sampling
        model = None if self.generator is None else self.generator.main.sha256
        settings: dict[str, Any] = {
            "format": FORMAT,
            "cohort": self.cohort.settings["cohort"],
            "model_space": self.cohort.root.name,
            "class_weights": options.fit.class_weights,
            "mmse_min": options.mmse_min,
            "model_sha256": model,
            "crossfit": options.crossfit if model else None,
            "sampling": [sampling.sampler, sampling.steps, sampling.seed] if model else None,
        }
        path = self.out / SETTINGS_FILE
        try:
            stored = json.loads(path.read_text()) if path.is_file() else {}
        except ValueError:
            raise InputError(f"{path}: is damaged; remove it, the results stay.") from None
        other = sorted(
            key
            for key, value in settings.items()
            if None not in (value, stored.get(key)) and stored[key] != value
        )
        if other:
            raise UsageError(
                f"{self.out} holds results with another {', '.join(other)}; give another folder or "
                "the same settings"
            )
        begun = (self.out / "runs").is_dir()
        if not stored and not begun and self.out.exists() and any(self.out.iterdir()):
            raise UsageError(f"{self.out} is not empty and holds no results; choose another folder")
        kept = {key: stored.get(key) if value is None else value for key, value in settings.items()}
        with written_whole(path) as part:
            part.write_text(json.dumps(kept, indent=2) + "\n")


def _labelled(training: tuple[Sample, ...], setting: Setting, seed: int) -> tuple[Sample, ...]:
    """Who trains, by a permutation of the seed's own where the setting asks for that."""
    return tuple(permute_labels(training, seed)) if setting.permuted else training
