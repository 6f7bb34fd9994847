"""Time of one network evaluation, as the sampling loop makes it: the MRI is encoded before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mri2pet.bench.forms import UNFUSED, Form, examine, forms, record
from mri2pet.bench.timing import MINIMUM_REPEATS, environment, prepare
from mri2pet.config import Config
from mri2pet.errors import Mri2petError
from mri2pet.stages import load_config

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = {"float32": 1e-2, "bfloat16": 2e-1, "float16": 5e-2}


class Evaluation:
    """A network with random weights in one form, and one batch of inputs for it."""

    def __init__(self, config: Config, form: Form, device: str, batch: int) -> None:
        import torch

        from mri2pet.nn import Network

        torch.manual_seed(0)
        self.form, self.device = form, device
        network = Network(config.model).requires_grad_(False).eval()
        mri = torch.rand(batch, 1, *config.model.mri_shape)
        x_t = torch.randn(batch, 1, *config.model.pet_shape)
        layout = form.memory_format
        self.network = network.to(device)
        self.network.to(memory_format=layout)  # type: ignore[call-overload]
        self.mri = mri.to(device, memory_format=layout)
        self.x_t = x_t.to(device, memory_format=layout)
        t = torch.full((batch,), 500, device=device)
        with torch.inference_mode():
            self.biases = network.block_biases(network.mri_encoder(self.mri), t)
            self.guide = network.guide(self.mri)

    def encode_mri(self) -> Tensor:
        import torch

        with torch.inference_mode(), self.form.autocast(self.device):
            return self.network.mri_encoder(self.mri)

    def denoise(self) -> Tensor:
        import torch

        with torch.inference_mode(), self.form.autocast(self.device):
            return self.network.denoise(self.x_t, self.biases, self.guide)

    def parts(self) -> dict[str, Callable[[], Tensor]]:
        return {"encode_mri": self.encode_mri, "denoise": self.denoise}


def bench_network(
    presets: Sequence[str] = ("paper", "compact"),
    *,
    settings: Sequence[str] = (),
    device: str = "cpu",
    dtypes: Sequence[str] = ("float32",),
    batch: int = 1,
    like_for_like: bool = False,
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
) -> dict[str, Any]:
    """Encoder and denoiser of each preset with random weights, native beside plain torch.

    Returns a JSON-ready tree: `environment` and `rows`, one for each preset, dtype and part; see
    `forms.record`.

    Raises:
        UsageError: an unknown preset, setting or dtype; a device or native module that is not
            there; too few repeats.
        Mri2petError: the forms do not agree; nothing is timed then.
    """
    configs = {preset: load_config(preset, settings) for preset in presets}
    pairs = {preset: [forms(c, d, like_for_like) for d in dtypes] for preset, c in configs.items()}
    prepare(device, repeats, threads)
    place = environment(device)
    rows = []
    for preset, config in configs.items():
        exact = outputs(Evaluation(config, UNFUSED, device, batch))
        examined: dict[Form, dict[str, dict[str, Any]]] = {}
        for native, other in pairs[preset]:
            for form in (native, other):
                if form not in examined:
                    examined[form] = _examine(config, form, device, batch, repeats, exact)
            for part in exact:
                names: dict[str, Any] = {
                    "op": part,
                    "pass": "forward",
                    "preset": preset,
                    "device": device,
                }
                names["shape"] = [batch, 1, *config.model.pet_shape]
                ours, theirs = examined[native][part], examined[other][part]
                rows.append(record(names, (native, ours), (other, theirs)))
    return {"benchmark": "network", "batch": batch, "environment": place, "rows": rows}


def outputs(evaluation: Evaluation) -> dict[str, Tensor]:
    """What each part gives, in float32."""
    from mri2pet.ops import backend

    with backend.use_backend(evaluation.form.backend):
        return {name: part().float() for name, part in evaluation.parts().items()}


def _examine(
    config: Config,
    form: Form,
    device: str,
    batch: int,
    repeats: int,
    exact: dict[str, Tensor],
) -> dict[str, dict[str, Any]]:
    evaluation = Evaluation(config, form, device, batch)
    for part, output in outputs(evaluation).items():
        error = float((output - exact[part]).norm() / exact[part].norm())
        if not error < TOLERANCE[form.dtype]:
            raise Mri2petError(
                f"{part} with the {form.backend} ops in {form.dtype} differs from plain torch by "
                f"{error:.1e}; run the tests"
            )
    return {
        name: examine(part, evaluation.network, form, device, repeats, graph=True)
        for name, part in evaluation.parts().items()
    }
