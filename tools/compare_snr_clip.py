"""Compares bounds of the Laplacian term's weight (`training.snr_clip`) on simulated people.

usage: python tools/compare_snr_clip.py ABLATIONS OUT --volumes 600

ABLATIONS is a folder that `run_ablations.py` filled at least with its variant `epsilon`: its
cohorts and its pre-training are read, and nothing is written there. That network predicts ε,
where the weight (1 − ᾱ)/ᾱ reaches 46,000; one that predicts v has 1 − ᾱ, and no bound of 1 or
more changes it. Each bound fine-tunes the same pre-trained network on the same volumes. The same
command goes on where it was stopped.

    OUT/runs/<bound>               training runs
    OUT/evaluation/<bound>         figures of each scan
    OUT/results.md, results.json   the table
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from run_ablations import VARIANTS, compare, evaluate, mri2pet, own_options, write_results

VARIANT = "epsilon"
NONE = "none"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ablations", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--volumes", type=int, required=True, help="of every fine-tuning")
    parser.add_argument("--clip", type=float, action="append", help="default: 5 and 100")
    parser.add_argument("--samples", type=int, default=2, help="PETs drawn per test scan")
    parser.add_argument("--steps", type=int, default=15, help="network evaluations per PET")
    parser.add_argument("--limit", type=int, help="only the first so many test scans")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare scans")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for every training"
    )
    options = parser.parse_args()
    options.clip = options.clip or [100.0, 5.0]
    return options


def make(options: argparse.Namespace, clip: float | None) -> None:
    """Fine-tunes with one bound, and evaluates."""
    run = options.out / "runs" / title(clip)
    settings = (
        f"training.volumes={options.volumes}",
        "data.registration=truth",
        f"data.jobs={options.jobs}",
        *options.set,
        *((f"training.snr_clip={clip:g}",) if clip is not None else ()),
    )
    mri2pet(
        *("train", run, "--data", options.ablations / "cohort.tsv", "--device", options.device),
        *(word for setting in settings for word in ("--set", setting)),
        *own_options(VARIANTS[VARIANT]),
        *("--init", options.ablations / "runs" / VARIANT / "pretrain"),
    )
    evaluate(options, run, options.ablations, options.out / "evaluation" / title(clip))


def title(clip: float | None) -> str:
    return NONE if clip is None else f"{clip:g}"


def report(options: argparse.Namespace) -> str:
    """One row per bound: figures, and the difference in MAE to no bound, paired."""
    clips = [None, *options.clip]
    folders = {title(clip): options.out / "evaluation" / title(clip) for clip in clips}
    titles = {
        title(clip): "no bound" if clip is None else f"`snr_clip` {title(clip)}" for clip in clips
    }
    lines, results, scans = compare(folders, titles, NONE, options.samples)
    lines += [
        "",
        f"{options.volumes} volumes of fine-tuning from the same pre-training, ε predicted. "
        f"{scans}, mean of {options.samples} samples of {options.steps} steps, inside the "
        "brain. In brackets: 95 % bootstrap interval over people.",
    ]
    return write_results(options.out, results, lines)


def main() -> None:
    options = arguments()
    pretrained = options.ablations / "runs" / VARIANT / "pretrain" / "model"
    if not pretrained.is_dir():
        sys.exit(f"{pretrained}: not there; run run_ablations.py with --only {VARIANT} first")
    options.out.mkdir(parents=True, exist_ok=True)
    for clip in (None, *options.clip):
        make(options, clip)
        print(report(options), flush=True)


if __name__ == "__main__":
    main()
