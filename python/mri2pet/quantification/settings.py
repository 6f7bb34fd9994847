"""What a user asks to be measured, read and checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.errors import UsageError
from mri2pet.quantification.atlas import Atlas
from mri2pet.quantification.centiloid import Centiloid
from mri2pet.quantification.composite import BUILT_IN, Composite
from mri2pet.quantification.status import Threshold

Name = Path | str


@dataclass(frozen=True, eq=False)
class Quantification:
    """The regions, the composite, the equation and the threshold of one table."""

    composite: Composite
    atlas: Atlas | None = None
    centiloid: Centiloid | None = None
    threshold: Threshold | None = None

    @classmethod
    def of(
        cls,
        *,
        atlas: Name | None = None,
        labels: Name | None = None,
        target: Name | None = None,
        reference: Name | None = None,
        centiloid: str | None = None,
        threshold: str | None = None,
    ) -> Quantification:
        """From files and names.

        Args:
            atlas: integer labels in template space.
            labels: table with their `index` and `name`.
            target, reference: VOIs in template space; both, or neither for the built-in ones.
            centiloid: name of an equation, or `custom=FILE.json`, see `Centiloid.of`.
            threshold: `NAME=SUVR`.

        Raises:
            UsageError: options that make no sense. InputError: a file that cannot be used.
        """
        if (atlas is None) != (labels is None):
            raise UsageError("--atlas and --labels belong together: give the image and its names")
        limit = None if threshold is None else Threshold.parse(threshold)
        composite = Composite.of(target, reference)
        return cls(
            composite,
            None if atlas is None or labels is None else Atlas.read(atlas, labels),
            None if centiloid is None else Centiloid.of(centiloid, composite),
            limit,
        )

    @classmethod
    def asked(cls, **options: Name | None) -> Quantification | None:
        """As `of`, or None where no option is given.

        Raises:
            UsageError, InputError: what `of` raises.
        """
        if all(value is None for value in options.values()):
            return None
        return cls.of(**options)  # type: ignore[arg-type]

    @property
    def needs_volumes(self) -> bool:
        """Whether more is asked than the built-in composite, which every result keeps."""
        return self.atlas is not None or self.composite.key != BUILT_IN

    def record(self) -> dict[str, Any]:
        """What decides the numbers, as JSON takes it."""
        return {
            "space": "MNI152NLin2009aSym",
            "atlas": None if self.atlas is None else self.atlas.record(),
            "composite": self.composite.record(),
            "reference": self.composite.reference.name,
            "centiloid": None if self.centiloid is None else self.centiloid.record(),
            "threshold": None if self.threshold is None else self.threshold.record(),
        }
