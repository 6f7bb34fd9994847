"""The page: what it holds, and what it says it does not show."""

from __future__ import annotations

import base64
import json
import re
import zipfile

import pytest

from mri2pet.experiment.limits import limits
from mri2pet.experiment.markup import to_html
from mri2pet.experiment.page import write_page
from mri2pet.experiment.reading import read_experiment

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

DONE = {"table1", "figure:grid", "train:gan"}


@pytest.fixture
def study(write):
    """An experiment with one table, one figure and one failure."""
    config = read_experiment(write())
    for folder in ("tables", "figures", "steps"):
        (config.out / folder).mkdir(parents=True)
    table = "# Title\n\n| | SSIM ↑ |\n|---|---|\n| a <b> | **0.9 \\*\\*▼** |\n\n*, **, ***: p.\n"
    (config.out / "tables" / "table1.md").write_text(table)
    (config.out / "figures" / "grid.png").write_bytes(PNG)
    marker = {"hash": "ab" * 32, "state": "done", "seconds": 61.0, "notes": ["2 scans <failed>"]}
    for step in ("figure.grid", "train.gan"):
        (config.out / "steps" / f"{step}.json").write_text(json.dumps(marker))
    (config.out / "failures.tsv").write_text("step\terror\nevaluate:gan\tno people.\n")
    return config


def test_the_page_holds_all_and_asks_nobody(study):
    write_page(study, DONE)
    page = (study.out / "index.html").read_text()
    assert "<td><b>0.9 **▼</b></td>" in page
    assert "<td>a &lt;b&gt;</td>" in page
    assert "<p>*, **, ***: p.</p>" in page
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in page
    assert "2 scans &lt;failed&gt;" in page
    assert "evaluate:gan: no people." in page
    assert "Not in it: evaluate:gan (no people)." in page
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith(("data:", "tables/", "sources.zip")) for link in links)
    assert "http" not in page.replace("https://doi.org", "")
    assert str(study.out) not in page


def test_what_was_made_with_other_settings_is_not_shown(study):
    """Table 2 of an earlier run lies there; its step is not done, or not asked for any more."""
    for name in ("table2.md", "table2_scores.tsv", "table2_binary.md"):
        (study.out / "tables" / name).write_text("# Old\n\nold numbers\n")
    write_page(study, {*DONE, "downstream:binary"} - {"figure:grid"})
    page = (study.out / "index.html").read_text()
    assert page.count("old numbers") == 1  # of the binary task
    assert "<img" not in page
    for step in ("downstream:diagnosis", "figure:grid"):
        assert f"Not in it: {step} (what is there was made with other settings or steps)" in page
    with zipfile.ZipFile(study.out / "sources.zip") as archive:
        names = set(archive.namelist())
    assert "tables/table2_binary.md" in names
    assert not names & {"tables/table2.md", "tables/table2_scores.tsv", "figures/grid.png"}


def test_the_sources_are_packed_to_the_same_bytes(study):
    write_page(study, DONE)
    first = (study.out / "sources.zip").read_bytes()
    with zipfile.ZipFile(study.out / "sources.zip") as archive:
        names = set(archive.namelist())
    assert {"tables/table1.md", "figures/grid.png", "failures.tsv", "index.html"} <= names
    write_page(study, DONE)
    assert (study.out / "sources.zip").read_bytes() == first


def test_what_is_not_shown_follows_from_the_settings(write):
    def said(**changed) -> str:
        return " ".join(limits(read_experiment(write(**changed)), None, None, []))

    assert "random VGG19" in said()
    assert "random VGG19" not in said(style=None)
    assert "no FID" in said()
    assert "random network" in said(evaluate={"inception": {"random": True}})
    assert "16 × 32 × 32 voxels" in said()
    assert "are short (16 and 8 volumes" in said()
    assert "short" not in said(train={})
    assert "simulated" in said(cohort={"phantom": {"pairs": 3}})
    assert "simulated" not in said()
    assert "no error bar" in said(uncertainty=None)
    gan = {"methods": ["gan"], "evaluate": {"samples": 4}}
    assert "no spread to tell of" in said(**gan)
    assert "no spread to tell of" not in said(methods=["mri2pet"], evaluate={"samples": 4})
    assert "a generator that saw these people" in said(downstream={})
    assert "a generator that saw these people" not in said(downstream={"crossfit": 2})
    other = {"test_cohort": {"phantom": {"pairs": 3}}}
    assert "not those of `test_cohort`" in said(downstream={}, **other)
    assert "test_cohort" not in said(downstream=None, **other)


def test_markdown_as_this_package_writes_it():
    html = to_html("# A\n\n- one\n- two **b**\n\ntext\nover lines\n\n| a \\| b | c |\n|---|---|\n")
    assert "<h3>A</h3>" in html
    assert "<ul><li>one</li><li>two <b>b</b></li></ul>" in html
    assert "<p>text over lines</p>" in html
    assert "<th>a | b</th>" in html
    assert "<h3>" not in to_html("# A\n", title=False)
