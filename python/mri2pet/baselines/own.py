"""The package's own method, diffusion by the paper's objective, in the form of a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mri2pet.baselines.base import Family, Pairs, Phase
from mri2pet.config import Config
from mri2pet.diffusion.objective import training_objective
from mri2pet.nn import Network

if TYPE_CHECKING:
    from mri2pet.baselines.draws import Draws


class Diffusion:
    """Equations 5–7 of the paper. An --init is a start here; nothing is compared with it."""

    family = "diffusion"
    source: Family | None = None
    least = 1
    settings: Mapping[str, dict[str, Any]] = {}
    authors_settings: Mapping[str, Any] = {}

    def parts(self, config: Config) -> dict[str, nn.Module]:
        return {"network": Network(config.model)}

    def phases(self, update: int, config: Config) -> Sequence[Phase]:
        return (Phase("network"),)

    def loss(
        self,
        phase: Phase,
        parts: Mapping[str, nn.Module],
        sources: Mapping[str, nn.Module],
        batch: Pairs,
        draws: Draws,
        config: Config,
    ) -> dict[str, Tensor]:
        objective = training_objective(
            parts["network"],
            config.model.prediction,
            batch.mri,
            batch.pet,
            batch.t,
            batch.noise,
            config.training.laplacian_weight,
            config.training.snr_clip,
        )
        return {
            "loss": objective.total,
            "mse": objective.mse,
            "laplacian": objective.laplacian,
        }


BASELINE = Diffusion()
