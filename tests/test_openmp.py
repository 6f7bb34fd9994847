"""Threads that wait leave their core to others."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

COMMAND = """
import os, sys
os.getloadavg = lambda: ({load}, 9.0, 9.0)
from mri2pet.cli.main import main
sys.argv = ["mri2pet", "info"]
assert main() == 0
"""


def settings(load: float, **environment: str) -> dict[str, str]:
    """What libgomp says of itself when `mri2pet info` has it loaded beside so much other work."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    run = subprocess.run(
        [sys.executable, "-c", COMMAND.format(load=load)],
        env={**clean, "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    found = dict(re.findall(r"(\w+) = '(\w*)'", run.stderr))
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("torch's OpenMP runtime here is not libgomp")
    return found


@pytest.mark.parametrize(("load", "count"), [(0.5, "1000"), (0.49, "300000")])
def test_a_command_waits_briefly_beside_other_work(load: float, count: str):
    assert settings(load)["GOMP_SPINCOUNT"] == count


@pytest.mark.parametrize(
    ("environment", "count"),
    [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_the_users_own_setting_goes_first(environment: dict[str, str], count: str):
    assert settings(2.0, **environment)["GOMP_SPINCOUNT"] == count
