"""Time of each op, native beside the paper's form in plain torch, in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mri2pet.bench.timing import MINIMUM_REPEATS, environment, measure
from mri2pet.errors import Mri2petError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = {"float32": 2e-4, "bfloat16": 4e-2, "float16": 1e-2}


@dataclass(frozen=True)
class Case:
    """One op at one size: what is called, its floating inputs, and its least work.

    bytes_moved and flops are those of one pass that reads its inputs and writes its outputs once:
    what the roofline fraction is of.
    """

    op: str
    shape: tuple[int, ...]
    call: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    has_gradient: bool
    bytes_moved: int
    flops: int


def cases(device: str, dtype: str, scale: int = 1) -> list[Case]:
    """The sizes of preset `paper`; `scale` divides I and J."""
    import torch

    from mri2pet import ops

    kind = getattr(torch, dtype)
    volume = (32, 128 // scale, 128 // scale)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, device=device)

    x = normal(1, 8, *volume).to(kind)
    weights = (normal(384, 8) / 3, normal(8, 128) / 11, normal(8))
    n, size = x[0, 0].numel(), x.element_size()
    wide = normal(1, 24, *volume).to(kind)
    e, target = normal(16, 1, *volume).to(kind), normal(16, 1, *volume)
    weight = torch.rand(16, device=device)
    voxels = [normal(1, 1, *volume) for _ in range(3)]
    row = torch.tensor([0.9, -0.3, 0.2, 0.4, 1.1, -0.7], dtype=torch.float64, device=device)
    names = {
        "subjects": torch.zeros(1, dtype=torch.int64, device=device),
        "samples": torch.zeros(1, dtype=torch.int64, device=device),
    }

    def loss(output: Tensor, other: Tensor, factors: Tensor) -> Tensor:
        return ops.laplacian_pyramid_loss(output, other, factors, 0.25)[0]

    def step(x: Tensor, output: Tensor, previous_x0: Tensor) -> Tensor:
        return ops.sampler_step(x, output, previous_x0, row, seed=0, step=500, **names)[0]

    return [
        Case("linear_attention", tuple(x.shape), ops.linear_attention, (x, *weights), True,
             3 * x.numel() * size, 2 * n * (2 * 128 * 8 + 64)),
        Case("laplacian_pyramid_loss", tuple(e.shape), loss, (e, target, weight), True,
             e.numel() * (e.element_size() + 8), 40 * e.numel()),
        Case("sampler_step", tuple(voxels[0].shape), step, tuple(voxels), False,
             5 * 4 * voxels[0].numel(), 60 * voxels[0].numel()),
        Case("group_norm_gelu", tuple(wide.shape), ops.group_norm_gelu,
             (wide, normal(24), normal(24)), True, 3 * wide.numel() * size, 40 * wide.numel()),
    ]  # fmt: skip


def machine_rates(device: str) -> tuple[float, float]:
    """Bytes per second of a copy and float32 flops per second of a matrix product, measured."""
    import torch

    a = torch.randn(2048, 2048, device=device)
    source = torch.randn(32 * 2**20, device=device)
    target = torch.empty_like(source)
    copy = measure(lambda: target.copy_(source), device)["median_s"]
    product = measure(lambda: torch.matmul(a, a), device)["median_s"]
    return 2 * 4 * source.numel() / copy, 2 * 2048**3 / product


def bench_ops(
    *,
    device: str = "cpu",
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    repeats: int = MINIMUM_REPEATS,
    scale: int = 1,
) -> dict[str, Any]:
    """Checks each op against its reference, then times both.

    Returns a JSON-ready tree: `environment`, the measured `copy_bytes_per_s` and
    `matmul_flops_per_s`, and `rows`.

    Raises:
        UsageError: the device or the native module is not there, or too few repeats.
        Mri2petError: an op is not what its reference is; nothing of it is timed.
    """
    import torch

    from mri2pet.ops import backend

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {device!r} is not there; `mri2pet info` says why")
    try:
        backend.native()
    except RuntimeError as error:
        raise UsageError(str(error)) from None
    torch.manual_seed(0)
    place, (copy, flops) = environment(device), machine_rates(device)
    rows = []
    for dtype in dtypes:
        for case in cases(device, dtype, scale):
            check(case, dtype)
            for name, run in passes(case).items():
                rows.append(_row(case, name, run, dtype, device, repeats, copy, flops))
    rates = {"copy_bytes_per_s": copy, "matmul_flops_per_s": flops}
    return {"benchmark": "ops", "environment": place} | rates | {"rows": rows}


def check(case: Case, dtype: str) -> None:
    """Native against the reference, forward."""
    import torch

    from mri2pet.ops import backend

    with torch.no_grad(), backend.use_backend("native"):
        native = case.call(*case.inputs).double()
    with torch.no_grad(), backend.use_backend("reference"):
        plain = case.call(*(_plain(case))).double()
    error = float((native - plain).norm() / plain.norm())
    if not error < TOLERANCE[dtype]:
        raise Mri2petError(f"{case.op} {case.shape}: differs by {error:.1e}; run the tests")


def _plain(case: Case) -> tuple[Tensor, ...]:
    """The inputs as plain torch takes them: the attention's weights in the dtype of x."""
    if case.op != "linear_attention":
        return case.inputs
    return tuple(t.to(case.inputs[0].dtype) for t in case.inputs)


def passes(case: Case) -> dict[str, Callable[[tuple[Tensor, ...]], Any]]:
    """What is timed: forward without gradient, and forward with backward."""
    import torch

    def forward(inputs: tuple[Tensor, ...]) -> Any:
        with torch.no_grad():
            return case.call(*inputs)

    def both(inputs: tuple[Tensor, ...]) -> Any:
        leaves = [t.detach().requires_grad_() for t in inputs]
        y = case.call(*leaves)
        return torch.autograd.grad(y, leaves, torch.ones_like(y), allow_unused=True)

    named = {"forward": forward}
    return named | ({"forward+backward": both} if case.has_gradient else {})


def _row(
    case: Case,
    name: str,
    run: Callable[[tuple[Tensor, ...]], Any],
    dtype: str,
    device: str,
    repeats: int,
    copy: float,
    flops: float,
) -> dict[str, Any]:
    from mri2pet.ops import backend

    times: dict[str, dict[str, Any]] = {}
    for form, inputs in (("native", case.inputs), ("reference", _plain(case))):
        with backend.use_backend(form):
            times[form] = measure(lambda inputs=inputs: run(inputs), device, repeats=repeats)
    native, reference = times["native"]["median_s"], times["reference"]["median_s"]
    least = max(case.bytes_moved / copy, case.flops / flops) * (1 if name == "forward" else 3)
    return {
        "op": case.op,
        "pass": name,
        "device": device,
        "dtype": dtype,
        "shape": list(case.shape),
        "reference_ms": reference * 1e3,
        "native_ms": native * 1e3,
        "ratio": reference / native,
        "native_spread_ms": [times["native"]["min_s"] * 1e3, times["native"]["max_s"] * 1e3],
        "extra_bytes": extra_bytes(case, run, device),
        "roofline_fraction": least / native,
    }


def extra_bytes(case: Case, run: Callable[[tuple[Tensor, ...]], Any], device: str) -> int:
    """What torch had allocated at most during a native run beyond what was there before it."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from mri2pet.ops import backend

    with backend.use_backend("native"):
        if device.startswith("cuda"):
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            run(case.inputs)
            return torch.cuda.max_memory_allocated(device) - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
            run(case.inputs)
    held = peak = 0
    for event in trace.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def format_ops(result: dict[str, Any]) -> str:
    """The result as text."""
    place = result["environment"]
    lines = [
        f"{place['device']} ({place['device_name']}), {place['threads']} threads of "
        f"{place['cpu_count']}, load {place['load_average_1min']:.1f}",
        f"torch {place['torch']}, mri2pet revision {place['revision']}",
        f"copy {result['copy_bytes_per_s'] / 1e9:.0f} GB/s, "
        f"matmul {result['matmul_flops_per_s'] / 1e9:.0f} GFLOP/s",
        "",
        f"{'op':<24}{'pass':<18}{'dtype':<10}{'torch ms':>10}{'native ms':>11}{'ratio':>8}"
        f"{'roofline':>10}{'extra MiB':>11}",
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['op']:<24}{row['pass']:<18}{row['dtype']:<10}{row['reference_ms']:>10.2f}"
            f"{row['native_ms']:>11.2f}{row['ratio']:>7.1f}x{row['roofline_fraction']:>10.2f}"
            f"{row['extra_bytes'] / 2**20:>11.1f}"
        )
    return "\n".join(lines)
