"""How far an export is from PyTorch after a whole sampling run, on a real MRI.

usage: python tools/parity.py T1 MODEL EXPORT [--steps 999] [--sampler ddpm] [--skull-stripped]

Prints the relative L2 difference of the standardised volumes, and the largest one in SUVR.
"""

from __future__ import annotations

import argparse
import time

import torch

import mri2pet
from mri2pet.engines import load_engine
from mri2pet.engines.sampling import sample
from mri2pet.imaging.pipeline import preprocess


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("t1")
    parser.add_argument("model")
    parser.add_argument("export")
    parser.add_argument("--steps", type=int, default=999)
    parser.add_argument("--sampler", default="ddpm")
    parser.add_argument("--skull-stripped", action="store_true")
    options = parser.parse_args()
    model = mri2pet.load_model(options.model)
    shapes = {"mri_shape": model.config.mri_shape, "pet_shape": model.config.pet_shape}
    prepared = preprocess(options.t1, skull_stripped=options.skull_stripped, **shapes)
    mri = torch.from_numpy(prepared.mri)[None, None]
    volumes = []
    for engine in (load_engine(model), load_engine(options.export)):
        began = time.perf_counter()
        volumes.append(
            sample(engine, mri, samples=1, sampler=options.sampler, steps=options.steps, seed=0)
        )
        print(f"{engine.engine}: {time.perf_counter() - began:.0f} s", flush=True)
    wanted, got = (volume.double() for volume in volumes)
    relative = float((got - wanted).norm() / wanted.norm())
    largest = float((got - wanted).abs().max()) * model.pet_std
    print(f"{options.sampler}, {options.steps} steps: relative difference {relative:.2e}")
    print(f"largest difference {largest:.2e} SUVR")


if __name__ == "__main__":
    main()
