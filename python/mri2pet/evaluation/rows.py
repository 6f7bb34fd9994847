"""One scan of an evaluation: the draws, the rivals, their figures, and how they are stored."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow
from mri2pet.evaluation.methods import METHODS, compare, within_support
from mri2pet.evaluation.regions import read_regions, write_regions
from mri2pet.evaluation.rivals import Rivals, kept_warped_mean
from mri2pet.evaluation.settings import Sampling
from mri2pet.evaluation.stored import as_paper_path
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.imaging.suvr.regions import regional_suvr
from mri2pet.quantification import Quantification


def noise_subject(row: ManifestRow) -> int:
    """The 64-bit number that keys the sampling noise of a row: SHA-256 of its name."""
    return int(hashlib.sha256(row.name.encode()).hexdigest()[:16], 16)


def evaluate_row(
    network: Any,
    cohort: CohortCache,
    row: ManifestRow,
    rivals: Rivals,
    out: Path,
    sampling: Sampling,
    what: Quantification | None = None,
) -> dict[str, Any]:
    """Predictions and figures of one row, written to `out/subjects/`.

    `<row>.npz` gets float16 `[K, I, J]`, SUVR: mean, spread and cohort_mean_warped as the figures
    take them, and one_sample as it was drawn. `<row>.json` is written last, so its presence says
    that the row is done. It holds the regional SUVR of every sample too (`drawn`), of their mean
    (`mean`, see `engines.mean`) and of the measured PET (`measured`), and over the voxels of the
    brain their number, the sum of the variance of the samples and that of the squared error of
    their plain mean (`voxels`).

    Args:
        what: regions to be measured in every sample, see `regions.write_regions`.
    """
    mri, brain = np.asarray(cohort.mri(row), dtype=np.float32), np.asarray(cohort.brain(row))
    start = time.perf_counter()
    drawn = draw(network, mri, row, sampling)
    pets, mean = (within_support(pet, brain) for pet in drawn)
    seconds = time.perf_counter() - start
    measured = np.asarray(cohort.pet(row), dtype=np.float32)
    if what is not None and what.needs_volumes:
        write_regions(out, row.name, Drawn(pets, mean), measured, what)
    warped = kept_warped_mean(rivals, mri, cohort.root)
    predictions = {
        "one_sample": pets[0],
        "mean_of_samples": mean,
        "cohort_mean": within_support(rivals.cohort_mean(), brain),
        "cohort_mean_warped": within_support(warped, brain),
        "linear_map": within_support(rivals.linear_map(mri), brain),
    }
    variance = np.var(pets, axis=0, ddof=1) if len(pets) > 1 else np.zeros_like(pets[0])
    inside = brain > 0.5
    error = np.mean(pets, axis=0)[inside] - measured[inside]
    regional = [regional_suvr(pet) for pet in pets]
    record = {
        "row": row.name,
        "subject": row.subject,
        "diagnosis": row.diagnosis,
        "measured_cortical_suvr": compare(measured, measured, brain).cortical_suvr,
        "true_cortical_suvr": _true_cortical_suvr(row),
        "seconds": seconds,
        "drawn": {name: [levels[name] for levels in regional] for name in regional[0]},
        "mean": regional_suvr(mean),
        "measured": regional_suvr(measured),
        "voxels": {
            "count": int(inside.sum()),
            "variance": float(variance[inside].sum(dtype=np.float64)),
            "squared_error": float(np.square(error, dtype=np.float64).sum()),
        },
        "methods": {m: compare(predictions[m], measured, brain).as_dict() for m in METHODS},
    }
    arrays = {
        "mean": predictions["mean_of_samples"],
        "spread": np.sqrt(variance),
        "one_sample": drawn.samples[0],
        "cohort_mean_warped": predictions["cohort_mean_warped"],
    }
    path = result_path(out, row)
    with written_whole(path.with_suffix(".npz")) as part:
        np.savez_compressed(part, **{k: v.astype(np.float16) for k, v in arrays.items()})  # type: ignore[arg-type]
    with written_whole(path) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    return record


def has_regions(out: Path, row: ManifestRow, what: Quantification | None) -> bool:
    """Whether all that is asked of a row that is done was measured."""
    if what is None or not what.needs_volumes:
        return True
    return read_regions(out, {"row": row.name}, what) is not None


def measure_again(
    network: Any,
    cohort: CohortCache,
    row: ManifestRow,
    out: Path,
    sampling: Sampling,
    what: Quantification,
) -> None:
    """The regions of a row that is done, from its samples drawn again, the same by their seed."""
    mri, brain = np.asarray(cohort.mri(row), dtype=np.float32), np.asarray(cohort.brain(row))
    drawn = Drawn(*(within_support(pet, brain) for pet in draw(network, mri, row, sampling)))
    write_regions(out, row.name, drawn, np.asarray(cohort.pet(row), dtype=np.float32), what)


def draw(network: Any, mri: np.ndarray, row: ManifestRow, sampling: Sampling) -> Drawn:
    """The model's PETs of one MRI `[K, I, J]`."""
    import torch

    from mri2pet.engines.mean import drawn_in_suvr
    from mri2pet.engines.sampling import sample

    whole = torch.from_numpy(mri)[None, None]
    fastest = 2 if network.device.type == "cpu" else sampling.samples
    drawn = sample(
        network,
        whole,
        samples=sampling.samples,
        sampler=sampling.sampler,
        steps=sampling.steps,
        seed=sampling.seed,
        subject=noise_subject(row),
        batch=sampling.batch or fastest,
    )
    return drawn_in_suvr(network, whole, drawn[None])[0]


def _true_cortical_suvr(row: ManifestRow) -> float | None:
    """The value a simulated cohort was made with; None for a real one."""
    if row.pet_truth is None:
        return None
    value = json.loads(row.pet_truth.read_text()).get("cortical_suvr")
    return None if value is None else float(value)


def result_path(out: Path, row: ManifestRow) -> Path:
    """Where the figures of a row are."""
    return out / "subjects" / f"{row.name}.json"


def write_as_paper(out: Path, cohort: CohortCache, row: ManifestRow, rivals: Rivals) -> None:
    """Figures of a row as the paper's authors compute them, where they are missing."""
    from mri2pet.evaluation.as_paper import image_figures

    path = as_paper_path(out, row.name)
    if path.is_file():
        return
    measured = np.asarray(cohort.pet(row), dtype=np.float32)
    predictions = stored_predictions(out, cohort, row, rivals)
    figures = {method: image_figures(pet, measured) for method, pet in predictions.items()}
    with written_whole(path) as part:
        part.write_text(json.dumps(figures, indent=1) + "\n")


def stored_predictions(
    out: Path, cohort: CohortCache, row: ManifestRow, rivals: Rivals
) -> dict[str, np.ndarray]:
    """One sample as it was drawn, and the rivals, of a row that is done: float32 `[K, I, J]`."""
    with np.load(result_path(out, row).with_suffix(".npz")) as arrays:
        kept = {n: arrays[n].astype(np.float32) for n in ("one_sample", "cohort_mean_warped")}
    mri, brain = np.asarray(cohort.mri(row), dtype=np.float32), np.asarray(cohort.brain(row))
    return {
        **kept,
        "cohort_mean": within_support(rivals.cohort_mean(), brain),
        "linear_map": within_support(rivals.linear_map(mri), brain),
    }
