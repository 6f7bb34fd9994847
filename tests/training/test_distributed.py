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

from mri2pet.training import log, train

PROGRAM = """
import json
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
from mri2pet.training.stopping import Stopped
run.build_cache = lambda *args, **kwargs: module.MemoryCohort()
torch.set_num_threads(1)
settings = (*module.SETTINGS, *json.loads(sys.argv[2]))
signal_at = int(sys.argv[3])
def on_event(kind, facts):
    if kind == "step" and facts["volumes"] == signal_at:
        os.kill(os.getpid(), int(sys.argv[4]))
status = 0
try:
    run.train(sys.argv[1], data=".", settings=settings, device="cpu", on_event=on_event)
except Stopped as stopped:
    status = stopped.exit_code
if int(os.environ["WORLD_SIZE"]) > 1:
    leave(status)
sys.exit(status)
"""


#: Two volumes for each of two processes, one at a time.
SHARED = ("training.batch_size=4", "training.micro_batch=1")


def launch(
    folder: Path,
    processes: int,
    settings: tuple[str, ...],
    *,
    killed: tuple[int, int] = (-1, 0),
    status: int = 0,
) -> Path:
    """Trains in `processes`; the first one sends itself a signal, `killed` = (volume, signal)."""
    program = folder / "program.py"
    conftest = str(Path(__file__).with_name("conftest.py"))
    program.write_text(PROGRAM.format(folder=str(folder), conftest=conftest))
    run = folder / "launched"
    arguments = [str(run), json.dumps(settings), *map(str, killed)]
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


@pytest.fixture
def here(memory_cohort, settings, tmp_path):
    """Trains in this process, on one thread as those that are launched."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def go(name: str, more: tuple[str, ...]) -> Path:
        train(tmp_path / name, data=tmp_path, settings=(*settings, *more), device="cpu")
        return tmp_path / name

    yield go
    torch.set_num_threads(threads)


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "checkpoints" / "last.safetensors")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_two_processes_train_like_one(tmp_path, here):
    settings = (*SHARED, "training.volumes=8", "training.checkpoint_every=1000")
    one, two = checkpoint(here("one", settings)), checkpoint(launch(tmp_path, 2, settings))
    moments = [name for name in one if name.startswith("adam.exp_avg.")]
    a, b = (torch.cat([state[n].flatten() for n in moments]) for state in (one, two))
    assert (a - b).norm() < 1e-4 * a.norm()


@pytest.mark.slow
def test_a_run_ended_by_sigkill_goes_on_to_the_same_bits(tmp_path, here):
    """The checkpoint is of volume 4; what the process did after it is done again."""
    settings = ("training.volumes=6", "training.validate_every=4")
    whole = here("whole", settings)
    killed = launch(tmp_path, 1, settings, killed=(6, signal.SIGKILL), status=-signal.SIGKILL)
    assert log.read(killed)[-1]["volumes"] == 4
    assert checkpoint(killed).keys() == checkpoint(whole).keys()
    assert here(killed.name, settings) == killed
    ours, theirs = checkpoint(whole), checkpoint(killed)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_a_signal_to_one_process_stops_all_of_them_after_the_same_step(tmp_path):
    stopped = 128 + signal.SIGTERM
    settings = (*SHARED, "training.volumes=40")
    run = launch(tmp_path, 2, settings, killed=(4, signal.SIGTERM), status=stopped)
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
