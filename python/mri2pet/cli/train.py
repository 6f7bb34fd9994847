"""`mri2pet train`: a cohort becomes a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def train(
    run: Annotated[Path, typer.Argument(help="Folder of the run; the same command resumes it.")],
    data: Annotated[Path, typer.Option(help="The cohort: BIDS folder, or table of cohort build.")],
    preset: Annotated[str, typer.Option(help="paper or compact.")] = "compact",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting, section.key=value; can be repeated."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where the cohort in model space is kept.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    stage: Annotated[
        str,
        typer.Option(
            metavar="pretrain|finetune", help="What is learnt: PET-like MRIs, or PETs (default)."
        ),
    ] = "",
    ablation: Annotated[
        str,
        typer.Option(
            metavar="no-style|no-pretrain|no-laplacian|vanilla",
            help="Leave out a part of the paper's recipe.",
        ),
    ] = "",
    baseline: Annotated[
        str,
        typer.Option(
            metavar="gan|diffaugment|cdc|dcl|maskgan|ddpm-pa|vanilla",
            help="Train another method of the paper's comparison instead.",
        ),
    ] = "",
    stylized: Annotated[
        str, typer.Option(metavar="FOLDER", help="What mri2pet stylize wrote, for pretrain.")
    ] = "",
    init: Annotated[
        str, typer.Option(metavar="MODEL", help="Start from this model or run, not from scratch.")
    ] = "",
    ray: Annotated[
        str, typer.Option(metavar="local|ADDRESS", help="Prepare the cohort on a Ray cluster.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print configuration and memory plan, and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a model on a cohort, or go on with a run that was stopped."""
    named = {
        "training.stage": stage,
        "training.ablation": ablation,
        "training.baseline": baseline,
        "training.init": init,
        "data.stylized": stylized,
        "data.ray": ray,
    }
    settings = [*(settings or ()), *(f"{k}={json.dumps(v)}" for k, v in named.items() if v)]
    if dry_run:
        _show(preset, settings, device)
        return
    from mri2pet.training import train as run_training

    with _Display(quiet) as display:
        model = run_training(
            run,
            data=data,
            preset=preset,
            settings=settings,
            cache=cache,
            device=device,
            on_event=display.event,
        )
    typer.echo(f"model: {model}")


def _show(preset: str, settings: list[str], device: str) -> None:
    """Prints what a new run on this device would be configured as, and its memory plan."""
    import torch

    from mri2pet.baselines.checks import check_share
    from mri2pet.devices import choose_device
    from mri2pet.memory import training_plan
    from mri2pet.stages import load_config
    from mri2pet.training.resources import settled

    kind = choose_device(device)
    config = settled(load_config(preset, settings), torch.device(kind))
    check_share(config, processes=1)
    typer.echo(config.model_dump_json(indent=2))
    typer.echo(training_plan(config, kind).text(), err=True)


class _Display:
    """Progress bars on a terminal; validation results as plain lines everywhere."""

    def __init__(self, quiet: bool) -> None:
        from rich.progress import TextColumn

        from mri2pet.cli.progress import work_bars

        self.quiet = quiet
        self.progress = work_bars(TextColumn("{task.fields[note]}"), quiet=quiet)
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> _Display:
        self.progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.progress.stop()

    def event(self, kind: str, facts: dict[str, Any]) -> None:
        if kind == "prepare":
            self._bar("preparing the cohort", facts["done"], facts["of"], facts["name"])
            if facts["error"]:
                self._say(f"{facts['name']}: {facts['error']}")
        elif kind in ("start", "step"):
            note = ""
            if "loss" in facts:
                note = f"loss {facts['loss']:.4f}  {facts['volumes_per_second']:.2f} volumes/s"
            self._bar("training", facts["volumes"], facts["of"], note)
        elif kind == "validation":
            self._say(f"volume {facts['volumes']}: validation loss {facts['val_loss']:.4f}")
        elif kind == "note":
            self._say(facts["text"])

    def _bar(self, name: str, done: int, of: int, note: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=of, note="")
        self.progress.update(self.tasks[name], completed=done, total=of, note=note)

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
