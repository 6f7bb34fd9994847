"""Cohort work on a Ray cluster: many machines, or worker processes of this one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from mri2pet.cohort.parallel import THREAD_SETTINGS, one_thread
from mri2pet.errors import Mri2petError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOCAL = "local"
RETRIES = 3


def ray_map(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    address: str,
    *,
    gpus: int = 0,
) -> Iterator[tuple[Task, Result]]:
    """(task, result) as they finish, each task in a Ray worker of one thread.

    A task whose worker dies is tried again, three times. `work` and the tasks travel pickled; the
    files that they name must be at the same paths on every machine.

    Args:
        work: errors that it raises are passed on and not tried again.
        jobs: workers of a `local` cluster; another cluster has its own.
        address: `local` starts a cluster on this machine, anything else is the address of one.
        gpus: that a task takes.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
        Mri2petError: a task's workers died again and again.
    """
    if not tasks:
        return
    ray = _connected(jobs, address)
    try:
        options = {"num_cpus": 1, "num_gpus": gpus, "max_retries": RETRIES}
        run = ray.remote(_in_worker).options(**options)
        shared = ray.put(work)
        pending = {run.remote(shared, task): task for task in tasks}
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            try:
                result = ray.get(done)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                raise Mri2petError(
                    f"a Ray worker died {RETRIES + 1} times at the same scan, most often for lack "
                    "of memory; run the same command again with fewer jobs, it goes on where it "
                    "was."
                ) from None
            yield pending.pop(done), result
    finally:
        ray.shutdown()


def _connected(jobs: int, address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError("--ray needs Ray: pip install 'mri2pet[ray]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=jobs, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"--ray {address}: no Ray cluster answers there ({error})") from None
    return ray


def _in_worker(work: Callable[[Task], Result], task: Task) -> Result:
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    with one_thread():
        return work(task)
