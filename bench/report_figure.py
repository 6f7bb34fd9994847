"""A report as a table and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mri2pet.bench.timing import describe

PANELS = (
    ("psnr", "PSNR (dB)"),
    ("ssim", "SSIM"),
    ("cortical_suvr_error", "error of the cortical SUVR"),
)
_NAMES = {"dpmpp": "DPM-Solver++(2M)", "ddim": "DDIM", "ddpm": "DDPM"}


def markdown_table(result: dict[str, Any]) -> str:
    """One line a point."""
    lines = [
        "| sampler | steps | s/volume (min–max) | MAE (SUVR) | SSIM | PSNR (dB) | "
        "cortical SUVR, error | r |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["points"]:
        r = "–" if row["cortical_suvr_r"] is None else f"{row['cortical_suvr_r']:.2f}"
        lines.append(
            f"| {_NAMES[row['sampler']]} | {row['steps']} | {row['median_s']:.2f} "
            f"({row['min_s']:.2f}–{row['max_s']:.2f}) | {row['mae']:.3f} | {row['ssim']:.3f} | "
            f"{row['psnr']:.1f} | {row['cortical_suvr_error']:.3f} | {r} |"
        )
    return "\n".join(lines) + "\n"


def format_report(result: dict[str, Any]) -> str:
    """The result as text."""
    memory = result["extra_bytes"]
    at_most = "" if memory is None else f", {memory / 2**20:.0f} MiB of tensors at most in the loop"
    return "\n".join(
        [
            *describe(result["environment"]),
            f"{result['model']}, engine {result['engine']}, {len(result['rows'])} scans, "
            f"one sample each{at_most}",
            "",
            markdown_table(result),
        ]
    )


def draw_report(result: dict[str, Any], path: Path) -> None:
    """Quality over the seconds of a volume, a line a sampler, its steps written at the points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), dpi=110, layout="constrained")
    for axis, (metric, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for sampler in dict.fromkeys(row["sampler"] for row in result["points"]):
            rows = [row for row in result["points"] if row["sampler"] == sampler]
            seconds = [row["median_s"] for row in rows]
            values = [row[metric] for row in rows]
            (line,) = axis.plot(seconds, values, "o-", label=_NAMES[sampler])
            for x, y, row in zip(seconds, values, rows, strict=True):
                axis.annotate(
                    str(row["steps"]),
                    (x, y),
                    xytext=(3, 4),
                    textcoords="offset points",
                    fontsize=8,
                    color=line.get_color(),
                )
        axis.set(xscale="log", xlabel="seconds a volume", ylabel=label)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path)
