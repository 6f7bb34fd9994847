"""Brings the result of `mri2pet_sample` back to the T1's own grid.

    python finish.py INPUTS SUVR.npy -o PET.nii.gz [--std STD.nii.gz]

The mean of the samples, at the level that the model expects where it knows one, and on request
their standard deviation, in SUVR.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from mri2pet import WARNING
from mri2pet.engines.mean import projected
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.imaging.space.record import SpaceRecord
from mri2pet.synthesis.outputs import image_writer, write_together
from mri2pet.synthesis.pet import HEADER_DESCRIPTION


def finish(inputs: Path, result: Path, out: Path, std: Path | None) -> None:
    """Writes the images, all or none.

    Raises:
        InputError: a file cannot be read, or the result is not of these inputs.
        UsageError: no spread of one sample, or another format than NIfTI, compressed.
    """
    for path in filter(None, (out, std)):
        if not path.name.endswith(".nii.gz"):
            raise UsageError(f"{path}: name a .nii.gz file")
    try:
        record = SpaceRecord.from_json((inputs / "record.json").read_text())
        suvr = np.load(result)
        expected = directions = None
        if (inputs / "expected.npy").is_file():  # the model has a linear denoiser
            expected, directions = (
                torch.from_numpy(np.load(inputs / f"{name}.npy"))
                for name in ("expected", "directions")
            )
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{inputs} and {result} cannot be read: {error}") from None
    if suvr.ndim != 4 or suvr.shape[1:] != tuple(record.pet_shape):
        raise InputError(
            f"{result}: has the shape {suvr.shape}, not [samples, {record.pet_shape}] of {inputs}"
        )
    if std is not None and len(suvr) < 2:
        raise UsageError("--std needs at least 2 samples")
    mean = suvr.mean(axis=0)
    if len(suvr) > 1 and expected is not None:
        mean = mean + projected((expected - torch.from_numpy(mean))[None], directions)[0].numpy()
    volumes = {out: mean}
    if std is not None:
        volumes[std] = suvr.std(axis=0, ddof=1)
    images = {path: record.nifti(record.to_subject(v), "SUVR") for path, v in volumes.items()}
    for image in images.values():
        image.header["descrip"] = HEADER_DESCRIPTION
    write_together({path: image_writer(image) for path, image in images.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", type=Path, help="folder that prepare.py wrote")
    parser.add_argument("result", type=Path, help="what mri2pet_sample wrote")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--std", type=Path)
    arguments = parser.parse_args()
    try:
        finish(arguments.inputs, arguments.result, arguments.out, arguments.std)
    except Mri2petError as error:
        print(f"finish.py: error: {error}", file=sys.stderr)
        return error.exit_code
    print(WARNING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
