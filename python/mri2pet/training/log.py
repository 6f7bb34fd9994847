"""The run's diary: one JSON object a line, and a figure of the losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOG, FIGURE = "log.jsonl", "losses.png"
#: What a record of a step holds beside the terms of its losses.
NO_TERMS = {"volumes", "of", "lr", "volumes_per_second"}


def append(run: Path, record: dict[str, Any]) -> None:
    """Adds one line."""
    with (run / LOG).open("a") as file:
        file.write(json.dumps(record) + "\n")


def read(run: Path) -> list[dict[str, Any]]:
    """All whole lines; a last line that a kill cut short is left out."""
    if not (run / LOG).exists():
        return []
    records = []
    for line in (run / LOG).read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def forget_after(run: Path, volumes: int) -> None:
    """Drops what was logged after the checkpoint that a resumed run goes on from."""
    kept = [r for r in read(run) if r["volumes"] <= volumes]
    part = run / f".{LOG}.part"
    part.write_text("".join(json.dumps(r) + "\n" for r in kept))
    part.replace(run / LOG)


class Board:
    """The same numbers for TensorBoard, in `tensorboard/`, where it is installed."""

    def __init__(self, run: Path, wanted: bool = True) -> None:
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(run / "tensorboard"))

    def add(self, record: dict[str, Any]) -> None:
        """One curve a key, over volumes."""
        if self._writer is None:
            return
        for key, value in record.items():
            if key not in ("volumes", "of"):
                self._writer.add_scalar(key, value, record["volumes"])
        self._writer.flush()


def plot(run: Path) -> None:
    """Draws the losses with their terms, and the validation loss, against volumes seen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read(run)
    steps = [r for r in records if "loss" in r]
    if not steps:
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = {key: None for record in steps for key in record if key not in NO_TERMS}
    lowest = 0.0
    for key in (key for key in drawn if not key.endswith("grad_norm")):
        values = {r["volumes"]: r[key] for r in steps if key in r}
        axes.plot(*_curve(values), lw=0.8, label=key.replace("_", " "))
        lowest = min(lowest, *values.values())
    checks = {r["volumes"]: r["val_loss"] for r in records if "val_loss" in r}
    label = "validation loss (moving average)"
    axes.plot(*_curve(checks), "ko-", ms=3, lw=1, label=label)
    axes.set(xlabel="training volumes", ylabel="loss", yscale="symlog" if lowest < 0 else "log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    part = run / f".part-{FIGURE}"
    figure.savefig(part, dpi=130)
    part.replace(run / FIGURE)


def _curve(values: dict[int, float]) -> tuple[list[int], list[float]]:
    return list(values), list(values.values())
