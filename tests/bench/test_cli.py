"""The two commands that compare forms hand on what they were given, each to its own timing."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mri2pet.bench.cli import app


@pytest.mark.parametrize(
    ("command", "dtypes"), [("network", ["float32"]), ("step", ["float32", "bfloat16"])]
)
def test_options_reach_the_timing(command, dtypes, monkeypatch, tmp_path):
    calls = []

    def bench(presets, **options):
        calls.append((presets, options))
        return {"of": command}

    monkeypatch.setattr(f"mri2pet.bench.{command}.bench_{command}", bench)
    monkeypatch.setattr("mri2pet.bench.forms.format_rows", lambda result: f"rows of {result['of']}")
    given = "--preset paper --set ops.backend=folded --dtype float16 --batch 2 --like-for-like"
    path = tmp_path / "result.json"
    more = ["--threads", "3", "--repeats", "9", "--json", str(path)]
    for arguments in ([], [*given.split(), *more]):
        done = CliRunner().invoke(app, [command, *arguments])
        assert done.exit_code == 0, done.output
        assert done.output == f"rows of {command}\n"
    plain = {"settings": (), "device": "cpu", "batch": 1, "like_for_like": False}
    plain |= {"dtypes": dtypes, "threads": None, "repeats": 7}
    chosen = {"settings": ["ops.backend=folded"], "device": "cpu", "batch": 2}
    chosen |= {"like_for_like": True, "dtypes": ["float16"], "threads": 3, "repeats": 9}
    assert calls == [(["paper", "compact"], plain), (["paper"], chosen)]
    assert json.loads(path.read_text()) == {"of": command}
