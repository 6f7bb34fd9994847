"""Many subjects: processes prepare and finish them, this process draws with the one engine.

A worker runs a subject from its image to its files, as one process alone would; only its call for
samples goes through a pipe to the process that holds the model. So the numbers are the same, the
model is loaded once, and a GPU gets the calls of several people at one time. While it draws, no
worker waits for its next subject: it was given one ahead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from mri2pet.cohort.parallel import one_thread_in_children, start_worker
from mri2pet.errors import Mri2petError, ProcessLost, portable
from mri2pet.synthesis.drawing import OnStep, draw_together
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.result import SynthesisResult
from mri2pet.synthesis.subject import SubjectRunner, from_files

if TYPE_CHECKING:
    import numpy as np

    from mri2pet.engines import Engine
    from mri2pet.imaging.suvr.drawn import Drawn

TRIES = 3
"""How often a subject is begun whose worker is ended from outside."""
END_S = 20.0
"""How long a worker that has nothing left to do may take to end, s."""


def run_in_workers(
    runner: SubjectRunner, engine: Engine, subjects: Sequence[SubjectInput], jobs: int
) -> list[SynthesisResult]:
    """One result per subject, in their order; each is told when it is there.

    Args:
        runner: of this process; its output folder is not None.
        engine: draws for all workers.
        jobs: workers; each works with one thread, in N4 and deformations with two.
    """
    pool = _Pool(runner, engine, list(subjects))
    with one_thread_in_children():
        try:
            for _ in range(min(jobs, len(subjects))):
                pool.hire()
            while pool.workers:
                pool.turn()
        finally:
            pool.dismiss()
    return [pool.results[place] for place in range(len(subjects))]


@dataclass
class _Worker:
    """A process, the end of its pipe here, the place of its subject, and of the one after it."""

    process: Any
    pipe: Connection
    place: int
    ahead: int | None = None


@dataclass
class _Pool:
    runner: SubjectRunner
    engine: Engine
    subjects: list[SubjectInput]
    workers: list[_Worker] = field(default_factory=list)
    results: dict[int, SynthesisResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.subjects)))
        self.tries = dict.fromkeys(range(len(self.subjects)), 0)
        # What draws stays here; what is told is told from here.
        drawer = replace(self.runner.model, draw=_nobody)
        options = replace(self.runner.options, model=self.runner.model.described["name"])
        self.theirs = replace(self.runner, model=drawer, options=options, observer=Observer())

    def hire(self) -> None:
        """A new worker for the next subject, if there is one."""
        if not self.waiting:
            return
        context = multiprocessing.get_context("spawn")
        ours, others = context.Pipe()
        process = context.Process(target=_work, args=(others, self.theirs), daemon=True)
        process.start()
        others.close()
        worker = _Worker(process, ours, -1)
        self.workers.append(worker)
        self._give(worker)

    def turn(self) -> None:
        """Hears all workers that have something to say, and draws for those that ask."""
        asking: list[tuple[_Worker, np.ndarray, int]] = []
        said = wait([worker.pipe for worker in self.workers])
        for worker in [w for w in self.workers if w.pipe in said]:
            try:
                kind, *content = worker.pipe.recv()
            except (EOFError, OSError):
                self._lost(worker)
                continue
            if kind == "draw":
                asking.append((worker, *content))
            else:
                self._done(worker, *content)
        if asking:
            self._give_ahead()
        if self.engine.device.type == "cuda":
            self._draw(asking)
        else:
            for one in asking:
                self._draw([one])

    def _draw(self, asking: Sequence[tuple[_Worker, np.ndarray, int]]) -> None:
        if not asking:
            return
        workers, mris, numbers = zip(*asking, strict=True)
        step = self.runner.observer.sampling_step
        try:
            drawn: Sequence[Any] = draw_together(
                self.engine, mris, numbers, self.runner.options, step
            )
        except Exception as error:
            if len(asking) > 1:  # one of them, or all at once, was too much: each for itself
                for one in asking:
                    self._draw([one])
                return
            drawn = [portable(error)]
        for worker, of_one in zip(workers, drawn, strict=True):
            with contextlib.suppress(OSError):  # a worker that is gone is found by its pipe
                worker.pipe.send(("drawn", of_one))

    def _give(self, worker: _Worker) -> None:
        """The next subject, which it may have already, or the end."""
        if worker.ahead is not None:
            worker.place, worker.ahead = worker.ahead, None
        elif self.waiting:
            worker.place = self.waiting.popleft()
            self._send(worker, worker.place)
        else:
            self._part(worker)
            return
        self.tries[worker.place] += 1
        self.runner.observer.subject_started(self.subjects[worker.place].label)

    def _give_ahead(self) -> None:
        """One more subject for each worker, as long as there are more than workers."""
        for worker in self.workers:
            if worker.ahead is None and len(self.waiting) > len(self.workers):
                worker.ahead = self.waiting.popleft()
                self._send(worker, worker.ahead)

    def _send(self, worker: _Worker, place: int) -> None:
        with contextlib.suppress(OSError):  # as above
            worker.pipe.send(("subject", self.subjects[place]))

    def _done(self, worker: _Worker, status: str, content: Any) -> None:
        subject = self.subjects[worker.place]
        if status == "failed":
            result = SynthesisResult(subject.label, "failed", error=content)
        else:
            assert self.runner.out is not None
            paths = self.runner.layout(self.runner.out, subject.stem)
            result = from_files(subject.label, status, paths, content)  # type: ignore[arg-type]
        self._finish(worker.place, result)
        self._give(worker)

    def _lost(self, worker: _Worker) -> None:
        """A worker was ended by the system or a person: its subject is begun again."""
        worker.process.kill()  # where the pipe alone broke
        self._part(worker)
        if worker.ahead is not None:
            self.waiting.appendleft(worker.ahead)
        if self.tries[worker.place] < TRIES:
            self.waiting.append(worker.place)
        else:
            error = Mri2petError(
                f"{self.subjects[worker.place].label}: its process was ended {TRIES} times, most "
                "often for lack of memory; run the same command again with fewer --jobs"
            )
            result = SynthesisResult(self.subjects[worker.place].label, "failed", error=error)
            self._finish(worker.place, result)
        self.hire()

    def _finish(self, place: int, result: SynthesisResult) -> None:
        self.results[place] = result
        self.runner.observer.subject_finished(result)

    def _part(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.pipe.close()
        worker.process.join(END_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def dismiss(self) -> None:
        """Ends all workers that are left."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in list(self.workers):
            self._part(worker)


def _nobody(mri: np.ndarray, number: int, on_step: OnStep | None) -> Drawn:
    raise RuntimeError("a worker draws through its pipe")


def _work(pipe: Connection, runner: SubjectRunner) -> None:
    """A worker: subjects come through the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that hired it
    start_worker()
    ahead: deque[SubjectInput] = deque()

    def draw(mri: np.ndarray, number: int, on_step: OnStep | None) -> Drawn:
        pipe.send(("draw", mri, number))
        kind, content = pipe.recv()
        while kind == "subject":
            ahead.append(content)
            kind, content = pipe.recv()
        if isinstance(content, Exception):
            raise content
        return content  # type: ignore[no-any-return]

    runner = replace(runner, model=replace(runner.model, draw=draw))
    while True:
        try:
            subject = ahead.popleft() if ahead else pipe.recv()[1]
        except EOFError:
            return
        answer: tuple[str, str, Any]
        try:
            result = runner.run(subject)
            answer = ("done", result.status, result.sidecar)
        except ProcessLost:
            os._exit(1)
        except Exception as error:
            answer = ("done", "failed", portable(error))
        pipe.send(answer)
