"""What the documents promise about the package itself."""

from __future__ import annotations

import re
from pathlib import Path

import mri2pet


def documents(repository: Path) -> list[Path]:
    return [*repository.glob("*.md"), *repository.glob("docs/**/*.md")]


def test_relative_links_lead_somewhere(repository: Path):
    broken = [
        f"{page.relative_to(repository)}: {target}"
        for page in documents(repository)
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists()
    ]
    assert not broken


def test_readme_has_the_warning_word_for_word(repository: Path):
    assert mri2pet.WARNING in (repository / "README.md").read_text()


def test_citation_names_this_version(repository: Path):
    citation = (repository / "CITATION.cff").read_text()
    assert f"version: {mri2pet.__version__}\n" in citation
    assert mri2pet.__version__ in (repository / "CHANGELOG.md").read_text()
