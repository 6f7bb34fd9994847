"""What steps and samplers cost and give: quality, time and memory of one volume, on a cohort."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mri2pet.bench.timing import environment, extra_bytes
from mri2pet.errors import InputError, UsageError

if TYPE_CHECKING:
    from mri2pet.cohort.cache import CohortCache
    from mri2pet.cohort.manifest import ManifestRow
    from mri2pet.engines.base import Engine

POINTS = (
    *(("dpmpp", steps) for steps in (5, 10, 15, 25, 50, 100)),
    *(("ddim", steps) for steps in (5, 10, 25, 50, 100)),
    *(("ddpm", steps) for steps in (25, 100, 999)),
)
METRICS = ("mae", "ssim", "psnr")
RECORDS, SETTINGS, RESULT = "records.jsonl", "settings.json", "report.json"
OnVolume = Callable[[int, int], None]


def bench_report(
    model: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    points: Sequence[tuple[str, int]] = POINTS,
    limit: int = 16,
    registration: str = "estimate",
    engine: str = "auto",
    device: str = "cpu",
    jobs: int = 1,
    on_volume: OnVolume | None = None,
) -> dict[str, Any]:
    """Draws one volume per scan and sampler setting and compares it with the measured PET.

    Volumes that are done are kept in `out`, so the same call goes on where it was stopped. The
    noise of a scan is the same at every point.

    Args:
        model: a model, a run or an export.
        data: a BIDS cohort the model has never seen; the first `limit` of its scans are taken.
        points: (sampler, steps) pairs.
        registration, jobs: see `build_cache`.
        on_volume: called with (volumes done, of how many).

    Returns:
        A JSON-ready tree, also in `out/report.json`: `environment`, `rows` (one a point: mean MAE,
        SSIM, PSNR, error and correlation of the cortical SUVR, median seconds a volume) and
        `extra_bytes`, what torch allocates at most in a loop of batch 1 (None for other engines).

    Raises:
        UsageError: wrong options, or `out` holds a report on something else.
        InputError: the cohort has no usable scan. ModelError: no such model.
    """
    from mri2pet.cohort.cache import build_cache
    from mri2pet.engines.choose import load_engine

    if limit < 1 or not points:
        raise UsageError("a report needs at least one scan and one point")
    out, loaded = Path(out), load_engine(model, engine=engine, device=device)
    _check_points(loaded, points)
    shapes: dict[str, Any] = {
        "mri_shape": loaded.config.mri_shape,
        "pet_shape": loaded.config.pet_shape,
    }
    cohort = build_cache(data, registration=registration, jobs=jobs, **shapes)
    rows = cohort.rows()[:limit]
    if not rows:
        raise InputError(f"{data}: no scan of it could be brought to model space")
    settings = {
        "model": loaded.name,
        "model_sha256": loaded.sha256,
        "engine": loaded.engine,
        "precision": loaded.precision,
        "registration": registration,
        "rows": [row.name for row in rows],
    }
    _open(out, settings)
    # Before any other run: the first captures the CUDA graph, whose own memory no later one shows.
    loop = _loop(loaded, cohort, rows[0])
    memory = extra_bytes(loop, device) if loaded.engine == "torch" else None
    records = _measure(loaded, cohort, rows, points, out / RECORDS, on_volume)
    result = {
        "benchmark": "report",
        **settings,
        "environment": environment(device),
        "extra_bytes": memory,
        "points": [_summary(point, records) for point in points],
    }
    (out / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    return result


def _check_points(engine: Engine, points: Sequence[tuple[str, int]]) -> None:
    from mri2pet.diffusion.samplers import make_table

    for sampler, steps in points:
        make_table(sampler, engine.config.prediction, steps)


def _open(out: Path, settings: dict[str, Any]) -> None:
    path = out / SETTINGS
    if path.is_file():
        stored = json.loads(path.read_text())
        other = sorted(key for key in settings if stored.get(key) != settings[key])
        if other:
            raise UsageError(f"{out} holds a report with another {', '.join(other)}")
        return
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no report; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2) + "\n")


def _measure(
    engine: Engine,
    cohort: CohortCache,
    rows: Sequence[ManifestRow],
    points: Sequence[tuple[str, int]],
    path: Path,
    on_volume: OnVolume | None,
) -> list[dict[str, Any]]:
    """Draws what is not in the file of records yet; returns all of them."""
    records = _read(path)
    done = {(r["sampler"], r["steps"], r["row"]) for r in records}
    wanted = [(s, n, row) for s, n in points for row in rows if (s, n, row.name) not in done]
    if wanted:
        _loop(engine, cohort, rows[0])()  # the first run also prepares the libraries
    with path.open("a") as file:
        for number, (sampler, steps, row) in enumerate(wanted, start=1):
            record = {"sampler": sampler, "steps": steps, "row": row.name}
            record |= _volume(engine, cohort, row, sampler, steps)
            file.write(json.dumps(record) + "\n")
            file.flush()
            records.append(record)
            if on_volume is not None:
                on_volume(number, len(wanted))
    return records


def _read(path: Path) -> list[dict[str, Any]]:
    """The records written so far; a last line that was cut off is taken out of the file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def _volume(
    engine: Engine, cohort: CohortCache, row: ManifestRow, sampler: str, steps: int
) -> dict[str, Any]:
    from mri2pet.evaluation.methods import compare, within_support
    from mri2pet.evaluation.rows import draw
    from mri2pet.evaluation.settings import Sampling

    mri, brain = np.asarray(cohort.mri(row), dtype=np.float32), np.asarray(cohort.brain(row))
    measured = np.asarray(cohort.pet(row), dtype=np.float32)
    start = time.perf_counter()
    (pet,) = draw(engine, mri, row, Sampling(samples=1, sampler=sampler, steps=steps)).samples
    seconds = time.perf_counter() - start
    figures = compare(within_support(pet, brain), measured, brain).as_dict()
    truth = compare(measured, measured, brain).cortical_suvr
    return {**figures, "measured_cortical_suvr": truth, "seconds": seconds}


def _loop(engine: Engine, cohort: CohortCache, row: ManifestRow) -> Callable[[], Any]:
    """A short loop, with the memory of a long one."""
    return lambda: _volume(engine, cohort, row, "dpmpp", 3)


def _summary(point: tuple[str, int], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mine = [r for r in records if (r["sampler"], r["steps"]) == point]
    predicted = np.array([r["cortical_suvr"] for r in mine])
    measured = np.array([r["measured_cortical_suvr"] for r in mine])
    r = float(np.corrcoef(predicted, measured)[0, 1]) if len(mine) > 2 else None
    seconds = [record["seconds"] for record in mine]
    return {
        "sampler": point[0],
        "steps": point[1],
        "volumes": len(mine),
        **{name: statistics.fmean(record[name] for record in mine) for name in METRICS},
        "cortical_suvr_error": float(np.abs(predicted - measured).mean()),
        "cortical_suvr_r": r,
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
    }
