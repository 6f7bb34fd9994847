"""Time of one training step: forward, objective, backward, clipping and optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mri2pet.bench.forms import UNFUSED, Form, examine, forms, record
from mri2pet.bench.timing import MINIMUM_REPEATS, environment, prepare
from mri2pet.config import Config
from mri2pet.errors import Mri2petError
from mri2pet.stages import load_config

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 5e-3  # relative; a float32 convolution on a GPU has 11 bits


class TrainingStep:
    """A network with random weights, its optimizer and one batch of noise, in one form."""

    def __init__(self, config: Config, form: Form, device: str, batch: int) -> None:
        import torch

        from mri2pet.nn import Network

        torch.manual_seed(0)
        self.config, self.form, self.device = config, form, device
        self.network = Network(config.model)
        shape = (batch, 1, *config.model.pet_shape)
        volumes = (torch.rand(batch, 1, *config.model.mri_shape), *torch.randn(2, *shape))
        layout = form.memory_format
        self.network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self.mri, self.pet, self.noise = (v.to(device, memory_format=layout) for v in volumes)
        self.t = torch.full((batch,), 500, device=device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.training.lr)

    def backward(self) -> Tensor:
        """The loss, after its gradients are in the parameters."""
        from torch.profiler import record_function

        from mri2pet.diffusion.objective import training_objective

        objective = record_function("laplacian_pyramid_loss")

        def network(*inputs: Tensor) -> Tensor:
            output = self.network(*inputs)
            objective.__enter__()
            return output

        with self.form.autocast(self.device):
            loss = training_objective(
                network,  # type: ignore[arg-type]
                self.config.model.prediction,
                self.mri,
                self.pet,
                self.t,
                self.noise,
                self.config.training.laplacian_weight,
            ).total
        objective.__exit__(None, None, None)
        loss.backward()
        return loss.detach()

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Loss, and all gradients as one vector; the parameters stay as they are."""
        import torch

        from mri2pet.ops import backend

        with backend.use_backend(self.form.backend):
            loss = self.backward()
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        vector = torch.cat([g.flatten().double() for g in grads])
        self.optimizer.zero_grad(set_to_none=True)
        return loss.double(), vector

    def fresh_gradients(self) -> None:
        """Forward and backward pass alone, which a CUDA graph can hold."""
        self.backward()
        self.optimizer.zero_grad(set_to_none=True)

    def parts(self) -> dict[str, tuple[str, Callable[[], None]]]:
        """What is timed: op → (pass, run).

        On CUDA the gradients alone as well, by replays of a graph as training computes them: a step
        of separate launches shows what the host needs for them.
        """
        parts = {"training_step": ("forward+backward+optimizer", self.__call__)}
        if self.device.startswith("cuda"):
            parts["gradients"] = ("forward+backward", self.fresh_gradients)
        return parts

    def __call__(self) -> None:
        """One step. Gradients are freed at its end, so that all of them are its extra memory."""
        import torch
        from torch.profiler import record_function

        self.backward()
        with record_function("optimizer"):
            torch.nn.utils.clip_grad_norm_(
                self.network.parameters(), self.config.training.grad_clip or math.inf
            )
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def bench_step(
    presets: Sequence[str] = ("paper", "compact"),
    *,
    settings: Sequence[str] = (),
    device: str = "cpu",
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    batch: int = 1,
    like_for_like: bool = False,
    threads: int | None = None,
    repeats: int = MINIMUM_REPEATS,
) -> dict[str, Any]:
    """One training step of each preset, native beside plain torch.

    Returns a JSON-ready tree: `environment` and `rows`, one for each preset, dtype and part of
    `TrainingStep.parts`: those of `forms.record`, with `loss_error` and `gradient_error`, relative
    to float32 plain torch.

    Raises:
        UsageError: an unknown preset, setting or dtype; a device or native module that is not
            there; too few repeats.
        Mri2petError: loss or gradients do not agree; nothing is timed then.
    """
    configs = {preset: load_config(preset, settings) for preset in presets}
    pairs = {preset: [forms(c, d, like_for_like) for d in dtypes] for preset, c in configs.items()}
    prepare(device, repeats, threads)
    place = environment(device)
    rows = []
    for preset, config in configs.items():
        exact = TrainingStep(config, UNFUSED, device, batch).gradients()
        examined: dict[Form, dict[str, dict[str, Any]]] = {}
        for native, other in pairs[preset]:
            errors = check(config, native, device, batch, exact)
            for form in (native, other):
                if form not in examined:
                    step = TrainingStep(config, form, device, batch)
                    examined[form] = _examine(step, repeats)
            for op, ours in examined[native].items():
                names: dict[str, Any] = {"op": op, "pass": ours["pass"], "preset": preset}
                names |= {"device": device, "shape": [batch, 1, *config.model.pet_shape], **errors}
                rows.append(record(names, (native, ours), (other, examined[other][op])))
    return {"benchmark": "step", "batch": batch, "environment": place, "rows": rows}


def _examine(step: TrainingStep, repeats: int) -> dict[str, dict[str, Any]]:
    """Each part as `forms.examine` sees it, with its pass."""
    found = {}
    for op, (name, run) in step.parts().items():
        graph = op == "gradients"
        seen = examine(run, step.network, step.form, step.device, repeats, graph)
        found[op] = {"pass": name, **seen}
    return found


def check(
    config: Config, form: Form, device: str, batch: int, exact: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """Loss and gradients of a form against plain torch in float32.

    The error may be twice that of plain torch in the same dtype, and FLOOR.

    Returns:
        loss_error and gradient_error, relative.

    Raises:
        Mri2petError: an error is larger.
    """
    plain = Form("reference", form.dtype, form.layout)
    ours, allowed = (
        [
            float((value - truth).norm() / truth.norm())
            for value, truth in zip(
                TrainingStep(config, f, device, batch).gradients(), exact, strict=True
            )
        ]
        for f in (form, plain)
    )
    for name, error, limit in zip(("loss", "gradient"), ours, allowed, strict=True):
        if not error <= 2 * limit + FLOOR:
            raise Mri2petError(
                f"the {name} of a training step with the {form.backend} ops in {form.dtype} "
                f"differs from plain torch by {error:.1e} (its own error there: {limit:.1e}); "
                "run the tests"
            )
    return {"loss_error": ours[0], "gradient_error": ours[1]}
