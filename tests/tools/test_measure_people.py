"""The tool that measures people an hour reads what each run wrote, and refuses half of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def tool(load_tool, monkeypatch):
    """With a synthesis of ten seconds' wall clock that writes sidecars alone."""
    module = load_tool("measure_people")
    module.clock = 0.0

    def run(command, check):
        t1s = [Path(word) for word in command if word.endswith(".nii")]
        out = Path(command[command.index("-o") + 1])
        for number, t1 in enumerate(t1s[: module.made]):
            folder = out / t1.stem
            folder.mkdir(parents=True)
            for desc in ("synthetic", "syntheticstd"):
                seconds = {"read": 1.0, "registration": 2.0 + number, "sampling": 4.0}
                text = json.dumps({"seconds": seconds} if desc == "synthetic" else {})
                (folder / f"{t1.stem}_desc-{desc}_pet.json").write_text(text)
        module.ran.append(command[command.index("--jobs") + 1])
        module.clock += 10.0
        return SimpleNamespace(returncode=0)

    module.made, module.ran = 2, []
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module.time, "perf_counter", lambda: module.clock)
    return module


def test_people_an_hour_of_each_number_of_jobs(tool, tmp_path, capsys):
    tool.main([str(tmp_path / "out"), "a.nii", "b.nii", "--jobs", "1", "3"])
    assert tool.ran == ["1", "3"]
    kept = json.loads((tmp_path / "out" / "people.json").read_text())
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert kept["rows"] == printed
    row = printed[1]
    assert (row["jobs"], row["people"], row["wall_s"], row["people_an_hour"]) == (3, 2, 10, 720)
    assert (row["sampling_s"], row["other_stages_s"]) == (4, 3.5)


def test_a_person_without_a_result_ends_it(tool, tmp_path):
    tool.made = 1
    with pytest.raises(SystemExit, match="1 of 2 people"):
        tool.main([str(tmp_path / "out"), "a.nii", "b.nii"])


def test_an_old_folder_is_refused(tool, tmp_path):
    (tmp_path / "jobs-2").mkdir()
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), "a.nii"])
    assert not tool.ran
