"""Seconds an update and peak memory of one method of the paper's Table 1, preset `compact`.

usage: python tools/measure_baselines.py --data COHORT [--baseline NAME] [--init SOURCE] [--stage S]

Trains a few updates in a temporary folder and prints one line of JSON: the median, least and most
seconds of an update after the first two (of every `n_critic`-th pair for a GAN: critic alone, and
critic with generator), and the most memory that the process held. One method a process, with
nothing else running; the first call also brings the cohort to model space.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

WARM_UP = 2


class Enough(BaseException):
    """Ends the training: what it would still do is not measured."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The record of one method."""
    from mri2pet.training import train

    batch, count = options.batch_size, WARM_UP + options.updates
    given = {"stage": options.stage, "baseline": options.baseline, "init": options.init}
    named = [f"training.{key}={json.dumps(value)}" for key, value in given.items() if value]
    ends: list[float] = []

    def watch(kind: str, facts: dict[str, Any]) -> None:
        if kind == "step":
            ends.append(time.perf_counter())
            if len(ends) == count:
                raise Enough

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        train(
            Path(folder) / "run",
            data=options.data,
            preset="compact",
            settings=[
                *named,
                f"training.batch_size={batch}",
                f"training.volumes={batch * (count + 1)}",
                "data.registration=truth",
                *options.set,
            ],
            device="cpu",
            on_event=watch,
        )
    seconds = [after - before for before, after in itertools.pairwise(ends)][WARM_UP - 1 :]
    method = options.baseline or "mri2pet"
    return {
        "method": f"{method} {options.stage}".strip(),
        "batch_size": batch,
        "seconds": {name: spread(part) for name, part in kinds(method, seconds).items()},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def kinds(method: str, seconds: list[float]) -> dict[str, list[float]]:
    """A GAN's updates by whether its generator learns, which is every second one's turn."""
    if method in ("mri2pet", "vanilla", "ddpm-pa"):
        return {"update": seconds}
    return {"critic": seconds[::2], "critic and generator": seconds[1::2]}


def spread(seconds: list[float]) -> list[float]:
    """Median, least and most."""
    return [round(f(seconds), 2) for f in (statistics.median, min, max)]


def main() -> None:
    """Prints the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--baseline", default="")
    parser.add_argument("--init", default="")
    parser.add_argument("--stage", default="")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--updates", type=int, default=6, help="that are timed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
