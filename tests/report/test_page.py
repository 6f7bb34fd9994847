"""The page opens offline, warns, and shows what it is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from mri2pet import WARNING
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.report import ReportInput, make_report
from mri2pet.report.tables import notes

MAXIMUM_BYTES = 3_000_000


def sidecar() -> dict[str, Any]:
    return {
        "warning": WARNING,
        "warnings": [],
        "created": "2025-01-02T10:00:00+00:00",
        "settings": {"seed": 7, "sampler": "dpmpp", "steps": 25, "samples": 4},
        "model": {
            "name": "demo",
            "sha256": "ab" * 32,
            "provenance": {"training_pairs": 5671, "config": {"lr": 0.125}},
        },
        "measurements": {
            "cortical_suvr": {"mean": 1.234, "std": 0.0341, "samples": [1.2, 1.21, 1.26, 1.27]},
            "cerebellum_suvr": {"mean": 1.002},
        },
        "checks": {
            "extractor_used": "deepbet",
            "mask_volume_ml": 1432.2,
            "dice_with_template": 0.951,
        },
        "seconds": {"read": 1.0, "sampling": 40.5},
        "device": "cpu (2 threads)",
        "peak_memory_mib": {"process": 2048},
        "versions": {"mri2pet": "0.1.0", "torch": "2.9"},
        "input": {"file": "/data/<b>&.nii.gz", "sha256": "cd" * 32},
    }


@pytest.fixture(scope="module")
def content() -> ReportInput:
    t1, mask = template(2), template_mask(2).data
    pet = np.where(mask, 1.3, 0.0).astype(np.float32)
    return ReportInput("sub-01 <script>", t1, mask, pet, pet * 0.1, np.eye(4), sidecar())


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
            "spread over the samples",
            "template outlines",
            "brain mask on the T1",
        ):
            assert f'alt="{what}, {plane} plane"' in page


def test_shows_the_numbers_and_the_provenance(page: str) -> None:
    for text in (
        "1.234",
        "± 0.034",
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
    tree = sidecar()
    tree["measurements"]["cortical_suvr"] |= {"std": None, "samples": [1.2]}
    page = make_report(replace(content, std=None, sidecar=tree))
    assert "spread over the samples" not in page
    assert "±" not in page


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
