"""Writes the model of a training run in half precision, small enough to come with the package.

usage: python tools/bundle_model.py RUN MODEL_DIR
"""

from __future__ import annotations

import sys

import torch

from mri2pet import load_model, save_model


def main(run: str, folder: str) -> None:
    model = load_model(run)
    save_model(
        folder,
        model.network,
        pet_mean=model.pet_mean,
        pet_std=model.pet_std,
        provenance=model.provenance,
        dtype=torch.float16,
    )
    print(f"{folder}: {sum(p.numel() for p in model.network.parameters())} parameters in float16")


if __name__ == "__main__":
    main(*sys.argv[1:])
