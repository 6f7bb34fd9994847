"""What a person sees of a run: bars on a terminal, lines elsewhere, errors when quiet."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from mri2pet.cli.progress import Bars, CohortBars, Lines, one_line, watch
from mri2pet.errors import InputError
from mri2pet.synthesis import SynthesisResult
from mri2pet.synthesis.outputs import OutputPaths


def result(
    status: str = "done", spread: float | None = 0.05, interval: dict[str, float] | None = None
) -> SynthesisResult:
    cortical = {"mean": 1.2344, "sd_of_samples": spread, "interval": interval}
    sidecar = {
        "measurements": {"cortical_suvr": cortical, "uncertainty": "as it is"},
        "seconds": {"read": 1.0, "sampling": 40.6},
    }
    paths = OutputPaths.of(Path("out"), "a[1]")
    return SynthesisResult("a[1].nii", status, sidecar=sidecar, paths=paths)  # type: ignore[arg-type]


def failure() -> SynthesisResult:
    return SynthesisResult("a.nii", "failed", error=InputError("a.nii: it is empty"))


def test_one_line_says_what_came_out_and_where() -> None:
    begin, end = "a[1].nii: cortical SUVR 1.234, ", "42 s, results in out/a[1]"
    assert one_line(result()) == f"{begin}SD of samples 0.050 (as it is), {end}"
    assert one_line(result(spread=None)) == begin + end
    interval = {"low": 0.9512, "high": 1.5}
    assert one_line(result(interval=interval)) == f"{begin}0.951 to 1.500 (as it is), {end}"
    assert one_line(result("skipped")) == "a[1].nii: already done, skipped (out/a[1])"


def test_one_line_names_the_file_of_a_failure_once() -> None:
    assert one_line(failure()) == "a.nii: it is empty"
    bare = SynthesisResult("a.nii", "failed", error=ValueError("odd"))
    assert one_line(bare) == "a.nii: internal error (ValueError): odd"


@pytest.mark.parametrize("quiet", [False, True])
def test_lines(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(quiet=quiet)
    lines.subject_finished(result())
    lines.subject_finished(failure())
    captured = capsys.readouterr()
    assert captured.out == ("" if quiet else one_line(result()) + "\n")
    assert captured.err == "mri2pet: error: a.nii: it is empty\n"


def test_bars_follow_a_run() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with Progress(console=console, auto_refresh=False) as progress:
        bars = Bars(progress)
        bars.run_started(2)
        bars.subject_started("a[1].nii")
        bars.stage("registration", None)
        assert progress.tasks[-1].description == "registration"
        assert progress.tasks[-1].total is None
        bars.stage("registration", 4.0)
        bars.stage("sampling", None)
        bars.sampling_step(3, 8)
        assert (progress.tasks[-1].completed, progress.tasks[-1].total) == (3, 8)
        bars.stage("way back", None)
        assert (progress.tasks[-1].completed, progress.tasks[-1].total) == (0, None)
        bars.subject_finished(result())
        bars.subject_finished(failure())
        assert (progress.tasks[0].completed, progress.tasks[0].total) == (2, 2)
        progress.refresh()
    shown = screen.getvalue()
    assert "subjects · a[1].nii" in shown
    assert "✓ " + one_line(result()) in shown
    assert "✗ a.nii: it is empty" in shown


@pytest.mark.parametrize(
    ("terminals", "quiet", "kind"),
    [((True, True), False, Bars), ((True, True), True, Lines), ((False, True), False, Lines)],
)
def test_bars_only_on_a_terminal(
    terminals: tuple[bool, bool], quiet: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, is_terminal in zip(("stdout", "stderr"), terminals, strict=True):
        stream = io.StringIO()
        stream.isatty = lambda answer=is_terminal: answer  # type: ignore[method-assign]
        monkeypatch.setattr(sys, name, stream)
    with watch(quiet=quiet) as observer:
        assert isinstance(observer, kind)


@pytest.mark.parametrize("quiet", [False, True])
def test_the_bars_of_a_cohort_count_and_tell_failures(
    quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with CohortBars("evaluating", quiet=quiet) as bars:
        bars.event("prepare", {"name": "sub-[b]1", "done": 1, "of": 3, "error": None})
        bars.event("prepare", {"name": "sub-[b]2", "done": 2, "of": 3, "error": "it is empty"})
        bars.event("evaluate", {"name": "sub-[b]1", "done": 1, "of": 2, "error": None})
        bars.event("note", {"text": "taken: [2] T1s"})
        tasks = [(t.description, t.completed, t.total) for t in bars.progress.tasks]
    assert tasks == [("preparing scans", 2, 3), ("evaluating", 1, 2)]
    note = "" if quiet else "taken: [2] T1s\n"
    assert capsys.readouterr().err == f"sub-[b]2: it is empty\n{note}"
