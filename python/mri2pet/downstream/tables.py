"""The paper's Tables 2 and 3 as they should be, as its authors compute them, and as printed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.downstream.plan import Plan
from mri2pet.downstream.runs import AS_PAPER, HOUSE, Run
from mri2pet.downstream.scores import HIGH_IS_BETTER
from mri2pet.downstream.settings import CONTROL, REFERENCE, Setting
from mri2pet.downstream.statistics import Scored, difference, differences, score_setting
from mri2pet.evaluation.hypothesis import stars, welch
from mri2pet.evaluation.intervals import RESAMPLES
from mri2pet.evaluation.layout import Cell, Column, Row, Table
from mri2pet.evaluation.printed import printed_cells
from mri2pet.evaluation.significance import Difference
from mri2pet.evaluation.table1 import star
from mri2pet.tables import write_tsv

METRICS = {
    "table2": (
        Column("accuracy", "Accuracy", 3, "high"),
        Column("f1", "F1", 3, "high"),
        Column("balanced_accuracy", "Balanced accuracy", 3, "high"),
        Column("auroc", "AUROC", 3, "high"),
    ),
    "table3": (
        Column("mse", "MSE", 3, "low"),
        Column("mae", "MAE", 3, "low"),
        Column("r2", "R²", 3, "high"),
        Column("pearson", "Pearson r", 3, "high"),
    ),
}
AUGMENTED = "augmented-paired"

Records = dict[str, dict[str, list[dict[str, Any]]]]
"""Mode → setting → results, one of each seed."""


@dataclass(frozen=True)
class Tables:
    """What was found.

    Attributes:
        table: to print.
        tests: differences between its rows.
        scored: mode → setting → score.
    """

    table: Table
    tests: list[Difference]
    scored: dict[str, dict[str, dict[str, Scored]]]


def collect(runs: Sequence[Run]) -> Records:
    """The results of all runs.

    Raises:
        KeyError: one is missing.
    """
    found: Records = {}
    for run in runs:
        record = run.result()
        if record is None:
            raise KeyError(f"{run.setting.key} seed {run.seed}")
        found.setdefault(run.mode, {}).setdefault(run.setting.key, []).append(record)
    return found


def make_tables(plan: Plan, records: Records) -> Tables:
    """The table with its notes, and the tests; a setting whose drawn people the model has seen
    is marked as such."""
    scored = {
        mode: {key: score_setting(of) for key, of in settings.items()}
        for mode, settings in records.items()
    }
    titles = {setting.key: _title(plan, setting) for setting in plan.settings}
    columns = METRICS[plan.task.table]
    tests = differences(scored[HOUSE], [column.key for column in columns], titles)
    cells = {
        titles[key]: {
            name: Cell(s.estimate.value, s.estimate.low, s.estimate.high)
            for name, s in of.items()
            if name in [column.key for column in columns]
        }
        for key, of in scored[HOUSE].items()
    }
    star(cells, tests, titles.get(REFERENCE, ""))
    of_paper = plan.task.key != "binary"
    for setting in plan.settings:
        own = cells[titles[setting.key]]
        if AS_PAPER in scored:
            own.update(_as_paper(scored[AS_PAPER], setting, [c.key for c in columns]))
        if of_paper:
            own.update(printed_cells(plan.task.table, setting.title))
    rows, ruled = [], False
    for setting in plan.settings:
        rows.append(
            Row(
                titles[setting.key], cells[titles[setting.key]], ruled=setting.control and not ruled
            )
        )
        ruled = ruled or setting.control
    table = Table(
        _heading(plan),
        _columns(columns, cells),
        rows,
        _notes(plan, scored, any(test.stars for test in tests)),
    )
    return Tables(table, tests, scored)


def _title(plan: Plan, setting: Setting) -> str:
    """As the paper prints it; with a mark where the model has seen those it drew."""
    if plan.generator is None or not setting.drawn:
        return setting.title
    seen, drawn = plan.generator.seen_among(plan.groups[HOUSE].training_set(setting))
    if not seen:
        return setting.title
    who = "these people" if seen == drawn else f"{seen} of these {drawn} people"
    return f"{setting.title} (generator saw {who})"


def _as_paper(
    scored: dict[str, dict[str, Scored]], setting: Setting, metrics: list[str]
) -> dict[str, Cell]:
    """Mean over seeds ± SD / √n, with the stars of Welch's test against Real Paired."""
    found = {}
    for metric in metrics:
        own = scored[setting.key][metric]
        seeds, printed = len(own.of_seeds), own.as_paper
        marked, better = "", None
        if REFERENCE in scored and setting.key != REFERENCE and seeds > 1:
            other = scored[REFERENCE][metric]
            against, n = other.as_paper, len(other.of_seeds)
            if n > 1:
                p = welch(printed.mean, printed.plus_minus, seeds, *_of(against), n).p
                marked = stars(p)
                better = (printed.mean > against.mean) is HIGH_IS_BETTER[metric]
        found[f"as_paper.{metric}"] = Cell(
            printed.mean,
            plus_minus=printed.plus_minus if seeds > 1 else math.nan,
            stars=marked,
            better=better if marked else None,
        )
    return found


def _of(printed: Any) -> tuple[float, float]:
    return printed.mean, printed.plus_minus


def _columns(columns: Sequence[Column], cells: dict[str, dict[str, Cell]]) -> list[Column]:
    """Those that some row has: house, as in the paper, the paper's own."""
    kinds = (("as_paper.", "as in the paper"), ("paper.", "the paper's own"))
    found = list(columns)
    for prefix, words in kinds:
        for column in columns:
            key = prefix + column.key
            if any(key in of for of in cells.values()):
                found.append(Column(key, f"{column.heading}, {words}", column.digits))
    return found


def _heading(plan: Plan) -> str:
    return {
        "diagnosis": "CN, MCI or AD, told from measured and synthetic images",
        "binary": "AD or not, told from measured and synthetic images",
        "mmse": "MMSE from measured and synthetic images",
    }[plan.task.key]


def _notes(plan: Plan, scored: dict[str, Any], starred: bool) -> list[str]:
    groups, options = plan.groups[HOUSE], plan.options
    count = len({row.subject for row in groups.test})
    seeds = "1 seed" if options.seeds == 1 else f"{options.seeds} seeds"
    notes = [
        f"{len(groups.test)} scans of {count} people of the test split; "
        f"{len(groups.pairs)} labelled MRI-PET pairs and {len(groups.alone)} labelled MRIs alone "
        f"train. Mean over {seeds}. In brackets: 95 % interval, percentile, "
        f"{RESAMPLES:,} draws of people and seeds. Bold: the best, and all in its interval.",
        *groups.notes,
    ]
    if starred:
        notes.append(
            "*, **, ***: p < 0.05, 0.01, 0.001 of the difference to Real Paired on the same draws, "
            "adjusted by Holm within the column; ▲ better, ▼ worse than that row."
        )
    notes += _gain(scored[HOUSE], "auroc" if plan.task.classes else "pearson")
    notes += _generator_notes(plan)
    if any(setting.permuted for setting in plan.settings):
        chance = "AUROC should be about 0.5" if plan.task.classes else "r should be about 0"
        notes.append(
            "Labels permuted: each seed gives everybody who trains the label of a person "
            f"drawn at random, so {chance}; an interval far from that tells of a leak."
        )
    if options.fit.class_weights != "none":
        notes.append("Classes weigh alike in the loss, by their shares in each training part.")
    there = {groups.labels[row.name] for row in groups.test}
    lacking = [name for place, name in enumerate(plan.task.classes) if place not in there]
    if lacking:
        notes.append(f"Nobody of the test split is {' or '.join(lacking)}: left out of AUROC.")
    if AS_PAPER in scored:
        notes.append(
            "As in the paper: every PET by its own minimum and maximum, "
            + ("a person's last diagnosis, " if plan.task.classes else "")
            + "mean ± SD / √seeds, stars by Welch's test against Real Paired. That tests the "
            "average seed on these people and is no valid test of settings (docs/downstream.md)."
        )
    return notes


def _gain(scored: dict[str, dict[str, Scored]], metric: str) -> list[str]:
    """What drawn PETs add beyond more MRIs: the row that answers the question."""
    if AUGMENTED not in scored or CONTROL not in scored:
        return []
    gap = difference(metric, scored[AUGMENTED][metric], scored[CONTROL][metric]).estimate
    name = {"auroc": "AUROC", "pearson": "Pearson r"}[metric]
    return [
        "Drawn PETs against the cohort-mean PET in their place (what they add beyond more MRIs): "
        f"{name} {gap.text(3)}."
    ]


def _generator_notes(plan: Plan) -> list[str]:
    """Who drew, and what is known of whom it has seen."""
    if plan.generator is None:
        return []
    main, sampling = plan.generator.main, plan.options.sampling
    notes = [
        f"Drawn by {main.network.name} ({main.sha256[:12]}), one PET a scan, {sampling.sampler}, "
        f"{sampling.steps} steps, seed {sampling.seed}.",
        *plan.notes,
    ]
    if plan.generator.folds:
        models = len({drawer.model for drawer in plan.generator.folds.values()})
        notes.append(
            f"Crossfit: {models} more models drew the people of the training and validation "
            "splits, each those that it was trained without."
        )
    if any(
        plan.generator.seen_among(plan.groups[HOUSE].training_set(setting))[0]
        for setting in plan.settings
    ):
        notes.append(
            "“Generator saw”: it was trained on these people, so that their drawn PETs show its "
            "memory; --crossfit draws them by models that were not."
        )
    return notes


def write_scores(path: Path, tables: Tables) -> None:
    """One line a mode, setting and score: the mean over seeds, its interval, both errors apart."""
    columns = (
        *("mode", "setting", "score", "mean", "low", "high"),
        *("se_of_seeds", "se_of_people", "sd_by_root_n", "seeds"),
    )
    write_tsv(path, columns, _score_lines(tables))


def _score_lines(tables: Tables) -> Iterator[dict[str, Any]]:
    for mode, settings in tables.scored.items():
        for key, scores in settings.items():
            for name, s in scores.items():
                yield {
                    "mode": mode,
                    "setting": key,
                    "score": name,
                    "mean": s.estimate.value,
                    "low": s.estimate.low,
                    "high": s.estimate.high,
                    "se_of_seeds": s.se_seeds,
                    "se_of_people": s.se_people,
                    "sd_by_root_n": s.as_paper.plus_minus,
                    "seeds": len(s.of_seeds),
                }


def write_predictions(path: Path, plan: Plan, records: Records) -> None:
    """One line a mode, setting, seed and test scan, from which everything can be computed again."""
    classes = [f"p_{name}" for name in plan.task.classes] or ["predicted"]
    columns = ("mode", "setting", "seed", "row", "subject", "truth", *classes)
    write_tsv(path, columns, _prediction_lines(records, classes))


def _prediction_lines(records: Records, columns: list[str]) -> Iterator[dict[str, Any]]:
    for mode, settings in records.items():
        for key, of_seeds in settings.items():
            for record in of_seeds:
                for row, subject, truth, predicted in zip(
                    *(record[k] for k in ("rows", "subjects", "truth", "predicted")), strict=True
                ):
                    values = predicted if record["classes"] else [predicted]
                    yield {
                        "mode": mode,
                        "setting": key,
                        "seed": record["seed"],
                        "row": row,
                        "subject": subject,
                        "truth": record["classes"][int(truth)] if record["classes"] else truth,
                        **dict(zip(columns, values, strict=True)),
                    }
