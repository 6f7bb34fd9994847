"""Every method that an experiment can train: how, and whose pre-training it starts from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Method:
    """The paper's own recipe, an ablation or a baseline.

    Attributes:
        ablation, baseline: as `training.ablation` and `training.baseline`.
        settings: further ones, as `--set` takes them. finetune: those of the fine-tuning alone.
        pretrained: the method whose pre-training it starts from; None for from scratch.
    """

    ablation: str = "none"
    baseline: str = "none"
    settings: tuple[str, ...] = ()
    pretrained: str | None = None
    finetune: tuple[str, ...] = ()

    def changed(self, settings: Mapping[str, Any]) -> Method:
        """The same with other settings in its fine-tuning."""
        return replace(self, finetune=tuple(f"{k}={json.dumps(v)}" for k, v in settings.items()))

    @property
    def is_gan(self) -> bool:
        """Whether the length `train.gan` is its."""
        return self.baseline not in ("none", "ddpm-pa")

    @property
    def is_styled(self) -> bool:
        """Whether its own pre-training draws PET-like MRIs."""
        return self.ablation != "no-style" and self.baseline == "none"

    @property
    def named(self) -> tuple[str, ...]:
        """Ablation, baseline and settings, as `--set` takes them."""
        given = {"training.ablation": self.ablation, "training.baseline": self.baseline}
        return (*(f"{key}={name}" for key, name in given.items() if name != "none"), *self.settings)


# A linear denoiser is of v, and of an MRI that is seen as a channel, alone.
_EPSILON = ("model.prediction=epsilon", "model.linear_components=0")
_EMBEDDING = ("model.cond=embedding", "model.linear_components=0")

METHODS = {
    "mri2pet": Method(pretrained="mri2pet"),
    "no-style": Method("no-style", pretrained="no-style"),
    "no-pretrain": Method("no-pretrain"),
    "no-laplacian": Method("no-laplacian", pretrained="mri2pet"),
    "vanilla": Method("vanilla"),
    "gan": Method(baseline="gan"),
    "cdc": Method(baseline="cdc", pretrained="gan"),
    "dcl": Method(baseline="dcl", pretrained="gan"),
    "diffaugment": Method(baseline="diffaugment"),
    "maskgan": Method(baseline="maskgan", pretrained="gan"),
    "ddpm-pa": Method(baseline="ddpm-pa", pretrained="no-style"),
    "epsilon": Method(settings=_EPSILON, pretrained="epsilon"),
    "embedding": Method(settings=_EMBEDDING, pretrained="embedding"),
    "epsilon-embedding": Method(
        settings=("model.prediction=epsilon", *_EMBEDDING), pretrained="epsilon-embedding"
    ),
}
"""Name → method. The last three are of docs/ablations.md: what the network predicts, and how it
sees the MRI."""

PAPER_METHODS = tuple(name for name in METHODS if "epsilon" not in name and "embedding" not in name)
"""The rows of the paper's Table 1."""


def pretrained_by(methods: Iterable[Method]) -> list[str]:
    """The methods whose pre-training these start from, each once, in the order of first use."""
    owners = (method.pretrained for method in methods)
    return list(dict.fromkeys(owner for owner in owners if owner is not None))
