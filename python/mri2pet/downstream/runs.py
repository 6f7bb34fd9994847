"""Runs: one setting and seed each, one JSON file each, written last."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.downstream.covariates import predict_by_covariates
from mri2pet.downstream.scores import class_scores, confusion, number_scores, of_all
from mri2pet.downstream.settings import Setting, Task
from mri2pet.downstream.training import Fit, Learnt, Sample, divide, learn, predict
from mri2pet.files import written_whole

FORMAT = 1
HOUSE, AS_PAPER = "house", "as-paper"


@dataclass(frozen=True)
class Run:
    """A setting, a seed, and who trains and is tested.

    Attributes:
        out: the folder of the command.
        mode: `house`, or `as-paper` (PETs by min–max, the person's last diagnosis).
    """

    out: Path
    task: Task
    setting: Setting
    seed: int
    mode: str
    fit: Fit
    training: tuple[Sample, ...]
    test: tuple[Sample, ...]
    device: str = "cpu"

    @property
    def path(self) -> Path:
        """Of its result."""
        task = self.task.key if self.mode == HOUSE else f"{self.task.key}-{self.mode}"
        return self.out / "runs" / task / self.setting.key / f"seed-{self.seed}.json"

    @cached_property
    def data_sha256(self) -> str:
        """Of all that decides the result: scans, labels, files with their dates, and how."""
        tree = {
            "format": FORMAT,
            "fit": asdict(self.fit),
            "training": [_identity(s, self.setting) for s in self.training],
            "test": [_identity(s, self.setting) for s in self.test],
        }
        return hashlib.sha256(json.dumps(tree).encode()).hexdigest()

    def result(self) -> dict[str, Any] | None:
        """What is on the disk of these data; None for nothing."""
        try:
            record = json.loads(self.path.read_text())
            return record if record["data_sha256"] == self.data_sha256 else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _identity(sample: Sample, setting: Setting) -> list[Any]:
    files = {"mri": sample.mri, "pet": sample.pet}
    read = [files[name] for name in setting.inputs] + [sample.drawn]
    stats = [
        None if path is None else ["/".join(path.parts[-2:]), path.stat().st_mtime_ns]
        for path in read
    ]
    known = [] if setting.by_network else [sample.age, sample.sex]
    return [sample.name, sample.label, *stats, *known]


def do(run: Run) -> str:
    """Learns, predicts the test scans, and writes the result; returns the run's name."""
    start = time.perf_counter()
    predicted, facts = _predictions(run)
    record = {
        "format": FORMAT,
        "task": run.task.key,
        "mode": run.mode,
        "setting": run.setting.key,
        "seed": run.seed,
        "data_sha256": run.data_sha256,
        "classes": list(run.task.classes),
        "rows": [s.name for s in run.test],
        "subjects": [s.subject for s in run.test],
        "truth": [s.label for s in run.test],
        "predicted": predicted.tolist(),
        **facts,
        "scores": _scores(run, predicted),
        "seconds": time.perf_counter() - start,
    }
    if run.task.classes:
        record["confusion"] = confusion([int(s.label) for s in run.test], predicted)
    with written_whole(run.path) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    return f"{run.setting.key} seed {run.seed}"


def _predictions(run: Run) -> tuple[np.ndarray, dict[str, Any]]:
    """Of the test scans, and what is known of the training."""
    facts: dict[str, Any] = {"training": _counts(run.training, run.task)}
    if not run.setting.by_network:
        by_nothing = run.setting.key != "covariates"
        return predict_by_covariates(run.training, run.test, run.task, by_nothing), facts
    as_paper, inputs = run.mode == AS_PAPER, run.setting.inputs
    key = (run.seed, run.setting.key)
    learnt = learn(
        run.training, inputs, run.task, run.fit, key, as_paper=as_paper, device=run.device
    )
    options: dict[str, Any] = {"as_paper": as_paper, "device": run.device}
    predicted = predict(learnt.network, run.test, inputs, run.task, **options)
    if all(s.drawn for s in run.test):
        drawn = [_with_drawn(s) for s in run.test]
        of_drawn = predict(learnt.network, drawn, inputs, run.task, **options)
        facts["predicted_of_drawn"] = of_drawn.tolist()
    return predicted, {**facts, **_course(run, learnt)}


def _with_drawn(sample: Sample) -> Sample:
    return Sample(sample.name, sample.subject, sample.label, sample.mri, sample.drawn)


def _course(run: Run, learnt: Learnt) -> dict[str, Any]:
    part, held = divide(run.training, run.seed)
    return {
        "learnt_from": _counts(part, run.task),
        "held_out": _counts(held, run.task),
        "epochs": len(learnt.held_out_loss),
        "best_epoch": learnt.best_epoch,
        "held_out_loss": learnt.held_out_loss,
    }


def _counts(samples: Sequence[Sample], task: Task) -> dict[str, Any]:
    each = Counter(int(s.label) for s in samples)
    return {
        "scans": len(samples),
        "people": len({s.subject for s in samples}),
        **{name: each[place] for place, name in enumerate(task.classes)},
    }


def _scores(run: Run, predicted: np.ndarray) -> dict[str, float | None]:
    people = [s.subject for s in run.test]
    truth = [s.label for s in run.test]
    scores = (
        class_scores([int(label) for label in truth], predicted, people)
        if run.task.classes
        else number_scores(truth, predicted.tolist(), people)
    )
    found = of_all(scores, len(set(people)))
    return {name: value if np.isfinite(value) else None for name, value in found.items()}
