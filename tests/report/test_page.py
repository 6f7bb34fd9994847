"""The page opens offline, warns, and shows what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mri2pet import WARNING
from mri2pet.report import ReportInput, make_report
from mri2pet.report.tables import notes

MAXIMUM_BYTES = 3_000_000


@pytest.fixture(scope="module")
def page(content: ReportInput) -> str:
    return make_report(content)


class References(HTMLParser):
    """All places from which a page could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href", "background"}
        self.found += [value or "" for name, value in attrs if name in loading]


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    parser = References()
    parser.feed(page)
    assert len(parser.found) > 20
    assert all(reference.startswith(("data:", "#")) for reference in parser.found)
    assert not {"link", "iframe", "object", "embed", "base"} & set(parser.tags)
    assert not re.search(r"https?://|//cdn|@import|url\(|fetch\(|XMLHttp|import\(", page)
    assert "default-src 'none'" in page


def test_small_enough_to_mail(page: str) -> None:
    assert len(page.encode()) < MAXIMUM_BYTES


def test_warning_and_display_convention(page: str) -> None:
    assert WARNING in page.split("</header>")[0]
    assert "Neurological display" in page
    assert "prefers-color-scheme: dark" in page


def test_shows_every_plane_of_every_volume(page: str) -> None:
    for plane in ("axial", "coronal", "sagittal"):
        for what in (
            "T1-weighted MRI",
            "synthetic PET",
            "synthetic PET over T1",
            "spread of the samples",
            "template outlines",
            "brain mask on the T1",
        ):
            assert f'alt="{what}, {plane} plane"' in page


def test_shows_the_numbers_and_the_provenance(page: str) -> None:
    for text in (
        "1.234",
        "0.034",
        "90 % interval 0.95 to 1.52",
        "split-conformal, score |y − m|",
        "frontal, cingulate, precuneus, parietal and lateral temporal",
        "1.002",
        "0.951",
        "1432",
        "from: deepbet",
        "ab" * 32,
        "cd" * 32,
        "seed 7",
        "5671",
    ):
        assert text in page
    assert "0.125" not in page


def test_names_are_escaped(page: str) -> None:
    assert "sub-01 &lt;script&gt;" in page
    assert "/data/&lt;b&gt;&amp;.nii.gz" in page
    assert "sub-01 <script>" not in page


def test_a_single_sample_has_no_spread(content: ReportInput) -> None:
    tree = deepcopy(dict(content.sidecar))
    alone = {"sd_of_samples": None, "samples": [1.2], "interval": None}
    tree["measurements"]["cortical_suvr"] |= alone
    page = make_report(replace(content, std=None, sidecar=tree))
    assert "spread of the samples" not in page
    assert "SD of" not in page
    assert "one sample: nothing is known of its error" in page


def test_notes_only_where_there_is_something_to_note() -> None:
    assert notes([]) == ""
    assert "<li>a &lt; b</li>" in notes(["a < b"])


@pytest.fixture(scope="module")
def image_bytes() -> Callable[[str], list[str]]:
    return lambda page: re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)


def test_the_left_of_the_subject_is_on_the_left(
    content: ReportInput, image_bytes: Callable[[str], list[str]]
) -> None:
    import base64
    import io

    from PIL import Image

    pet = content.pet.copy()
    pet[: pet.shape[0] // 2] = 0.0
    x_axis = content.t1.affine[0, 0]
    page = make_report(replace(content, pet=pet))
    axial_pet = np.asarray(Image.open(io.BytesIO(base64.b64decode(image_bytes(page)[1]))))
    middle = axial_pet.shape[1] // 2
    left, right = axial_pet[:, : middle - 20].mean(), axial_pet[:, middle + 20 :].mean()
    assert (left < right) == (x_axis > 0)
    assert abs(left - right) > 20
