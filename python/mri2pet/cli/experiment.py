"""`mri2pet experiment`: a whole study from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mri2pet.cli.options import SOME_FAILED, Quiet

experiment = typer.Typer(help="Run a whole study from one file: tables, figures, one page.")

File = Annotated[
    str, typer.Argument(metavar="FILE.yaml|tiny|phantom|paper", help="The study, or a preset.")
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of the study, in place of the file's.")
]


@experiment.command("run")
def run(
    file: File,
    out: Out = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STEP", help="Only such steps and what they need; can be repeated."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Processes for the work on cohorts."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="local|ADDRESS", help="Cohorts on a Ray cluster.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move aside what was made with other settings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan with its times, and stop.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make all that is missing of a study; the same command goes on where it was stopped."""
    from mri2pet.experiment.reading import read_experiment
    from mri2pet.experiment.run import plan_text, run_experiment, states

    given = {"jobs": jobs, "ray": ray}
    config = read_experiment(file, out)
    config = config.model_copy(update={k: v for k, v in given.items() if v is not None})
    if dry_run:
        typer.echo(plan_text(states(config, only or ())))
        return
    if not quiet:
        typer.echo(plan_text(states(config, only or ())).splitlines()[-1])
    with _Told(quiet) as told:
        result = run_experiment(config, only=only or (), replace=replace, on_event=told.event)
    if result.page is not None:
        typer.echo(f"page: {result.page}")
    if result.failures:
        typer.echo(
            f"{len(result.failures)} steps are not there, see {result.out / 'failures.tsv'}",
            err=True,
        )
        raise typer.Exit(SOME_FAILED)


@experiment.command("status")
def status(file: File, out: Out = None) -> None:
    """Print which steps are done, and how long the others will take."""
    from mri2pet.experiment.reading import read_experiment
    from mri2pet.experiment.run import plan_text, states

    typer.echo(plan_text(states(read_experiment(file, out))))


@experiment.command("page")
def page(file: File, out: Out = None) -> None:
    """Write the page again, of what is there."""
    from mri2pet.errors import InputError
    from mri2pet.experiment.page import write_page
    from mri2pet.experiment.plan import plan
    from mri2pet.experiment.reading import read_experiment
    from mri2pet.experiment.run import EXPERIMENT
    from mri2pet.experiment.steps import done_steps

    config = read_experiment(file, out)
    if not (config.out / EXPERIMENT).is_file():
        raise InputError(f"{config.out}: holds no experiment; make it by mri2pet experiment run.")
    write_page(config, done_steps(config.out, plan(config)))
    typer.echo(f"page: {config.out / 'index.html'}")


class _Told:
    """A line for every step; on a terminal a bar within it."""

    def __init__(self, quiet: bool) -> None:
        from mri2pet.cli.progress import work_bars

        self.quiet = quiet
        self.progress = work_bars(quiet=quiet, transient=True)
        self.task: Any = None

    def __enter__(self) -> _Told:
        self.progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.progress.stop()

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        if "step" in facts:
            self._step(kind, facts)
        elif "of" in facts:
            done = facts.get("volumes", facts.get("done", 0))
            if self.task is None:
                self.task = self.progress.add_task(kind, total=facts["of"])
            self.progress.update(self.task, completed=done, total=facts["of"], description=kind)

    def _step(self, kind: str, facts: dict[str, Any]) -> None:
        from mri2pet.experiment.estimate import in_words

        if self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None
        if kind == "begin":
            return
        where = f"[{facts['number']}/{facts['of']}] {facts['step']}"
        if kind == "done":
            if not self.quiet:
                self._say(f"{where}: {in_words(facts['seconds'])}")
        else:
            self._say(f"{where}: {kind}: {facts['why']}")

    def _say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
