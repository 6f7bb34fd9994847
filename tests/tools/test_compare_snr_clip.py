"""The comparison of bounds asks for equal trainings from one pre-training, and reads only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest


@pytest.fixture
def script(load_tool):
    return load_tool("compare_snr_clip")


def options(root: Path) -> argparse.Namespace:
    return argparse.Namespace(
        ablations=root / "ablations",
        out=root / "out",
        volumes=40,
        clip=[5.0],
        samples=2,
        steps=15,
        limit=None,
        jobs=1,
        device="cpu",
        set=["training.lr=1e-3"],
    )


def test_trainings_differ_in_the_bound_alone(script, tmp_path, monkeypatch):
    asked: list[tuple[str, ...]] = []
    run_ablations = sys.modules["run_ablations"]
    for module in (script, run_ablations):
        monkeypatch.setattr(module, "mri2pet", lambda *words: asked.append(tuple(map(str, words))))
    for clip in (None, 5.0):
        script.make(options(tmp_path), clip)
    free, _, bound, evaluation = asked
    start = str(tmp_path / "ablations" / "runs" / "epsilon" / "pretrain")
    assert start in free
    assert "model.prediction=epsilon" in free
    assert set(bound) - set(free) == {str(tmp_path / "out/runs/5"), "training.snr_clip=5"}
    assert evaluation[evaluation.index("-o") + 1] == str(tmp_path / "out/evaluation/5")
    for words in asked:
        written = words[1] if words[0] == "train" else words[words.index("-o") + 1]
        assert written.startswith(str(tmp_path / "out"))


def test_without_a_pretraining_it_says_what_to_run(script, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["compare_snr_clip.py", str(tmp_path), str(tmp_path / "o"), "--volumes", "4"]
    )
    with pytest.raises(SystemExit, match="--only epsilon"):
        script.main()
    assert not (tmp_path / "o").exists()
