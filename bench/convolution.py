"""Time of the small-channel convolution, every compiled tile beside the library's, by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from mri2pet.bench.cases import Work
from mri2pet.bench.cuda_timing import rotated
from mri2pet.bench.ops import TOLERANCE, machine_rates
from mri2pet.bench.timing import MINIMUM_REPEATS, describe, environment, measure, prepare
from mri2pet.errors import Mri2petError, UsageError
from mri2pet.stages import load_config

if TYPE_CHECKING:
    from torch import Tensor

    from mri2pet.ops.conv3d import InputNorm
    from mri2pet.ops.convolution_choice import Measurements

DTYPES = ("float16", "bfloat16")
#: Channels in, between and out, and whether the input is added, of the blocks of those levels.
BLOCKS = (
    ((1, 8, 8, False), (24, 24, 24, True), (24, 12, 8, False)),
    ((8, 8, 8, True), (8, 16, 16, False), (48, 48, 48, True), (48, 24, 16, False)),
    ((16, 16, 16, True), (16, 32, 32, False)),
)
PLANES = (0, 2, 4, 8, 16)
#: Channels of the three upper levels' convolutions that `conv3d` takes, and how often each is in
#: an evaluation.
LAYERS = (
    {(1, 8): 1, (8, 8): 1, (24, 24): 2, (24, 12): 1, (12, 8): 1},
    {(8, 8): 2, (8, 16): 1, (16, 16): 1, (48, 48): 2, (48, 24): 1, (24, 16): 1},
    {(16, 16): 2, (16, 32): 1, (32, 32): 1, (48, 32): 1},
)


def bench_convolution(
    preset: str = "paper",
    *,
    device: str = "cuda",
    dtypes: Sequence[str] = ("float16",),
    batches: Sequence[int] = (1,),
    repeats: int = MINIMUM_REPEATS,
    on_row: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Checks and times every tile of `conv3d` at each layer, beside the library's convolution.

    Returns a JSON-ready tree: `environment` and `rows`, for each layer, dtype and batch the
    library's time (cuDNN with its own measuring on, channels-last), those of every tile and number
    of planes a block in ms, plain and with statistics and the norm on load, the `best` of them,
    the time of `group_norm_gelu` alone on the layer's input, and the least time on a
    machine that copies as fast as this one; `blocks`, the network's blocks by the library and with
    those tiles; and `faster`, the layers and tiles that belong into `convolution_choice.MEASURED`.

    Raises:
        UsageError: the device is no GPU, the module has no CUDA kernels, or an unknown dtype.
    """
    import torch

    if torch.device(device).type != "cuda":
        raise UsageError(f"the convolution's kernels run on CUDA alone, not on {device!r}")
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise UsageError(f"unknown dtype {dtype!r}; there are {', '.join(DTYPES)}")
    prepare(device, repeats)
    torch.manual_seed(0)
    place, rates = environment(device), machine_rates(device)
    rows: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    result: dict[str, Any] = {
        "benchmark": "convolution",
        "preset": preset,
        "environment": place,
        "copy_bytes_per_s": rates[0],
        "rows": rows,
        "blocks": blocks,
        "faster": [],
    }
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=True):
        for dtype in dtypes:
            for batch in batches:
                for channels, volume, times in layers(preset):
                    layer = Layer(channels, volume, batch, dtype, device)
                    rows.append({"times": times} | layer.row(rates, repeats))
                    if on_row is not None:
                        on_row(result)
        table = measurements(rows, device)
        result["faster"] = [[key, tile] for tiles in table.values() for key, tile in tiles.items()]
        for dtype in dtypes:
            for batch in batches:
                blocks += block_rows(preset, table, dtype, batch, device, repeats)
    return result


def layers(preset: str) -> Iterator[tuple[tuple[int, int], tuple[int, ...], int]]:
    """(channels in and out), volume and number of the convolutions of the three upper levels."""
    model = load_config(preset).model
    for level, counts in enumerate(LAYERS):
        for (cin, cout), times in counts.items():
            channels = (2 if cin == 1 and model.cond == "concat" else cin, cout)
            yield channels, tuple(n >> level for n in model.pet_shape), times


def input_norm(x: Tensor) -> InputNorm:
    """A norm of x with its statistics, as 128 parts."""
    import torch

    from mri2pet.ops.conv3d import InputNorm

    variance, mean = torch.var_mean(x.float().flatten(1), 1, correction=0)
    count = torch.full_like(mean, x[0].numel() / 128)
    parts = torch.stack((mean, variance * count, count), 1)[:, None].repeat(1, 128, 1)
    scale, shift = (torch.randn(x.shape[1], device=x.device) for _ in range(2))
    return InputNorm(parts, scale, shift)


class Layer:
    """One convolution at one batch and dtype."""

    def __init__(
        self,
        channels: tuple[int, int],
        volume: tuple[int, ...],
        batch: int,
        dtype: str,
        device: str,
    ) -> None:
        import torch

        cin, cout = channels
        kind, last = getattr(torch, dtype), torch.channels_last_3d
        self.dtype, self.device = dtype, device
        self.shape = (batch, cin, *volume)
        x = torch.randn(self.shape, device=device).to(kind, memory_format=last)
        weight = torch.randn(cout, cin, 3, 3, 3, device=device) / (27 * cin) ** 0.5
        self.inputs = (x, weight.to(kind, memory_format=last))
        self.copies = rotated(self.inputs, device)
        self.norm = input_norm(x)
        voxels = batch * prod(volume)
        moved = 2 * (voxels * (cin + cout) + weight.numel())
        self.work = Work(moved, 2 * 27 * cin * cout * voxels)

    def row(self, rates: tuple[float, float], repeats: int) -> dict[str, Any]:
        from torch.nn import functional as F

        from mri2pet.ops import group_norm_gelu

        tiles = list(self._tiles(repeats))
        right = [t for t in tiles if "refused" not in t]
        return {
            "channels": [self.shape[1], self.inputs[1].shape[0]],
            "shape": list(self.shape),
            "dtype": self.dtype,
            "library_ms": self._ms(lambda x, w: F.conv3d(x, w, padding=1), repeats),
            "group_norm_gelu_ms": self._ms(
                lambda x, w: group_norm_gelu(x, self.norm.weight, self.norm.bias), repeats
            ),
            "floor_ms": self.work.bytes_moved / rates[0] * 1e3,
            "flops": self.work.flops,
            "tiles": tiles,
            "best": min(right, key=lambda t: t["ms"] + t["fused_ms"]) if right else None,
        }

    def _ms(self, call: Any, repeats: int) -> float:
        calls = [lambda given=given: call(*given) for given in self.copies]
        return float(measure(calls, self.device, repeats=repeats, graph=True)["median_s"]) * 1e3

    def _tiles(self, repeats: int) -> Iterator[dict[str, Any]]:
        """Every tile with every number of planes, plain and with the norm of its input on load and
        statistics: errors and times, or why there are none."""
        from mri2pet.ops import backend
        from mri2pet.ops.conv3d import conv3d

        fused: dict[str, Any] = {"norm": self.norm, "statistics": True}
        for variant in range(backend.native().conv3d_variants):
            for planes in (p for p in PLANES if p <= self.shape[2]):
                tile: dict[str, Any] = {"variant": variant, "planes": planes}

                def plain(x: Tensor, w: Tensor, given: Any = tile, **more: Any) -> Tensor:
                    return conv3d(x, w, variant=given["variant"], planes=given["planes"], **more)[0]

                try:
                    errors = [
                        float((y.float() - exact).norm() / exact.norm())
                        for y, exact in zip(
                            (plain(*self.inputs), plain(*self.inputs, **fused)),
                            self._exact(),
                            strict=True,
                        )
                    ]
                except (RuntimeError, ValueError) as error:
                    yield tile | {"refused": str(error)}
                    continue
                tile["errors"] = errors
                if not max(errors) < TOLERANCE[self.dtype]:
                    yield tile | {"refused": "wrong"}
                    continue
                tile["ms"] = self._ms(plain, repeats)
                yield tile | {"fused_ms": self._ms(partial(plain, **fused), repeats)}

    def _exact(self) -> tuple[Tensor, Tensor]:
        """The convolution of x and of its norm and GELU, in float32 without TF32."""
        import torch
        from torch.nn import functional as F

        if not hasattr(self, "_kept"):
            x, weight = (t.float() for t in self.inputs)
            normed = F.gelu(F.group_norm(x, 1, self.norm.weight, self.norm.bias))
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                first, second = (F.conv3d(h, weight, padding=1) for h in (x, normed))
            self._kept = (first, second)
        return self._kept


def measurements(rows: Sequence[dict[str, Any]], device: str) -> Measurements:
    """The table of `convolution_choice` that these rows give: the best tile where it is faster than
    the library in every row of the layer, by the row of the smallest batch."""
    import torch

    from mri2pet.ops.convolution_choice import Layer as Key
    from mri2pet.ops.convolution_choice import Tile

    found: dict[Key, Tile] = {}
    slower = set()
    for row in sorted(rows, key=lambda row: row["shape"][0]):
        (cin, cout), (_, _, depth, height, width) = row["channels"], row["shape"]
        key = Key(cin, cout, (depth, height, width))
        if row["best"] is None or row["best"]["ms"] >= row["library_ms"]:
            slower.add(key)
        else:
            found.setdefault(key, Tile(row["best"]["variant"], row["best"]["planes"]))
    table = {key: tile for key, tile in found.items() if key not in slower}
    return {torch.cuda.get_device_capability(device): table}


def block_rows(
    preset: str, table: Measurements, dtype: str, batch: int, device: str, repeats: int
) -> list[dict[str, Any]]:
    """The blocks of those levels with their norms, by the library and with the best tiles.

    `error` is the relative difference of the two in their dtype.
    """
    import torch

    from mri2pet.nn.blocks import DoubleConv
    from mri2pet.ops.convolution_choice import use_convolution, use_measurements

    model, rows = load_config(preset).model, []
    shape = model.pet_shape
    for level, blocks in enumerate(BLOCKS):
        for given_cin, mid, cout, residual in blocks:
            cin = model.input_channels if given_cin == 1 else given_cin
            block = DoubleConv(cin, cout, mid, residual).to(device).requires_grad_(False)
            kind, last = getattr(torch, dtype), torch.channels_last_3d
            for conv in (block.conv1, block.conv2):
                conv.weight.data = conv.weight.data.to(kind, memory_format=last)
            x = torch.randn(batch, cin, *(n >> level for n in shape), device=device)
            copies = rotated([x.to(kind, memory_format=last)], device)
            calls = [lambda given=given, block=block: block(*given) for given in copies]
            row: dict[str, Any] = {
                "block": [cin, mid, cout],
                "residual": residual,
                "shape": [batch, cin, *(n >> level for n in shape)],
                "dtype": dtype,
            }
            given: dict[str, Tensor] = {}
            for form in ("library", "native"):
                with use_convolution(form), use_measurements(table):
                    given[form] = block(*copies[0]).float()
                    timed = measure(calls, device, repeats=repeats, graph=True)
                    row[f"{form}_ms"] = timed["median_s"] * 1e3
            difference = (given["native"] - given["library"]).norm()
            rows.append(row | {"error": float(difference / given["library"].norm())})
    return rows


def format_convolution(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [
        *describe(result["environment"]),
        f"copy {result['copy_bytes_per_s'] / 1e9:.0f} GB/s",
        "",
        f"{'layer':<10}{'shape':<22}{'dtype':<10}{'library ms':>11}{'native ms':>10}{'ratio':>7}"
        f"{'variant':>8}{'planes':>7}{'floor ms':>9}{'TFLOP/s':>8}{'fused':>8}{'norm op':>8}",
    ]
    for row in result["rows"]:
        cin, cout = row["channels"]
        head = f"{f'{cin} to {cout}':<10}{' '.join(map(str, row['shape'])):<22}{row['dtype']:<10}"
        head += f"{row['library_ms']:>11.4f}"
        best = row["best"]
        if best is None:
            lines.append(head + "  " + "; ".join({t["refused"] for t in row["tiles"]}))
            continue
        lines.append(
            head + f"{best['ms']:>10.4f}{row['library_ms'] / best['ms']:>6.1f}x"
            f"{best['variant']:>8}{best['planes']:>7}{row['floor_ms']:>9.4f}"
            f"{row['flops'] / best['ms'] / 1e9:>8.0f}{best['fused_ms']:>8.4f}"
            f"{row['group_norm_gelu_ms']:>8.4f}"
        )
    lines += ["", *_sums(result["rows"]), ""]
    lines += [
        f"block {' to '.join(map(str, row['block'])):<16}{'residual' if row['residual'] else '':<9}"
        f"{' '.join(map(str, row['shape'])):<22}{row['dtype']:<10}library {row['library_ms']:.4f} "
        f"native {row['native_ms']:.4f} ms, {row['library_ms'] / row['native_ms']:.1f}x, "
        f"difference {row['error']:.1e}"
        for row in result["blocks"]
    ]
    lines += ["", "faster than the library:"]
    lines += [f"    Layer{tuple(key)}: Tile{tuple(tile)}," for key, tile in result["faster"]]
    return "\n".join(lines)


def _sums(rows: list[dict[str, Any]]) -> list[str]:
    """Time of all layers of an evaluation together, by dtype and batch."""
    totals: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row["best"] is None:
            continue
        total = totals.setdefault((row["dtype"], row["shape"][0]), [0.0, 0.0])
        total[0] += row["times"] * row["library_ms"]
        total[1] += row["times"] * row["best"]["ms"]
    return [
        f"all layers, {dtype}, batch {batch}: library {library:.3f} ms, native {native:.3f} ms"
        for (dtype, batch), (library, native) in totals.items()
    ]


def refused(result: dict[str, Any]) -> list[str]:
    """What was wrong with tiles that gave another result than the library, one line each."""
    return [
        f"{row['channels']} {row['shape']} {row['dtype']} variant {tile['variant']} planes "
        f"{tile['planes']}: errors {', '.join(f'{e:.1e}' for e in tile['errors'])}"
        for row in result["rows"]
        for tile in row["tiles"]
        if tile.get("refused") == "wrong"
    ]


def raise_unless_right(result: dict[str, Any]) -> None:
    """Raises Mri2petError when a tile's result was wrong."""
    if lines := refused(result):
        raise Mri2petError("wrong tiles: " + "; ".join(lines))
