"""Time of one network evaluation, as the sampling loop makes it: the MRI is encoded before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mri2pet.bench.timing import MINIMUM_REPEATS, environment, measure
from mri2pet.config import load_config
from mri2pet.errors import Mri2petError, UsageError

if TYPE_CHECKING:
    from torch import Tensor


def bench_network(
    presets: Sequence[str] = ("paper", "compact"),
    *,
    device: str = "cpu",
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
) -> dict[str, Any]:
    """Times encoder and denoiser of each preset, batch 1, fp32, with random weights.

    Returns a JSON-ready tree: `environment` and `rows`, one for each preset and part.

    Raises:
        UsageError: an unknown preset, a device that is not there, too few repeats.
        Mri2petError: the network's output has a wrong shape or is not finite; nothing is timed.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {device!r} is not there; `mri2pet info` says why")
    if threads is not None:
        if threads < 1:
            raise UsageError(f"{threads} threads: at least 1 is needed")
        torch.set_num_threads(threads)
    configs = {preset: load_config(preset).model for preset in presets}
    place = environment(device)
    rows = []
    for preset, config in configs.items():
        for part, function in _parts(config, device).items():
            with torch.inference_mode():
                times = measure(function, device, repeats=repeats)
            rows.append({"preset": preset, "part": part, **times})
    return {"benchmark": "network", "batch": 1, "dtype": "float32", "environment": place} | {
        "rows": rows
    }


def _parts(config: Any, device: str) -> dict[str, Any]:
    """The two timed functions of one preset, checked once."""
    import torch

    from mri2pet.nn import Network

    torch.manual_seed(0)
    network = Network(config).requires_grad_(False).eval().to(device)
    mri = torch.rand(1, 1, *config.mri_shape, device=device)
    x_t = torch.randn(1, 1, *config.pet_shape, device=device)
    t = torch.tensor([500], device=device)
    biases = network.block_biases(network.mri_encoder(mri), t)
    mri_pet_grid = network.mri_on_pet_grid(mri)

    def denoise() -> Tensor:
        return network.denoise(x_t, biases, mri_pet_grid)

    output = denoise()
    if output.shape != x_t.shape or not bool(torch.isfinite(output).all()):
        raise Mri2petError(
            f"the network's output {tuple(output.shape)} for {tuple(x_t.shape)} is wrong or not "
            "finite; run the tests"
        )
    return {"encode_mri": lambda: network.mri_encoder(mri), "denoise": denoise}


def format_table(result: dict[str, Any]) -> str:
    """The result as text: where it ran, then one line for each row."""
    place = result["environment"]
    lines = [
        f"{place['device']} ({place['device_name']}), {place['threads']} threads of "
        f"{place['cpu_count']}, load {place['load_average_1min']:.1f}",
        f"torch {place['torch']}, mri2pet revision {place['revision']}",
        f"batch {result['batch']}, {result['dtype']}",
        "",
        f"{'preset':<10}{'part':<12}{'median s':>10}{'min s':>10}{'max s':>10}"
        f"{'n':>4}{'peak MiB':>10}",
    ]
    for row in result["rows"]:
        peak = row["peak_memory_bytes"]
        memory = "-" if peak is None else f"{peak / 2**20:.0f}"
        times = "".join(f"{row[key]:>10.4f}" for key in ("median_s", "min_s", "max_s"))
        lines.append(f"{row['preset']:<10}{row['part']:<12}{times}{row['repeats']:>4}{memory:>10}")
    return "\n".join(lines)
