"""The parts of a run as its method makes them."""

from __future__ import annotations

import torch
from torch import nn

from mri2pet.baselines import is_baseline, method_of
from mri2pet.config import Config
from mri2pet.nn import Network
from mri2pet.training.linear_part import fit_linear_denoiser
from mri2pet.training.part import Part
from mri2pet.training.targets import StageData


def new_modules(config: Config, device: torch.device) -> dict[str, nn.Module]:
    """The modules of a run's parts, on the device; networks of diffusion channels-last."""
    modules = method_of(config).parts(config)
    for module in modules.values():
        module.to(device)
        if isinstance(module, Network):
            module.unet.checkpointing = config.training.activation_checkpointing
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return modules


def new_parts(
    config: Config, device: torch.device, processes: int, data: StageData | None = None
) -> dict[str, Part]:
    """The parts of a run before their first step; a linear denoiser is fitted to the data.

    A baseline's gradients are averaged over the processes by its step, for a gradient of a
    gradient does not pass `DistributedDataParallel`; and nothing of it is captured, for its draws
    differ from call to call.
    """
    training, own = config.training, not is_baseline(config)
    modules = new_modules(config, device)
    for module in modules.values():
        if data is not None and isinstance(module, Network) and module.linear is not None:
            fit_linear_denoiser(module.linear, data)
    return {
        name: Part(
            module,
            training.lr,
            training.ema_decay,
            betas=_betas(config),
            parallel=own and processes > 1,
            compiled=training.compile,
            scaled=training.precision == "fp16",
            plain=not own,
        )
        for name, module in modules.items()
    }


def _betas(config: Config) -> tuple[float, float]:
    """Of Adam: those of WGAN-GP for a GAN, unless its authors' are asked for."""
    if config.model.family == "gan" and not config.baseline.as_authors:
        return 0.0, 0.9
    return 0.9, 0.999
