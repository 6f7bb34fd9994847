"""What the steps of an experiment do: each one a call of what a single command calls."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mri2pet.cohort.cache import build_cache
from mri2pet.cohort.manifest import build_manifest, load_manifest, write_cohort
from mri2pet.cohort.passed_over import counted
from mri2pet.downstream.settings import LABEL_DAYS
from mri2pet.errors import InputError
from mri2pet.evaluation.cohort_figures import (
    draw_cases,
    draw_decay,
    draw_grid,
    draw_longitudinal,
)
from mri2pet.evaluation.cohort_tables import cohort_tables
from mri2pet.evaluation.compare import compare
from mri2pet.evaluation.evaluate import evaluate
from mri2pet.evaluation.features import FeatureOptions
from mri2pet.evaluation.settings import Sampling
from mri2pet.evaluation.shown import NobodyToShowError
from mri2pet.experiment.config import CohortConfig, ExperimentConfig, TrainedElsewhere
from mri2pet.experiment.methods import METHODS, Method
from mri2pet.experiment.steps import Tell
from mri2pet.files import written_whole
from mri2pet.stages import load_config

MIN_SAMPLES = 4  # of a calibration and of the figures of uncertainty
STYLED = "styled"
LABELS = ("diagnosis", "diagnosis_days", "mmse", "mmse_days", "age", "sex")
#: Settings of a diffusion model in `train.settings`, which a GAN's own recipe decides.
NOT_OF_A_GAN = (
    "model.prediction",
    "model.cond",
    "model.linear_components",
    "training.precision",
)


@dataclass(frozen=True)
class Work:
    """The folders of an experiment, and its steps as calls of the library.

    Every method returns sentences that the page tells.
    """

    config: ExperimentConfig

    @property
    def out(self) -> Path:
        """The experiment's folder."""
        return self.config.out

    def model_settings(self, method: Method | None = None) -> tuple[str, ...]:
        """`--set` of a training, but for its length and stage."""
        cohort = self.config.cohort
        given = self.config.train.settings.items()
        not_for_it = NOT_OF_A_GAN if method is not None and method.is_gan else ()
        return (
            *(f"{key}={json.dumps(value)}" for key, value in given if key not in not_for_it),
            *(() if method is None else method.named),
            f"data.registration={cohort.registration}",
            f"data.reference={json.dumps(cohort.reference)}",
        )

    def method(self, name: str) -> Method:
        """How a method is trained, also one that only lends its pre-training."""
        return self.config.trained.get(name) or METHODS[name]

    def length(self, method: Method, stage: str) -> tuple[str, ...]:
        """`--set` of the length of a training; none for the preset's."""
        train = self.config.train
        chosen = train.gan if method.is_gan else getattr(train, stage)
        return () if chosen is None else (chosen.setting,)

    def data(self, cohort: CohortConfig) -> Path:
        """The table of a cohort."""
        if cohort.table is not None:
            return cohort.table
        return self.out / ("cohort.tsv" if cohort is self.config.cohort else "held_out.tsv")

    def run_folder(self, name: str, stage: str) -> Path:
        """The run of a training."""
        return self.out / "runs" / name / stage

    def model(self, name: str) -> Path:
        """The trained model of a method."""
        for method in self.config.methods:
            if isinstance(method, TrainedElsewhere) and method.name == name:
                return method.model
        return self.run_folder(name, "finetune")

    def evaluation(self, name: str) -> Path:
        """The evaluation of a method."""
        return self.out / "evaluation" / name

    def phantom(self, cohort: CohortConfig, tell: Tell) -> Sequence[str]:
        """Makes a simulated cohort."""
        from mri2pet.cohort.phantom.cohort import make_cohort

        made = cohort.phantom
        assert made is not None
        make_cohort(
            self.data(cohort).with_suffix(""),
            pairs=made.pairs,
            unpaired=made.unpaired,
            seed=made.seed,
            jobs=self.config.jobs,
            on_subject=lambda name, done, of: tell("phantom", {"done": done, "of": of}),
        )
        return ()

    def table(self, cohort: CohortConfig, tell: Tell) -> Sequence[str]:
        """Writes the table of a cohort, and says what is doubtful in it."""
        path = self.data(cohort)
        root = path.with_suffix("") if cohort.bids is None else cohort.bids
        options: dict[str, Any] = {
            "seed": cohort.seed,
            "fractions": cohort.fractions,
            "label_days": LABEL_DAYS,
        }
        manifest = build_manifest(root, split_by=cohort.split_by, **options)
        write_cohort(manifest, path, **options)
        return [] if manifest.found is None else manifest.found.notes

    def labels(self, cohort: CohortConfig, tell: Tell) -> Sequence[str]:
        """Brings what is known of people, and may come later, up to date in a cohort's table.

        Who is in it and in which split stays, so that no training depends on it.
        """
        assert cohort.bids is not None
        path = self.data(cohort)
        old = load_manifest(path)
        found = build_manifest(cohort.bids, split_by=cohort.split_by, label_days=LABEL_DAYS)
        new = {row.name: row for row in found}
        rows = tuple(
            replace(row, **{key: getattr(new[row.name], key) for key in LABELS})
            if row.name in new
            else row
            for row in old.rows
        )
        if rows != old.rows:
            replace(old, rows=rows).write(path)
        return ()

    def cache(self, cohort: CohortConfig, tell: Tell) -> Sequence[str]:
        """Brings a cohort into model space."""
        model = load_config(self.config.preset, self.model_settings()).model
        made = build_cache(
            self.data(cohort),
            mri_shape=model.mri_shape,
            pet_shape=model.pet_shape,
            registration=cohort.registration,
            reference=cohort.reference,
            jobs=self.config.jobs,
            ray=self.config.ray,
            include_unpaired=cohort is self.config.cohort,
            on_subject=lambda done, of, name, error: tell(
                "prepare", {"done": done, "of": of, "name": name, "error": error}
            ),
        )
        return _failed(made.failures, "could not be prepared")

    def style(self, tell: Tell) -> Sequence[str]:
        """Makes PET-like MRIs."""
        from mri2pet.style.run import run_stylize
        from mri2pet.style.transfer import StyleOptions

        style = self.config.style
        assert style is not None
        made = run_stylize(
            self.data(self.config.cohort),
            self.out / STYLED,
            preset=self.config.preset,
            settings=self.model_settings(),
            weights=style.vgg_weights,
            random=style.random_vgg,
            options=StyleOptions(steps=style.steps),
            split=None,
            registration=self.config.cohort.registration,
            reference=self.config.cohort.reference,
            jobs=self.config.jobs,
            ray=self.config.ray,
            device=self.config.device,
            on_event=tell,
        )
        return _failed(made.failures, "could not be made PET-like")

    def train(self, name: str, stage: str, tell: Tell) -> Sequence[str]:
        """Trains a method in one stage."""
        from mri2pet.training import train

        method, more = self.method(name), [f"training.stage={stage}"]
        if stage == "finetune":
            more += method.finetune
        if stage == "pretrain" and method.is_styled:
            style = self.config.style
            stylized = style.stylized if style and style.stylized else self.out / STYLED
            more.append(f"data.stylized={json.dumps(str(stylized))}")
        if stage == "finetune" and method.pretrained is not None:
            start = self.run_folder(method.pretrained, "pretrain")
            more.append(f"training.init={json.dumps(str(start))}")
        train(
            self.run_folder(name, stage),
            data=self.data(self.config.cohort),
            preset=self.config.preset,
            settings=[
                *self.model_settings(method),
                *self.length(method, stage),
                *more,
                f"data.jobs={self.config.jobs}",
            ],
            device=self.config.device,
            on_event=tell,
        )
        return ()

    @property
    def sampling(self) -> Sampling:
        """How PETs are drawn."""
        of = self.config.evaluate
        return Sampling(of.samples, of.sampler, of.steps, of.seed)

    def samples_of(self, name: str) -> int:
        """PETs that are drawn of each MRI: one by a GAN, whose PETs of an MRI are all alike."""
        elsewhere = {m.name for m in self.config.methods if isinstance(m, TrainedElsewhere)}
        alike = name not in elsewhere and self.method(name).is_gan
        return 1 if alike else self.config.evaluate.samples

    def evaluate(self, name: str, tell: Tell) -> Sequence[str]:
        """Evaluates a method."""
        of, cohort = self.config.evaluate, self.config.evaluated
        elsewhere = cohort is not self.config.cohort
        features = None
        if (inception := of.inception) is not None:
            features = FeatureOptions(
                inception.weights,
                inception.sha256,
                random=inception.random,
                every=inception.every,
            )
        made = evaluate(
            self.model(name),
            data=self.data(cohort),
            out=self.evaluation(name),
            split="all" if elsewhere else of.split,
            sampling=replace(self.sampling, samples=self.samples_of(name)),
            registration=cohort.registration,
            reference=self.drawn_reference,
            training_data=self.data(self.config.cohort) if elsewhere else None,
            training_registration=self.config.cohort.registration,
            limit=of.limit,
            jobs=self.config.jobs,
            device=self.config.device,
            features=features,
            as_paper=of.as_paper,
            on_event=tell,
        )
        return _failed(made.failures, f"could not be evaluated for {name}")

    @property
    def drawn_reference(self) -> str:
        """The reference region that PETs are compared by; models of minmax draw SUVR too."""
        reference = self.config.cohort.reference
        return "cerebellum" if reference == "minmax" else reference

    def calibrate(self, tell: Tell) -> Sequence[str]:
        """Makes intervals of the first method's spread."""
        from mri2pet.uncertainty.calibrate import calibrate

        made = calibrate(
            self.model(self.config.method_names[0]),
            data=self.data(self.config.cohort),
            out=self.out / "calibration",
            sampling=self.sampling,
            registration=self.config.cohort.registration,
            reference=self.drawn_reference,
            jobs=self.config.jobs,
            device=self.config.device,
            on_event=tell,
        )
        return _failed(made.failures, "could not be drawn for the calibration")

    def uncertainty(self, tell: Tell) -> Sequence[str]:
        """How sure the first method is, and how right: for the people evaluated."""
        from mri2pet.quantification import Quantification
        from mri2pet.uncertainty.evaluated import write_uncertainty

        first = self.config.method_names[0]
        wanted = self.config.uncertainty
        threshold = None if wanted is None else wanted.threshold
        named = None if threshold is None else f"{threshold.name}={threshold.suvr}"
        write_uncertainty(
            self.evaluation(first),
            self.model(first),
            training_data=self.data(self.config.cohort),
            training_registration=self.config.cohort.registration,
            reference=self.drawn_reference,
            what=Quantification.asked(threshold=named),
        )
        for ending, folder in (("md", "tables"), ("tsv", "tables"), ("png", "figures")):
            source = self.evaluation(first) / f"uncertainty.{ending}"
            with written_whole(self.out / folder / source.name) as part:
                shutil.copyfile(source, part)
        return ()

    def table1(self, tell: Tell) -> Sequence[str]:
        """All methods that are evaluated, in one table."""
        made = self.evaluated_methods()
        outs = [self.evaluation(name) for name in made]
        compare(outs, self.out / "tables" / "table1", paper=self.config.evaluate.as_paper)
        missing = [name for name in self.config.method_names if name not in made]
        return [f"Table 1 lacks {', '.join(missing)}."] if missing else []

    def evaluated_methods(self) -> list[str]:
        """Methods whose evaluation is there.

        Raises:
            InputError: none is.
        """
        names = self.config.method_names
        made = [name for name in names if (self.evaluation(name) / "metrics.tsv").is_file()]
        if not made:
            raise InputError(f"{self.out}: not one method is evaluated; see failures.tsv.")
        return made

    def tables45(self, tell: Tell) -> Sequence[str]:
        """Who is in the cohorts."""
        cohorts = [self.data(self.config.cohort)]
        if self.config.test_cohort is not None:
            cohorts.append(self.data(self.config.test_cohort))
        for stale in (self.out / "tables").glob("table5*"):  # of one cohort, where there are two
            stale.unlink()
        cohort_tables(cohorts, self.out / "tables")
        return ()

    def figure(self, kind: str, tell: Tell) -> Sequence[str]:
        """One of the paper's figures; a sentence where nobody can be shown."""
        figures = self.config.figures
        assert figures is not None
        draw: Callable[..., Any] = {
            "grid": draw_grid,
            "cases": draw_cases,
            "longitudinal": draw_longitudinal,
            "decay": draw_decay,
        }[kind]
        wanted = getattr(figures, kind)
        options = {"people": wanted.people} if hasattr(wanted, "people") else {}
        outs = [self.evaluation(name) for name in self.evaluated_methods()]
        path = self.out / "figures" / f"{kind}.png"
        try:
            made = draw(
                self.data(self.config.evaluated), outs if kind == "grid" else outs[:1], path,
                **options,
            )  # fmt: skip
        except NobodyToShowError as reason:
            for stale in (path, path.with_suffix(".tsv")):
                stale.unlink(missing_ok=True)
            return [str(reason).replace(f"{self.out}/", "")]
        return [made.text]


def _failed(failures: dict[str, str], what: str) -> list[str]:
    if not failures:
        return []
    name, why = next(iter(failures.items()))
    return [f"{counted(len(failures), 'scan')} {what}, such as {name}: {why}"]
