"""Real processes: two with gloo give the update of one; SIGKILL and SIGTERM cost nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from mri2pet.training import log

PROGRAM = """
import os
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import importlib.util
spec = importlib.util.spec_from_file_location("training_conftest", {conftest!r})
module = importlib.util.module_from_spec(spec)
sys.modules["training_conftest"] = module
spec.loader.exec_module(module)
import torch
import mri2pet.training.run as run
from mri2pet.training.distributed import leave
run.build_cache = lambda *args, **kwargs: module.MemoryCohort()
torch.set_num_threads(1)
settings = (*module.SETTINGS, "training.batch_size=4", "training.micro_batch=1",
            "training.volumes=" + sys.argv[2])
signal_at = int(sys.argv[3])
def on_event(kind, facts):
    if kind == "step" and facts["volumes"] == signal_at:
        os.kill(os.getpid(), int(sys.argv[4]))
status = 0
try:
    run.train(sys.argv[1], data=".", settings=settings, device="cpu", on_event=on_event)
except run.Stopped as stopped:
    status = stopped.exit_code
if int(os.environ["WORLD_SIZE"]) > 1:
    leave(status)
sys.exit(status)
"""


def launch(
    folder: Path,
    processes: int,
    *,
    name: str = "",
    volumes: int = 8,
    killed: tuple[int, int] = (-1, 0),
    status: int = 0,
) -> Path:
    """Trains in `processes`; the first one sends itself a signal, `killed` = (volume, signal)."""
    program = folder / "program.py"
    conftest = str(Path(__file__).with_name("conftest.py"))
    program.write_text(PROGRAM.format(folder=str(folder), conftest=conftest))
    run = folder / (name or f"run{processes}")
    arguments = [str(run), str(volumes), *map(str, killed)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = [
        subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**environment, "RANK": str(rank), "WORLD_SIZE": str(processes)},
        )
        for rank in range(processes)
    ]
    try:
        assert [child.wait(timeout=200) for child in children] == [status] * processes
    finally:
        for child in children:
            child.kill()
    return run


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_two_processes_train_like_one(tmp_path):
    one, two = (
        safetensors.torch.load_file(launch(tmp_path, n) / "checkpoints" / "last.safetensors")
        for n in (1, 2)
    )
    moments = [name for name in one if name.startswith("adam.exp_avg.")]
    a, b = (torch.cat([state[n].flatten() for n in moments]) for state in (one, two))
    assert (a - b).norm() < 1e-4 * a.norm()


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "checkpoints" / "last.safetensors")


def test_a_run_ended_by_sigkill_goes_on_to_the_same_bits(tmp_path):
    whole = launch(tmp_path, 1, name="whole", volumes=16)
    killed = launch(
        tmp_path, 1, name="killed", volumes=16, killed=(12, signal.SIGKILL), status=-signal.SIGKILL
    )
    assert log.read(killed)[-1]["volumes"] <= 12
    assert not (killed / "model").exists() or checkpoint(killed).keys() == checkpoint(whole).keys()
    launch(tmp_path, 1, name="killed", volumes=16)
    ours, theirs = checkpoint(whole), checkpoint(killed)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_a_signal_to_one_process_stops_all_of_them_after_the_same_step(tmp_path):
    stopped = 128 + signal.SIGTERM
    run = launch(tmp_path, 2, volumes=40, killed=(4, signal.SIGTERM), status=stopped)
    with safetensors.safe_open(run / "checkpoints" / "last.safetensors", "pt") as file:
        assert json.loads(file.metadata()["progress"])["volumes"] == 4


def test_a_process_of_several_leaves_without_the_end_of_python():
    program = (
        "import atexit; from mri2pet.training.distributed import leave;"
        "atexit.register(print, 'the end of Python'); print('all of it'); leave(3)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (3, "all of it\n")


def test_a_command_started_by_torchrun_leaves_that_way():
    program = (
        "import atexit, sys; from mri2pet.cli.main import main;"
        "atexit.register(print, 'the end of Python'); sys.argv = ['mri2pet', 'phantom'];"
        "sys.exit(main())"
    )
    for size, printed in (("1", "the end of Python\n"), ("2", "")):
        environment = dict(os.environ, WORLD_SIZE=size)
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert (ended.returncode, ended.stdout) == (2, printed)
        assert "mri2pet: error" in ended.stderr
