"""Makes every row of the paper's Table 1 anew on a simulated cohort, from nothing to one table.

usage: python tools/run_table1.py OUT --volumes 4000 (--vgg-weights FILE | --random-vgg)

Each source is pre-trained once: MRI2PET's on PET-like MRIs, on plain MRIs a GAN for CDC, DCL and
MaskGAN and a diffusion model for DDPM-PA (and for MRI2PET without the style). Every method is then
trained on the same pairs for the same number of volumes, and evaluated on people of another
simulated cohort. The same command goes on where it was stopped, also in a folder of
`run_ablations.py`; on SIGTERM a training saves its state first.

    OUT/cohort, OUT/held_out       simulated people: to train on, and to test with
    OUT/cohort.tsv                 who trains
    OUT/styled                     PET-like MRIs, where a row of --only needs them
    OUT/runs/<row>/<stage>         training runs; `mri2pet runs OUT/runs/*/*` summarises them
    OUT/evaluation/<row>           figures of each scan
    OUT/table1.md, .tex, .csv      the table of `mri2pet compare`, with the paper's own figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from run_ablations import (
    VARIANTS,
    Variant,
    evaluate,
    is_styled,
    mri2pet,
    parser_of,
    prepare,
    stylize,
    train_variant,
)

OWN = ("mri2pet", "no-style", "no-pretrain", "no-laplacian", "vanilla")
ROWS = {name: VARIANTS[name] for name in OWN} | {
    "gan": Variant("GAN", baseline="gan"),
    "diffaugment": Variant("DiffAugment", baseline="diffaugment"),
    "cdc": Variant("CDC", baseline="cdc", pretrained="gan"),
    "dcl": Variant("DCL", baseline="dcl", pretrained="gan"),
    "maskgan": Variant("MaskGAN", baseline="maskgan", pretrained="gan"),
    "ddpm-pa": Variant("DDPM-PA", baseline="ddpm-pa", pretrained="no-style"),
}


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, ROWS)
    parser.add_argument("--inception-weights", type=Path, help="for FID and KID")
    parser.add_argument(
        "--as-paper", action="store_true", help="also figures as the paper's authors compute them"
    )
    options = parser.parse_args()
    wants = needs_style(options.only)
    if wants and (options.vgg_weights is None) is not options.random_vgg:
        parser.error("give --vgg-weights FILE or --random-vgg, or --only rows without the style")
    options.pretrain_volumes = options.pretrain_volumes or options.volumes
    return options


def needs_style(names: list[str]) -> bool:
    """Whether a row starts from a pre-training on PET-like MRIs."""
    owners = (ROWS[name].pretrained for name in names)
    return any(owner is not None and is_styled(ROWS[owner]) for owner in owners)


def make(options: argparse.Namespace, name: str) -> None:
    """Trains a row's method, and evaluates it."""
    run = train_variant(options, name, ROWS)
    features = options.inception_weights
    more = () if features is None else ("--inception-weights", features)
    out = options.out / "evaluation" / name
    evaluate(options, run, options.out, out, *as_paper(options), *more)


def as_paper(options: argparse.Namespace) -> tuple[str, ...]:
    return ("--as-paper",) if options.as_paper else ()


def report(options: argparse.Namespace) -> None:
    """The table of all rows that are there, MRI2PET first, against which the others are tested."""
    folders = [options.out / "evaluation" / name for name in ROWS]
    made = [folder for folder in folders if (folder / "metrics.tsv").exists()]
    mri2pet("compare", *made, "-o", options.out / "table1", *as_paper(options), quiet=False)


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(options)
    if needs_style(options.only):
        stylize(options)
    for name in options.only:
        make(options, name)
        report(options)


if __name__ == "__main__":
    main()
