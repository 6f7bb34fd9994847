"""Registers, stack and spills of every CUDA kernel, as the assembler reports them.

    python tests/cuda_emulation/resources.py [ARCHITECTURE …]      (default: 80 86 89 90)

Prints a table and exits with 1 when a kernel spills registers or keeps an array in local memory.
Needs nvcc and c++filt, no GPU.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
ARCHITECTURES = ("80", "86", "89", "90")
REPORT = re.compile(
    r"Compiling entry function '(\S+)' for 'sm_(\d+)'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers",
    re.DOTALL,
)


class Kernel(NamedTuple):
    name: str
    architecture: str
    registers: int
    stack_bytes: int
    spill_bytes: int


def kernels_of(source: Path, architectures: tuple[str, ...] = ARCHITECTURES) -> list[Kernel]:
    """Compiles one .cu file with the flags of the build, one report a kernel and architecture."""
    codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    with tempfile.TemporaryDirectory() as folder:
        command = ["nvcc", "-std=c++17", "-O3", "--ftz=true", "-Xptxas", "-v", *codes]
        command += [f"-I{REPOSITORY / 'csrc' / 'include'}", "-c", str(source)]
        command += ["-o", str(Path(folder) / "kernels.o")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{source.name} does not compile:\n{done.stderr}")
    found = REPORT.findall(done.stderr)
    names = subprocess.run(
        ["c++filt", *(name for name, *_ in found)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        Kernel(short(name), architecture, int(registers), int(stack), int(stores) + int(loads))
        for name, (_, architecture, stack, stores, loads, registers) in zip(
            names, found, strict=True
        )
    ]


def short(name: str) -> str:
    """A demangled kernel's name without namespaces and parameters."""
    name = re.sub(r"\(anonymous namespace\)::|mri2pet::|cuda::|^void ", "", name)
    return re.sub(r"\((?!int\)|bool\)|Place\)).*$", "", name).replace("(int)", "")


def sources() -> list[Path]:
    return sorted((REPOSITORY / "csrc" / "cuda").glob("*.cu"))


def main(architectures: tuple[str, ...]) -> int:
    bad = False
    print(f"{'kernel':<64} {'sm':>3} {'registers':>9} {'stack':>6} {'spills':>6}")
    for source in sources():
        for k in kernels_of(source, architectures):
            print(
                f"{k.name:<64} {k.architecture:>3} {k.registers:>9} {k.stack_bytes:>6} "
                f"{k.spill_bytes:>6}"
            )
            bad = bad or k.stack_bytes > 0 or k.spill_bytes > 0
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or ARCHITECTURES))
