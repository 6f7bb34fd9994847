"""Time of Winograd's convolution beside oneDNN's, at every layer of the network; on the CPU."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mri2pet.bench.ops import TOLERANCE
from mri2pet.bench.timing import MINIMUM_REPEATS, describe, environment, prepare
from mri2pet.errors import Mri2petError
from mri2pet.stages import load_config

if TYPE_CHECKING:
    from torch import Tensor

#: Channels in, channels out and the volume of a layer.
Layer = tuple[int, int, tuple[int, ...]]


def bench_winograd(
    preset: str = "paper",
    *,
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Checks and times both forms of every 3 × 3 × 3 convolution of an evaluation, float32.

    Library and kernel are called in turn, so that what else the machine does meets both. The
    weights are transformed before.

    Returns:
        A JSON-ready tree: `environment`, the instruction set of the native module, and `rows`, one
        a layer: how often an evaluation has it, median, least and most of the ms of either form,
        their relative difference, and whether `auto` takes the kernel.

    Raises:
        UsageError: no native module, too few repeats, or an unknown preset.
        Mri2petError: the forms differ.
    """
    import torch

    from mri2pet.build import native_build

    prepare("cpu", repeats, threads)
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    result = {
        "benchmark": "winograd",
        "preset": preset,
        "environment": environment("cpu"),
        "instruction_set": native_build()["cpu"]["instruction_set"],
        "repeats": repeats,
        "rows": rows,
    }
    with torch.inference_mode():
        for layer, times in layers(preset).items():
            rows.append({"times": times} | _row(layer, repeats))
            if on_row is not None:
                on_row(result)
    return result


def layers(preset: str) -> dict[Layer, int]:
    """Every convolution of one evaluation of the U-Net, and how often it is there."""
    import torch

    from mri2pet.nn import Network
    from mri2pet.nn.convolution import Conv3d

    config = load_config(preset).model
    found: Counter[Layer] = Counter()

    def note(module: torch.nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        found[given[0].shape[1], output.shape[1], tuple(given[0].shape[2:])] += 1

    unet = Network(config).unet.eval()
    for module in unet.modules():
        if isinstance(module, Conv3d):
            module.register_forward_hook(note)
    with torch.inference_mode():
        biases = torch.zeros(1, unet.block_biases(torch.zeros(1, 256)).shape[1])
        unet(torch.zeros(1, unet.cin, *config.pet_shape), biases)
    return dict(found)


def _row(layer: Layer, repeats: int) -> dict[str, Any]:
    import torch

    from mri2pet.ops.convolution_choice import winograd_takes
    from mri2pet.ops.winograd import TransformedWeights, winograd

    cin, cout, volume = layer
    last, ones = torch.channels_last_3d, (1, 1, 1)
    x = torch.randn(1, cin, *volume).contiguous(memory_format=last)
    weight = torch.randn(cout, cin, 3, 3, 3) / (27 * cin) ** 0.5
    weight, kept = weight.contiguous(memory_format=last), TransformedWeights()
    forms: dict[str, Callable[[], Tensor]] = {
        "library": lambda: torch.mkldnn_convolution(x, weight, None, ones, ones, ones, 1),  # type: ignore[attr-defined]
        "winograd": lambda: winograd(x, weight, kept=kept),
    }
    exact, own = (form() for form in forms.values())
    difference = float((own - exact).norm() / exact.norm())
    if not difference < TOLERANCE["float32"]:
        raise Mri2petError(f"{cin} to {cout} channels differ by {difference:.1e}; run the tests")
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(repeats):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            seconds[name].append(time.perf_counter() - start)
    row: dict[str, Any] = {"channels": [cin, cout], "shape": list(volume)}
    for name, values in seconds.items():
        ms = [value * 1e3 for value in values]
        row[f"{name}_ms"] = {"median": statistics.median(ms), "min": min(ms), "max": max(ms)}
    return row | {"difference": difference, "auto": winograd_takes(x, weight)}


def format_winograd(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        *describe(result["environment"]),
        f"{result['preset']}, {result['instruction_set']}, median (least to most) of "
        f"{result['repeats']}, ms",
        "",
        f"{'layer':<12}{'volume':<16}{'times':>5}{'library':>28}{'winograd':>28}{'gain':>6}  auto",
    ]
    totals = {"library": 0.0, "chosen": 0.0}
    for row in result["rows"]:
        cin, cout = row["channels"]
        spread = [
            f"{ms['median']:.2f} ({ms['min']:.2f} to {ms['max']:.2f})"
            for ms in (row["library_ms"], row["winograd_ms"])
        ]
        library, own = (row[f"{name}_ms"]["median"] for name in ("library", "winograd"))
        totals["library"] += row["times"] * library
        totals["chosen"] += row["times"] * (own if row["auto"] else library)
        lines.append(
            f"{f'{cin} to {cout}':<12}{' '.join(map(str, row['shape'])):<16}{row['times']:>5}"
            f"{spread[0]:>28}{spread[1]:>28}{library / own:>6.2f}  {'yes' if row['auto'] else 'no'}"
        )
    lines.append(
        f"all of an evaluation: library {totals['library']:.1f} ms, as auto chooses "
        f"{totals['chosen']:.1f} ms"
    )
    return "\n".join(lines)
