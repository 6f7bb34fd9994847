"""Fits a model's linear denoiser anew to the people it was trained on, without training.

usage: python tools/refit_linear_denoiser.py MODEL --data COHORT -o OUT [--jobs N]

Along its directions the output is the linear denoiser's alone, whatever the U-Net says, so a model
of a version that knew one normal distribution a direction gets its mixture in minutes. COHORT is
what the model was trained on, a BIDS cohort or the table of `mri2pet cohort build`; it is prepared
as then. OUT is a new model: a calibration of the old one does not hold for it.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
from pathlib import Path

import torch

from mri2pet import __version__
from mri2pet.checkpoint import Model, load_model, save_model
from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.training.linear_part import fit_linear_denoiser
from mri2pet.training.targets import StageData


def refit(model: Model, cohort: CohortCache, out: Path) -> Model:
    """Writes the model with a linear denoiser of the cohort's training pairs, and loads it.

    Weights that half precision holds as they are stay in it.

    Raises:
        ModelError: the model has no linear denoiser, or learnt other targets than PETs.
        UsageError: the cohort has not as many training pairs as the model was trained on.
    """
    network, known = copy.deepcopy(model.diffusion), model.provenance
    if network.linear is None:
        raise ModelError(f"{model.name}: has no linear denoiser (model.linear_components is 0)")
    if known.get("target", "pet") != "pet":
        raise ModelError(f"{model.name}: learnt the target {known['target']}, not PETs")
    data = ModelSpaceDataset(cohort, "train")
    if len(data) != known.get("training_pairs", len(data)):
        raise UsageError(
            f"--data: {len(data)} training pairs, and {model.name} was trained on "
            f"{known['training_pairs']}; give the cohort and the split of its training"
        )
    pairs = StageData(data.rows, data, None, model.pet_mean, model.pet_std)
    fit_linear_denoiser(network.linear, pairs)
    fitted = {"mri2pet": __version__, "pairs": len(data), "of_model": model.sha256}
    half = all(torch.equal(p, p.half().float()) for p in network.parameters())
    save_model(
        out,
        network,
        pet_mean=model.pet_mean,
        pet_std=model.pet_std,
        provenance={**known, "linear_denoiser": fitted},
        dtype=torch.float16 if half else torch.float32,
    )
    return load_model(out)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    try:
        model = load_model(given.model)
        settings = model.provenance.get("config", {}).get("data", {})
        cohort = build_cache(
            given.data,
            mri_shape=model.config.mri_shape,
            pet_shape=model.config.pet_shape,
            registration=settings.get("registration", "estimate"),
            reference=Reference.of(settings.get("reference", "cerebellum")),
            jobs=given.jobs,
        )
        linear = refit(model, cohort, given.out).diffusion.linear
    except Mri2petError as error:
        print(f"refit_linear_denoiser.py: error: {error}", file=sys.stderr)
        return error.exit_code
    assert linear is not None
    for number, mixture in enumerate(linear.mixture.tolist(), 1):
        normals = (
            f"{math.exp(odds):.2f} of {mean:+.1f} {1 + drift:+.2f} d ± {variance**0.5:.1f}"
            for odds, _, mean, drift, variance in mixture
        )
        print(f"direction {number}, an MRI predicts d: {', '.join(normals)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
