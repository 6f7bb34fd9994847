"""Style transfer of one scan: a picture, and its time beside the paper's slice-by-slice form.

usage: python tools/show_style_transfer.py COHORT PICTURE.png RESULT.json
           [--vgg-weights FILE] [--steps 100] [--repeats 3]

COHORT is from `mri2pet phantom COHORT --pairs 4 --seed 7`. Its first MRI takes the style of its
second person's PET, with the weight that goes with the weights file; the picture has the paper's
1000 beside it. Without a file VGG19 has random weights, and picture and result say so. Both forms
do the same L-BFGS steps on the same slices, in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np

from mri2pet.bench.timing import environment
from mri2pet.cohort.cache import build_cache
from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.stages import load_config
from mri2pet.style.slicewise import stylize_slicewise
from mri2pet.style.transfer import StyleOptions, Stylized, stylize, unit_range
from mri2pet.style.vgg import STYLE_WEIGHTS, TORCHVISION, Vgg19, load_vgg

HEIGHTS = (0.35, 0.5, 0.65)


def scans(cohort: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first person's MRI, and the second's PET in [0, 1]."""
    model = load_config("compact").model
    cache = build_cache(
        cohort, mri_shape=model.mri_shape, pet_shape=model.pet_shape, registration="truth"
    )
    first, second = cache.rows()[:2]
    return np.asarray(cache.mri(first), np.float32), unit_range(cache.pet(second))


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


def timed(
    mri: np.ndarray, style: np.ndarray, vgg: Vgg19, options: StyleOptions, repeats: int
) -> tuple[dict[str, list[float]], Stylized, np.ndarray]:
    """Seconds of both forms, each in turn; what they made, all slices at once first."""
    seconds: dict[str, list[float]] = {"slice by slice": [], "all slices at once": []}
    for _ in range(repeats):
        began = time.perf_counter()
        apart = stylize_slicewise(mri, style, vgg, options)
        seconds["slice by slice"].append(time.perf_counter() - began)
        began = time.perf_counter()
        together = stylize(mri, style, vgg, options)
        seconds["all slices at once"].append(time.perf_counter() - began)
        print({form: round(times[-1], 1) for form, times in seconds.items()}, flush=True)
    return seconds, together, apart


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    mri, style = scans(given.cohort)
    vgg = load_vgg(given.vgg_weights, random=given.vgg_weights is None)
    options = StyleOptions(given.steps)
    weight, paper = options.weight_for(vgg.origin), STYLE_WEIGHTS[TORCHVISION]
    seconds, result, apart = timed(mri, style, vgg, options, given.repeats)
    moved = to_pet_size(mri, style.shape)
    rows = {"MRI": moved, "PET (style)": style, f"weight {weight:g}": result.kij}
    if weight != paper:
        rows[f"weight {paper:g}"] = stylize(mri, style, vgg, StyleOptions(given.steps, paper)).kij
    random = "" if vgg.origin.pretrained else ": the mechanism, no result"
    draw(given.picture, rows, f"{given.steps} L-BFGS steps, {vgg.origin.source}{random}")
    record = {
        "benchmark": "style",
        "shape": list(style.shape),
        "steps_asked": given.steps,
        "steps_taken": result.steps.tolist(),
        "diverged_slices": int(result.diverged.sum()),
        "style_weight": weight,
        "loss_first": float(result.loss_first.sum()),
        "loss_last": float(result.loss_last.sum()),
        "vgg": vgg.origin.as_dict(),
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
