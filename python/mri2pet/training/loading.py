"""Batches that are ready when the device asks for them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch

from mri2pet.config import TrainingConfig
from mri2pet.training.batches import Batch, TrainingBatches
from mri2pet.training.distributed import World

#: Batches that are made beside those that the threads are at.
AHEAD = 2


class Ahead:
    """The micro-batches of one process, made by threads before they are asked for.

    What a batch holds depends on its place in the run alone, so threads change nothing but the
    time.

    Args:
        batches: where they come from.
        training: its batch and micro-batch say which one follows.
        world: the share of this process.
        loaders: threads; 0 makes each batch when it is asked for.
        pinned: whether they wait in page-locked memory, from where a GPU copies by itself.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        training: TrainingConfig,
        world: World,
        loaders: int,
        pinned: bool = False,
    ) -> None:
        self.batches, self.loaders, self.pinned = batches, loaders, pinned
        self._batch_size = training.batch_size
        self._share = training.batch_size // world.size
        self._micro_batch = training.at_once(self._share)
        self._offset = self._share * world.rank
        self._waiting: dict[tuple[int, int], Future[Batch]] = {}
        # Each on one core: torch would give every thread of ours as many of its own as there are.
        self._threads = (
            ThreadPoolExecutor(loaders, "batches", torch.set_num_threads, (1,)) if loaders else None
        )

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *error: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    @property
    def pairs(self) -> int:
        """Training pairs."""
        return self.batches.pairs

    def batch(self, first: int, count: int) -> Batch:
        """The volumes first … first + count − 1 of the run."""
        if self._threads is None:
            return self._make(first, count)
        wanted = (first, count)
        place = wanted
        for _ in range(self.loaders + AHEAD):
            if place not in self._waiting:
                self._waiting[place] = self._threads.submit(self._make, *place)
            place = self.following(*place)
        return self._waiting.pop(wanted).result()

    def following(self, first: int, count: int) -> tuple[int, int]:
        """Which volumes this process needs after these: the next of its share, or the next step."""
        step = first // self._batch_size
        end = step * self._batch_size + self._offset + self._share
        if first + count < end:
            return first + count, min(self._micro_batch, end - first - count)
        return end - self._share + self._batch_size, min(self._micro_batch, self._share)

    def _make(self, first: int, count: int) -> Batch:
        batch = self.batches.batch(first, count)
        if not self.pinned:
            return batch
        pinned = {name: getattr(batch, name).pin_memory() for name in ("mri", "pet", "noise", "t")}
        return replace(batch, **pinned)
