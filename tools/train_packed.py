"""Trains `compact` for a given time on a packed cohort, where nothing but torch is installed.

usage: python tools/train_packed.py COHORT.npz MODEL_DIR --seconds N [--device cuda] [--json FILE]
       [section.key=value …]

COHORT.npz is from `tools/pack_cohort.py`. The run measures how many volumes a second it takes, sets
`training.volumes` to what fits into the time and so ends its cosine schedule within it. It is
validated and draws pictures on the way as `mri2pet train` does, with loader threads at work, and
writes the averaged model in half precision.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from mri2pet.bench.timing import environment
from mri2pet.checkpoint import Model, save_model
from mri2pet.config import Config
from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.loading import Ahead
from mri2pet.training.modules import new_modules, new_parts
from mri2pet.training.samples import draw_samples
from mri2pet.training.state import TrainingState
from mri2pet.training.step import training_step
from mri2pet.training.validation import validate

SETTINGS = (
    "training.batch_size=16",
    "training.micro_batch=16",
    "training.lr=6e-4",
    "training.warmup_volumes=400",
    "training.sample_images=2",
)
MEASURED = {"cuda": (5, 20), "cpu": (1, 3)}  # the rate is measured between these updates
ENDING_S = 10.0  # kept for the last validation, the pictures and the model
LOG_EVERY = 50


class PackedPairs:
    """One split of a packed cohort, as `training.batches.TrainingData`."""

    def __init__(self, packed: dict[str, np.ndarray], split: str) -> None:
        self._places = np.flatnonzero(packed["split"] == split)
        self._packed = packed

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, str]:
        place = self._places[index]
        mri = self._packed["mri"][place].astype(np.float32) / 255
        pet = self._packed["pet"][place].astype(np.float32)
        name = str(self._packed["name"][place])
        return torch.from_numpy(mri)[None], torch.from_numpy(pet)[None], name


@dataclass
class Run:
    """A training run that ends at a time."""

    config: Config
    packed: dict[str, np.ndarray]
    folder: Path
    device: torch.device
    deadline: float
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        training = self.config.training
        torch.manual_seed(training.seed)
        self.mean, self.std = float(self.packed["mean"]), float(self.packed["std"])
        self.train, self.val = (PackedPairs(self.packed, split) for split in ("train", "val"))
        self.state = TrainingState(new_parts(self.config, self.device, 1))
        self.averaged = cast(Network, new_modules(self.config, self.device)["network"])
        self.validations: list[dict[str, float]] = []

    def learn(self) -> None:
        """Steps until the volumes are done; a picture and a validation at every quarter."""
        training, state = self.config.training, self.state
        world = World(0, 1, self.device)
        cuda = self.device.type == "cuda"
        order = TrainingBatches(
            self.train, self.mean, self.std, training.seed, training.augment, training.late_share
        )
        loaders = self.config.data.loaders if cuda else 0
        begin, end = MEASURED[self.device.type]
        start, first, quarter = time.monotonic(), 0, 1
        with Ahead(order, training, world, loaders, pinned=cuda) as batches:
            while state.volumes < self.config.training.volumes:
                facts = training_step(state, batches, self.config, world)
                if state.updates == begin:
                    start, first = time.monotonic(), state.volumes
                if state.updates == end:
                    self._plan((state.volumes - first) / (time.monotonic() - start))
                if state.updates % LOG_EVERY == 0:
                    print(state.volumes, {k: round(v, 4) for k, v in facts.items()}, flush=True)
                if state.updates > end and 4 * state.volumes >= quarter * self._volumes():
                    quarter += 1
                    self._look()
                if time.monotonic() > self.deadline - ENDING_S / 2:
                    print("out of time before the schedule's end", flush=True)
                    break
        elapsed = time.monotonic() - start
        self.facts |= {
            "volumes": state.volumes,
            "updates": state.updates,
            "planned_volumes": self._volumes(),
            "volumes_per_second": (state.volumes - first) / elapsed,
            "last_step": facts,
        }

    def _volumes(self) -> int:
        return self.config.training.volumes

    def _plan(self, rate: float) -> None:
        training = self.config.training
        left = max(self.deadline - ENDING_S - time.monotonic(), 0.0)
        volumes = self.state.volumes + int(0.95 * rate * left)
        volumes = -(-volumes // training.batch_size) * training.batch_size
        length = training.model_copy(update={"volumes": volumes})
        self.config = self.config.model_copy(update={"training": length})
        self.facts["first_volumes_per_second"] = rate
        print(f"{rate:.1f} volumes/s: {volumes} volumes", flush=True)

    def _look(self) -> None:
        """Validates the average, and draws with it."""
        self.averaged.load_state_dict(self.state.parts["network"].average)
        model = Model(self.averaged, self.config.model, self.mean, self.std)
        data = self.val if len(self.val) else self.train
        count = self.config.training.sample_images
        draw_samples(self.folder, model, data, count, self.state.volumes)
        modules = {"network": self.averaged}
        found = validate(modules, data, self.mean, self.std, self.config, self.device)
        self.validations.append({"volumes": self.state.volumes, **found})
        print(self.validations[-1], flush=True)

    def save(self) -> None:
        """Writes the averaged model, and the last picture beside it."""
        self._look()
        provenance = {
            "config": self.config.model_dump(mode="json"),
            "training_pairs": len(self.train),
            "volumes": self.state.volumes,
            "updates": self.state.updates,
        }
        save_model(
            self.folder,
            self.averaged,
            pet_mean=self.mean,
            pet_std=self.std,
            provenance=provenance,
            dtype=torch.float16,
        )
        pictures = sorted((self.folder / "samples").glob("*.png"))
        pictures[-1].replace(self.folder / "samples.png")
        self.facts["validations"] = self.validations


def main() -> None:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description="Trains on a packed cohort for a given time.")
    parser.add_argument("cohort", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    parser.add_argument("settings", nargs="*", default=[])
    given = parser.parse_intermixed_args()
    loaders = f"data.loaders={max((os.cpu_count() or 2) - 2, 1)}"
    config = load_config("compact", [*SETTINGS, loaders, *given.settings])
    with np.load(given.cohort) as file:
        packed = {name: file[name] for name in file.files}
    device = torch.device(given.device)
    run = Run(config, packed, given.folder, device, begun + given.seconds)
    run.learn()
    run.save()
    if given.json is not None:
        facts = {"environment": environment(given.device), **run.facts}
        given.json.write_text(json.dumps(facts, indent=1) + "\n")
    print({name: value for name, value in run.facts.items() if name != "validations"})


if __name__ == "__main__":
    main()
