"""Time of each op as a network runs it, beside the paper's form in plain torch, in one process.

That is the native form, but for the smallest attentions on a CPU (`mri2pet.ops.linear_attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mri2pet.bench.cases import Case, Work, cases
from mri2pet.bench.cuda_timing import rotated
from mri2pet.bench.timing import (
    MINIMUM_REPEATS,
    describe,
    environment,
    extra_bytes,
    measure,
    milliseconds,
    prepare,
)
from mri2pet.errors import Mri2petError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = {"float32": 2e-4, "bfloat16": 2e-2, "float16": 4e-3}
SCALES = (1, 2, 4)
Run = Callable[[tuple["Tensor", ...]], Any]


def machine_rates(device: str) -> tuple[float, float]:
    """Bytes per second of a copy and float32 flops per second of a matrix product, measured."""
    import torch

    a = torch.randn(2048, 2048, device=device)
    source = torch.randn(32 * 2**20, device=device)
    target = torch.empty_like(source)
    copy = measure(lambda: target.copy_(source), device, graph=True)["median_s"]
    product = measure(lambda: torch.matmul(a, a), device, graph=True)["median_s"]
    return 2 * 4 * source.numel() / copy, 2 * 2048**3 / product


def bench_ops(
    *,
    device: str = "cpu",
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
    scale: int = 1,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Checks each op with its gradients against its reference, then times both.

    Args:
        scale: 1, 2 or 4 divides I and J of every size.
        on_row: called with the result so far after each row.

    Returns a JSON-ready tree: `environment`, the measured `copy_bytes_per_s` and
    `matmul_flops_per_s`, and `rows`: for each op, size, pass and dtype the times in ms and their
    ratio, the bytes that the native op allocates (result and gradients included), and the least
    time on a machine of these rates as a fraction of the native time. An op that is not what its
    reference is, or that one form cannot compute, is not timed: its row has a `reason`.

    Raises:
        UsageError: the device or the native module is not there, an unknown dtype or scale, or too
            few repeats.
    """
    import torch

    if scale not in SCALES:
        raise UsageError(f"scale {scale} is not one of {', '.join(map(str, SCALES))}")
    for dtype in dtypes:
        if dtype not in TOLERANCE:
            raise UsageError(f"unknown dtype {dtype!r}; there are {', '.join(TOLERANCE)}")
    prepare(device, repeats, threads)
    torch.manual_seed(0)
    place, rates = environment(device), machine_rates(device)
    rows: list[dict[str, Any]] = []
    measured = {"copy_bytes_per_s": rates[0], "matmul_flops_per_s": rates[1]}
    result = {"benchmark": "ops", "environment": place, **measured, "rows": rows}
    for dtype in dtypes:
        for case in cases(device, dtype, scale):
            for name, (run, work) in passes(case).items():
                named: dict[str, Any] = {
                    "op": case.op,
                    "pass": name,
                    "device": device,
                    "dtype": dtype,
                }
                named |= {"shape": list(case.shape)}
                try:
                    check(case, run, dtype)
                    rows.append(named | _times(case, run, work, device, repeats, rates))
                except (Mri2petError, RuntimeError) as error:
                    rows.append(named | {"reason": str(error).strip() or type(error).__name__})
                if on_row is not None:
                    on_row(result)
    return result


def passes(case: Case) -> dict[str, tuple[Run, Work]]:
    """What is timed: forward without gradient, and forward with backward. Each gives tensors."""
    import torch

    def forward(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (case.call(*inputs),)

    def both(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        leaves = [t.detach().requires_grad_() for t in inputs[: case.leaves]]
        y = case.call(*leaves, *inputs[case.leaves :])
        upstream = None if case.upstream is None else case.upstream.to(y.dtype)
        return (y.detach(), *torch.autograd.grad(y, leaves, upstream))

    named: dict[str, tuple[Run, Work]] = {"forward": (forward, case.forward)}
    return named if case.both is None else named | {"forward+backward": (both, case.both)}


def check(case: Case, run: Run, dtype: str) -> None:
    """What the native op gives in its dtype against plain torch in float32.

    Raises:
        Mri2petError: the result or a gradient differs by more than TOLERANCE of its norm.
    """
    from mri2pet.ops import backend

    with backend.use_backend("auto"):
        native = run(case.inputs)
    with backend.use_backend("reference"):
        exact = run(tuple(t.float() for t in case.inputs))
    for i, (value, truth) in enumerate(zip(native, exact, strict=True)):
        error = float((value.double() - truth.double()).norm() / truth.double().norm())
        if not error < TOLERANCE[dtype]:
            what = "its result" if i == 0 else f"gradient {i}"
            raise Mri2petError(
                f"{case.op} {case.shape} {dtype}: {what} differs from plain torch by {error:.1e}; "
                "run the tests"
            )


def _plain(case: Case) -> tuple[Tensor, ...]:
    """The inputs as plain torch takes them: weights in the dtype of x."""
    if case.op not in ("linear_attention", "group_norm_gelu"):
        return case.inputs
    return tuple(t.to(case.inputs[0].dtype) for t in case.inputs)


def _times(
    case: Case,
    run: Run,
    work: Work,
    device: str,
    repeats: int,
    rates: tuple[float, float],
) -> dict[str, Any]:
    from mri2pet.ops import backend

    times: dict[str, dict[str, Any]] = {}
    for form, inputs in (("reference", _plain(case)), ("auto", case.inputs)):
        graph = form == "auto" or not case.plain_form_waits
        calls = [partial(run, copy) for copy in rotated(inputs, device)]
        with backend.use_backend(form):
            times[form] = measure(calls, device, repeats=repeats, graph=graph)
        del calls
    with backend.use_backend("auto"):
        extra = extra_bytes(lambda: run(case.inputs), device)
    ours = times["auto"]
    native, reference, host = ours["median_s"], times["reference"]["median_s"], ours["host_s"]
    return {
        "reference_ms": reference * 1e3,
        "native_ms": native * 1e3,
        "ratio": reference / native,
        "native_spread_ms": [ours["min_s"] * 1e3, ours["max_s"] * 1e3],
        "native_host_ms": host if host is None else host * 1e3,
        "timed": ours["timed"],
        "extra_bytes": extra,
        "roofline_fraction": work.seconds(*rates) / native,
    }


def format_ops(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        *describe(result["environment"]),
        f"copy {result['copy_bytes_per_s'] / 1e9:.0f} GB/s, "
        f"matmul {result['matmul_flops_per_s'] / 1e9:.0f} GFLOP/s",
        "",
        f"{'op':<24}{'shape':<22}{'pass':<18}{'dtype':<10}{'torch ms':>10}{'native ms':>11}"
        f"{'host ms':>9}{'ratio':>8}{'roofline':>10}{'extra MiB':>11}",
    ]
    for row in result["rows"]:
        shape = " ".join(str(n) for n in row["shape"])
        if "reason" in row:
            lines.append(
                f"{row['op']:<24}{shape:<22}{row['pass']:<18}{row['dtype']:<10}  "
                f"not timed: {row['reason']}"
            )
            continue
        lines.append(
            f"{row['op']:<24}{shape:<22}{row['pass']:<18}{row['dtype']:<10}"
            f"{row['reference_ms']:>10.3f}{row['native_ms']:>11.3f}"
            f"{milliseconds(row['native_host_ms']):>9}{row['ratio']:>7.1f}x"
            f"{row['roofline_fraction']:>10.2f}{row['extra_bytes'] / 2**20:>11.1f}"
        )
    return "\n".join(lines)


def raise_unless_timed(result: dict[str, Any]) -> None:
    """Raises Mri2petError if an op was not timed, with each one's reason."""
    failed = [row for row in result["rows"] if "reason" in row]
    if failed:
        reasons = (
            f"{r['op']} {r['shape']} {r['dtype']} {r['pass']}: {r['reason']}" for r in failed
        )
        raise Mri2petError("; ".join(reasons))
