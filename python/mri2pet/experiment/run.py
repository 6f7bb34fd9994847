"""Runs the steps of an experiment that are not done, and says how far it is."""

from __future__ import annotations

import errno
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.experiment.config import ExperimentConfig
from mri2pet.experiment.estimate import in_words
from mri2pet.experiment.plan import plan, steps_needed
from mri2pet.experiment.steps import (
    BEGUN,
    DONE,
    Marker,
    Step,
    hashes,
    is_done,
    move_aside,
    read_marker,
    write_marker,
)
from mri2pet.files import is_leftover, written_whole
from mri2pet.tables import write_tsv

EXPERIMENT = "experiment.json"
LOCK = ".lock"
FAILURES = "failures.tsv"
OnEvent = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Result:
    """What became of an experiment.

    Attributes:
        page: of all that is there, None where it was not asked for.
        failures: step → why it failed, or could not begin.
    """

    out: Path
    page: Path | None
    failures: dict[str, str]


@dataclass(frozen=True)
class StepState:
    """One line of a plan: what the step would do now.

    `state`: done, running, begun, open, stale (done or begun with other inputs) or missing.
    """

    step: Step
    state: str
    seconds: float


def run_experiment(
    config: ExperimentConfig,
    *,
    only: Sequence[str] = (),
    replace: bool = False,
    on_event: OnEvent | None = None,
) -> Result:
    """Makes all that is not done yet; the same call goes on where it was stopped.

    A step that fails keeps those from being made that need it; all others are.

    Args:
        only: these steps or kinds of steps, and what they need.
        replace: move aside what was made with other settings; it is refused otherwise.
        on_event: called as ("begin", "done", "failed" or "left out", facts: step, number, of,
            seconds or why), and as the library calls it while a step works.

    Raises:
        UsageError: the folder is another experiment's or holds steps of other settings; `only`
            names no step.
        Mri2petError: another process is at it; the disk is full.
    """
    out, notify = config.out, on_event or (lambda kind, facts: None)
    with _claimed(config):
        steps = plan(config)
        chosen = steps_needed(steps, only) if only else steps
        _refuse_stale(out, steps, chosen, replace)
        # Not before: a run that is refused must not change what says how the results were made.
        with written_whole(out / EXPERIMENT) as part:
            part.write_text(config.model_dump_json(indent=1) + "\n")
        failures: dict[str, str] = {}
        for number, step in enumerate(chosen, start=1):
            facts: dict[str, Any] = {"step": step.name, "number": number, "of": len(chosen)}
            why = _why_not(step, failures)
            if why is not None:
                failures[step.name] = why
                notify("left out", {**facts, "why": why})
                _write_failures(out, failures)
                continue
            wanted = hashes(steps, partial(is_done, out))[step.name]
            if is_done(out, step.name, wanted):
                continue
            notify("begin", facts)
            error = _make(out, step, wanted, notify)
            if error is None:
                marker = read_marker(out, step.name)
                notify("done", {**facts, "seconds": marker.seconds if marker else 0.0})
            else:
                failures[step.name] = error
                notify("failed", {**facts, "why": error})
            _write_failures(out, failures)
        _write_failures(out, failures)
    page = out / "index.html"
    return Result(out, page if page.is_file() else None, failures)


def states(config: ExperimentConfig, only: Sequence[str] = ()) -> list[StepState]:
    """The plan of an experiment, and how far each step is; changes nothing.

    `only`: as of `run_experiment`.
    """
    steps = plan(config)
    out = config.out
    wanted = hashes(steps, partial(is_done, out))
    running = _running(out)
    found = []
    for step in steps_needed(steps, only) if only else steps:
        marker = read_marker(out, step.name)
        if step.why_not is not None:
            state = "not available"
        elif marker is None:
            state = "open"
        elif marker.hash != wanted[step.name]:
            state = "open" if step.derived else "stale"
        elif marker.done:
            state = "done"
        else:
            state = "running" if running else "begun"
        took = marker.seconds if marker is not None and state == "done" else step.seconds
        found.append(StepState(step, state, took))
    return found


def plan_text(found: Sequence[StepState]) -> str:
    """A plan as a table, with times and what is left."""
    width = max(len(of.step.name) for of in found)
    lines = [f"{'step':<{width}}  {'state':<13}  {'time':>8}  needs"]
    for of in found:
        needs = ", ".join(of.step.needs) or "–"
        lines.append(f"{of.step.name:<{width}}  {of.state:<13}  {in_words(of.seconds):>8}  {needs}")
    done = [of for of in found if of.state == "done"]
    left = [of for of in found if of.state not in ("done", "not available")]
    lines.append(
        f"{len(done)} of {len(found)} steps are done; the others take about "
        f"{in_words(sum(of.seconds for of in left))} on this machine (times of steps that are not "
        "done are estimates)."
    )
    return "\n".join(lines)


def _make(out: Path, step: Step, wanted: str, notify: OnEvent) -> str | None:
    """Does a step; returns why it failed."""
    before = read_marker(out, step.name)
    spent = before.seconds if before is not None and before.hash == wanted else 0.0
    start = time.monotonic()
    write_marker(out, step.name, Marker(wanted, BEGUN, spent))
    try:
        notes = step.run(notify)
    except Mri2petError as error:
        _raise_what_ends_all(error)
        return " ".join(str(error).split())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # one step's surprise must not end the others
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    spent += time.monotonic() - start
    write_marker(out, step.name, Marker(wanted, DONE, spent, tuple(notes)))
    return None


def _raise_what_ends_all(error: Mri2petError) -> None:
    """A full disk, where all other steps would fail alike, and being told to stop."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            raise cause
        cause = cause.__cause__ or cause.__context__
    if getattr(error, "exit_code", 1) >= 128:  # told to stop
        raise error


def _why_not(step: Step, failures: dict[str, str]) -> str | None:
    if step.why_not is not None:
        return f"not available: {step.why_not}"
    missing = [name for name in step.needs if name in failures]
    return f"needs {missing[0]}, which is not there" if missing else None


def _refuse_stale(out: Path, steps: Sequence[Step], chosen: Sequence[Step], replace: bool) -> None:
    wanted = hashes(steps, partial(is_done, out))
    stale = []
    for step in chosen:
        marker = read_marker(out, step.name)
        if marker is not None and marker.hash != wanted[step.name] and not step.derived:
            stale.append((step, marker))
    if stale and not replace:
        names = ", ".join(step.name for step, _ in stale)
        raise UsageError(
            f"{out}: holds steps that were made with other settings ({names}); give --replace to "
            "move them aside and make them anew, or another --out"
        )
    for step, marker in stale:
        move_aside(out, step, marker)


@contextmanager
def _claimed(config: ExperimentConfig) -> Iterator[None]:
    """The folder is this experiment's or empty, and no other process is at it."""
    out = config.out
    try:
        _refuse_other(config)
        out.mkdir(parents=True, exist_ok=True)
        with (out / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Mri2petError(
                    f"{out}: another process is at this experiment; let it come to its end."
                ) from None
            yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error


def _refuse_other(config: ExperimentConfig) -> None:
    """What an end before the first step left, the lock or a part of a file, is nothing."""
    out, path = config.out, config.out / EXPERIMENT
    if path.is_file():
        try:
            found = json.loads(path.read_text())["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}); give another --out.") from None
        if found != config.name:
            raise UsageError(
                f"{out}: holds the experiment {found}, not {config.name}; give another --out"
            )
    elif out.exists() and (
        not out.is_dir() or any(p.name != LOCK and not is_leftover(p) for p in out.iterdir())
    ):
        raise UsageError(f"{out}: is not empty and holds no experiment; give another --out")


def _running(out: Path) -> bool:
    try:
        with (out / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _write_failures(out: Path, failures: dict[str, str]) -> None:
    rows = [{"step": name, "error": why} for name, why in failures.items()]
    write_tsv(out / FAILURES, ("step", "error"), rows)
