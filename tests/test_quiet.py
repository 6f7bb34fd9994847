"""What libraries log stays off a command's stderr."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from operator import methodcaller
from pathlib import Path

import pytest

from mri2pet.cohort.parallel import single_threaded_map

COMMAND = """
import sys
from mri2pet.cli.main import main
sys.argv = ["mri2pet", "info", "--json"]
assert main() == 0
"""


def stderr_of(code: str) -> str:
    """What a process without a usable home directory writes there."""
    homes = ("HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    clean = {name: value for name, value in os.environ.items() if name not in homes}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "HOME": "/dev/null/none"},
        check=True,
        capture_output=True,
        text=True,
    )
    return run.stderr


@pytest.mark.slow
def test_no_word_on_a_missing_home_directory() -> None:
    pytest.importorskip("matplotlib")
    assert "MPLCONFIGDIR" in stderr_of("import matplotlib")  # or this test shows nothing
    assert stderr_of(f"{COMMAND}\nimport matplotlib") == ""


def test_no_word_on_a_mended_header(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    header = nibabel.Nifti1Header()
    header.set_data_shape((2, 2, 2))
    header["pixdim"][1:4] = -1
    header["vox_offset"] = 352
    file = tmp_path / "negative.nii"
    file.write_bytes(header.binaryblock + bytes(4 + 32))
    read = f"import nibabel; nibabel.load({str(file)!r})"
    assert "pixdim" in stderr_of(read)  # or this test shows nothing
    assert stderr_of(f"{COMMAND}\n{read}") == ""


def test_the_processes_of_a_cohort_are_quiet_too() -> None:
    names = ("nibabel.global", "matplotlib", "matplotlib.font_manager")
    loggers = [logging.getLogger(name) for name in names]  # in a worker they are its own
    speaks = methodcaller("isEnabledFor", logging.WARNING)
    assert [said for _, said in single_threaded_map(speaks, loggers, jobs=2)] == [False] * 3
