"""The comparison of all methods asks for the right runs, each source once."""

from __future__ import annotations

import sys

import pytest

from mri2pet.baselines import FILES, find_baseline
from mri2pet.stages import ABLATIONS


@pytest.fixture
def script(load_tool):
    return load_tool("run_table1")


@pytest.fixture
def asked(script, monkeypatch):
    """The commands that are given."""
    found: list[tuple[str, ...]] = []
    for module in (script, sys.modules["run_ablations"]):
        monkeypatch.setattr(
            module, "mri2pet", lambda *words, quiet=True: found.append(tuple(map(str, words)))
        )
    return found


def test_every_method_is_a_row_of_equal_length(script, options, asked):
    assert set(script.ROWS) == {*FILES, *ABLATIONS} - {"none"} | {"mri2pet"}
    for name in script.ROWS:
        asked.clear()
        script.make(options, name)
        *trainings, evaluation = asked
        assert (evaluation[0], evaluation[-1]) == ("evaluate", "--as-paper")
        assert trainings[-1][1] == str(options.out / "runs" / name / "finetune")
        assert "training.volumes=40" in trainings[-1]
        if name not in FILES:
            continue
        assert trainings[-1][trainings[-1].index("--baseline") + 1] == name
        source = find_baseline(name).source
        owner = {None: None, "gan": "gan", "diffusion": "no-style"}[source]
        assert len(trainings) == (1 if owner is None else 2)
        if owner is not None:
            made = str(options.out / "runs" / owner / "pretrain")
            assert trainings[0][1] == made
            assert trainings[-1][trainings[-1].index("--init") + 1] == made
            assert "--stylized" not in trainings[0]
            assert ("--baseline" in trainings[0]) is (source == "gan")


def test_what_a_source_is_asked_is_the_same_for_all_that_share_it(script, options, asked):
    """So that a second row finds its run finished, and no run is refused for other settings."""
    first: dict[str, tuple[str, ...]] = {}
    for name in script.ROWS:
        asked.clear()
        script.make(options, name)
        for words in asked[:-1]:
            assert first.setdefault(words[1], words) == words


def test_the_style_is_transferred_where_a_row_needs_it(script):
    assert script.needs_style(["gan", "mri2pet"])
    assert script.needs_style(["no-laplacian"])
    assert not script.needs_style(["vanilla", "no-pretrain", "no-style", *FILES])


def test_the_table_is_of_the_rows_that_are_there(script, options, asked):
    for name in ("gan", "mri2pet"):
        folder = options.out / "evaluation" / name
        folder.mkdir(parents=True)
        (folder / "metrics.tsv").touch()
    script.report(options)
    folders = [str(options.out / "evaluation" / name) for name in ("mri2pet", "gan")]
    table = str(options.out / "table1")
    assert asked == [("compare", *folders, "-o", table, "--as-paper")]
