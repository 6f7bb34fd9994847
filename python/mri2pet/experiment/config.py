"""The configuration of an experiment: one frozen tree, validated at the edge."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mri2pet.cohort.splits import FRACTIONS
from mri2pet.downstream.settings import TABLE, TASKS, settings_of
from mri2pet.experiment.methods import METHODS, PAPER_METHODS, Method

Registration = Literal["estimate", "truth"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PhantomConfig(_Frozen):
    """A simulated cohort, see `mri2pet.cohort.phantom.cohort.make_cohort`."""

    pairs: int = Field(ge=1)
    unpaired: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)


class CohortConfig(_Frozen):
    """People: exactly one of `phantom`, `bids` (a folder) and `table` (of cohort build).

    `fractions`, `seed` and `split_by` divide them; a table is divided already.
    """

    phantom: PhantomConfig | None = None
    bids: Path | None = None
    table: Path | None = None
    registration: Registration = "estimate"
    reference: str = Field("cerebellum", min_length=1)
    fractions: tuple[float, float, float] = FRACTIONS
    seed: int = Field(0, ge=0)
    split_by: Literal["subject", "scan"] = "subject"

    @model_validator(mode="after")
    def _one_source(self) -> CohortConfig:
        _exactly_one(self, "phantom", "bids", "table")
        return self


class StyleConfig(_Frozen):
    """Where PET-like MRIs come from: exactly one of `vgg_weights` (a file), `random_vgg` and
    `stylized` (a folder of mri2pet stylize)."""

    vgg_weights: Path | None = None
    random_vgg: bool = False
    stylized: Path | None = None
    steps: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> StyleConfig:
        _exactly_one(self, "vgg_weights", "random_vgg", "stylized")
        return self


class LengthConfig(_Frozen):
    """How long a training is: `volumes` or `epochs`."""

    volumes: int | None = Field(None, ge=1)
    epochs: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_length(self) -> LengthConfig:
        _exactly_one(self, "volumes", "epochs")
        return self

    @property
    def setting(self) -> str:
        """As `--set` takes it."""
        name = "volumes" if self.volumes is not None else "epochs"
        return f"training.{name}={getattr(self, name)}"


class TrainConfig(_Frozen):
    """Lengths of pre-trainings, fine-tunings and of what a GAN learns (None: the preset's), and
    settings of every training as `--set` takes them."""

    pretrain: LengthConfig | None = None
    finetune: LengthConfig | None = None
    gan: LengthConfig | None = None
    settings: dict[str, Any] = {}


class TrainedElsewhere(_Frozen):
    """A model that is there already."""

    name: str = Field(pattern=r"^[\w.-]+$")
    model: Path


class Variant(_Frozen):
    """A method that is trained as another, but for some settings of its fine-tuning."""

    name: str = Field(pattern=r"^[\w.-]+$")
    like: str
    settings: dict[str, Any]

    @field_validator("like")
    @classmethod
    def _known(cls, like: str) -> str:
        if like not in METHODS:
            raise ValueError(f"unknown method {like!r}; there are {', '.join(METHODS)}")
        return like


MethodConfig = str | TrainedElsewhere | Variant


class InceptionConfig(_Frozen):
    """The network of FID and KID: exactly one of `weights` (a file) and `random`."""

    weights: Path | None = None
    sha256: str | None = None
    random: bool = False
    every: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_network(self) -> InceptionConfig:
        _exactly_one(self, "weights", "random")
        return self


class EvaluateConfig(_Frozen):
    """How PETs are drawn and compared, see `mri2pet.evaluation.evaluate`."""

    samples: int = Field(8, ge=1)
    sampler: Literal["dpmpp", "ddim", "ddpm"] = "dpmpp"
    steps: int = Field(25, ge=1, le=999)
    seed: int = Field(0, ge=0)
    split: Literal["val", "test"] = "test"
    limit: int | None = Field(None, ge=1)
    inception: InceptionConfig | None = None
    as_paper: bool = False


class DownstreamConfig(_Frozen):
    """The paper's Tables 2 and 3, see `mri2pet.downstream`.

    `settings` names rows; `table`, alone or among them, stands for those of the table.
    """

    tasks: list[Literal["diagnosis", "binary", "mmse"]] = Field(["diagnosis", "mmse"], min_length=1)
    settings: Literal["table"] | list[str] = "table"
    seeds: int = Field(25, ge=1)
    epochs: int = Field(100, ge=1)
    patience: int = Field(5, ge=1)
    batch_size: int = Field(128, ge=1)
    lr: float = Field(1e-4, gt=0)
    crossfit: int = Field(0, ge=0)
    class_weights: Literal["none", "balanced"] = "none"
    mmse_min: float = Field(20, ge=0, le=30)

    @field_validator("tasks")
    @classmethod
    def _once(cls, tasks: list[str]) -> list[str]:
        if len(set(tasks)) < len(tasks):
            raise ValueError("a task is named twice")
        return tasks

    @field_validator("crossfit")
    @classmethod
    def _several_folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0, or at least 2")
        return folds

    @field_validator("settings")
    @classmethod
    def _known(cls, settings: str | list[str]) -> str | list[str]:
        known = [TABLE, *dict.fromkeys(k for task in TASKS.values() for k in settings_of(task))]
        for name in [settings] if isinstance(settings, str) else settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}" if near else f"there are {', '.join(known)}"
                raise ValueError(f"unknown setting {name!r}; {hint}")
        return settings

    @model_validator(mode="after")
    def _each_task_has_rows(self) -> DownstreamConfig:
        for task in self.tasks:
            if not self.settings_of(task):
                raise ValueError(f"settings names no row that the task {task} has")
        return self

    def settings_of(self, task: str) -> tuple[str, ...]:
        """The names of `settings` that a task has."""
        names = [self.settings] if isinstance(self.settings, str) else self.settings
        return tuple(name for name in names if name in (TABLE, *settings_of(TASKS[task])))


class PeopleConfig(_Frozen):
    """How many people a figure shows."""

    people: int = Field(ge=1)


class NothingToSet(_Frozen):
    """A figure without settings."""


class FiguresConfig(_Frozen):
    """The paper's figures; None leaves one out."""

    grid: PeopleConfig | None = PeopleConfig(people=5)
    cases: PeopleConfig | None = PeopleConfig(people=3)
    longitudinal: PeopleConfig | None = PeopleConfig(people=2)
    decay: NothingToSet | None = NothingToSet()


class ThresholdConfig(_Frozen):
    """An amyloid threshold on cortical SUVR."""

    name: str = Field(min_length=1)
    suvr: float = Field(gt=0)


class UncertaintyConfig(_Frozen):
    """Intervals of the first method from the people of a split, tried on those evaluated."""

    calibrate: Literal["val"] | None = "val"
    threshold: ThresholdConfig | None = None


class ExperimentConfig(_Frozen):
    """A whole study. The first method is the one that all others are compared with.

    `jobs`, `ray` and `device` change the time and not the result. `test_cohort` takes the place
    of the test split.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    out: Path
    preset: str = "compact"
    cohort: CohortConfig
    test_cohort: CohortConfig | None = None
    style: StyleConfig | None = None
    train: TrainConfig = TrainConfig()
    methods: list[MethodConfig] = Field(default=list(PAPER_METHODS), min_length=1)
    evaluate: EvaluateConfig = EvaluateConfig()
    downstream: DownstreamConfig | None = None
    figures: FiguresConfig | None = FiguresConfig()
    uncertainty: UncertaintyConfig | None = UncertaintyConfig()
    jobs: int = Field(1, ge=1)
    ray: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[MethodConfig]) -> list[MethodConfig]:
        names = [m if isinstance(m, str) else m.name for m in methods]
        if len(set(names)) < len(names):
            raise ValueError("a method is named twice")
        taken = [m.name for m in methods if isinstance(m, Variant) and m.name in METHODS]
        if taken:
            raise ValueError(f"{taken[0]} is a method already; give the variant another name")
        for method in methods:
            if isinstance(method, str) and method not in METHODS:
                raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
        return methods

    @property
    def method_names(self) -> list[str]:
        """Names of all methods, in order."""
        return [m if isinstance(m, str) else m.name for m in self.methods]

    @property
    def trained(self) -> dict[str, Method]:
        """Name → how it is trained, of all methods that are."""
        found = {}
        for method in self.methods:
            if isinstance(method, str):
                found[method] = METHODS[method]
            elif isinstance(method, Variant):
                found[method.name] = METHODS[method.like].changed(method.settings)
        return found

    @property
    def evaluated(self) -> CohortConfig:
        """The cohort whose people are evaluated."""
        return self.test_cohort or self.cohort


def _exactly_one(config: BaseModel, *names: str) -> None:
    given = [name for name in names if getattr(config, name)]
    if len(given) != 1:
        found = " and ".join(given) if given else "none"
        raise ValueError(f"give exactly one of {', '.join(names)} ({found} given)")
