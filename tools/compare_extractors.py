"""The template's and deepbet's brain masks of some heads: a table, and a picture of each.

    python tools/compare_extractors.py OUT T1...

writes OUT/<name>.png (red: template, blue: deepbet) and prints a row of docs/synthesize.md for
every head. Each mask is made in a process of its own, whose peak memory it tells.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

EXTRACTORS = ("template", "deepbet", "auto")
SHAPES: dict[str, Any] = {"mri_shape": (32, 72, 72), "pet_shape": (32, 64, 64)}
COLUMNS = (
    "head",
    *(f"{what}, {by}" for what in ("ml", "bright rim") for by in EXTRACTORS[:2]),
    "Dice",
    "`auto` takes",
    "deepbet's seconds",
    "MiB without",
    "MiB with deepbet",
)


def main(out: Path, paths: list[Path]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    print("|" + "|".join(COLUMNS) + "|\n" + "|---" * len(COLUMNS) + "|")
    processes = multiprocessing.get_context("spawn")
    for path in paths:
        found = {}
        for extractor in EXTRACTORS:
            with processes.Pool(1) as pool:
                found[extractor] = pool.apply(_extract, (path, extractor))
        first, second = (found[name]["mask"] for name in EXTRACTORS[:2])
        dice = 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())
        checks = [found[name]["checks"] for name in EXTRACTORS]
        cells = (
            path.name,
            *(f"{figures['mask_volume_ml']:.0f}" for figures in checks[:2]),
            *(f"{100 * figures['bright_rim']:.2f} %" for figures in checks[:2]),
            f"{dice:.3f}",
            checks[2]["extractor_used"],
            f"{checks[1]['seconds']['deepbet']:.0f}",
            *(f"{found[name]['mib']}" for name in EXTRACTORS[:2]),
        )
        print("|" + "|".join(cells) + "|", flush=True)
        _draw(out / f"{path.name.split('.')[0]}.png", path, first, second)


def _extract(path: Path, extractor: str) -> dict[str, Any]:
    from mri2pet.imaging.pipeline import preprocess

    done = preprocess(path, extractor=extractor, **SHAPES)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"mask": done.brain_mask, "checks": done.checks, "mib": mib}


def _draw(picture: Path, path: Path, first: np.ndarray, second: np.ndarray) -> None:
    from matplotlib.figure import Figure

    from mri2pet.imaging.files.reading import read_t1
    from mri2pet.imaging.space.volume import reorder

    volume = read_t1(path).volume
    data, affine, _ = reorder(volume.data, volume.affine)
    masks = [reorder(mask, volume.affine)[0] for mask in (first, second)]
    size = np.linalg.norm(affine[:3, :3], axis=0)
    figure = Figure(figsize=(12, 12), layout="constrained")
    for axis in range(3):
        there = np.flatnonzero(masks[0].any(axis=tuple(a for a in range(3) if a != axis)))
        across, up = (a for a in range(3) if a != axis)
        for column, share in enumerate((0.25, 0.5, 0.75)):
            index = int(there[0] + share * (there[-1] - there[0]))
            axes = figure.add_subplot(3, 3, 3 * axis + column + 1)
            top = np.percentile(data[masks[0]], 99) * 1.3
            aspect = size[up] / size[across]
            shown = {"origin": "lower", "aspect": aspect, "cmap": "gray", "vmin": 0, "vmax": top}
            axes.imshow(data.take(index, axis).T, **shown)
            for mask, colour in zip(masks, ("red", "deepskyblue"), strict=True):
                axes.contour(mask.take(index, axis).T, [0.5], colors=colour, linewidths=0.8)
            axes.set_axis_off()
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
