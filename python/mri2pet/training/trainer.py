"""One run in memory: it steps, validates, saves, and goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from mri2pet import __version__
from mri2pet.checkpoint import Drawing, Model, save_model
from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import steps_of
from mri2pet.config import Config, without_folders
from mri2pet.errors import UsageError
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.memory import explained, training_plan
from mri2pet.training import log
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World, sum_over_world
from mri2pet.training.loading import Ahead
from mri2pet.training.modules import new_modules, new_parts
from mri2pet.training.samples import draw_samples
from mri2pet.training.start import Start
from mri2pet.training.state import TrainingState, load_state, save_state
from mri2pet.training.step import training_step
from mri2pet.training.stopping import Stopped, termination
from mri2pet.training.targets import stage_data
from mri2pet.training.validation import validate

LOG_EVERY = 5  # updates

OnEvent = Callable[[str, dict[str, Any]], None]


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
        start: Start | None,
    ) -> None:
        self.run, self.world, self.notify = run, world, notify
        self.reference = reference
        self.data = stage_data(config, cohort)
        self.split_by = cohort.manifest.split_by
        training = config.training.lasting(len(self.data.train))
        self.config = config.model_copy(update={"training": training})
        torch.manual_seed(training.seed)
        self.state = TrainingState(new_parts(config, world.device, world.size, self.data))
        if start is not None:
            start.begin(self.state, config)
        self._warn()
        self.averaged = new_modules(config, world.device)
        self.batches = self._ahead()
        self.board = log.Board(run, world.first)
        self.began = time.perf_counter()
        self.volumes_at_start = 0

    def _ahead(self) -> Ahead:
        training = self.config.training
        batches = TrainingBatches(
            self.data.train,
            self.data.mean,
            self.data.std,
            training.seed,
            training.augment,
            training.late_share,
        )
        on_gpu = self.world.device.type == "cuda"
        loaders = (self.config.data.loaders or 0) if on_gpu else 0
        return Ahead(batches, training, self.world, loaders, pinned=on_gpu)

    def _warn(self) -> None:
        if self.data.val is None:
            text = "no PET-like MRI of the validation split: its loss is not measured"
            self.notify("note", {"text": f"{text} (mri2pet stylize --split all makes them)"})
        if self.split_by == "scan":
            text = "the cohort is split by scan: a person may train and test, figures flatter"
            self.notify("note", {"text": text})

    def resume(self) -> None:
        """Goes on from the newest readable checkpoint, if there is one.

        Raises:
            UsageError: it was begun from another model than `training.init` holds now.
        """
        given = self.state.start
        note = load_state(self.run / "checkpoints", self.state)
        if note is not None and self.state.start != given:
            raise UsageError(
                f"--init {self.config.training.init}: is another model now than this run began "
                f"with; bring that one back, or remove {self.run} to start again"
            )
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
        with termination() as terminated, self.batches:
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
        self._take_averages()
        if self.config.training.sample_images:
            model = Model(self._drawing(), self.config.model, self.data.mean, self.data.std)
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

    def _take_averages(self) -> None:
        for name, module in self.averaged.items():
            module.load_state_dict(self.state.parts[name].average)

    def _drawing(self) -> Drawing:
        """The averaged part that draws PETs."""
        return cast(Drawing, self.averaged[self._drawing_part])

    @property
    def _drawing_part(self) -> str:
        return "generator" if self.config.model.family == "gan" else "network"

    def _save(self) -> None:
        save_state(self.run / "checkpoints", self.state)
        self._take_averages()
        save_model(
            self.run / "model",
            self._drawing(),
            critic=self.averaged.get("critic"),
            pet_mean=self.data.mean,
            pet_std=self.data.std,
            provenance={
                "mri2pet": __version__,
                "torch": torch.__version__,
                "config": without_folders(self.config),
                "init_sha256": self.state.start.get(self._drawing_part),
                "training_subjects": len({r.subject for r in self.data.rows}),
                "training_pairs": len(self.data.train),
                "simulated": all(r.truth is not None for r in self.data.rows),
                "split_by": self.split_by,
                "pet_steps": steps_of(self.data.rows),
                "reference": self.reference.record(),
                **self.data.provenance,
                "volumes": self.state.volumes,
                "updates": self.state.updates,
            },
        )


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every
