"""Calls of ANTs in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import spawn
from pathlib import Path

import numpy as np
import pytest

from mri2pet.errors import Mri2petError, ProcessLost
from mri2pet.imaging.brain import ready
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
    itk.stop()
    yield
    itk.stop()


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
    with pytest.raises(IndexError, match="index 3 is out of bounds") as caught:
        itk.windowed_sinc(np.zeros((2, 2, 2), np.float32), np.eye(2), (2, 2, 2))
    assert "calls.py" in str(caught.value.__cause__), "where it was raised"
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
    arguments = (HEAD, MASK, (4,), 1, 100)
    expected = itk.bias_field(*arguments)
    assert not np.array_equal(expected, process.call("bias_field", arguments, 3))
    itk.stop()
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "3")
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_THREADER", "Platform")
    assert np.array_equal(itk.bias_field(*arguments), expected)


def test_a_process_that_is_ended_from_outside_twice_is_told_in_one_sentence():
    shifted(0.0)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(itk.bias_field, HEAD, MASK, (100_000,), 1, 10.0)
        while not long.done():
            for child in children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        with pytest.raises(ProcessLost, match=r"ended without an answer \(bias_field\), twice"):
            long.result()
    assert shifted(4.0)[0, 0, 0] == 4.0


def test_a_server_that_is_ended_from_outside_is_replaced(stopped):
    shifted(0.0)
    first = process._running
    os.kill(first.process.pid, signal.SIGKILL)
    assert shifted(5.0)[0, 0, 0] == 5.0
    assert process._running.process.pid != first.process.pid
    itk.stop()
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


def test_nothing_is_left_when_host_and_server_are_ended_during_a_call():
    """As systemd and batch systems end all processes of a unit."""
    lines = HOST + (
        "import threading, time\n"
        "head = itk.Volume(np.random.rand(24, 24, 24), np.eye(4))\n"
        "long = (head, np.ones(head.shape, bool), (100_000,), 1, 10.0)\n"
        "threading.Thread(target=itk.bias_field, args=long, daemon=True).start()\n"
        "server = process._running.process.pid\n"
        "while not (there := open(f'/proc/{server}/task/{server}/children').read().split()):\n"
        "    pass\n"
        "print(*there, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", lines], stdout=subprocess.PIPE, text=True) as host:
        server, scratch = host.stdout.readline().split()
        there = host.stdout.readline().split()
        for pid in (host.pid, int(server)):
            os.kill(pid, signal.SIGTERM)
    assert all(gone(int(pid)) for pid in (server, *there))
    assert not Path(scratch).exists()


def test_a_temporary_folder_that_was_cleared_away_is_made_again():
    shifted(0.0)
    shutil.rmtree(process._running.scratch)
    matrix = itk.register_linear(HEAD, HEAD, None, np.eye(4), itk.Schedule((2,), (1,), (0,)))
    np.testing.assert_allclose(matrix, np.eye(4), atol=0.05)


def test_what_keeps_it_from_starting_is_told_and_leaves_nothing(monkeypatch, stopped, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spawn, "_python_exe", str(tmp_path / "nowhere" / "python"))
    with pytest.raises(Mri2petError, match=r"could not be started .*it needs the Python .*nowhere"):
        shifted(0.0)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Mri2petError, match=r"could not be started .*missing"):
        shifted(0.0)
    ready._started.cache_clear()
    ready.wait()  # what it makes itself is there
    monkeypatch.undo()
    assert shifted(7.0)[0, 0, 0] == 7.0


def test_an_import_that_fails_there_is_raised_here(stopped, tmp_path, monkeypatch):
    (tmp_path / "ants").mkdir()
    (tmp_path / "ants" / "__init__.py").write_text("raise OSError('libstdc++ is too old')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])  # as some hosts have it
    with pytest.raises(OSError, match="too old"):
        shifted(0.0)


def test_without_a_home_nothing_is_said(tmp_path):
    host = subprocess.run(
        [sys.executable, "-c", HOST],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": "/dev/null/none", "MPLCONFIGDIR": ""},
    )
    assert host.stderr == ""


def test_large_volumes_go_both_ways():
    values = RNG.uniform(size=(200, 200, 200)).astype(np.float32)
    corner = itk.windowed_sinc(values, np.eye(4), (2, 2, 2))
    np.testing.assert_array_equal(corner, values[:2, :2, :2])
    far = np.eye(4)
    far[:3, 3] = 1000.0
    assert itk.windowed_sinc(values[:2, :2, :2], far, values.shape).shape == values.shape


def test_a_fork_of_the_host_leaves_its_server_alone():
    shifted(0.0)
    server = process._running.process.pid
    child = os.fork()
    if child == 0:
        itk.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert shifted(6.0)[0, 0, 0] == 6.0
    assert process._running.process.pid == server


def test_a_host_that_runs_no_registration_starts_nothing():
    lines = "from mri2pet.imaging.space.itk import process; print(process._running)"
    host = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert host.stdout == "None\n"
