"""Cohort work on a Ray cluster: many machines, or worker processes of this one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mri2pet.cohort.parallel import THREAD_SETTINGS, one_thread
from mri2pet.errors import Mri2petError, ProcessLost, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

LOCAL, RUNNING = "local", "auto"
RETRIES = 3
ANSWERS_WITHIN_S = 5.0


def ray_map(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    jobs: int,
    address: str,
    *,
    gpus: int = 0,
    lost: Callable[[Mri2petError], Result] | None = None,
) -> Iterator[tuple[Task, Result]]:
    """(task, result) as they finish, each task in a Ray worker of one thread.

    A task whose worker dies is tried again, three times. `work` and the tasks travel pickled; the
    files that they name must be at the same paths on every machine. A process that is connected
    to a cluster already uses that one, whatever the address, and stays connected.

    Args:
        work: errors that it raises are passed on and not tried again.
        jobs: workers of a `local` cluster; another cluster has its own.
        address: `local` starts a cluster on this machine; `host:port`, `ray://host:port` or `auto`
            (the one that runs on this machine) names one that is there.
        gpus: that a task takes.
        lost: the result of a task whose workers died again and again, by its error; without it
            such a task ends all.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
        Mri2petError: a task's workers died again and again.
    """
    if not tasks:
        return
    ray, ours = _connected(jobs, address)
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
                error = Mri2petError(
                    f"a Ray worker died {RETRIES + 1} times at the same scan, most often for lack "
                    "of memory; run the same command again with fewer jobs, it goes on where it "
                    "was."
                )
                if lost is None:
                    raise error from None
                result = lost(error)
            yield pending.pop(done), result
    finally:
        if ours:
            ray.shutdown()


def _connected(jobs: int, address: str) -> tuple[Any, bool]:
    """Ray, connected, and whether this call made the connection."""
    try:
        import ray
    except ImportError:
        raise UsageError("--ray needs Ray: pip install 'mri2pet[ray]'") from None
    if ray.is_initialized():
        return ray, False
    if address not in (LOCAL, RUNNING):
        _require_listener(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=jobs, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"--ray {address}: no Ray cluster answers there ({error})") from None
    return ray, True


def _require_listener(address: str) -> None:
    """Refuse an address where nothing listens; Ray itself would try for minutes."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise UsageError(
            f"--ray {address}: is no address of a cluster; give {LOCAL}, {RUNNING}, host:port or "
            "ray://host:port"
        )
    try:
        socket.create_connection((host, port), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        raise UsageError(f"--ray {address}: no Ray cluster answers there ({reason})") from None


def _in_worker(work: Callable[[Task], Result], task: Task) -> Result:
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))
    with one_thread():
        try:
            return work(task)
        except ProcessLost:
            os._exit(1)
