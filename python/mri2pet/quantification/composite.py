"""The cortical composite: a target over a reference region, built in or the user's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mri2pet.errors import InputError, UsageError
from mri2pet.files import missing_target
from mri2pet.imaging.files.reading import file_sha256
from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.reference import CEREBELLUM, Reference, placed_voi

BUILT_IN = "built-in"


@dataclass(frozen=True, eq=False)
class Composite:
    """Which mean is divided by which.

    Attributes:
        key: `built-in`, or the hashes of both VOI files; equal for equal composites alone.
        name: for people, with the hashes of both files.
        label: the same without hashes.
        reference: what is 1 SUVR, of all regions too.
        files: `target` and `reference`, each with `file` and `sha256`; empty for the built-in.
    """

    key: str
    name: str
    label: str
    reference: Reference
    files: dict[str, dict[str, str]]
    _voi: Volume | None = None

    @classmethod
    def of(cls, target: Path | str | None, reference: Path | str | None) -> Composite:
        """Of two VOI files in template space, or the built-in one where neither is given.

        Raises:
            UsageError: one of the two alone. InputError: a VOI cannot be used.
        """
        if target is None and reference is None:
            whole = Reference.of(CEREBELLUM)
            name = "built-in cortex over whole cerebellum"
            return cls(BUILT_IN, name, name, whole, {})
        if target is None or reference is None:
            raise UsageError("--target and --reference belong together: give both VOIs, or none")
        files = {}
        for role, path in (("target", Path(target)), ("reference", Path(reference))):
            if not path.exists():
                advice = f"{path}: there is no such file; give a VOI in template space."
                raise InputError(missing_target(path) or advice)
            files[role] = {"file": path.name, "sha256": file_sha256(path)}
        key = ", ".join(f"{role} sha256:{entry['sha256']}" for role, entry in files.items())
        label = " over ".join(entry["file"] for entry in files.values())
        name = " over ".join(f"{e['file']} (sha256 {e['sha256']})" for e in files.values())
        voi = placed_voi(Path(target))
        return cls(key, name, label, Reference.of(Path(reference)), files, voi)

    @cached_property
    def target(self) -> Volume:
        """Weights in template space."""
        if self._voi is not None:
            return self._voi
        from mri2pet.imaging.suvr.regions import cortical_composite

        return cortical_composite(2)

    def record(self) -> dict[str, object]:
        """What tells this composite from others, with names and hashes."""
        return {"key": self.key, "name": self.name, **self.files}
