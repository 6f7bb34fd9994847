"""Writes what the machine is: GPU, driver, toolkit, torch, and which native module works.

usage: facts.py cuda|cpu FILE
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from mri2pet.bench.timing import environment
from mri2pet.build import native_build

REPOSITORY = Path(__file__).resolve().parents[2]
QUERY = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,compute_cap"


def output_of(*command: str) -> str | None:
    """What a command prints; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else None


def revision() -> str | None:
    """The revision of this tree: git's, or the one that `gpu_pack.sh` noted."""
    noted = REPOSITORY / ".pack" / "revision"
    if noted.exists():
        return noted.read_text().strip()
    return output_of("git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40")


def gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    names = ("name", "major", "minor", "total_memory", "multi_processor_count", "L2_cache_size")
    facts = {name: getattr(properties, name, None) for name in names}
    smi = output_of("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader")
    values = [] if smi is None else [value.strip() for value in smi.splitlines()[0].split(",")]
    return facts | dict(zip(QUERY.split(","), values, strict=False))


def main(device: str, file: str) -> None:
    nvcc = output_of("nvcc", "--version")
    facts = {
        "revision": revision(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "environment": environment(device),
        "native": native_build(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nvcc": nvcc and nvcc.splitlines()[-1],
        "gpu": gpu() if device == "cuda" else None,
    }
    Path(file).write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))
    print(
        f"{facts['environment']['device_name']}, torch {facts['torch']}, tree {facts['revision']}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
