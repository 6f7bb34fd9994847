"""The tool that measures an import decides on a made-up index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_it_measures_a_small_download(repository: Path, tmp_path: Path):
    pytest.importorskip("pydicom", reason="needs the extra dicom")
    pytest.importorskip("dcm2niix", reason="needs the extra dicom")
    tool = repository / "tools" / "measure_import.py"
    options = ["--images", "64", "--series", "1", "--slices", "12", "--empty", "300"]
    done = subprocess.run(
        [sys.executable, tool, tmp_path / "out", *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    decided, converted, *walked = map(json.loads, done.stdout.splitlines())
    assert (decided["images"], decided["taken"]) == (64, 32)
    assert (converted["files"], converted["taken"]) == (12, 1)
    assert {row["layout"]: row["files"] for row in walked} == {
        "folders": 300,
        "zip": 300,
        "flat": 300,
    }
