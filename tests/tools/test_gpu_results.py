"""Results of a GPU become files and tables, and the text around them stays."""

from __future__ import annotations

import json

import pytest

ROW = {
    "op": "sampler_step",
    "shape": [1, 1, 8],
    "dtype": "float32",
    "pass": "forward",
    "reference_ms": 2.0,
    "native_ms": 0.0056,
    "ratio": 357.1,
    "roofline_fraction": 0.64,
    "native_host_ms": 0.09,
}
PLACE = {"device_name": "Card", "torch": "9", "revision": "0123456789"}


@pytest.fixture
def tool(load_tool, tmp_path, monkeypatch):
    module = load_tool("gpu_results")
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "bench" / "results").mkdir(parents=True)
    page = "before\n<!-- gpu: begin -->\nold\n<!-- gpu: end -->\nafter\n"
    (tmp_path / "docs" / "performance.md").write_text(page)
    return module


def measured(folder, native_ms):
    folder.mkdir()
    ops = {"environment": PLACE, "rows": [ROW | {"native_ms": native_ms}]}
    (folder / "results.json").write_text(json.dumps({"ops": ops, "tests": {}}))
    return str(folder)


def test_a_later_folder_replaces_a_stage(tool, tmp_path):
    tool.main([measured(tmp_path / "one", 1.0), measured(tmp_path / "two", 0.0056)])
    page = (tmp_path / "docs" / "performance.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "Measured on: Card, torch 9, 0123456." in page
    assert "| `sampler_step`, 1 × 1 × 8 | float32 | forward | 2.000 | 0.006 | 357.1 |" in page
    kept = json.loads((tmp_path / "bench" / "results" / "gpu_ops.json").read_text())
    assert kept["rows"][0]["native_ms"] == 0.0056


def test_a_page_without_a_place_is_refused(tool, tmp_path):
    (tmp_path / "docs" / "performance.md").write_text("nothing")
    with pytest.raises(SystemExit, match="no place between"):
        tool.main([measured(tmp_path / "one", 1.0)])
