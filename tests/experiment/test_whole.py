"""A whole experiment on a made-up cohort: from nothing to the page, and killed in three places."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mri2pet.experiment.reading import read_experiment
from mri2pet.experiment.run import run_experiment
from mri2pet.tables import read_table

ALL = ("mri2pet", "vanilla", "gan")
KILLED = (("train:mri2pet", 4), ("evaluate:vanilla", 3), ("table1", 1))


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "tables").glob("*.*"))}


@pytest.mark.slow
def test_from_nothing_to_the_page(write, made_up, monkeypatch):
    monkeypatch.setattr("mri2pet.cohort.cache.prepare", made_up.prepare)
    monkeypatch.setattr(
        "mri2pet.evaluation.rivals.Rivals.warped_cohort_mean", lambda self, mri: self.mean_pet
    )
    result = run_experiment(read_experiment(write()))
    assert result.failures == {}
    assert result.page is not None
    page = result.page.read_text()
    for words in ("Vanilla Diffusion", "GAN: one sample", "PET scans", "90 %", "random VGG19"):
        assert words in page
    assert page.count("<img") >= 2
    rows = read_table(result.out / "figures" / "grid.tsv")
    assert 1 <= len(rows) <= 5
    assert not list(result.out.rglob(".part-*"))


@pytest.mark.slow
def test_killed_in_three_places_it_gives_the_same_tables(write, tmp_path):
    def run(out: Path, *kill: object) -> int:
        file = write(out=out, methods=ALL)
        script = Path(__file__).with_name("made_up.py")
        words = [sys.executable, str(script), str(file), *map(str, kill)]
        source = Path(__file__).parents[2] / "python"
        path = os.environ.get("PYTHONPATH", "")
        if os.environ.get("MRI2PET_TEST_INSTALLED") != "1":
            path = os.pathsep.join(filter(None, [str(source), path]))
        return subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, check=False).returncode

    assert run(tmp_path / "whole") == 0
    for step, events in KILLED:
        assert run(tmp_path / "killed", step, events) == -signal.SIGKILL
        marker = tmp_path / "killed" / "steps" / f"{step.replace(':', '.')}.json"
        assert not marker.exists() or json.loads(marker.read_text())["state"] == "begun"
    assert run(tmp_path / "killed") == 0
    whole, killed = tables(tmp_path / "whole"), tables(tmp_path / "killed")
    assert {"table1.md", "table4.csv", "table5.tex", "uncertainty.md"} <= set(whole)
    assert killed == whole
