"""Which style weight gives PET-like MRIs the spectrum of PETs, on simulated people.

usage: python tools/measure_style_weight.py COHORT RESULT.json PICTURE.png --vgg-weights FILE
           [--weights 1e3 1e4 3e4 1e5 3e5 1e6] [--people 3] [--steps 100]

COHORT is from `mri2pet phantom COHORT --pairs 4 --seed 7`. The MRI of each person takes the style
of the next person's PET, six slices of it, and its spectrum inside the brain is put beside that
PET's in the same slices (`mri2pet.style.spectrum`). The loss's terms are measured too: they say
what a weight means for features of another scale.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mri2pet.bench.timing import environment
from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.stages import load_config
from mri2pet.style.spectrum import brain_spectrum, log_ratio
from mri2pet.style.transfer import StyleOptions, StyleProblem, stylize, unit_range
from mri2pet.style.vgg import Vgg19, load_vgg

HEIGHTS = np.linspace(0.25, 0.72, 6)  # from the temporal lobes to the top of the ventricles


@dataclass(frozen=True)
class Case:
    """Slices `[6, I, J]` of one person's MRI and brain, of the PET of another, and of its brain."""

    name: str
    mri: np.ndarray
    brain: np.ndarray
    pet: np.ndarray
    pet_brain: np.ndarray


def cases(cache: CohortCache, people: int) -> list[Case]:
    rows = cache.rows()
    places = (HEIGHTS * cache.pet_shape[0]).astype(int)

    def pick(volume: np.ndarray) -> np.ndarray:
        return np.asarray(volume, dtype=np.float32)[places]

    return [
        Case(
            f"{row.name} as {other.name}",
            pick(to_pet_size(cache.mri(row), cache.pet_shape)),
            pick(cache.brain(row)),
            pick(unit_range(cache.pet(other))),
            pick(cache.brain(other)),
        )
        for row, other in zip(rows, rows[1:] + rows[:1], strict=True)
    ][:people]


def terms(case: Case, image: np.ndarray, vgg: Vgg19) -> dict[str, Any]:
    """The loss's terms of an image `[6, I, J]` with a case, means over slices."""
    problem = StyleProblem(
        torch.from_numpy(case.mri), torch.from_numpy(case.pet), vgg, StyleOptions()
    )
    channels = torch.from_numpy(image)[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        style, content = problem.terms(channels, torch.arange(len(image)))
    return {"style": style.mean(1).tolist(), "content": float(content.mean())}


def measure(case: Case, weights: list[float], steps: int, vgg: Vgg19) -> dict[str, Any]:
    """Spectra, their log ratios to the PET's, and terms: of the MRI, and with every weight."""
    frequency, pet = brain_spectrum(case.pet, case.pet_brain)

    def beside_pet(image: np.ndarray) -> dict[str, Any]:
        _, power = brain_spectrum(image, case.brain)
        ratio = np.log(power / pet).tolist()
        mean = log_ratio(frequency, power, pet)
        return {"log_ratio": mean, "ratios": ratio, "terms": terms(case, image, vgg)}

    with torch.no_grad():
        features = vgg(torch.from_numpy(case.mri)[:, None].expand(-1, 3, -1, -1))
    found = {
        "case": case.name,
        "frequency": frequency.tolist(),
        "mean_activation": [float(f.relu().mean()) for f in features],
        "mri": beside_pet(case.mri),
        "terms_of_the_pet": terms(case, case.pet, vgg),
        "weights": {},
    }
    for weight in weights:
        made = stylize(case.mri, case.pet, vgg, StyleOptions(steps, weight))
        found["weights"][f"{weight:g}"] = beside_pet(made.kij)
        print(
            case.name,
            f"{weight:g}",
            round(found["weights"][f"{weight:g}"]["log_ratio"], 2),
            flush=True,
        )
    return found


def scatter(cache: CohortCache) -> float:
    """Spread (standard deviation) of the PETs' own log ratios to their geometric mean."""
    spectra = [brain_spectrum(unit_range(cache.pet(r)), cache.brain(r)) for r in cache.rows()]
    mean = np.exp(np.mean([np.log(power) for _, power in spectra], axis=0))
    return float(np.std([log_ratio(f, power, mean) for f, power in spectra], ddof=1))


def draw(path: Path, found: list[dict[str, Any]]) -> None:
    """ln(power / PET's power) over frequency, mean over cases: the MRI, and every weight."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    from mri2pet.style.spectrum import FINE

    figure, axis = plt.subplots(figsize=(6, 3.6))
    frequency = found[0]["frequency"]
    axis.axhline(0, color="0.6", linewidth=1)
    axis.axvspan(*FINE, color="0.93")

    def curve(of: list[dict[str, Any]], label: str, **style: Any) -> None:
        axis.plot(frequency, np.mean([one["ratios"] for one in of], axis=0), label=label, **style)

    curve([one["mri"] for one in found], "MRI", color="black")
    names = list(found[0]["weights"])
    for name, color in zip(
        names, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(names))), strict=True
    ):
        curve([one["weights"][name] for one in found], f"style weight {float(name):g}", color=color)
    axis.set(xlabel="cycles per voxel", ylabel="ln(power / power of the PET)")
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--vgg-weights", type=Path, required=True)
    parser.add_argument("--weights", type=float, nargs="+", default=[1e3, 1e4, 3e4, 1e5, 3e5, 1e6])
    parser.add_argument("--people", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    model = load_config("compact").model
    cache = build_cache(
        given.cohort, mri_shape=model.mri_shape, pet_shape=model.pet_shape, registration="truth"
    )
    vgg = load_vgg(given.vgg_weights)
    found = [measure(case, given.weights, given.steps, vgg) for case in cases(cache, given.people)]
    record = {
        "benchmark": "style_weight",
        "vgg": vgg.origin.as_dict(),
        "steps": given.steps,
        "scatter_of_pets": scatter(cache),
        "cases": found,
        "environment": environment("cpu"),
    }
    given.result.write_text(json.dumps(record, indent=1) + "\n")
    draw(given.picture, found)


if __name__ == "__main__":
    main()
