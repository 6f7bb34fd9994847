"""What goes wrong beside the people themselves: batches, errors and workers that do not end."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mri2pet.cohort import on_ray as ray_of_cohorts
from mri2pet.errors import InputError, Mri2petError
from mri2pet.synthesis import on_ray, workers
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import OutputPaths

MRI = np.zeros((1, 2, 3), np.float32)


class Pipe:
    """This process's end of a pipe: what is said into it, and what comes out."""

    def __init__(self, *said: Any) -> None:
        self.said, self.sent = list(said), []

    def recv(self) -> Any:
        if not self.said:
            raise EOFError
        return self.said.pop(0)

    def send(self, message: Any) -> None:
        self.sent.append(pickle.loads(pickle.dumps(message)))

    def close(self) -> None:
        self.sent.append("closed")


class Process:
    """One that ends only when it is killed."""

    killed = False

    def join(self, seconds: float | None = None) -> None:
        assert self.killed or seconds is not None

    def is_alive(self) -> bool:
        return not self.killed

    def kill(self) -> None:
        self.killed = True

    terminate = kill


def pool_of(monkeypatch: Any, people: int, *pipes: Pipe, device: str = "cpu") -> Any:
    subjects = [SubjectInput(Path(f"p{n}"), f"p{n}") for n in range(people)]
    monkeypatch.setattr(workers, "replace", lambda thing, **changes: thing)
    runner: Any = SimpleNamespace(
        model=SimpleNamespace(described={"name": "m"}), options=SynthesisOptions(),
        observer=Observer(), out=None, layout=OutputPaths.of,
    )  # fmt: skip
    engine: Any = SimpleNamespace(device=SimpleNamespace(type=device))
    pool = workers._Pool(runner, engine, subjects)
    for place, pipe in enumerate(pipes):
        pool.waiting.popleft()
        pool.tries[place] = 1
        pool.workers.append(workers._Worker(Process(), pipe, place))  # type: ignore[arg-type]
    monkeypatch.setattr(workers, "wait", lambda waited: [p for p in waited if p.said])
    return pool


def draws(monkeypatch: Any, draw: Callable[..., Any]) -> None:
    monkeypatch.setattr(workers, "draw_together", draw)


def test_nobody_waits_for_a_subject_while_samples_are_drawn(monkeypatch: Any) -> None:
    asks, other = Pipe(("draw", MRI, 1)), Pipe()
    pool = pool_of(monkeypatch, 7, asks, other)
    had: list[list[str]] = []

    def draw(*given: Any) -> list[np.ndarray]:
        had.append([message[1].stem for message in (*asks.sent, *other.sent)])
        return [MRI]

    draws(monkeypatch, draw)
    pool.turn()
    assert had == [["p2", "p3"]]
    assert [kind for kind, _ in asks.sent] == ["subject", "drawn"]
    other.said = [("done", "failed", InputError("p1: is no head"))]
    pool.turn()
    assert pool.workers[1].place == 3
    assert len(other.sent) == 1
    assert list(pool.waiting) == [4, 5, 6]


def test_the_last_people_are_kept_for_whoever_is_free(monkeypatch: Any) -> None:
    pipes = Pipe(("draw", MRI, 1)), Pipe()
    pool = pool_of(monkeypatch, 4, *pipes)
    draws(monkeypatch, lambda *given: [MRI])
    pool.turn()
    assert list(pool.waiting) == [2, 3]
    assert pipes[1].sent == []


def test_who_was_given_ahead_to_a_worker_that_dies_is_not_lost(monkeypatch: Any) -> None:
    pool = pool_of(monkeypatch, 7, Pipe(("draw", MRI, 1)), Pipe())
    draws(monkeypatch, lambda *given: [MRI])
    monkeypatch.setattr(pool, "hire", lambda: None)
    pool.turn()
    worker = pool.workers[1]
    pool._lost(worker)
    assert worker.process.killed
    assert list(pool.waiting) == [3, 4, 5, 6, 1]
    assert pool.tries[3] == 0


def test_a_batch_that_fails_is_drawn_one_by_one(monkeypatch: Any) -> None:
    pipes = Pipe(("draw", MRI, 1)), Pipe(("draw", MRI, 9)), Pipe(("draw", MRI, 3))
    pool = pool_of(monkeypatch, 3, *pipes, device="cuda")
    asked: list[tuple[int, ...]] = []

    def draw(engine: Any, mris: Any, numbers: Any, *more: Any) -> list[np.ndarray]:
        asked.append(tuple(numbers))
        if 9 in numbers:
            raise Mri2petError("the device has no memory left")
        return [mri + n for mri, n in zip(mris, numbers, strict=True)]

    draws(monkeypatch, draw)
    pool.turn()
    assert asked == [(1, 9, 3), (1,), (9,), (3,)]
    drawn = [pipe.sent[0][1] for pipe in pipes]
    assert (drawn[0][0, 0, 0], drawn[2][0, 0, 0]) == (1, 3)
    assert isinstance(drawn[1], Mri2petError)


def test_an_error_that_no_pipe_carries_is_told_in_its_words(monkeypatch: Any) -> None:
    class OfTheDeviceError(Exception):
        pass

    pipe = Pipe(("draw", MRI, 1))
    pool = pool_of(monkeypatch, 1, pipe)

    def draw(*given: Any) -> Any:
        raise OfTheDeviceError("is gone")

    draws(monkeypatch, draw)
    pool.turn()
    assert str(pipe.sent[0][1]) == "OfTheDeviceError: is gone"


def test_a_worker_that_does_not_end_is_ended(monkeypatch: Any) -> None:
    pool = pool_of(monkeypatch, 1, Pipe())
    worker = pool.workers[0]
    pool._part(worker)
    assert worker.process.killed
    assert pool.workers == []


class OfRayError(Exception):
    pass


def ray(deadly: str) -> Any:
    """Stands in for Ray: tasks run when they are asked for, and workers of one subject die."""

    def get(task: Any) -> Any:
        work, subject = task
        if subject.stem == deadly:
            raise OfRayError
        return work(subject)

    remote = SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda *a: a))
    return SimpleNamespace(
        remote=lambda function: remote, put=lambda thing: thing, get=get,
        wait=lambda tasks, num_returns: (tasks[:1], tasks[1:]),
        exceptions=SimpleNamespace(WorkerCrashedError=OfRayError, OutOfMemoryError=OfRayError),
        shutdown=lambda: None,
    )  # fmt: skip


@pytest.fixture
def on_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    class Runner:
        def run(self, subject: SubjectInput) -> Any:
            raise InputError(f"{subject.stem}: is no head")

    monkeypatch.setattr(on_ray, "_runner", lambda *given: Runner())

    def run(*stems: str, deadly: str = "") -> Any:
        monkeypatch.setattr(ray_of_cohorts, "_connected", lambda jobs, at: (ray(deadly), True))
        subjects = [SubjectInput(Path(stem), stem) for stem in stems]
        return on_ray.run_on_ray(
            subjects,
            SynthesisOptions(device="cpu"),
            tmp_path,
            Observer(),
            OutputPaths.of,
            2,
            "local",
        )

    return run


def test_who_costs_ray_its_workers_does_not_stop_the_others(on_a_cluster: Any) -> None:
    results = on_a_cluster("a1", "b2", "c3", deadly="b2")
    assert [r.label for r in results] == ["a1", "b2", "c3"]
    assert [r.status for r in results] == ["failed"] * 3
    assert "a Ray worker died 4 times" in results[1].reason
    assert "c3: is no head" in results[2].reason


def test_the_only_subject_of_a_cluster_fails_as_in_one_process(on_a_cluster: Any) -> None:
    with pytest.raises(InputError, match="a1: is no head"):
        on_a_cluster("a1")
