"""A training run: a folder with its configuration, diary, checkpoints and model; it resumes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mri2pet import __version__
from mri2pet.checkpoint import Model, load_model, save_model
from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.config import Config, load_config, without_folders
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.memory import explained, training_plan
from mri2pet.nn import Network
from mri2pet.ops.backend import set_backend
from mri2pet.ops.convolution_choice import set_convolution
from mri2pet.training import log
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World, join_world, sum_over_world
from mri2pet.training.folder import open_run, stored_config
from mri2pet.training.linear_part import fit_linear_denoiser
from mri2pet.training.loading import Ahead
from mri2pet.training.resources import settled
from mri2pet.training.samples import draw_samples
from mri2pet.training.state import TrainingState, load_state, save_state
from mri2pet.training.step import training_step
from mri2pet.training.targets import stage_data
from mri2pet.training.validation import validate


class Stopped(Mri2petError):
    """The run was told to stop (SIGTERM) and can go on."""

    exit_code = 128 + signal.SIGTERM


LOG_EVERY = 5  # updates

OnEvent = Callable[[str, dict[str, Any]], None]


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
        run: the run's folder; gets config.json, log.jsonl, losses.png, checkpoints/ and model/.
        data: a BIDS cohort, or the table that `mri2pet cohort build` wrote of one.
        preset: "paper" or "compact".
        settings: `section.key=value`, see `mri2pet.config`.
        cache: where the cohort in model space is kept (default: beside the cohort).
        device: "auto", "cpu" or "cuda".
        on_event: called as (kind, facts) with kind "prepare", "note", "step", "validation".

    Returns:
        The model's folder, which `mri2pet synthesize --model` takes.

    Raises:
        UsageError: a wrong setting, or the folder holds a run of another configuration.
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
        if config.training.batch_size % world.size:
            raise UsageError(
                f"training.batch_size {config.training.batch_size} is not a multiple of the "
                f"{world.size} processes"
            )
        if config.training.precision == "fp16" and world.device.type == "cpu":
            raise UsageError("training.precision fp16 needs a CUDA device; bf16 runs here")
        config = settled(config, world.device, world.size, before=stored_config(run))
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
        trainer = Trainer(run, config, cohort, reference, world, notify)
        trainer.resume()
        trainer.run_to_the_end()
    return run / "model"


class Trainer:
    """One run in memory."""

    def __init__(
        self,
        run: Path,
        config: Config,
        cohort: CohortCache,
        reference: Reference,
        world: World,
        notify: OnEvent,
    ) -> None:
        self.run, self.world, self.notify = run, world, notify
        self.reference = reference
        self.data = stage_data(config, cohort)
        self.split_by = cohort.manifest.split_by
        training = config.training.lasting(len(self.data.train))
        self.config = config.model_copy(update={"training": training})
        self.initial_sha256: str | None = None
        torch.manual_seed(training.seed)
        network = _network(config, world.device)
        if network.linear is not None:
            fit_linear_denoiser(network.linear, self.data)
        self.state = TrainingState(
            network,
            training.lr,
            training.ema_decay,
            parallel=world.size > 1,
            compiled=training.compile,
            scaled=training.precision == "fp16",
        )
        if training.init:
            self._start_from(training.init)
        batches = TrainingBatches(
            self.data.train,
            self.data.mean,
            self.data.std,
            training.seed,
            training.augment,
            training.late_share,
        )
        on_gpu = world.device.type == "cuda"
        loaders = (config.data.loaders or 0) if on_gpu else 0
        self.batches = Ahead(batches, training, world, loaders, pinned=on_gpu)
        self.averaged = _network(config, world.device)
        self.board = log.Board(run, world.first)
        self.began = time.perf_counter()
        self.volumes_at_start = 0
        self._warn()

    def _start_from(self, name: str) -> None:
        """Takes the parameters of another model; a checkpoint of this run replaces them.

        The linear denoiser stays that of this run's targets.

        Raises:
            ModelError: the model cannot be read.
            UsageError: it is another network.
        """
        model = load_model(name)
        if model.config != self.config.model:
            raise UsageError(
                f"--init {name}: its network differs from this run's; give the same preset and "
                "model settings"
            )
        kept = {k: v for k, v in self.state.average.items() if k.startswith("linear.")}
        self.state.start_from({**model.network.state_dict(), **kept})
        self.initial_sha256 = model.sha256

    def _warn(self) -> None:
        if self.data.val is None:
            text = "no PET-like MRI of the validation split: its loss is not measured"
            self.notify("note", {"text": f"{text} (mri2pet stylize --split all makes them)"})
        if self.split_by == "scan":
            text = "the cohort is split by scan: a person may train and test, figures flatter"
            self.notify("note", {"text": text})

    def resume(self) -> None:
        """Goes on from the newest readable checkpoint, if there is one."""
        note = load_state(self.run / "checkpoints", self.state)
        if note:
            self.notify("note", {"text": note})
        if self.world.first:
            log.forget_after(self.run, self.state.volumes)
        self.volumes_at_start = self.state.volumes
        self.notify("start", {"volumes": self.state.volumes, "of": self.config.training.volumes})

    def run_to_the_end(self) -> None:
        """Steps until the configured number of volumes; validates and saves on the way.

        Raises:
            Stopped: SIGTERM came; the state was saved first.
        """
        training, state = self.config.training, self.state
        with _termination() as terminated, self.batches:
            while state.volumes < training.volumes:
                before = state.volumes
                facts = self._step()
                if self.world.first:
                    self._report(facts)
                stop = self._anywhere(terminated.is_set())
                if self.world.first:
                    self._keep(before, stop)
                if stop and state.volumes < training.volumes:
                    raise Stopped(
                        f"{self.run}: stopped at volume {state.volumes}, which is saved; "
                        "the same command goes on from there"
                    )

    def _step(self) -> dict[str, float]:
        share = self.config.training.batch_size // self.world.size
        device = str(self.world.device)
        with explained(
            lambda: training_plan(self.config, device), self.config.training.at_once(share)
        ):
            return training_step(self.state, self.batches, self.config, self.world)

    def _anywhere(self, flag: bool) -> bool:
        """Whether the flag is set in any process, so that all of them stop after one step."""
        return bool(sum_over_world(torch.tensor([float(flag)]), self.world).item())

    def _keep(self, before: int, stop: bool) -> None:
        """What the first process does after a step when it is time: validates and saves."""
        training, now = self.config.training, self.state.volumes
        done = now >= training.volumes
        if done or _crossed(before, now, training.validate_every):
            self._validate()
        if done or stop or _crossed(before, now, training.checkpoint_every):
            self._save()

    def _report(self, facts: dict[str, float]) -> None:
        state = self.state
        rate = (state.volumes - self.volumes_at_start) / (time.perf_counter() - self.began)
        of = self.config.training.volumes
        record = {"volumes": state.volumes, "of": of, **facts, "volumes_per_second": rate}
        if state.updates % LOG_EVERY == 0:
            log.append(self.run, record)
            self.board.add(record)
        self.notify("step", record)

    def _validate(self) -> None:
        self.averaged.load_state_dict(self.state.average)
        if self.config.training.sample_images:
            model = Model(self.averaged, self.config.model, self.data.mean, self.data.std)
            draw_samples(
                self.run,
                model,
                self.data.val or self.data.train,
                self.config.training.sample_images,
                self.state.volumes,
            )
        if self.data.val is None:
            return
        facts = validate(
            self.averaged,
            self.data.val,
            self.data.mean,
            self.data.std,
            self.config,
            self.world.device,
        )
        record = {"volumes": self.state.volumes, **facts}
        log.append(self.run, record)
        self.board.add(record)
        log.plot(self.run)
        self.notify("validation", record)

    def _save(self) -> None:
        save_state(self.run / "checkpoints", self.state)
        self.averaged.load_state_dict(self.state.average)
        save_model(
            self.run / "model",
            self.averaged,
            pet_mean=self.data.mean,
            pet_std=self.data.std,
            provenance={
                "mri2pet": __version__,
                "torch": torch.__version__,
                "config": without_folders(self.config),
                "init_sha256": self.initial_sha256,
                "training_subjects": len({r.subject for r in self.data.rows}),
                "training_pairs": len(self.data.train),
                "simulated": all(r.truth is not None for r in self.data.rows),
                "split_by": self.split_by,
                "reference": self.reference.record(),
                **self.data.provenance,
                "volumes": self.state.volumes,
                "updates": self.state.updates,
            },
        )


def _network(config: Config, device: torch.device) -> Network:
    network = Network(config.model).to(device)
    network.unet.checkpointing = config.training.activation_checkpointing
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, as a scheduler sends it before it takes the machine away."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
