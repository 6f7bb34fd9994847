"""What a caller hears of a running synthesis, e.g. to draw progress bars."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mri2pet.synthesis.result import SynthesisResult


class Observer:
    """Hears everything and does nothing; override what you want to know."""

    def run_started(self, subjects: int) -> None:
        """The inputs are found; the model is loaded next."""

    def subject_started(self, label: str) -> None:
        """The work on one image begins."""

    def note(self, text: str) -> None:
        """What the user has to know of an input before the work begins."""

    def stage(self, name: str, seconds: float | None) -> None:
        """A stage begins (`seconds` is None) or has taken `seconds`."""

    def sampling_step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the sampler are taken."""

    def subject_finished(self, result: SynthesisResult) -> None:
        """The image is synthesised, skipped or has failed."""


@contextmanager
def stage(name: str, seconds: dict[str, float], observer: Observer) -> Iterator[None]:
    """Time a stage into `seconds` and tell the observer of its start and end."""
    observer.stage(name, None)
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
    observer.stage(name, seconds[name])
