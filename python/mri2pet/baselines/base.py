"""What a baseline is: its settings, its parts, and the loss of each phase of an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mri2pet.config import Config

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mri2pet.baselines.draws import Draws

Family = Literal["gan", "diffusion"]


@dataclass(frozen=True)
class Phase:
    """One part's turn in an update.

    Attributes:
        part: the name of what learns; the others are frozen.
        kind: what else the loss has to know of this update, in the baseline's own words.
    """

    part: str
    kind: str = ""


class Pairs(Protocol):
    """A micro-batch on the device, as a loss sees it; `training.batches.Batch` is one."""

    @property
    def mri(self) -> Tensor:
        """float32 [B, 1, K', I', J'] in [0, 1]."""
        ...

    @property
    def pet(self) -> Tensor:
        """float32 [B, 1, K, I, J], standardised; in [−1, 1] for the family "gan"."""
        ...

    @property
    def noise(self) -> Tensor:
        """float32 [B, 1, K, I, J], standard normal, for diffusion."""
        ...

    @property
    def t(self) -> Tensor:
        """int64 [B], 1 … 999, for diffusion."""
        ...


class Baseline(Protocol):
    """One method. It holds no state: what learns is in `parts`, what is random in `draws`.

    Attributes:
        family: what the model folder holds, and how it is sampled.
        source: the family of the model that --init must name; None starts from scratch.
        least: the least volumes in a micro-batch: 2 for BatchNorm, 4 for what compares volumes.
        settings: stage → tree laid over the preset, like an entry of `stages.ABLATIONS`; a
            stage that is not in it does not exist.
        authors_settings: laid over these for `baseline.as_authors`.
    """

    family: Family
    source: Family | None
    least: int
    settings: Mapping[str, dict[str, Any]]
    authors_settings: Mapping[str, Any]

    def parts(self, config: Config) -> dict[str, nn.Module]:
        """What learns, newly made: {"generator", "critic"}, or {"network"} for diffusion."""
        ...

    def phases(self, update: int, config: Config) -> Sequence[Phase]:
        """Whose turn it is in update 0, 1, …, in order; a function of nothing else."""
        ...

    def loss(
        self,
        phase: Phase,
        parts: Mapping[str, nn.Module],
        sources: Mapping[str, nn.Module],
        batch: Pairs,
        draws: Draws,
        config: Config,
    ) -> dict[str, Tensor]:
        """The loss of a micro-batch, a mean over its volumes.

        Args:
            phase: whose turn it is. That part alone requires gradients.
            parts: in training mode; those without a turn do not move their running statistics.
            sources: frozen copies of the source's parts, in evaluation mode; {} without --init.
            batch: the volumes.
            draws: everything random beside dropout, which torch's own generator draws: it is
                seeded before this call.

        Returns:
            "loss", which is differentiated, and its terms for the diary; scalars.
        """
        ...
