"""Where the time of a network evaluation goes on this machine: times and kernels, as JSON.

usage: kernels.py cuda|cpu FILE [benchmark] [CONVOLUTIONS]

With `benchmark` cuDNN measures which algorithm is fastest. That is a process of its own: cuDNN
keeps what it chose for a shape, whatever the setting is later. CONVOLUTIONS is a result of
`mri2pet-bench convolution`: the engine then takes the tiles that were faster there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity

from mri2pet.bench.forms import Form
from mri2pet.bench.network import Evaluation
from mri2pet.bench.profiling import quiet_profile
from mri2pet.bench.timing import environment, measure, prepare
from mri2pet.checkpoint import Model
from mri2pet.engines.torch_engine import TorchEngine
from mri2pet.nn import Network
from mri2pet.ops.backend import use_backend
from mri2pet.ops.convolution_choice import Layer, Tile, use_measurements
from mri2pet.stages import load_config

SMALL = ("model.mri_shape=[16,32,32]", "model.pet_shape=[16,32,32]")
EVALUATIONS, KERNELS = 5, 25


def engine_evaluation(device: str, precision: str, batch: int) -> Callable[[], Tensor]:
    """One evaluation by the torch engine, `paper` with random weights."""
    torch.manual_seed(0)
    config = load_config("paper", SMALL if device == "cpu" else ()).model
    network = Network(config).requires_grad_(False).eval().to(device)
    network.to(memory_format=torch.channels_last_3d)
    engine = TorchEngine(Model(network, config, 1.0, 0.5), precision)
    with torch.inference_mode():
        person = engine.condition(
            torch.rand(1, 1, *config.mri_shape, device=device), torch.tensor([500])
        )
        row = person.bias_rows[:1].expand(batch, -1).contiguous()
        x = torch.randn(batch, 1, *config.pet_shape, device=device)

    @torch.inference_mode()
    def evaluate() -> Tensor:
        return person.denoise(x, row)

    return evaluate


def autocast_evaluation(device: str, dtype: str, layout: str, batch: int) -> Callable[[], Tensor]:
    """One evaluation under autocast, with network and volumes in a layout."""
    config = load_config("paper", SMALL if device == "cpu" else ())
    return Evaluation(config, Form("native", dtype, layout), device, batch).denoise


def kernels(run: Callable[[], Any], device: str) -> list[dict[str, Any]]:
    """The kernels (on the CPU the ops) that take the most time in one evaluation."""
    cuda = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with quiet_profile(activities=activities) as trace:
        for _ in range(EVALUATIONS):
            run()
        if cuda:
            torch.cuda.synchronize()
    found: dict[str, list[float]] = {}
    for event in trace.events() or ():
        on_gpu = event.device_type.name == "CUDA"
        if on_gpu == cuda:
            microseconds = event.time_range.elapsed_us() if cuda else event.self_cpu_time_total
            found.setdefault(event.name, []).append(microseconds)
    largest = sorted(found.items(), key=lambda item: -sum(item[1]))[:KERNELS]
    return [
        {
            "name": name[:160],
            "calls": len(times) / EVALUATIONS,
            "us": sum(times) / EVALUATIONS,
            "longest_us": max(times),
        }
        for name, times in largest
    ]


def examine(name: str, run: Callable[[], Any], device: str) -> dict[str, Any]:
    times = measure(run, device, graph=True)
    row = {"name": name, **times, "kernels": kernels(run, device)}
    busy = sum(kernel["us"] for kernel in row["kernels"]) / 1e3
    print(f"{name:<44}{times['median_s'] * 1e3:>9.3f} ms ({times['timed']}); "
          f"the {len(row['kernels'])} largest kernels {busy:.3f} ms")  # fmt: skip
    for kernel in row["kernels"]:
        print(f"    {kernel['us']:>9.1f} us {kernel['calls']:>6.1f} × {kernel['name'][:120]}")
    return row


def tiles(file: str, device: str) -> AbstractContextManager[None]:
    """The measured tiles of a file, in use."""
    faster = json.loads(Path(file).read_text())["faster"]
    table = {
        Layer(cin, cout, (shape[0], shape[1], shape[2])): Tile(*tile)
        for (cin, cout, shape), tile in faster
    }
    return use_measurements({torch.cuda.get_device_capability(device): table})


def main(device: str, file: str, benchmark: str = "", convolutions: str = "") -> None:
    prepare(device, 7)
    torch.backends.cudnn.benchmark = bool(benchmark)
    measured = tiles(convolutions, device) if convolutions else nullcontext()
    with measured:
        examine_all(device, file, bool(benchmark), bool(convolutions))


def examine_all(device: str, file: str, benchmark: bool, convolutions: bool) -> None:
    half, precision = ("float16", "fp16") if device == "cuda" else ("bfloat16", "bf16")
    rows: list[dict[str, Any]] = []
    for batch in (1, 8):
        runs = {f"TorchEngine {precision}": engine_evaluation(device, precision, batch)}
        for layout in () if benchmark else ("channels_last", "contiguous"):
            runs[f"autocast {half} {layout}"] = autocast_evaluation(device, half, layout, batch)
        for name, run in runs.items():
            with use_backend("native"):
                rows.append(examine(f"{name}, batch {batch}", run, device))
            result = {
                "cudnn_benchmark": benchmark,
                "measured_convolutions": convolutions,
                "environment": environment(device),
                "rows": rows,
            }
            Path(file).write_text(json.dumps(result, indent=1) + "\n")
    print(f"cudnn.benchmark {benchmark}, measured convolutions {convolutions}: " + ", ".join(
        f"{row['name']} {row['median_s'] * 1e3:.3f} ms" for row in rows))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
