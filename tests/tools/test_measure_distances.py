"""The figures of what FID and KID cost, at a tiny size, in one process."""

from __future__ import annotations

import pytest


@pytest.fixture
def tool(load_tool, monkeypatch):
    tool = load_tool("measure_distances")
    monkeypatch.setattr(tool, "_apart", lambda what, *given: what(*given))
    monkeypatch.setattr(tool, "_inception", lambda *shape: {"seconds": 6.4, "mib": 100.0})
    monkeypatch.setattr(tool, "FEATURES", 8)
    return tool


def test_every_size_has_its_line(tool):
    found = tool.measure([64, 160], 64)
    assert [line["people"] for line in found["distances"]] == [4, 10]
    small, large = found["distances"]
    for name in ("fid", "kid", "intervals"):
        assert small[name]["seconds"] > 0
        assert small[name]["mib"] >= 0
    assert large["intervals"] is None
    assert found["about"]["threads"] >= 1
    lines = tool.tables(found).splitlines()
    assert "| 64 × 64 | 0.20 | 100 |" in lines
    assert lines[-1].startswith("| 160 | 10 | ")
    assert lines[-1].endswith("| – |")
