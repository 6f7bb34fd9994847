"""People an hour of `mri2pet synthesize` with 1, 2 … processes, on T1s of yours.

    python tools/measure_people.py OUT T1… [--jobs 1 2] [--samples 4] [--steps 25] [--device auto]

Each number of jobs makes all T1s anew, in a process of its own, into OUT/jobs-N, which must not be
there. Printed and written to OUT/people.json: wall-clock seconds from start to end (the start of
Python and the model's loading included), people an hour, and of a person the mean seconds of
sampling and of all other stages. With two jobs and more a worker has one thread, in N4 and
deformations two, so what it takes beside sampling is about its core's seconds: the c of
docs/synthesize.md, "People an hour". Run it on a machine without other work; the load average
before each run is written down.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mri2pet.build import native_build

SAMPLING = "sampling"


def measure(t1s: list[Path], out: Path, jobs: int, options: list[str]) -> dict[str, Any]:
    """One run over all T1s.

    Raises:
        SystemExit: it failed, or somebody has no result.
    """
    command = [sys.executable, "-m", "mri2pet", "synthesize", *map(str, t1s), "-o", str(out)]
    load = os.getloadavg()[0]
    begun = time.perf_counter()
    done = subprocess.run([*command, "--jobs", str(jobs), "--quiet", *options], check=False)
    wall = time.perf_counter() - begun
    sidecars = [
        json.loads(path.read_text()) for path in sorted(out.rglob("*_desc-synthetic_pet.json"))
    ]
    stages = [side["seconds"] for side in sidecars]
    if done.returncode or len(stages) != len(t1s):
        raise SystemExit(f"{len(stages)} of {len(t1s)} people are done with --jobs {jobs}")
    return {
        "jobs": jobs,
        "people": len(t1s),
        "wall_s": round(wall, 1),
        "people_an_hour": round(3600 * len(t1s) / wall, 1),
        "sampling_s": round(_mean(s[SAMPLING] for s in stages), 2),
        "other_stages_s": round(_mean(sum(s.values()) - s[SAMPLING] for s in stages), 2),
        "load_average_before": round(load, 2),
    }


def _mean(values: Any) -> float:
    held = list(values)
    return sum(held) / len(held)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("t1", type=Path, nargs="+")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    for name, default in (("samples", "4"), ("steps", "25"), ("device", "auto")):
        parser.add_argument(f"--{name}", default=default)
    given = parser.parse_args(arguments)
    folders = {jobs: given.out / f"jobs-{jobs}" for jobs in given.jobs}
    for folder in folders.values():
        if folder.exists():
            parser.error(f"{folder} is there; name another folder")
    options = ["--samples", given.samples, "--steps", given.steps, "--device", given.device]
    place = {"cores": os.cpu_count(), "revision": native_build()["revision"], "options": options}
    rows = []
    for jobs, folder in folders.items():
        rows.append(measure(given.t1, folder, jobs, options))
        print(json.dumps(rows[-1]), flush=True)
    (given.out / "people.json").write_text(json.dumps(place | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
