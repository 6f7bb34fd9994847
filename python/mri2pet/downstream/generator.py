"""Which model draws the PET of which row, and whether it had seen that person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mri2pet.cohort.manifest import ManifestRow
from mri2pet.downstream.drawn import Wanted
from mri2pet.downstream.groups import Example
from mri2pet.downstream.settings import Pet
from mri2pet.training.people import Seen, people_of


@dataclass(frozen=True)
class Drawer:
    """A model that draws.

    Attributes:
        model: as the user named it, or the folder of a fold's run.
        network: the model, loaded.
        seen: whom it has seen; None where that is not recorded.
    """

    model: str
    network: Any = field(repr=False)
    seen: Seen | None

    @property
    def sha256(self) -> str:
        return str(self.network.sha256)

    def has_seen(self, person: str) -> bool:
        """Whether a person is recorded."""
        return self.seen is not None and person in self.seen.subjects


def load_drawer(model: str, device: str) -> Drawer:
    """A model with the people of its run.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    from mri2pet.checkpoint import load_model

    seen = people_of(model)
    return Drawer(model, load_model(model, device), seen)


@dataclass(frozen=True)
class Generator:
    """The models of a command.

    Attributes:
        main: draws whoever has no fold.
        folds: person → the model that was trained without that person.
        unseen: the user says that `main` has seen nobody of this cohort.
    """

    main: Drawer
    folds: dict[str, Drawer] = field(default_factory=dict)
    unseen: bool = False

    def drawer(self, person: str) -> Drawer:
        """Who draws this person."""
        return self.folds.get(person, self.main)

    def wanted(self, kind: Pet, row: ManifestRow) -> Wanted:
        """A PET of a row."""
        if kind != "drawn":
            return Wanted(kind, row)
        drawer = self.drawer(row.subject)
        return Wanted(kind, row, drawer.model, drawer.sha256)

    def seen_among(self, training: Sequence[Example]) -> tuple[int, int]:
        """People that the model which drew them had seen, and people with a drawn PET."""
        people = {example.row.subject for example in training if example.pet == "drawn"}
        if self.unseen:
            return 0, len(people)
        return sum(self.drawer(person).has_seen(person) for person in people), len(people)
