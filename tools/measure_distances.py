"""What Inception's features, FID and KID cost, by the number of slices: seconds and peak memory.

    python tools/measure_distances.py RESULT.json

writes the figures and prints them as two tables. The network has random weights and the features
are random, which costs the same as others. Each figure comes from a process of its own; its memory
is the peak while it ran less what the process held before (Linux). OMP_NUM_THREADS sets the
threads.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SLICES = (256, 1024, 4096)
OF_A_PERSON = 16
FEATURES = 2048
PET_SHAPES = ((64, 64), (128, 128))
INCEPTION_SLICES = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--slices", type=int, nargs="+", default=SLICES)
    parser.add_argument(
        "--intervals-up-to", type=int, default=1024, help="25 FIDs each: slices, at most"
    )
    options = parser.parse_args()
    found = measure(options.slices, options.intervals_up_to)
    options.result.write_text(json.dumps(found, indent=1) + "\n")
    print(tables(found))


def measure(slices: list[int], intervals_up_to: int) -> dict[str, Any]:
    """`inception`: a line for each size of a slice; `distances`: for each number of slices."""
    inception = [
        {"shape": list(shape), "slices": INCEPTION_SLICES, **_apart(_inception, *shape)}
        for shape in PET_SHAPES
    ]
    distances = []
    for count in slices:
        line: dict[str, Any] = {"slices": count, "people": count // OF_A_PERSON}
        line["fid"], line["kid"] = _apart(_fid, count), _apart(_kid, count)
        line["intervals"] = _apart(_intervals, count) if count <= intervals_up_to else None
        distances.append(line)
    return {"inception": inception, "distances": distances, "about": _apart(_about)}


def tables(found: dict[str, Any]) -> str:
    """Both tables as Markdown."""
    lines = ["| slice | seconds a slice | MiB |", "|---|---|---|"]
    for line in found["inception"]:
        shape = " × ".join(map(str, line["shape"]))
        lines.append(f"| {shape} | {line['seconds'] / line['slices']:.2f} | {line['mib']:.0f} |")
    lines += ["", "| slices a side | people | FID | KID | both with intervals |", "|---" * 5 + "|"]
    for line in found["distances"]:
        cells = [_cell(line[name]) for name in ("fid", "kid", "intervals")]
        lines.append(f"| {line['slices']:,} | {line['people']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(cost: dict[str, float] | None) -> str:
    return "–" if cost is None else f"{cost['seconds']:.1f} s, {cost['mib']:.0f} MiB"


def _apart(what: Callable[..., dict[str, Any]], *given: int) -> dict[str, Any]:
    """In a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(what, given)


def _cost(work: Callable[[], object]) -> dict[str, float]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status_mib("VmRSS:")
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start, "mib": _status_mib("VmHWM:") - before}


def _status_mib(name: str) -> float:
    """A line of what Linux knows of this process, kB as MiB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == name) / 1024


def _inception(height: int, width: int) -> dict[str, float]:
    from mri2pet.evaluation.features import features_of
    from mri2pet.evaluation.inception import load_inception

    network = load_inception(random=True)
    images = np.random.default_rng(0).random((INCEPTION_SLICES, height, width), dtype=np.float32)
    features_of(network, images[:1])
    return _cost(lambda: features_of(network, images))


def _people(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Features [16, 2048] of each person, real and drawn."""
    rng = np.random.default_rng(0)
    shape = (count // OF_A_PERSON, OF_A_PERSON, FEATURES)
    real, drawn = (rng.normal(0.4, spread, shape).astype(np.float32) for spread in (0.3, 0.35))
    return list(real), list(drawn)


def _fid(count: int) -> dict[str, float]:
    from mri2pet.evaluation.distances import fid

    real, drawn = map(np.concatenate, _people(count))
    return _cost(lambda: fid(real, drawn))


def _kid(count: int) -> dict[str, float]:
    from mri2pet.evaluation.distances import PeopleKernel

    real, drawn = _people(count)
    everybody = np.ones(len(real))
    return _cost(lambda: PeopleKernel.of(real, drawn, same_people=True).kid(everybody))


def _intervals(count: int) -> dict[str, float]:
    from mri2pet.evaluation.distance_rows import distances_of

    real, drawn = _people(count)
    return _cost(lambda: distances_of(real, {"drawn": drawn}, {}))


def _about() -> dict[str, Any]:
    import torch

    from mri2pet.build import versions

    return {"threads": torch.get_num_threads(), **versions()}


if __name__ == "__main__":
    main()
