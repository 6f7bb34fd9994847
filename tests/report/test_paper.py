"""The page of paper that an archive keeps beside a PET."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mri2pet.imaging.space.volume import Volume
from mri2pet.report import ReportInput
from mri2pet.report.paper import DOUBTS_SHOWN, HEADLINE, as_pdf, as_picture, paper_page


@pytest.fixture
def sidecar(content: ReportInput) -> dict[str, Any]:
    more = {"ReferenceRegion": "whole cerebellum"}
    more["space"] = {"template_from_subject": np.eye(4).tolist()}
    return {**content.sidecar, **more}


def words(page: Any) -> str:
    return " ".join(text.get_text() for text in page.texts)


def test_it_says_first_that_it_is_synthetic(content, sidecar):
    page = paper_page(content.t1, content.pet, sidecar, ("It was given a contrast agent.",))
    largest = max(page.texts, key=lambda text: text.get_fontsize())
    assert largest.get_text() == HEADLINE
    said = words(page)
    for part in ("not a medical device", "ab" * 32, "1.234", "0.95 to 1.52", "contrast agent"):
        assert part in said
    assert "<b>" not in said, "the name of the input"


def test_the_same_page_is_the_same_pdf(content, sidecar):
    """Whatever the user's own matplotlib is set to."""
    import matplotlib

    one = as_pdf(paper_page(content.t1, content.pet, sidecar))
    with matplotlib.rc_context({"font.size": 30, "savefig.dpi": 10, "pdf.fonttype": 42}):
        again = as_pdf(paper_page(content.t1, content.pet, sidecar))
    assert one == again
    assert b"CreationDate" not in one


def test_it_shows_no_face(content, sidecar):
    """What lies outside the brain leaves no trace on it."""
    pages = []
    for outside in (0.0, 700.0):
        t1 = np.where(content.pet > 0, content.t1.data, outside).astype(np.float32)
        page = paper_page(Volume(t1, content.t1.affine), content.pet, sidecar)
        pages.append(as_picture(page, 40))
    assert np.array_equal(*pages)
    assert pages[0].shape == (467, 330, 3)


def test_many_doubts_have_an_end(content, sidecar):
    sidecar["warnings"] = [f"Doubt {n} " + "x " * 300 for n in range(DOUBTS_SHOWN + 3)]
    page = paper_page(content.t1, content.pet, sidecar)
    assert "and 3 more" in words(page)
    note = next(text for text in page.texts if "Doubt 0" in text.get_text())
    assert len(note.get_text().splitlines()) == 2 * DOUBTS_SHOWN + 1
