"""Compares the paper's recipe with its ablations on a simulated cohort, from nothing to one table.

usage: python tools/run_ablations.py OUT --volumes 4000 (--vgg-weights FILE | --random-vgg)

Every variant is fine-tuned on the same pairs for the same number of volumes, and evaluated on
people of another simulated cohort. The same command goes on where it was stopped; on SIGTERM a
training saves its state first.

    OUT/cohort, OUT/held_out       simulated people: to train on, and to test with
    OUT/cohort.tsv                 who trains
    OUT/styled                     PET-like MRIs
    OUT/runs/<variant>/<stage>     training runs; `mri2pet runs OUT/runs/*/*` summarises them
    OUT/evaluation/<variant>       figures of each scan
    OUT/results.md, results.json   the table
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mri2pet.evaluation.intervals import MEAN, Estimate, estimate
from mri2pet.files import written_whole
from mri2pet.tables import read_table

METHOD = "mean_of_samples"
FIGURES = {"ssim": 3, "psnr": 1, "mae": 3, "suvr_error": 3}
TRAIN_SEED, TEST_SEED = 2027, 7


@dataclass(frozen=True)
class Variant:
    """One row of the table: an ablation or a baseline, settings, and whose pre-training it starts
    from."""

    title: str
    ablation: str = "none"
    baseline: str = "none"
    settings: tuple[str, ...] = ()
    pretrained: str | None = None


#: The linear denoiser is of v alone.
EPSILON = ("model.prediction=epsilon", "model.linear_components=0")

VARIANTS = {
    "mri2pet": Variant("MRI2PET: style pre-training, fine-tuning", pretrained="mri2pet"),
    "no-style": Variant("no-style", "no-style", pretrained="no-style"),
    "no-pretrain": Variant("no-pretrain", "no-pretrain"),
    "no-laplacian": Variant("no-laplacian", "no-laplacian", pretrained="mri2pet"),
    "vanilla": Variant("vanilla", "vanilla"),
    "epsilon": Variant("MRI2PET, predicts ε, not v", settings=EPSILON, pretrained="epsilon"),
    "embedding": Variant(
        "MRI2PET, sees the MRI by its embedding alone",
        settings=("model.cond=embedding",),
        pretrained="embedding",
    ),
    "epsilon-embedding": Variant(
        "MRI2PET, ε and embedding: the paper's network",
        settings=(*EPSILON, "model.cond=embedding"),
        pretrained="epsilon-embedding",
    ),
}


def parser_of(description: str | None, variants: Mapping[str, Variant]) -> argparse.ArgumentParser:
    """What an experiment over these variants can be told."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--volumes", type=int, required=True, help="of every fine-tuning")
    parser.add_argument("--pretrain-volumes", type=int, help="default: as --volumes")
    parser.add_argument("--pairs", type=int, default=80, help="people with MRI and PET")
    parser.add_argument("--unpaired", type=int, default=160, help="people with MRI alone")
    parser.add_argument("--test-pairs", type=int, default=40, help="people to test with")
    parser.add_argument("--vgg-weights", type=Path, help="a known file, see docs/style_transfer.md")
    parser.add_argument("--random-vgg", action="store_true", help="random weights, and say so")
    parser.add_argument("--style-steps", type=int, default=100, help="L-BFGS steps")
    parser.add_argument("--style-weight", default="auto", help="a number, or auto: the file's own")
    parser.add_argument("--samples", type=int, default=4, help="PETs drawn per test scan")
    parser.add_argument("--steps", type=int, default=25, help="network evaluations per PET")
    parser.add_argument("--limit", type=int, help="only the first so many test scans")
    parser.add_argument("--jobs", type=int, default=1, help="processes that prepare scans")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*", choices=variants, default=list(variants))
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for every training"
    )
    return parser


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, VARIANTS)
    options = parser.parse_args()
    if (options.vgg_weights is None) is not options.random_vgg:
        parser.error("give --vgg-weights FILE or --random-vgg")
    options.pretrain_volumes = options.pretrain_volumes or options.volumes
    return options


def mri2pet(*command: object, quiet: bool = True) -> None:
    """Runs a command to its end; SIGTERM is handed on to it."""
    words = [str(word) for word in command] + ["--quiet"] * quiet
    print("mri2pet", *words, flush=True)
    process: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        if process is None:
            sys.exit(128 + signal.SIGTERM)
        process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        process = subprocess.Popen([sys.executable, "-m", "mri2pet", *words])
        status = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if status not in (0, 3):  # 3: some scans of several could not be used
        sys.exit(status if status > 0 else 128 - status)


def prepare(options: argparse.Namespace) -> None:
    """Both cohorts."""
    out = options.out
    for name, pairs, unpaired, seed in (
        ("cohort", options.pairs, options.unpaired, TRAIN_SEED),
        ("held_out", options.test_pairs, 0, TEST_SEED),
    ):
        mri2pet(
            *("phantom", out / name, "--pairs", pairs, "--unpaired", unpaired),
            *("--seed", seed, "--jobs", options.jobs),
        )
    table = out / "cohort.tsv"
    if not table.exists():
        build = [sys.executable, "-m", "mri2pet", "cohort", "build", out / "cohort", "-o", table]
        subprocess.run([str(word) for word in build], check=True)


def stylize(options: argparse.Namespace) -> None:
    """The PET-like MRIs."""
    out = options.out
    weights = ("--random-vgg",) if options.random_vgg else ("--vgg-weights", options.vgg_weights)
    mri2pet(
        *("stylize", out / "cohort.tsv", "-o", out / "styled", "--split", "all", *weights),
        *("--steps", options.style_steps, "--style-weight", options.style_weight),
        *("--registration", "truth"),
        *("--jobs", options.jobs, "--device", options.device),
    )


def train(options: argparse.Namespace, run: Path, volumes: int, *more: object) -> None:
    settings = (
        f"training.volumes={volumes}",
        "data.registration=truth",
        f"data.jobs={options.jobs}",
        *options.set,
    )
    mri2pet(
        *("train", run, "--data", options.out / "cohort.tsv", "--device", options.device),
        *(word for setting in settings for word in ("--set", setting)),
        *more,
    )


def pretrain(options: argparse.Namespace, name: str, variant: Variant) -> Path:
    """The pre-training that a variant owns; others may start from it. Returns its run."""
    run = options.out / "runs" / name / "pretrain"
    targets = ("--stylized", options.out / "styled") if is_styled(variant) else ()
    more = ("--stage", "pretrain", *targets, *own_options(variant))
    train(options, run, options.pretrain_volumes, *more)
    return run


def own_options(variant: Variant) -> list[str]:
    settings = [word for setting in variant.settings for word in ("--set", setting)]
    named = {"--ablation": variant.ablation, "--baseline": variant.baseline}
    return settings + [
        word for key, name in named.items() if name != "none" for word in (key, name)
    ]


def is_styled(variant: Variant) -> bool:
    """Whether its pre-training draws PET-like MRIs."""
    return variant.ablation != "no-style" and variant.baseline == "none"


def train_variant(options: argparse.Namespace, name: str, variants: Mapping[str, Variant]) -> Path:
    """Trains a variant after the pre-training that it starts from; returns its run."""
    variant = variants[name]
    start: tuple[object, ...] = ()
    if variant.pretrained is not None:
        owner = variants[variant.pretrained]
        start = ("--init", pretrain(options, variant.pretrained, owner))
    run = options.out / "runs" / name / "finetune"
    train(options, run, options.volumes, *own_options(variant), *start)
    return run


def make(options: argparse.Namespace, name: str) -> None:
    """Trains a variant, and evaluates it."""
    run = train_variant(options, name, VARIANTS)
    evaluate(options, run, options.out, options.out / "evaluation" / name)


def evaluate(options: argparse.Namespace, run: Path, data: Path, out: Path, *more: object) -> None:
    """Figures of a run on the people that `data` holds out."""
    limit = [] if options.limit is None else ["--limit", options.limit]
    mri2pet(
        *("evaluate", run, "--data", data / "held_out", "--split", "all"),
        *("-o", out, "--registration", "truth"),
        *("--training-data", data / "cohort.tsv", "--training-registration", "truth"),
        *("--samples", options.samples, "--steps", options.steps, *limit),
        *("--jobs", options.jobs, "--device", options.device, *more),
    )


def figures(folder: Path, samples: int) -> dict[str, dict[str, float | str]]:
    """Test scan → its figures and its subject."""
    method = METHOD if samples > 1 else "one_sample"
    lines = [line for line in read_table(folder / "metrics.tsv") if line["method"] == method]
    return {
        line["row"]: {
            "subject": line["subject"],
            **{key: float(line[key]) for key in ("ssim", "psnr", "mae")},
            "suvr_error": abs(float(line["cortical_suvr"]) - float(line["measured_cortical_suvr"])),
        }
        for line in lines
    }


def interval(rows: list[dict[str, float | str]], key: str) -> Estimate:
    subjects = [str(row["subject"]) for row in rows]
    return estimate(MEAN, subjects, [float(row[key]) for row in rows])


def compare(
    folders: dict[str, Path], titles: dict[str, str], base: str, samples: int
) -> tuple[list[str], dict[str, object], str]:
    """The table of some evaluations, over the scans that all of them have.

    Args:
        folders: name → folder of its evaluation; those that are not there yet are left out.
        titles: name → how the table names it.
        base: the first row; its MAE is subtracted from the others', paired by scan.

    Returns:
        Lines of the table, its figures for JSON, and what scans it is of.
    """
    found = {
        name: figures(folder, samples)
        for name, folder in folders.items()
        if (folder / "metrics.tsv").exists()
    }
    scans = sorted(set.intersection(*(set(rows) for rows in found.values())))
    lines = [
        "| variant | SSIM | PSNR (dB) | MAE (SUVR) | cortical SUVR, error | MAE less first row's |",
        "|---|---|---|---|---|---|",
    ]
    results: dict[str, object] = {}
    for name, of in found.items():
        rows = [of[scan] for scan in scans]
        values = {key: interval(rows, key) for key in FIGURES}
        cells = [values[key].text(digits) for key, digits in FIGURES.items()]
        if name != base and base in found:
            apart = [
                {**row, "mae": float(row["mae"]) - float(found[base][scan]["mae"])}
                for scan, row in zip(scans, rows, strict=True)
            ]
            values["mae_difference"] = interval(apart, "mae")
            cells.append(values["mae_difference"].text(4))
        else:
            cells.append("–")
        lines.append("| " + " | ".join((titles[name], *cells)) + " |")
        results[name] = {key: vars(value) for key, value in values.items()}
    people = len({str(next(iter(found.values()))[scan]["subject"]) for scan in scans})
    return lines, results, f"{len(scans)} test scans of {people} people"


def write_results(out: Path, results: dict[str, object], lines: list[str]) -> str:
    """Writes results.json and results.md; returns the latter."""
    with written_whole(out / "results.json") as part:
        part.write_text(json.dumps(results, indent=2) + "\n")
    with written_whole(out / "results.md") as part:
        part.write_text("\n".join(lines) + "\n")
    return "\n".join(lines)


def style(folder: Path) -> str:
    """What made the PET-like MRIs of a folder."""
    made = json.loads((folder / "style.json").read_text())
    return f"{made['vgg']['source']}, weight {made['style_weight']:g}, {made['steps']} steps"


def report(options: argparse.Namespace) -> str:
    """One row per variant: figures, and the difference in MAE to the whole recipe, paired."""
    folders = {name: options.out / "evaluation" / name for name in VARIANTS}
    titles = {name: variant.title for name, variant in VARIANTS.items()}
    lines, results, scans = compare(folders, titles, "mri2pet", options.samples)
    lines += [
        "",
        f"{options.pairs} people with pairs and {options.unpaired} with an MRI alone to train, "
        f"{options.pretrain_volumes} volumes of pre-training, {options.volumes} of fine-tuning; "
        f"style: {style(options.out / 'styled')}. {scans}, "
        f"mean of {options.samples} samples of {options.steps} steps, inside the brain. "
        "In brackets: 95 % bootstrap interval over people.",
    ]
    return write_results(options.out, results, lines)


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(options)
    stylize(options)
    for name in options.only:
        make(options, name)
        print(report(options), flush=True)


if __name__ == "__main__":
    main()
