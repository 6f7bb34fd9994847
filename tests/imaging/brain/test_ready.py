"""What is made ready on a thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mri2pet.imaging.brain import ready
from mri2pet.imaging.brain.registration import fixed_template


def test_after_the_wait_the_template_is_there():
    ready.begin()
    ready.wait()
    assert fixed_template.cache_info().currsize == 1


def test_what_went_wrong_is_raised_by_the_wait(monkeypatch):
    def fails() -> None:
        raise OSError("no template")

    ready._started.cache_clear()
    monkeypatch.setattr(ready, "_make", fails)
    try:
        ready.begin()
        with pytest.raises(OSError, match="no template"):
            ready.wait()
    finally:
        ready._started.cache_clear()


def test_a_command_that_ends_early_does_not_wait_and_says_nothing():
    lines = "from mri2pet.imaging.brain import ready; ready.begin()"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
