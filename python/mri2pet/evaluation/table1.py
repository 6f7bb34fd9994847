"""The paper's Table 1 as it should be, as its authors compute it, and as they printed it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mri2pet.errors import UsageError
from mri2pet.evaluation import as_paper
from mri2pet.evaluation.distance_rows import Distance
from mri2pet.evaluation.features import AS_PAPER
from mri2pet.evaluation.intervals import MEAN, PEARSON, estimate
from mri2pet.evaluation.layout import Cell, Column, Row, Table
from mri2pet.evaluation.printed import paper_table, printed_cells
from mri2pet.evaluation.significance import Difference
from mri2pet.evaluation.stored import Stored, StoredMethod
from mri2pet.evaluation.tables import interval_note

FLOOR = "training PETs against the test PETs: the floor"

METRICS = (
    Column("ssim", "SSIM", 3, "high"),
    Column("psnr", "PSNR (dB)", 2, "high"),
    Column("mae", "MAE (SUVR)", 3, "low"),
    Column("suvr_error", "cortical SUVR, error", 3, "low"),
    Column("suvr_r", "cortical SUVR, r", 2, "high"),
)
DISTANCES = (
    Column("fid", "FID", 2, "low"),
    Column("fid_infinity", "FID∞", 2, "low"),
    Column("kid", "KID × 1000", 2, "low"),
)
AS_IN_PAPER = (
    Column("as_paper.fid", "FID, as in the paper", 3),
    Column("as_paper.ssim_volume", "SSIM (3D), as in the paper", 3),
    Column("as_paper.ssim_slices", "SSIM (slices), as in the paper", 3),
    Column("as_paper.psnr", "PSNR, as in the paper", 3),
)
OF_A_NETWORK = {"as_paper.fid", *(column.key for column in DISTANCES)}
PAPER = (
    Column("paper.fid", "FID, the paper's own", 3),
    Column("paper.ssim", "SSIM, the paper's own", 3),
    Column("paper.psnr", "PSNR, the paper's own", 3),
)


def metric_cells(method: StoredMethod, rows: list[str], people: list[str]) -> dict[str, Cell]:
    """A method's figures in SUVR inside the brain, with intervals over people."""
    values = method.figures(rows)
    found = {key: estimate(MEAN, people, values[key]) for key in ("ssim", "psnr", "mae")}
    found["suvr_error"] = estimate(MEAN, people, values["suvr_error"])
    found["suvr_r"] = estimate(PEARSON, people, values["suvr"], values["measured"])
    return {key: Cell(e.value, e.low, e.high) for key, e in found.items()}


def distance_cells(distance: Distance) -> dict[str, Cell]:
    """FID, FID∞ and KID of a drawn set."""
    fid, kid = distance.fid, distance.kid
    return {
        "fid": Cell(fid.value, fid.low, fid.high),
        "fid_infinity": Cell(distance.fid_infinity),
        "kid": Cell(kid.value, kid.low, kid.high),
    }


def as_paper_cells(method: StoredMethod, rows: list[str], network: str | None) -> dict[str, Cell]:
    """A method's figures as the paper's authors compute them; FID of drawn samples alone.

    Raises:
        UsageError: the evaluation holds none.
    """
    if method.method == "mean_of_samples":
        return {}
    found = [method.stored.as_paper(row) for row in rows]
    if any(figures is None for figures in found):
        raise UsageError(
            f"{method.stored.out}: holds no figures as in the paper; evaluate again with --as-paper"
        )
    cells = {}
    for key in ("ssim_volume", "ssim_slices", "psnr"):
        values = [figures[method.method][key] for figures in found if figures is not None]
        grown = as_paper.growing_list(np.asarray(values))
        cells[f"as_paper.{key}"] = Cell(grown.mean, plus_minus=grown.plus_minus)
    if network is not None and method.method == "one_sample":
        real, drawn = (
            [method.stored.features(network, AS_PAPER + kind, row) for row in rows]
            for kind in ("measured", "one_sample")
        )
        if all(f is not None and np.isfinite(f).all() for f in (*real, *drawn)):
            fid = as_paper.resampled_fid(np.concatenate(real), np.concatenate(drawn))  # type: ignore[arg-type]
            cells["as_paper.fid"] = Cell(fid.mean, plus_minus=fid.plus_minus)
    return cells


def paper_cells(method: StoredMethod) -> dict[str, Cell]:
    """What the paper prints for a model trained as this one."""
    name = paper_table("table1")["names"].get(method.ablation)
    return {} if name is None else printed_cells("table1", name)


def star(cells: dict[str, dict[str, Cell]], tests: list[Difference], first: str) -> None:
    """Puts the stars of the tests against the first row into the cells of the others."""
    for test in tests:
        if test.first != first or not test.stars:
            continue
        cell = cells[test.second][test.metric]
        cells[test.second][test.metric] = Cell(
            cell.value, cell.low, cell.high, stars=test.stars, better=not test.first_is_better
        )


def table1(
    stored: list[Stored],
    methods: list[StoredMethod],
    cells: dict[str, dict[str, Cell]],
    rows: list[str],
    people: list[str],
    found: dict[str, Distance],
    network: str | None,
    paper: bool,
    left_out: int,
) -> Table:
    """The table and the notes under it; see `compare` for what goes in."""
    columns = [*METRICS, *(DISTANCES if found else ()), *(AS_IN_PAPER if paper else ()), *PAPER]
    columns = [c for c in columns if any(c.key in cells[name] for name in cells)]
    if network is not None and not stored[0].networks()[network]["network"]["pretrained"]:
        columns = [_without_meaning(c) if c.key in OF_A_NETWORK else c for c in columns]
    lines = [
        Row(m.name, cells[m.name], ruled=n > 0 and m.method == "cohort_mean")
        for n, m in enumerate(methods)
    ]
    if FLOOR in found:
        lines.append(Row(FLOOR, cells[FLOOR], ranked=False, ruled=True))
    count = len(set(people))
    notes = [
        f"{len(rows)} scans of {count} people ({stored[0].settings['split']} split), inside the "
        f"brain, in 3D, SUVR. In brackets: {interval_note(count)}; seed 0. Bold: the best, and all "
        "that lie in its interval.",
    ]
    notes += [_ensemble_note(s) for s in stored if "members" in s.settings]
    if left_out:
        notes.append(f"{left_out} scans are left out, because not all evaluations have them.")
    if any(c.stars for name in cells for key, c in cells[name].items() if "." not in key):
        notes.append(
            "*, **, ***: p < 0.05, 0.01, 0.001 of a paired t-test on the means of people against "
            "the first row, adjusted by Holm within the column; ▲ better, ▼ worse than that row."
        )
    if network is not None and found:
        notes += _distance_notes(stored[0], network, found)
    else:
        notes.append(
            "FID and KID need Inception's weights: mri2pet evaluate … --inception-weights FILE."
        )
    if paper:
        notes.append(
            "As in the paper: same formulas, other mask; ± is not an interval (docs/evaluate.md)."
        )
    return Table("Synthetic against measured PETs", columns, lines, notes)


def _without_meaning(column: Column) -> Column:
    return replace(column, heading=f"{column.heading} (random network, no meaning)")


def _ensemble_note(stored: Stored) -> str:
    members = stored.settings["members"]
    named = ", ".join(f"{m['name']} (SHA-256 {m['sha256'][:12]})" for m in members)
    return (
        f"{stored.settings['ablation'].capitalize()} ({stored.out.name}): sample k is drawn by "
        f"number k mod {len(members)} of {named}."
    )


def _distance_notes(first: Stored, network: str, found: dict[str, Distance]) -> list[str]:
    about = first.networks()[network]
    origin, every = about["network"], about["every"]
    sizes = sorted({d.slices for d in found.values()})
    text = (
        f"FID and KID: Inception v3, {origin['source']}, SHA-256 {origin['sha256'][:12]}; "
        f"{' or '.join(f'{n:,}' for n in sizes)} axial slices"
        + (f", every {every}. slice" if every > 1 else "")
        + ", SUVR 0 to 2.5 on one scale; one sample a scan. FID with a jackknife interval of "
        "groups of people, KID over pairs of slices of different people."
    )
    notes = [text]
    if not origin["pretrained"]:
        notes.append("Random network: FID and KID have no meaning.")
    if min(sizes) <= 2048:
        notes.append(
            f"FID from {min(sizes):,} slices in 2,048 dimensions is mostly bias (FID∞ and KID are "
            "less so); compare it only within this table."
        )
    if math.isnan(next(iter(found.values())).fid_infinity):
        notes.append("FID∞ needs 8 people and more.")
    return notes
