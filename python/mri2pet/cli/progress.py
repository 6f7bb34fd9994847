"""Progress bars on a terminal; plain lines, one per subject, elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from mri2pet.synthesis.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from mri2pet.synthesis.result import SynthesisResult


@contextmanager
def watch(*, quiet: bool) -> Iterator[Observer]:
    """An observer that suits where the output goes: bars, lines, or errors alone."""
    if quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield Lines(quiet=quiet)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress)


class Lines(Observer):
    """One line per finished subject on stdout; failures on stderr, quiet or not."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet

    def note(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def subject_finished(self, result: SynthesisResult) -> None:
        if result.status == "failed":
            print(f"mri2pet: error: {one_line(result)}", file=sys.stderr, flush=True)
        elif not self.quiet:
            print(one_line(result), flush=True)


class Bars(Observer):
    """A bar over the subjects and one over the sampler's steps, with the time left."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.subjects: TaskID | None = None
        self.work: TaskID | None = None

    def run_started(self, subjects: int) -> None:
        if subjects > 1:
            self.subjects = self.progress.add_task("subjects", total=subjects)
        self.work = self.progress.add_task("loading the model", total=None)

    def subject_started(self, label: str) -> None:
        if self.subjects is not None:
            from rich.markup import escape

            self.progress.update(self.subjects, description=f"subjects · {escape(label)}")

    def note(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stage(self, name: str, seconds: float | None) -> None:
        if seconds is None and self.work is not None:
            self.progress.remove_task(self.work)
            self.work = self.progress.add_task(name, total=None)

    def sampling_step(self, done: int, total: int) -> None:
        if self.work is not None:
            self.progress.update(self.work, total=total, completed=done)

    def subject_finished(self, result: SynthesisResult) -> None:
        from rich.text import Text

        mark = Text("✗ ", "red") if result.status == "failed" else Text("✓ ", "green")
        self.progress.console.print(mark + Text(one_line(result)), soft_wrap=True)
        if self.subjects is not None:
            self.progress.advance(self.subjects)


_TITLES = {
    "prepare": "preparing scans",
    "crossfit": "training models without a fold",
    "pet: measured": "reading PETs",
    "pet: drawn": "drawing PETs",
    "pet: mean": "warping the mean PET",
}


def work_bars(*more: ProgressColumn, quiet: bool, transient: bool = False) -> Progress:
    """Bars on stderr with counts and the time left, on a terminal that is not to be quiet.

    Args:
        more: columns behind them.
        transient: they disappear at the end.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *more,
        console=console,
        transient=transient,
        disable=quiet or not console.is_terminal,
    )


class CohortBars:
    """The work on a cohort: bars with an estimate on a terminal; failures alone elsewhere.

    `title` names what is done with the scans once they are prepared.
    """

    def __init__(self, title: str, *, quiet: bool) -> None:
        self.title, self.quiet = title, quiet
        self.progress = work_bars(quiet=quiet)
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> CohortBars:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        """A line on the cohort (`note`); so many scans, PETs or networks are done (other kinds)."""
        if kind == "note":
            if not self.quiet:
                self._say(facts["text"])
            return
        if kind not in self.tasks:
            title = _TITLES.get(kind, self.title)
            self.tasks[kind] = self.progress.add_task(title, total=facts["of"])
        self.progress.update(self.tasks[kind], completed=facts["done"])
        if facts["error"]:
            self._say(f"{facts['name']}: {facts['error']}")

    def _say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


class ImportBar:
    """The work of an import: images indexed, images made, with an estimate on a terminal."""

    _TITLES: ClassVar = {"index": "images found", "convert": "images made"}

    def __init__(self, *, quiet: bool) -> None:
        self._bars = CohortBars("", quiet=quiet)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ImportBar:
        self._bars.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.__exit__(*error)

    def update(self, what: str, done: int, total: int) -> None:
        """`done` of `total`, 0 where that is not known."""
        progress = self._bars.progress
        if what not in self._tasks:
            self._tasks[what] = progress.add_task(self._TITLES[what], total=None)
        progress.update(self._tasks[what], completed=done, total=total or None)


def one_line(result: SynthesisResult) -> str:
    """What there is to know of a finished subject."""
    if result.status == "failed":
        reason = result.reason
        return reason if result.label in reason else f"{result.label}: {reason}"
    cortical = result.sidecar["measurements"]["cortical_suvr"]
    where = result.paths.folder if result.paths is not None else "in memory"
    if result.status == "skipped":
        return f"{result.label}: already done, skipped ({where})"
    seconds = sum(result.sidecar["seconds"].values())
    return (
        f"{result.label}: cortical SUVR {cortical['mean']:.3f}, "
        f"{_uncertainty(cortical, result.sidecar['measurements']['uncertainty'])}"
        f"{seconds:.0f} s, results in {where}"
    )


def _uncertainty(cortical: Mapping[str, Any], note: str) -> str:
    """The interval, or the raw spread and why it is no interval; nothing for a single sample."""
    if interval := cortical["interval"]:
        return f"{interval['low']:.3f} to {interval['high']:.3f} ({note}), "
    if cortical["sd_of_samples"] is None:
        return ""
    return f"SD of samples {cortical['sd_of_samples']:.3f} ({note}), "
