"""Known answers and made-up inputs of the downstream tasks."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def random_of(name: str, seed: int) -> np.random.RandomState:
    """The reference file's generator of what it does not store."""
    return np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)


def wave(name, shape, scale, offset=0.0, seed=0):
    values = random_of(name, seed).standard_normal(shape) * scale + offset
    return values.astype(np.float32)


@pytest.fixture(scope="session")
def reference(shared_reference: Path) -> dict[str, Any]:
    path = shared_reference / "evaluation_small.json"
    if not path.is_file():
        pytest.skip(f"no known answers in {path}")
    return json.loads(path.read_text())


SHAPES = {"mri_shape": (16, 32, 32), "pet_shape": (16, 32, 32)}
DIAGNOSES = ("CN", "MCI", "AD")


class People:
    """A BIDS folder of small volumes, in model space once and for all.

    21 people with a PET train (of whom six have a second MRI), nine are tested (the first has a
    second MRI); three have no PET at all: two train, one is tested. A cube of the MRI and the PET
    is as bright as the diagnosis is grave.
    """

    def __init__(self, folder: Path) -> None:
        import nibabel

        from mri2pet.cohort.cache import build_cache
        from mri2pet.cohort.manifest import build_manifest

        self.root, self.cache_dir = folder / "study", folder / "cache"
        header = nibabel.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.diag([10, 10, 10, 1.0]))
        header.to_filename(folder / "header.nii.gz")
        self._header = (folder / "header.nii.gz").read_bytes()
        labels: dict[str, list[tuple[str, ...]]] = {"diagnosis": [], "mmse": []}
        for number in range(1, 34):
            for session in ["01", "02"] if number in (*range(1, 7), 22) else ["01"]:
                key = (f"sub-{number:02d}", f"ses-{session}")
                self._scan(*key, "anat", "T1w")
                if number <= 30 and session == "01":
                    self._scan(*key, "pet", "trc-AV45_pet")
                labels["diagnosis"].append((*key, DIAGNOSES[number % 3]))
                labels["mmse"].append((*key, str(29 - 3 * (number % 3) + number % 2)))
        for label, rows in labels.items():
            self._table(f"phenotype/{label}.tsv", ["participant_id", "session_id", label], rows)
        people = [(f"sub-{n:02d}", str(60 + n), "FM"[n % 2]) for n in range(1, 34)]
        self._table("participants.tsv", ["participant_id", "age", "sex"], people)
        self.rows = list(build_manifest(self.root))
        build_cache(self.root, self.cache_dir, include_unpaired=True, **SHAPES)

    def _scan(self, subject: str, visit: str, kind: str, suffix: str) -> None:
        path = self.root / subject / visit / kind / f"{subject}_{visit}_{suffix}.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(self._header)

    def _table(self, name: str, columns: list[str], rows: list[tuple[str, ...]]) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join("\t".join(cells) + "\n" for cells in [columns, *rows]))


class Study:
    """These people, and a table of their splits."""

    def __init__(self, people: People, folder: Path) -> None:
        self.people, self.table, self.cache_dir = people, folder / "cohort.tsv", people.cache_dir
        self.write()

    def write(self, change=lambda row: row, split_by="subject") -> Path:
        """The table with its splits, each row changed by a function; None leaves it out."""
        from mri2pet.cohort.manifest import Manifest, write_cohort

        rows = [change(_placed(row)) for row in self.people.rows]
        kept = tuple(row for row in rows if row is not None)
        write_cohort(Manifest(self.people.root.resolve(), kept, split_by), self.table)
        return self.table

    def cache(self):
        """The cohort in model space."""
        from mri2pet.cohort.cache import build_cache

        return build_cache(self.table, self.cache_dir, include_unpaired=True, **SHAPES)


def _placed(row):
    number = int(row.subject[-2:])
    test, val = 22 <= number <= 30 or number == 33, 19 <= number <= 21
    return replace(row, split="test" if test else "val" if val else "train")


def brain() -> np.ndarray:
    """An ellipsoid with a soft edge."""
    k, i, j = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPES["pet_shape"]), indexing="ij")
    return np.clip(6 * (0.8 - np.sqrt(k**2 + i**2 + j**2)), 0, 1).astype(np.float32)


def prepared(row, mri_shape, pet_shape, registration, reference):
    """A person's volumes: noise in the brain, and a cube by the diagnosis."""
    from mri2pet.cohort.prepare import ModelSpaceSubject
    from mri2pet.imaging.space.model_space import dilate_soft

    rng, mask = random_of(row.name, 0), brain()
    grave = int(row.subject[-2:]) % 3
    volumes = []
    for base, noise in ((0.3, 0.05), (1.0, 0.1)):
        volume = base + noise * rng.standard_normal(SHAPES["pet_shape"])
        volume[6:10, 12:20, 12:20] += 0.3 * grave
        volumes.append(np.clip(volume, 0, None).astype(np.float32) * dilate_soft(mask))
    mri, pet = np.clip(volumes[0], 0, 1), volumes[1]
    return ModelSpaceSubject(mri, mask, pet if row.pet else None)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    """Their scans are prepared by `prepared`."""
    pytest.importorskip("nibabel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mri2pet.cohort.cache.prepare", prepared)
        return People(tmp_path_factory.mktemp("people"))


@pytest.fixture
def study(people: People, tmp_path: Path) -> Study:
    return Study(people, tmp_path)
