"""The picture of an evaluation: measured and synthetic PETs of four subjects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.files import written_whole
from mri2pet.imaging.space.grid import MODEL_BOX_MM
from mri2pet.report.pictures import SPREAD, SUVR, ColourScale
from mri2pet.report.sheet import SLICE_MM, place_of_mm

SUBJECTS = 4
_GREY = ColourScale("gray", 0.0, 1.0, "")


def draw_figure(
    path: Path,
    cohort: CohortCache,
    records: list[dict[str, Any]],
    arrays_of: Callable[[str], Path],
) -> None:
    """One line per subject: T1, measured PET, synthetic mean, spread, warped cohort mean.

    The subjects lie evenly over the range of measured cortical SUVR. The axial slice is at
    z = 22 mm of the template, left of the subject on the left.

    Args:
        path: the PNG.
        records: as `evaluate_row` returns.
        arrays_of: row name → its npz.
    """
    from matplotlib.figure import Figure

    chosen = _evenly(sorted(records, key=lambda r: r["measured_cortical_suvr"]))
    height = 2.2 * len(chosen) + 1.0
    figure = Figure(figsize=(11.8, height), dpi=110)
    axes = figure.subplots(len(chosen), 5, squeeze=False)
    figure.subplots_adjust(0.07, 0.7 / height, 0.995, 1 - 0.3 / height, 0.02, 0.02)
    rows = {row.name: row for row in cohort.rows()}
    for line, record in zip(axes, chosen, strict=True):
        row = rows[record["row"]]
        with np.load(arrays_of(row.name)) as arrays:
            pictures = (
                ("T1", cohort.mri(row), _GREY),
                ("measured PET", cohort.pet(row), SUVR),
                ("synthetic PET (mean)", arrays["mean"], SUVR),
                ("spread of the samples", arrays["spread"], SPREAD),
                ("cohort mean, warped", arrays["cohort_mean_warped"], SUVR),
            )
        shown = [
            _show(axis, kij, scale) for axis, (_, kij, scale) in zip(line, pictures, strict=True)
        ]
        suvr = record["methods"]["mean_of_samples"]["cortical_suvr"]
        line[0].set_ylabel(
            f"{record['diagnosis'] or row.subject}\ncortical SUVR\n"
            f"measured {record['measured_cortical_suvr']:.2f}\nsynthetic {suvr:.2f}",
            fontsize=8,
        )
    for axis, (title, _, _) in zip(axes[0], pictures, strict=True):
        axis.set_title(title, fontsize=10)
    for picture, axis in ((shown[2], axes[-1, 2]), (shown[3], axes[-1, 3])):
        place = axis.get_position()
        left, width = place.x0 + 0.1 * place.width, 0.8 * place.width
        bar = figure.add_axes((left, 0.5 / height, width, 0.1 / height))
        figure.colorbar(picture, cax=bar, orientation="horizontal", label="SUVR")
    with written_whole(path) as part:
        figure.savefig(part, format="png")


def _evenly(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(records) <= SUBJECTS:
        return records
    return [records[round(i)] for i in np.linspace(0, len(records) - 1, SUBJECTS)]


def _show(axis: Any, kij: np.ndarray, scale: ColourScale) -> Any:
    k = int(kij.shape[0] * place_of_mm(SLICE_MM))
    (x0, x1), (y0, y1), _ = MODEL_BOX_MM
    axis.set_xticks([])
    axis.set_yticks([])
    return axis.imshow(
        np.asarray(kij[k], dtype=np.float32).T,
        origin="lower",
        extent=(x0, x1, y0, y1),
        cmap=scale.name,
        vmin=scale.low,
        vmax=scale.high,
        interpolation="bilinear",
    )
