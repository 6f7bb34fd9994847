"""How well a network reads the amyloid level out of a noisy PET, step by step.

usage: python tools/measure_levels.py MODEL COHORT RESULT.json PICTURE.png [--registration truth]

The level is the mean SUVR over the cortex of the measured PET. At step t it is seen in x_t through
noise of deviation σ_t = √((1 − ᾱ_t)/ᾱ_t)·|w|, w the region's weights: thousands of voxels share it,
so it shows until late. Of a person whose MRI makes one expect m, wrong by s (as the network at the
last step is), the best linear estimate from x_t is m + g (z − m) with the gain g = s²/(s² + σ_t²)
and an error of s √(1 − g). The network's own gain is the regression of its x̃_0's level less m on
z − m; a gain below g means that it does not read what is there, and its samples fall back on m.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mri2pet.checkpoint import Model, load_model
from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.diffusion.schedule import add_noise, alpha_bar, noise_from_output, x0_from_noise
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.regions import region_fractions

STEPS = (600, 700, 800, 850, 900, 920, 940, 960, 980, 999)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("cohort", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--registration", default="truth")
    parser.add_argument("--noises", type=int, default=4, help="of each person and step")
    parser.add_argument("--limit", type=int, help="only the first so many people")
    options = parser.parse_args()
    model = load_model(options.model, torch.device("cpu"))
    cohort = build_cache(
        options.cohort,
        registration=options.registration,
        mri_shape=model.config.mri_shape,
        pet_shape=model.config.pet_shape,
    )
    found = measure(model, cohort, options.noises, options.limit)
    with written_whole(options.result) as part:
        part.write_text(json.dumps(found, indent=1) + "\n")
    draw(found, options.picture)
    for row in found["steps"]:
        print({name: round(value, 3) for name, value in row.items()}, flush=True)


@torch.inference_mode()
def measure(model: Model, cohort: CohortCache, noises: int, limit: int | None) -> dict[str, Any]:
    """Levels of every person, noise and step, and what follows from them."""
    shape = model.config.pet_shape
    weights = torch.from_numpy(region_fractions("cortex", shape))
    weights = weights / weights.sum()
    first = {row.subject: row for row in reversed(cohort.rows())}
    rows = [first[name] for name in sorted(first)][:limit]
    truth = np.zeros(len(rows))
    seen = np.zeros((len(STEPS), len(rows), noises))
    read = np.zeros_like(seen)
    for n, row in enumerate(rows):
        mri = torch.from_numpy(np.asarray(cohort.mri(row), dtype=np.float32))[None, None]
        pet = torch.from_numpy(np.asarray(cohort.pet(row), dtype=np.float32))[None, None]
        x0 = (pet - model.pet_mean) / model.pet_std
        truth[n] = level(model, x0, weights)
        for k in range(noises):
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1000 * n + k))
            for i, step in enumerate(STEPS):
                t = torch.tensor([step])
                x_t = add_noise(x0, noise, t)
                seen[i, n, k] = level(model, x_t / alpha_bar()[step].sqrt(), weights)
                output = model.diffusion(x_t, t, mri)
                epsilon = noise_from_output(model.config.prediction, x_t, output, t)
                read[i, n, k] = level(model, x0_from_noise(x_t, epsilon, t), weights)
    return {"people": len(rows), "noises": noises, **summary(model, truth, seen, read, weights)}


def level(model: Model, x: torch.Tensor, weights: torch.Tensor) -> float:
    """Mean SUVR over the cortex of a standardised volume [1, 1, K, I, J]."""
    return float((x[0, 0].double() * weights).sum()) * model.pet_std + model.pet_mean


def summary(
    model: Model, truth: np.ndarray, seen: np.ndarray, read: np.ndarray, weights: torch.Tensor
) -> dict[str, Any]:
    """Gains and errors by step; `expected` is what the network says at the last step."""
    expected = read[-1].mean(axis=1)
    error = truth - expected
    spread = float(np.sqrt((error**2).mean()))
    table = []
    for i, step in enumerate(STEPS):
        a = float(alpha_bar()[step])
        sigma = model.pet_std * ((1 - a) / a) ** 0.5 * float(weights.norm())
        best = spread**2 / (spread**2 + sigma**2)
        z, answer = seen[i] - expected[:, None], read[i] - expected[:, None]
        table.append(
            {
                "step": step,
                "noise": sigma,
                "best_gain": best,
                "gain": float((z * answer).sum() / (z * z).sum()),
                "best_error": spread * (1 - best) ** 0.5,
                "error": float(np.sqrt(((read[i] - truth[:, None]) ** 2).mean())),
            }
        )
    return {
        "sd_of_truth": float(truth.std(ddof=1)),
        "error_by_mri_alone": spread,
        "r_by_mri_alone": float(np.corrcoef(truth, expected)[0, 1]),
        "steps": table,
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Gain and error against the step, the network's beside the best linear ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    steps = [row["step"] for row in found["steps"]]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, one, other, title in (
        (axes[0], "gain", "best_gain", "share of the level in x_t that is taken over"),
        (axes[1], "error", "best_error", "error of the cortical level (SUVR)"),
    ):
        axis.plot(steps, [row[one] for row in found["steps"]], "o-", label="network")
        axis.plot(steps, [row[other] for row in found["steps"]], "s--", label="best linear")
        axis.set_xlabel("step t")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    with written_whole(path) as part:
        figure.savefig(part, dpi=110, format="png")
    plt.close(figure)


if __name__ == "__main__":
    main()
