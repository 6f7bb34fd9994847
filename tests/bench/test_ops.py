"""The ops' benchmark times what is right and says why the rest is not; stderr stays clean."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mri2pet.bench import ops as bench
from mri2pet.bench.ops import bench_ops, format_ops, raise_unless_timed
from mri2pet.errors import Mri2petError

SMALL = ("--set", "model.mri_shape=[16,32,32]", "--set", "model.pet_shape=[16,32,32]")


def test_an_op_that_is_not_its_reference_is_not_timed_and_stops_no_other(monkeypatch):
    def broken(case, run, dtype, check=bench.check):
        if case.op == "laplacian_pyramid_loss":
            raise Mri2petError("its result differs")
        check(case, run, dtype)

    monkeypatch.setattr(bench, "check", broken)
    monkeypatch.setattr("mri2pet.bench.timing.MINIMUM_REPEATS", 1)
    sizes = []
    result = bench_ops(
        dtypes=["float32"],
        scale=4,
        repeats=1,
        on_row=lambda so_far: sizes.append(len(so_far["rows"])),
    )
    rows = result["rows"]
    assert sizes == list(range(1, len(rows) + 1))
    assert {row["op"] for row in rows if "reason" in row} == {"laplacian_pyramid_loss"}
    timed = [row for row in rows if "reason" not in row]
    assert {row["op"] for row in timed} >= {"linear_attention", "sampler_step", "group_norm_gelu"}
    assert all(row["native_ms"] > 0 for row in timed)
    assert "not timed: its result differs" in format_ops(result)
    with pytest.raises(Mri2petError, match=r"laplacian_pyramid_loss .* its result differs"):
        raise_unless_timed(result)
    raise_unless_timed({"rows": timed})


PROGRAM = """
import sys
from mri2pet.bench import timing
timing.MINIMUM_REPEATS = 1
from mri2pet.bench.cli import main
for command in ("network", "step"):
    sys.argv[1] = command
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    print(end="\\f")
"""


@pytest.mark.slow
def test_a_command_writes_its_table_alone():
    """Two commands in a process of their own: what libraries print is seen there alone."""
    words = ["", "--preset", "compact", *SMALL, "--dtype", "float32", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    network, step, _ = done.stdout.split("\f")
    assert "share of the time" in network
    assert "share of the time" in step
