"""Regions of the measured and the synthetic PETs of an evaluation, kept scan by scan.

    OUT/regions/<row>.json   what was asked, and `measured` and `synthetic` regions

The built-in composite of every sample is in the figures of a scan already; a file is written where
an atlas or another composite is asked for, which needs the volumes of the samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.files import written_whole
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.quantification import Quantification
from mri2pet.quantification.loading import kept
from mri2pet.quantification.measure import Region, built_in_composite, measure_in_template

SOURCES = ("measured", "synthetic")


def regions_path(out: Path, row: str) -> Path:
    """Where the regions of a scan are."""
    return out / "regions" / f"{row}.json"


def write_regions(
    out: Path, row: str, drawn: Drawn, measured: np.ndarray, what: Quantification
) -> None:
    """Measure what is asked of a scan.

    Args:
        drawn: as the figures take it.
        measured: `[K, I, J]`, SUVR.

    Raises:
        InputError: a PET does not cover the reference region, or has no signal in it.
    """
    tree: dict[str, Any] = what.record()
    for source, of in zip(SOURCES, (Drawn(measured[None], measured), drawn), strict=True):
        regions = measure_in_template(f"{row}, {source} PET", of, what)
        tree[source] = [region.as_dict() for region in regions]
    with written_whole(regions_path(out, row)) as part:
        part.write_text(json.dumps(tree, indent=1) + "\n")


def read_regions(
    out: Path, record: dict[str, Any], what: Quantification
) -> dict[str, list[Region]] | None:
    """The regions of a scan, `measured` and `synthetic`; None where others were measured.

    Args:
        record: the figures of the scan, see `evaluate_row`.
    """
    if not what.needs_volumes:
        measured, drawn = record["measured"]["cortex"], record["drawn"]["cortex"]
        return {
            "measured": [built_in_composite(what, [measured], measured)],
            "synthetic": [built_in_composite(what, drawn, record["mean"]["cortex"])],
        }
    path = regions_path(out, record["row"])
    try:
        stored = json.loads(path.read_text())
        found = {source: kept({**stored, "regions": stored[source]}, what) for source in SOURCES}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # none, or damaged: measured again
    return None if None in found.values() else {k: v for k, v in found.items() if v is not None}
