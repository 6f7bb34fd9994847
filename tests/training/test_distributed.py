"""Two processes with gloo give the update of one, for the same global batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
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
run.build_cache = lambda *args, **kwargs: module.MemoryCohort()
torch.set_num_threads(1)
settings = (*module.SETTINGS, "training.batch_size=4", "training.micro_batch=1",
            "training.volumes=8")
run.train(sys.argv[1], data=".", settings=settings, device="cpu")
"""


def launch(folder: Path, processes: int) -> Path:
    program = folder / "program.py"
    conftest = str(Path(__file__).with_name("conftest.py"))
    program.write_text(PROGRAM.format(folder=str(folder), conftest=conftest))
    run = folder / f"run{processes}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = [
        subprocess.Popen(
            [sys.executable, str(program), str(run)],
            env={**environment, "RANK": str(rank), "WORLD_SIZE": str(processes)},
        )
        for rank in range(processes)
    ]
    assert [child.wait(timeout=120) for child in children] == [0] * processes
    return run


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_two_processes_train_like_one(tmp_path):
    import safetensors.torch

    one, two = (
        safetensors.torch.load_file(launch(tmp_path, n) / "checkpoints" / "last.safetensors")
        for n in (1, 2)
    )
    moments = [name for name in one if name.startswith("adam.exp_avg.")]
    a, b = (torch.cat([state[n].flatten() for n in moments]) for state in (one, two))
    assert (a - b).norm() < 1e-4 * a.norm()
