"""Packs the 2 mm template of `mri2pet.imaging.space.template` into the package.

    PYTHONPATH=python python tools/store_template.py

A test compares the file with what the installed nilearn gives.
"""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.space.template import STORED, from_nilearn


def main() -> None:
    volumes = {name: from_nilearn(name, 2) for name in ("template", "brain_mask", "gm", "wm")}
    affine = volumes["template"].affine
    assert all(np.array_equal(volume.affine, affine) for volume in volumes.values())
    # At 2 mm every second voxel is read where it lies: steps of 1/255, as in the files.
    steps = {name: np.rint(volume.data * 255.0) for name, volume in volumes.items()}
    for name, volume in volumes.items():
        np.testing.assert_allclose(steps[name] / 255.0, volume.data, atol=1e-7)
    stored = {name: values.astype(np.uint8) for name, values in steps.items()}
    np.savez_compressed(STORED, affine=affine, **stored)
    print(f"{STORED}: {STORED.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
