"""Packs a cohort in model space into one small file, for `train_packed.py` on a bare machine.

usage: python tools/pack_cohort.py COHORT FILE.npz [MOST_MB]

The pairs of the training and validation splits at the size of preset `compact`: MRI as uint8, PET
as float16 in steps of 1/256 SUVR, which compress well (about 130 kB a pair). With MOST_MB the last
training pairs are left out until the file is small enough.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache, build_cache
from mri2pet.files import write_atomically
from mri2pet.stages import load_config


def packed(cache: CohortCache, rows: list[tuple[str, Any]]) -> bytes:
    """The file's content for (split, row) of each pair."""
    mri = [np.round(np.asarray(cache.mri(r), np.float32) * 255).astype(np.uint8) for _, r in rows]
    pet = [np.asarray(cache.pet(r), np.float32) for _, r in rows]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        mri=np.stack(mri),
        pet=np.stack([(np.round(p * 256) / 256).astype(np.float16) for p in pet]),
        split=np.array([split for split, _ in rows]),
        name=np.array([row.name for _, row in rows]),
        mean=cache.pet_mean,
        std=cache.pet_std,
    )
    return content.getvalue()


def main(cohort: str, file: str, most_mb: float = float("inf")) -> None:
    model = load_config("compact").model
    cache = build_cache(
        cohort, mri_shape=model.mri_shape, pet_shape=model.pet_shape, registration="truth"
    )
    rows = [(split, row) for split in ("val", "train") for row in cache.rows(split)]
    content = packed(cache, rows)
    while len(content) > most_mb * 1e6:
        rows = rows[: int(len(rows) * most_mb * 1e6 / len(content))]
        content = packed(cache, rows)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(file), content)
    counts = {split: sum(s == split for s, _ in rows) for split in ("train", "val")}
    print(f"{file}: {counts['train']} training and {counts['val']} validation pairs, "
          f"{len(content) / 1e6:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:4]))
