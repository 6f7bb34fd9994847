"""Packs the 1 mm region masks of `mri2pet.imaging.suvr.regions` into the package.

    PYTHONPATH=python python tools/store_region_masks.py

Run it after a change of the regions; a test compares the file with what the code computes.
"""

from __future__ import annotations

import numpy as np

from mri2pet.imaging.suvr.regions import STORED, computed_masks


def main() -> None:
    cerebellum, labels, affine = computed_masks(1)
    np.savez_compressed(
        STORED,
        shape=np.array(cerebellum.shape),
        affine=affine,
        cerebellum=np.packbits(cerebellum),
        labels=labels,
    )
    print(f"{STORED}: {STORED.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
