"""Turns what `gpu_check.sh` measured into files of bench/results and tables of docs/performance.md.

usage: python tools/gpu_results.py FOLDER [FOLDER …]

Each folder holds a `results.json`; a later folder's stage replaces an earlier one's. The tables go
between `<!-- gpu: begin -->` and `<!-- gpu: end -->`; the text around them is a person's.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE, RESULTS = "docs/performance.md", "bench/results"
STAGES = (
    "network",
    "step",
    "ops",
    "convolution",
    "profile",
    "profile_benchmark",
    "profile_convolution",
    "sample_batch1",
    "sample_batch8",
    "training",
)
Rows = list[list[str]]


def table(head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ms(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def size(shape: list[int]) -> str:
    return " × ".join(map(str, shape))


def where(result: dict[str, Any]) -> str:
    place = result.get("environment", {})
    driver = f", driver {place['driver']}" if place.get("driver") else ""
    revision = place.get("revision", "")[:7]
    return f"{place.get('device_name')}{driver}, torch {place.get('torch')}, {revision}"


def evaluation(results: dict[str, Any]) -> Iterator[str]:
    """The whole network: against plain torch, and what each choice brings."""
    rows: Rows = []
    for row in results.get("network", {}).get("rows", []):
        if row["op"] == "denoise":
            rows.append([f"plain torch, {row['reference_dtype']}", "1", ms(row["reference_ms"])])
            rows.append([f"ours under autocast, {row['dtype']}", "1", ms(row["native_ms"])])
    named = {
        "profile": "as torch chooses the convolutions",
        "profile_benchmark": "cuDNN measured",
        "profile_convolution": "cuDNN measured, our convolutions where faster",
    }
    for stage, title in named.items():
        for row in results.get(stage, {}).get("rows", []):
            if row["name"].startswith("TorchEngine"):
                what, _, batch = row["name"].rpartition(", batch ")
                rows.append([f"{what}, {title}", batch, ms(row["median_s"] * 1e3)])
    if rows:
        yield table(["one evaluation of `paper`", "batch", "ms"], rows)


def convolution(results: dict[str, Any]) -> Iterator[str]:
    found = results.get("convolution", {})
    rows = [
        [
            f"{row['channels'][0]} → {row['channels'][1]}",
            size(row["shape"][2:]),
            ms(row["library_ms"]),
            ms(row["best"]["ms"]),
            f"{row['library_ms'] / row['best']['ms']:.1f}",
            ms(row["best"]["fused_ms"]),
            ms(row["group_norm_gelu_ms"]),
            f"{row['flops'] / row['best']['ms'] / 1e9:.0f}",
        ]
        for row in found.get("rows", [])
        if row["best"] is not None
    ]
    if rows:
        yield table(
            [
                "convolution, float16, batch 1",
                "volume",
                "cuDNN, ms",
                "ours",
                "ratio",
                "with norm on load and statistics",
                "the norm alone",
                "TFLOP/s",
            ],
            rows,
        )
    rows = [
        [
            " → ".join(map(str, row["block"])) + (" + input" if row["residual"] else ""),
            size(row["shape"][2:]),
            ms(row["library_ms"]),
            ms(row["native_ms"]),
            f"{row['library_ms'] / row['native_ms']:.1f}",
        ]
        for row in found.get("blocks", [])
    ]
    if rows:
        yield table(["block with its norms", "volume", "cuDNN, ms", "ours", "ratio"], rows)


def ops(results: dict[str, Any]) -> Iterator[str]:
    rows = [
        [
            f"`{row['op']}`, {size(row['shape'])}",
            row["dtype"],
            row["pass"],
            ms(row["reference_ms"]),
            ms(row["native_ms"]),
            f"{row['ratio']:.1f}",
            f"{row['roofline_fraction']:.2f}",
            f"{row['native_host_ms']:.2f}",
        ]
        for row in results.get("ops", {}).get("rows", [])
        if "reason" not in row
    ]
    if rows:
        head = ["op", "dtype", "pass", "plain, ms", "ours", "ratio", "roofline", "host, ms a call"]
        yield table(head, rows)


def sampling(results: dict[str, Any]) -> Iterator[str]:
    rows: Rows = []
    for batch in (1, 8):
        for row in results.get(f"sample_batch{batch}", {}).get("rows", []):
            if "reason" in row:
                rows.append([row["form"], str(batch), row["reason"], "", ""])
                continue
            rows.append(
                [
                    row["form"],
                    str(batch),
                    ms(row["seconds_per_evaluation"] * 1e3),
                    f"{row['seconds_per_volume']:.3f}",
                    f"{row['seconds_per_volume_of_999_steps']:.2f}",
                ]
            )
    if rows:
        head = ["form", "batch", "ms a step", "s a volume, 25 steps", "s a volume, 999 steps"]
        yield table(head, rows)


def training(results: dict[str, Any]) -> Iterator[str]:
    rows = [
        [
            row["preset"],
            f"{row['pass']}, {row['timed']}",
            row["dtype"],
            ms(row["reference_ms"]),
            ms(row["native_ms"]),
            f"{row['ratio']:.1f}",
            f"{row['extra_bytes'] / 2**20:.0f} of {row['reference_extra_bytes'] / 2**20:.0f} MiB",
        ]
        for row in results.get("step", {}).get("rows", [])
    ]
    if rows:
        step = "training step, batch 1"
        head = [step, "what", "dtype", "plain, ms", "ours", "ratio", "memory"]
        yield table(head, rows)


def main(folders: list[str]) -> None:
    if not folders:
        sys.exit(__doc__)
    results: dict[str, Any] = {}
    for folder in folders:
        results |= json.loads((Path(folder) / "results.json").read_text())
    for stage in STAGES:
        if stage in results:
            for row in results[stage].get("rows", []):
                row.pop("tiles", None)  # a thousand lines of what was not the best
            path = REPOSITORY / RESULTS / f"gpu_{stage}.json"
            path.write_text(json.dumps(results[stage], indent=1) + "\n")
    parts = [
        text
        for make in (evaluation, sampling, convolution, ops, training)
        for text in make(results)
    ]
    places = sorted({where(results[s]) for s in STAGES if "environment" in results.get(s, {})})
    body = "\n\n".join([f"Measured on: {'; '.join(places)}.", *parts])
    page = REPOSITORY / PAGE
    text, count = re.subn(
        r"(<!-- gpu: begin -->\n).*?(<!-- gpu: end -->)",
        lambda found: f"{found[1]}{body}\n{found[2]}",
        page.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        sys.exit(f"{PAGE}: no place between <!-- gpu: begin --> and <!-- gpu: end -->")
    page.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
