"""What became of training runs: a table from their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mri2pet.config import Config
from mri2pet.errors import InputError
from mri2pet.training import log
from mri2pet.training.folder import CONFIG, stored_config


@dataclass(frozen=True)
class RunSummary:
    """One run as its folder shows it; None where nothing was logged yet.

    Attributes:
        volumes, of: seen, and planned.
        loss: mean over the last ten logged updates.
        val_loss, best_val_loss, best_at: the last one, the least one, and after how many volumes.
        written: when the log was last written.
    """

    path: Path
    config: Config
    volumes: int
    of: int | None
    loss: float | None
    val_loss: float | None
    best_val_loss: float | None
    best_at: int | None
    volumes_per_second: float | None
    written: datetime | None

    @property
    def finished(self) -> bool:
        return self.of is not None and self.volumes >= self.of


def summarise_run(path: Path | str) -> RunSummary:
    """Reads a run folder.

    Raises:
        InputError: it is no run folder.
        ModelError: its configuration was cut or changed.
    """
    path = Path(path)
    config = stored_config(path)
    if config is None:
        raise InputError(f"{path}: is no run of mri2pet train (no {CONFIG} in it).")
    records = log.read(path)
    steps = [r for r in records if "loss" in r]
    checks = [r for r in records if "val_loss" in r]
    best = min(checks, key=lambda r: r["val_loss"], default=None)
    last = steps[-1] if steps else {}
    recent = [r["loss"] for r in steps[-10:]]
    diary = path / log.LOG
    return RunSummary(
        path,
        config,
        volumes=max((r["volumes"] for r in records), default=0),
        of=last.get("of"),
        loss=sum(recent) / len(recent) if recent else None,
        val_loss=checks[-1]["val_loss"] if checks else None,
        best_val_loss=best["val_loss"] if best else None,
        best_at=best["volumes"] if best else None,
        volumes_per_second=last.get("volumes_per_second"),
        written=datetime.fromtimestamp(diary.stat().st_mtime) if diary.exists() else None,
    )


def table(runs: Sequence[RunSummary]) -> str:
    """The runs as aligned lines of text."""
    head = ("run", "stage", "volumes", "loss", "val loss", "least", "volumes/s", "last written")
    lines = [head, *(_cells(run) for run in runs)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(run: RunSummary) -> tuple[str, ...]:
    training = run.config.training
    stage: str = training.stage
    stage += "".join(
        f", {name}" for name in (training.baseline, training.ablation) if name != "none"
    )
    done = f"{run.volumes:,}"
    if run.of is not None:
        done += ", finished" if run.finished else f" of {run.of:,}"
    least = "" if run.best_at is None else f"{run.best_val_loss:.4f} at {run.best_at:,}"
    return (
        str(run.path),
        stage,
        done,
        _number(run.loss, 4),
        _number(run.val_loss, 4),
        least,
        _number(run.volumes_per_second, 2),
        "" if run.written is None else run.written.strftime("%Y-%m-%d %H:%M"),
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
