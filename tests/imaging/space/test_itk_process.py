"""Calls of ANTs in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mri2pet.errors import Mri2petError
from mri2pet.imaging.space import itk
from mri2pet.imaging.space.itk import process
from mri2pet.imaging.space.volume import Volume

RNG = np.random.default_rng(0)
HEAD = Volume(RNG.uniform(1, 2, (24, 24, 24)).astype(np.float32), np.diag([4.0, 4, 4, 1]))
MASK = np.ones(HEAD.shape, dtype=bool)

HOST = """
import os, sys
import numpy as np
from mri2pet.imaging.space import itk
from mri2pet.imaging.space.itk import process

values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
np.testing.assert_array_equal(itk.windowed_sinc(values, np.eye(4), values.shape), values)
print(process._running.process.pid, process._running.scratch, flush=True)
"""


@pytest.fixture
def stopped():
    """A test that starts and ends without a server."""
    process._stop()
    yield
    process._stop()


def shifted(number: float) -> np.ndarray:
    values = np.full((3, 3, 3), number, dtype=np.float32)
    return itk.windowed_sinc(values, np.eye(4), (3, 3, 3))


def children() -> list[int]:
    """What the server has forked."""
    server = process._running.process.pid
    listed = Path(f"/proc/{server}/task/{server}/children").read_text()
    return [int(child) for child in listed.split()]


def test_calls_of_several_threads_get_their_own_answers():
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(shifted, range(12)))
    assert [float(result[1, 1, 1]) for result in results] == list(range(12))


def test_an_error_of_a_call_is_raised_here_and_the_next_call_works():
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        itk.windowed_sinc(np.zeros((2, 2, 2), np.float32), np.eye(2), (2, 2, 2))
    assert shifted(3.0)[0, 0, 0] == 3.0


def test_threads_are_counted_anew_for_every_call():
    """N4 gives other bits with two threads than with one, whatever was called before."""
    arguments = (HEAD, MASK, (4,), 1, 100)
    one, two = (process.call("bias_field", arguments, threads) for threads in (1, 2))
    assert not np.array_equal(one, two)
    np.testing.assert_allclose(one, two, rtol=1e-3)
    assert np.array_equal(process.call("bias_field", arguments, 1), one)
    assert np.array_equal(itk.bias_field(*arguments), two)


def test_the_environment_changes_nothing(monkeypatch, stopped):
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "3")
    arguments = (HEAD, MASK, (4,), 1, 100)
    assert np.array_equal(itk.bias_field(*arguments), process.call("bias_field", arguments, 2))
    assert not np.array_equal(itk.bias_field(*arguments), process.call("bias_field", arguments, 3))


def test_a_process_that_is_ended_from_outside_twice_is_told_in_one_sentence():
    shifted(0.0)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(itk.bias_field, HEAD, MASK, (100_000,), 1, 10.0)
        while not long.done():
            for child in children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        with pytest.raises(Mri2petError, match=r"ended without an answer \(bias_field\)"):
            long.result()
    assert shifted(4.0)[0, 0, 0] == 4.0


def test_a_server_that_is_ended_from_outside_is_replaced(stopped):
    shifted(0.0)
    first = process._running
    os.kill(first.process.pid, signal.SIGKILL)
    assert shifted(5.0)[0, 0, 0] == 5.0
    assert process._running.process.pid != first.process.pid
    assert not Path(first.scratch).exists()


def gone(pid: int) -> bool:
    """Whether a process ends within seconds, where nobody here may wait for it."""
    for _ in range(500):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"])
def test_nothing_is_left_when_the_host_ends(end):
    host = subprocess.run([sys.executable, "-c", HOST + end], capture_output=True, text=True)
    assert host.stderr == ""
    server, scratch = host.stdout.split()
    assert gone(int(server))
    assert not Path(scratch).exists()


def test_a_fork_of_the_host_leaves_its_server_alone():
    shifted(0.0)
    server = process._running.process.pid
    child = os.fork()
    if child == 0:
        process._stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert shifted(6.0)[0, 0, 0] == 6.0
    assert process._running.process.pid == server


def test_a_host_that_runs_no_registration_starts_nothing():
    lines = "from mri2pet.imaging.space.itk import process; print(process._running)"
    host = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert host.stdout == "None\n"
