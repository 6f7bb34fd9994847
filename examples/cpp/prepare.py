"""Writes all that `mri2pet_sample` needs of one T1 and of an export with TensorRT plans.

    python prepare.py EXPORT T1 -o INPUTS [--plans FOLDER] [--samples 4] [--steps 25] …

The sampling then needs no Python. `finish.py` brings its result back to the T1's grid.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from mri2pet.diffusion.samplers import SAMPLERS, SamplerTable, make_table
from mri2pet.diffusion.schedule import STEPS, alpha_bar
from mri2pet.engines.exported import (
    BIASES,
    DENOISER,
    ENCODER,
    Export,
    read_export,
)
from mri2pet.engines.exported_engine import guide
from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.imaging.pipeline import preprocess, read_t1
from mri2pet.nn.time_embedding import time_embedding

FORMAT = 3
PLANS = ("encoder.plan", "denoiser.plan")
SETTINGS, RECORD = "settings.txt", "record.json"
EXPECTED, DIRECTIONS = "expected", "directions"


def plans_folder(export: Export) -> Path:
    """The only folder of plans that an export holds.

    Raises:
        ModelError: there is none, or more than one.
    """
    folders = sorted({path.parent for path in export.folder.glob("tensorrt/*/*.plan")})
    if len(folders) == 1:
        return folders[0]
    found = ", ".join(map(str, folders)) or "none"
    raise ModelError(f"{export.folder}: name one folder of plans with --plans; there is {found}")


def tested_plans(export: Export, folder: Path) -> dict[str, str]:
    """The settings that name the plans: the GPU of their self-test, and their hashes.

    A plan is a program, and TensorRT may have compiled it wrongly. So only bytes that the export's
    manifest names are taken, and only after they passed `mri2pet export verify`.

    Raises:
        ModelError: a plan is missing, changed, made of another graph, or has no passing self-test.
    """
    hashes = []
    for name, graph in zip(PLANS, (ENCODER, DENOISER), strict=True):
        try:
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{folder / name}: {error.strerror}") from None
        onnx = export.manifest["files"][graph]["sha256"]
        wanted = {"graph": graph, "onnx_sha256": onnx, "sha256": digest}
        entries = export.manifest.get("plans", [])
        if not any(all(e.get(k) == v for k, v in wanted.items()) for e in entries):
            raise ModelError(
                f"{folder / name}: not a plan that this export's manifest names; build it again"
            )
        hashes.append(digest)
    tests = [e for e in export.manifest["verification"] if e.get("plans") == hashes]
    if not tests or tests[-1].get("passed") is not True:
        raise ModelError(
            f"{folder}: these plans have not passed a self-test; run "
            f"`mri2pet export verify {export.folder} --engine tensorrt` on their GPU"
        )
    return {
        "gpu": tests[-1]["device"],
        "encoder_sha256": hashes[0],
        "denoiser_sha256": hashes[1],
    }


def model_arrays(
    export: Export, mri: torch.Tensor, table: SamplerTable
) -> dict[str, np.ndarray | None]:
    """The arrays of the model, the MRI and the sampler, by the names of their files.

    Args:
        mri: float32 [1, 1, K, I, J] in model space.
    """
    state = safetensors.torch.load_file(export.file(BIASES))
    weight = state["weight"]
    bias = state["bias"].expand(len(table.timesteps), -1)
    if "linear" in state:  # of the step alone
        linear = state["linear"][table.timesteps]
        weight = torch.cat((weight, weight.new_zeros(linear.shape[1], weight.shape[1])))
        bias = torch.cat((bias, linear), dim=1)
    seen, start, level = None, torch.zeros(1, 1, *export.config.pet_shape), None
    if export.config.cond == "concat":
        whole, expected = guide(mri, export.config.pet_shape, state)
        seen = whole.numpy()
        if expected is not None:
            start = alpha_bar()[table.timesteps[0]].sqrt() * expected
            suvr = expected * export.manifest["pet_std"] + export.manifest["pet_mean"]
            level = suvr[0, 0].numpy()
    return {
        "mri": mri.numpy(),
        "guide": seen,
        "start": start.numpy(),
        "time_embeddings": time_embedding(table.timesteps).numpy(),
        "bias_weight": weight.numpy(),
        "bias_bias": bias.numpy(),
        "coefficients": table.coefficients.numpy(),
        "timesteps": table.timesteps.numpy(),
        # For finish.py: the mean of the samples takes its level from here, see `engines.mean`.
        EXPECTED: level,
        DIRECTIONS: None if level is None else state["directions"].numpy(),
    }


def write_inputs(
    folder: Path, arrays: dict[str, np.ndarray | None], settings: dict[str, object], record: str
) -> None:
    """Writes the folder; `settings.txt` comes last and is the mark of a complete one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).unlink(missing_ok=True)
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        if array is None:
            path.unlink(missing_ok=True)
        else:
            np.save(path, np.ascontiguousarray(array))
    (folder / RECORD).write_text(record)
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    (folder / SETTINGS).write_text(lines)


def prepare(arguments: argparse.Namespace) -> None:
    """From the files that the command names to a folder of inputs.

    Raises:
        Mri2petError: the export, its plans, the image or a number cannot be used.
    """
    if arguments.samples < 1:
        raise UsageError(f"--samples {arguments.samples}: at least 1 is needed")
    if not 0 <= arguments.seed < 2**32:
        raise UsageError(f"--seed {arguments.seed}: must lie in 0 … {2**32 - 1}")
    export = read_export(arguments.export)
    plans = tested_plans(export, arguments.plans or plans_folder(export))
    table = make_table(arguments.sampler, export.config.prediction, arguments.steps)
    t1 = read_t1(arguments.t1)
    prepared = preprocess(
        t1,
        mri_shape=export.config.mri_shape,
        pet_shape=export.config.pet_shape,
        skull_stripped=arguments.skull_stripped,
    )
    settings: dict[str, object] = {
        "format": FORMAT,
        "samples": arguments.samples,
        "seed": arguments.seed,
        "subject": int(t1.sha256[:16], 16),
        "noise_step": STEPS,
        "pet_mean": float(export.manifest["pet_mean"]),
        "pet_std": float(export.manifest["pet_std"]),
        **plans,
    }
    arrays = model_arrays(export, torch.from_numpy(prepared.mri)[None, None], table)
    write_inputs(arguments.out, arrays, settings, prepared.record.to_json())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, help="folder from `mri2pet export`, with plans")
    parser.add_argument("t1", type=Path, help="the T1-weighted MRI")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--plans", type=Path, help="folder of encoder.plan and denoiser.plan")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--sampler", choices=SAMPLERS, default="dpmpp")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skull-stripped", action="store_true")
    try:
        prepare(parser.parse_args())
    except Mri2petError as error:
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
