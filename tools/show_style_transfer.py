"""Style transfer of one scan: a picture, and its time beside the paper's slice-by-slice form.

usage: python tools/show_style_transfer.py PREPARED PICTURE.png RESULT.json
           [--vgg-weights FILE] [--steps 100] [--repeats 3] [--loss-scale 1]

PREPARED is the folder of `mri2pet preprocess T1 --pet PET`. Without weights VGG19 has random ones,
and picture and result say so. Their features are so small that L-BFGS, which ignores curvatures
below 1e-10, hardly moves; `--loss-scale` multiplies both weights of the loss, which moves no
minimum. Both forms do the same L-BFGS steps on the same slices, in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from mri2pet.bench.timing import environment
from mri2pet.imaging.resampling import to_pet_size
from mri2pet.style.slicewise import stylize_slicewise
from mri2pet.style.transfer import StyleOptions, Stylized, stylize, unit_range
from mri2pet.style.vgg import load_vgg

HEIGHTS = (0.35, 0.5, 0.65)


def draw(path: Path, rows: dict[str, np.ndarray], title: str) -> None:
    """Rows of volumes [K, I, J], columns of axial slices, anterior up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        len(rows), len(HEIGHTS), figsize=(2.2 * len(HEIGHTS) + 1.2, 2.2 * len(rows) + 0.6)
    )
    for line, (name, volume) in zip(axes, rows.items(), strict=True):
        for axis, height in zip(line, HEIGHTS, strict=True):
            piece = volume[int(height * len(volume))].T
            axis.imshow(piece, origin="lower", cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prepared", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loss-scale", type=float, default=1.0)
    given = parser.parse_args()
    mri, pet = (np.load(given.prepared / name) for name in ("mri.npy", "pet.npy"))
    paper = StyleOptions(steps=given.steps)
    options = replace(
        paper,
        style_weight=paper.style_weight * given.loss_scale,
        content_weight=paper.content_weight * given.loss_scale,
    )
    style = unit_range(pet)
    vgg = load_vgg(given.vgg_weights, random=given.vgg_weights is None)

    seconds: dict[str, list[float]] = {"slice by slice": [], "all slices at once": []}
    result: Stylized | None = None
    for _ in range(given.repeats):
        began = time.perf_counter()
        apart = stylize_slicewise(mri, style, vgg, options)
        seconds["slice by slice"].append(time.perf_counter() - began)
        began = time.perf_counter()
        result = stylize(mri, style, vgg, options)
        seconds["all slices at once"].append(time.perf_counter() - began)
        print({form: round(times[-1], 1) for form, times in seconds.items()}, flush=True)
    assert result is not None
    moved = to_pet_size(mri, style.shape)
    random = "" if vgg.origin.pretrained else " with random weights: the mechanism, no result"
    draw(
        given.picture,
        {"MRI": moved, "PET (style)": style, "PET-like MRI": result.kij},
        f"Style transfer, {given.steps} L-BFGS steps, VGG19{random}",
    )
    record = {
        "benchmark": "style",
        "shape": list(style.shape),
        "steps_asked": given.steps,
        "steps_taken": result.steps.tolist(),
        "loss_scale": given.loss_scale,
        "loss_first": float(result.loss_first.sum()),
        "loss_last": float(result.loss_last.sum()),
        "vgg": vgg.origin.source,
        "seconds_per_volume": seconds,
        "median_s": {form: median(times) for form, times in seconds.items()},
        "relative_difference_of_forms": float(
            np.linalg.norm(result.kij - apart) / np.linalg.norm(apart)
        ),
        "relative_change_of_the_mri": float(
            np.linalg.norm(result.kij - moved) / np.linalg.norm(moved)
        ),
        "environment": environment("cpu"),
    }
    given.result.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
