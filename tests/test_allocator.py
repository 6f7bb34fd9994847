"""Large tensors come from memory that was used before."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from mri2pet.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

import torch

def fill():
    torch.ones(12_000_000)  # 48 MB: 11,719 pages

for _ in range(3):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept():
    def faults(mode: str) -> int:
        command = [sys.executable, "-c", PROGRAM, mode]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    kept, given_back = faults("keep"), faults("as it is")
    assert kept < 100
    assert given_back > 10 * kept
