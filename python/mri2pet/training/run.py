"""A training run from its settings: a folder with configuration, diary, checkpoints and model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mri2pet.baselines.checks import check_share
from mri2pet.cohort.cache import build_cache
from mri2pet.config import Config
from mri2pet.errors import UsageError
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.ops.backend import set_backend
from mri2pet.ops.convolution_choice import set_convolution
from mri2pet.stages import load_config
from mri2pet.training.distributed import World, join_world
from mri2pet.training.folder import open_run, stored_config
from mri2pet.training.people import record_people
from mri2pet.training.resources import settled
from mri2pet.training.start import find_start
from mri2pet.training.trainer import OnEvent, Trainer


def train(
    run: str | Path,
    *,
    data: str | Path,
    preset: str = "compact",
    settings: Sequence[str] = (),
    cache: str | Path | None = None,
    device: str = "auto",
    on_event: OnEvent | None = None,
) -> Path:
    """Trains a model, or goes on with a run that was stopped.

    Args:
        run: the run's folder; gets config.json, people.json, log.jsonl, losses.png, checkpoints/
            and model/.
        data: a BIDS cohort, or the table that `mri2pet cohort build` wrote of one.
        preset: "paper" or "compact".
        settings: `section.key=value`, see `mri2pet.config`.
        cache: where the cohort in model space is kept (default: beside the cohort).
        device: "auto", "cpu" or "cuda".
        on_event: called as (kind, facts) with kind "prepare", "note", "step", "validation".

    Returns:
        The model's folder, which `mri2pet synthesize --model` takes.

    Raises:
        UsageError: a wrong setting, a model to start from that does not fit, or the folder holds
            a run of another configuration.
        ModelError: the model to start from cannot be read.
        InputError: the cohort has no usable pairs, or `data.reference` is no usable VOI.
        Mri2petError: the loss is not finite, no checkpoint can be read, or memory does not suffice.
    """
    run = Path(run)
    config = load_config(preset, settings)
    reference = Reference.of(config.data.reference)
    # A run remembers a VOI by its content: the same path may hold another one tomorrow.
    data_config = config.data.model_copy(update={"reference": reference.key})
    config = config.model_copy(update={"data": data_config})
    if config.ops.backend != "auto":
        set_backend(config.ops.backend)
    if config.ops.convolution != "auto":
        set_convolution(config.ops.convolution)
    with join_world(device) as world:
        _check_processes(config, world)
        config = settled(config, world.device, world.size, before=stored_config(run))
        check_share(config, world.size)
        start = find_start(config, world.device)
        if world.first:
            open_run(run, config)
        notify = on_event if on_event is not None and world.first else lambda kind, facts: None
        cohort = build_cache(
            data,
            cache,
            mri_shape=config.model.mri_shape,
            pet_shape=config.model.pet_shape,
            registration=config.data.registration,
            reference=reference,
            jobs=config.data.jobs,
            ray=config.data.ray,
            include_unpaired=config.training.stage == "pretrain",
            on_subject=lambda done, of, name, error: notify(
                "prepare", {"done": done, "of": of, "name": name, "error": error}
            ),
            on_note=lambda text: notify("note", {"text": text}),
        )
        trainer = Trainer(run, config, cohort, reference, world, notify, start)
        trainer.resume()
        if world.first:
            record_people(run, config.training, cohort, trainer.data)
        trainer.run_to_the_end()
    return run / "model"


def _check_processes(config: Config, world: World) -> None:
    training = config.training
    if training.batch_size % world.size:
        raise UsageError(
            f"training.batch_size {training.batch_size} is not a multiple of the "
            f"{world.size} processes"
        )
    if training.precision == "fp16" and world.device.type == "cpu":
        raise UsageError("training.precision fp16 needs a CUDA device; bf16 runs here")
