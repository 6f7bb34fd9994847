"""No CUDA kernel spills registers, on any architecture of the build."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc to compile the kernels with")
@pytest.mark.parametrize(
    "source", sorted((HERE.parents[1] / "csrc" / "cuda").glob("*.cu")), ids=lambda p: p.stem
)
def test_no_kernel_spills(source):
    spec = importlib.util.spec_from_file_location("resources", HERE / "resources.py")
    resources = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resources)
    kernels = resources.kernels_of(source)
    if source.stem != "conv3d":  # which holds no kernel: it chooses among those of conv3d_*
        assert {k.architecture for k in kernels} == set(resources.ARCHITECTURES)
    bad = [k for k in kernels if k.stack_bytes or k.spill_bytes]
    assert not bad, bad
