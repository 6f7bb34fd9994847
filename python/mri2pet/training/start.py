"""Another model that a run starts from: its values, and the frozen copy that a method compares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from mri2pet.baselines import method_of
from mri2pet.checkpoint import load_critic, load_model
from mri2pet.config import Config
from mri2pet.errors import UsageError
from mri2pet.training.state import TrainingState


@dataclass(frozen=True)
class Start:
    """A model that --init names.

    Attributes:
        name: as the user gave it.
        modules: its parts, frozen, in evaluation mode.
        sha256: part → of its weights.
    """

    name: str
    modules: dict[str, nn.Module]
    sha256: dict[str, str]

    def begin(self, state: TrainingState, config: Config) -> None:
        """Parameters and averages begin here; a method with a source keeps the copy beside.

        The linear denoiser of a run stays that of its own targets.
        """
        for name, module in self.modules.items():
            values = module.state_dict().items()
            kept = {key: value for key, value in values if not key.startswith("linear.")}
            state.parts[name].start_from(kept)
        state.start = self.sha256
        if method_of(config).source is not None:
            state.sources = self.modules


def find_start(config: Config, device: torch.device) -> Start | None:
    """The model of `training.init`; None for a run from scratch.

    Raises:
        ModelError: it cannot be read, or has no critic where one is needed.
        UsageError: it is of the wrong family, or another network.
    """
    name = config.training.init
    if name is None:
        return None
    model = load_model(name, device)
    family = config.model.family
    if model.config.family != family:
        raise UsageError(
            f"--init {name}: holds a model of the family {model.config.family}, and this run "
            f"learns one of {family}"
        )
    if model.config != config.model.model_copy(
        update={"linear_components": model.config.linear_components}
    ):  # a run fits its linear denoiser to its own targets, whatever the model had
        raise UsageError(
            f"--init {name}: its network differs from this run's; give the same preset and "
            "model settings"
        )
    if family == "diffusion":
        return Start(name, {"network": model.network}, {"network": model.sha256})
    parts: dict[str, nn.Module] = {"generator": model.network, "critic": load_critic(name, device)}
    return Start(name, parts, {"generator": model.sha256, "critic": model.critic_sha256})
