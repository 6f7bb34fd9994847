"""The native form of a whole run beside another form of it: what both are, and their record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mri2pet.bench.shares import shares
from mri2pet.bench.timing import describe, extra_bytes, measure, milliseconds
from mri2pet.config import Config
from mri2pet.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Form:
    """How a network runs: form of the ops, dtype of the activations (by autocast), layout."""

    backend: str
    dtype: str
    layout: str

    @property
    def memory_format(self) -> torch.memory_format:
        import torch

        last = self.layout == "channels_last"
        return torch.channels_last_3d if last else torch.contiguous_format

    def autocast(self, device: str) -> torch.autocast:
        """The autocast context of the dtype."""
        import torch

        dtype = getattr(torch, self.dtype)
        kind = torch.device(device).type
        enabled = self.dtype != "float32"
        return torch.autocast(kind, dtype=dtype if enabled else torch.bfloat16, enabled=enabled)


UNFUSED = Form("reference", "float32", "contiguous")


def forms(config: Config, dtype: str, like_for_like: bool) -> tuple[Form, Form]:
    """The native form and what it is compared with.

    Args:
        config: `ops.backend` "folded" compares with the folded plain-torch form, anything else
            with the paper's.
        dtype: of the native form, which is channels-last as the loop and the training run it.
        like_for_like: the other form has that dtype and layout too; else it is as the paper's
            code runs, float32 and contiguous.

    Raises:
        UsageError: an unknown dtype.
    """
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}")
    native = Form("native", dtype, "channels_last")
    other = "folded" if config.ops.backend == "folded" else "reference"
    if like_for_like:
        return native, Form(other, dtype, native.layout)
    return native, Form(other, UNFUSED.dtype, UNFUSED.layout)


def examine(
    run: Callable[[], Any],
    network: nn.Module,
    form: Form,
    device: str,
    repeats: int,
    graph: bool = False,
) -> dict[str, Any]:
    """Times (of a CUDA graph with `graph`), extra memory and shares of one form of a run."""
    from mri2pet.ops import backend

    with backend.use_backend(form.backend):
        times = measure(run, device, repeats=repeats, graph=graph)
        return times | {
            "extra_bytes": extra_bytes(run, device),
            "shares": shares(run, network, device),
        }


def record(
    names: dict[str, Any],
    native: tuple[Form, dict[str, Any]],
    other: tuple[Form, dict[str, Any]],
) -> dict[str, Any]:
    """One row of the result, from what `examine` gave for both forms; times in ms."""
    (form, ours), (other_form, theirs) = native, other
    return names | {
        "dtype": form.dtype,
        "layout": form.layout,
        "reference": other_form.backend,
        "reference_dtype": other_form.dtype,
        "reference_layout": other_form.layout,
        "reference_ms": theirs["median_s"] * 1e3,
        "native_ms": ours["median_s"] * 1e3,
        "ratio": theirs["median_s"] / ours["median_s"],
        "reference_spread_ms": [theirs["min_s"] * 1e3, theirs["max_s"] * 1e3],
        "native_spread_ms": [ours["min_s"] * 1e3, ours["max_s"] * 1e3],
        "repeats": ours["repeats"],
        "timed": ours["timed"],
        "native_host_ms": _ms(ours["host_s"]),
        "reference_host_ms": _ms(theirs["host_s"]),
        "extra_bytes": ours["extra_bytes"],
        "reference_extra_bytes": theirs["extra_bytes"],
        "native_shares": ours["shares"],
        "reference_shares": theirs["shares"],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def format_rows(result: dict[str, Any]) -> str:
    """A result of `network` or `step` as text: where it ran, times, then the shares."""
    lines = [*describe(result["environment"]), f"batch {result['batch']}", ""]
    lines.append(
        f"{'preset':<9}{'op':<15}{'dtype':<9}{'beside':<31}{'torch ms':>10}{'native ms':>11}"
        f"{'min … max':>18}{'host ms':>9}{'ratio':>8}{'extra MiB':>11}{'torch MiB':>11}"
    )
    for row in result["rows"]:
        beside = f"{row['reference']} {row['reference_dtype']} {row['reference_layout']}"
        low, high = row["native_spread_ms"]
        lines.append(
            f"{row['preset']:<9}{row['op']:<15}{row['dtype']:<9}{beside:<31}"
            f"{row['reference_ms']:>10.1f}{row['native_ms']:>11.1f}"
            f"{f'{low:.1f} … {high:.1f}':>18}{milliseconds(row['native_host_ms']):>9}"
            f"{row['ratio']:>7.1f}x"
            f"{row['extra_bytes'] / 2**20:>11.1f}{row['reference_extra_bytes'] / 2**20:>11.1f}"
        )
    lines += ["", "share of the time, plain torch → native"]
    for row in result["rows"]:
        lines.append(f"{row['preset']} {row['op']} {row['dtype']}: {_share_text(row)}")
    return "\n".join(lines)


def _share_text(row: dict[str, Any]) -> str:
    before, after = row["reference_shares"], row["native_shares"]
    named: Sequence[str] = [part for part in after if max(before[part], after[part]) >= 0.001]
    return ", ".join(f"{part} {before[part]:.1%} → {after[part]:.1%}" for part in named)
