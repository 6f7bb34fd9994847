"""Threads that wait leave their core to others."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

COMMAND = """
import sys
from mri2pet.cli.main import main
sys.argv = ["mri2pet", "info"]
assert main() == 0
"""


def settings(**environment: str) -> dict[str, str]:
    """What libgomp says of itself when the command `mri2pet info` has it loaded."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    run = subprocess.run(
        [sys.executable, "-c", COMMAND],
        env={**clean, "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    found = dict(re.findall(r"(\w+) = '(\w*)'", run.stderr))
    if "GOMP_SPINCOUNT" not in found:
        pytest.skip("torch's OpenMP runtime here is not libgomp")
    return found


def test_a_command_waits_briefly():
    assert settings()["GOMP_SPINCOUNT"] == "1000"


@pytest.mark.parametrize(
    ("environment", "count"),
    [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_the_users_own_setting_goes_first(environment: dict[str, str], count: str):
    assert settings(**environment)["GOMP_SPINCOUNT"] == count
