"""Cohort work in parallel processes of one thread each; what ITK takes: `imaging.space.itk`."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TypeVar

from mri2pet.errors import Mri2petError
from mri2pet.quiet import quiet_libraries

Task = TypeVar("Task")
Result = TypeVar("Result")

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def single_threaded_map(
    work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[tuple[Task, Result]]:
    """(task, result) as they finish, from `jobs` processes; in this process for one job.

    `work` is a function of a module. Workers end when this process ends in any way.

    Raises:
        Mri2petError: a worker was ended by the system, most often for lack of memory.
    """
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            with one_thread():
                result = work(task)
            yield task, result
        return
    context = multiprocessing.get_context("spawn")
    with (
        one_thread_in_children(),
        ProcessPoolExecutor(min(jobs, len(tasks)), context, start_worker) as pool,
    ):
        futures = {pool.submit(work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise Mri2petError(
                "a worker process was ended by the system, most often for lack of memory; "
                "run the same command again with fewer jobs, it goes on where it was."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """Quiet libraries, and an end with the parent."""
    quiet_libraries()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """As in the workers: matrix products over several threads round differently."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_in_children() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
