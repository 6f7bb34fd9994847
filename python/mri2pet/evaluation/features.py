"""Inception features of the slices of an evaluation's volumes, kept scan by scan.

    OUT/features/<network>/<kind>/<row>.npy     float32 [slices, 2048]
    OUT/features/<network>/features.json        the network, the slices, the floor's people

`kind` is `measured`, `one_sample`, a trivial rival or `training` (PETs of the training split, for
the floor: what a perfect generator would get), and with `as_paper/` before it the same volumes as
the paper's authors scale them. A stopped run goes on; another network has a folder of its own.
What no model drew is the same for all of them, and is kept beside the cohort in model space too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.errors import UsageError
from mri2pet.evaluation import as_paper
from mri2pet.evaluation.methods import within_support
from mri2pet.evaluation.metrics import DATA_RANGE_SUVR
from mri2pet.evaluation.rivals import Rivals
from mri2pet.evaluation.rows import stored_predictions
from mri2pet.files import written_whole

if TYPE_CHECKING:
    from mri2pet.evaluation.inception import InceptionV3

AS_PAPER = "as_paper/"
KINDS = ("one_sample", "cohort_mean", "cohort_mean_warped", "linear_map")
FEWEST_IN_BRAIN = 0.05
_BATCH = 16


@dataclass(frozen=True)
class FeatureOptions:
    """Which network, as `load_inception` takes it, and every how many slices."""

    weights: Path | None = None
    sha256: str | None = None
    download: bool = False
    random: bool = False
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every must be at least 1, not {self.every}")

    def load(self) -> InceptionV3:
        """The network; errors as `load_inception`."""
        from mri2pet.evaluation.inception import load_inception

        return load_inception(
            self.weights, sha256=self.sha256, download=self.download, random=self.random
        )


def folder_of(out: Path, network: InceptionV3, every: int) -> Path:
    """Where the features of a network are."""
    name = f"inception-{network.origin.sha256[:12]}"
    return out / "features" / (name if every == 1 else f"{name}-every-{every}")


def suvr_slices(kij: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Axial slices of a PET in the dilated brain, SUVR 0 to 2.5 as [0, 1]: one scale for everybody.

    Slices with brain in less than 5 % of their voxels are left out.

    Args:
        kij: `[K, I, J]`, SUVR.
        brain: `[K, I, J]`, fraction of brain.

    Returns:
        float32 `[slices, I, J]`.
    """
    kept = (np.asarray(brain) > 0.5).mean(axis=(1, 2)) >= FEWEST_IN_BRAIN
    inside = within_support(np.asarray(kij, dtype=np.float32), brain)
    return (np.clip(inside, 0, DATA_RANGE_SUVR) / DATA_RANGE_SUVR)[kept].astype(np.float32)


def write_features(
    out: Path,
    network: InceptionV3,
    cohort: CohortCache,
    rows: list[ManifestRow],
    training: CohortCache,
    rivals: Rivals,
    *,
    every: int = 1,
    paper: bool = False,
    on_scan: Callable[[int, int, str], None] = lambda done, of, name: None,
) -> Path:
    """Features of every volume of `rows`, and of as many training PETs; returns their folder.

    Args:
        rows: scans that are evaluated.
        every: take every so-manieth slice.
        paper: also as the paper's authors scale the volumes.
        on_scan: called with (done, of how many, name) after each scan.
    """
    folder = folder_of(out, network, every)
    floor = floor_rows(training, rows)
    description = {
        "network": network.origin.as_dict(),
        "every": every,
        "training": {row.name: row.subject for row in floor},
    }
    with written_whole(folder / "features.json") as part:
        part.write_text(json.dumps(description, indent=1) + "\n")
    jobs: list[tuple[ManifestRow, bool]] = [
        *((r, False) for r in rows),
        *((r, True) for r in floor),
    ]
    for done, (row, trained) in enumerate(jobs, start=1):
        if trained:
            volumes = _training_slices(training, row, paper)
        else:
            volumes = _slices(out, cohort, row, rivals, paper)
        root = (training if trained else cohort).root
        for kind, images in volumes:
            path = folder / kind / f"{row.name}.npy"
            if not path.is_file():
                drawn = kind.removeprefix(AS_PAPER) == "one_sample"
                shown = np.ascontiguousarray(images()[::every])
                features = (
                    features_of(network, shown) if drawn else kept_features(root, network, shown)
                )
                with written_whole(path) as part, part.open("wb") as file:
                    np.save(file, features)
        on_scan(done, len(jobs), row.name)
    return folder


def floor_rows(training: CohortCache, rows: list[ManifestRow]) -> list[ManifestRow]:
    """As many training scans as there are rows, of people drawn by a fixed seed.

    People of `rows` are left out, so that the two sides have nobody in common.
    """
    tested = {row.subject for row in rows}
    known = [row for row in training.rows("train") if row.subject not in tested]
    people = list(dict.fromkeys(row.subject for row in known))
    order = np.random.default_rng(0).permutation(len(people))
    place = {people[i]: n for n, i in enumerate(order)}
    return sorted(known, key=lambda row: (place[row.subject], row.name))[: len(rows)]


def kept_features(root: Path, network: InceptionV3, images: np.ndarray) -> np.ndarray:
    """As `features_of`, of images that are the same for every model, kept in the cohort's cache.

    Args:
        root: of the cohort in model space.
    """
    digest = hashlib.sha256(str(images.shape).encode() + images.tobytes()).hexdigest()
    path = root / "features" / network.origin.sha256[:12] / f"{digest[:32]}.npy"
    if not path.is_file():
        with written_whole(path) as part, part.open("wb") as file:
            np.save(file, features_of(network, images))
    return np.asarray(np.load(path))


def features_of(network: InceptionV3, images: np.ndarray) -> np.ndarray:
    """float32 [slices, 2048] of images float32 [slices, I, J] in [0, 1]."""
    import torch

    device = next(network.parameters()).device
    with torch.inference_mode():
        found = [
            network(torch.from_numpy(np.ascontiguousarray(images[n : n + _BATCH])).to(device))
            .float()
            .cpu()
            .numpy()
            for n in range(0, len(images), _BATCH)
        ]
    return np.concatenate(found) if found else np.zeros((0, 2048), dtype=np.float32)


Images = Callable[[], np.ndarray]


def _slices(
    out: Path, cohort: CohortCache, row: ManifestRow, rivals: Rivals, paper: bool
) -> Iterator[tuple[str, Images]]:
    """(kind, its images when asked for) of everything that is drawn for a scan."""
    brain = np.asarray(cohort.brain(row))
    volumes: dict[str, Any] = stored_predictions(out, cohort, row, rivals)
    volumes["measured"] = np.asarray(cohort.pet(row), dtype=np.float32)
    for kind in ("measured", *KINDS):
        yield kind, lambda kind=kind: suvr_slices(volumes[kind], brain)  # type: ignore[misc]
    for kind in ("measured", "one_sample") if paper else ():
        yield AS_PAPER + kind, lambda kind=kind: as_paper.slices(volumes[kind])  # type: ignore[misc]


def _training_slices(
    training: CohortCache, row: ManifestRow, paper: bool
) -> Iterator[tuple[str, Images]]:
    pet, brain = np.asarray(training.pet(row), dtype=np.float32), np.asarray(training.brain(row))
    yield "training", lambda: suvr_slices(pet, brain)
    if paper:
        yield AS_PAPER + "training", lambda: as_paper.slices(pet)
