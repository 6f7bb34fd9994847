"""UIDs that depend on what an instance shows and on nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mri2pet.dicom.source import Source

FORMAT = 2
"""Of the written instances: counted up whenever the same result would get other bytes."""

# What a report shows beside the values of the PET.
_OF_THE_REPORT = ("quantification", "calibration")


@dataclass(frozen=True)
class Identity:
    """What tells one result from another: source, T1, model and settings.

    The same result gets the same UIDs wherever and however often it is written, so that sending
    it again replaces it; another model, another setting or one slice more gets others. They hold
    no secret and hide nobody.
    """

    pet: str
    report: str

    @classmethod
    def of(cls, source: Source, facts: Mapping[str, Any]) -> Identity:
        """Of a result that `facts` (see `facts_of`) describe."""
        sources = sorted({str(frame.dataset.SOPInstanceUID) for frame in source.frames})
        settings = dict(facts["settings"])
        of_the_report = {name: settings.pop(name, None) for name in _OF_THE_REPORT}
        pet = _digest(FORMAT, sources, {**facts, "settings": settings})
        return cls(pet, _digest(pet, of_the_report))

    def series(self, kind: str) -> str:
        """Series Instance UID of `pet`, `sd`, `pdf` or `sc`."""
        return _uid("series", kind, self._of(kind))

    def instance(self, kind: str, number: int) -> str:
        """SOP Instance UID of instance `number`, counted from 1."""
        return _uid("instance", kind, self._of(kind), number)

    def _of(self, kind: str) -> str:
        return self.report if kind in ("pdf", "sc") else self.pet


def facts_of(sidecar: Mapping[str, Any], *, overlay: bool) -> dict[str, Any]:
    """What of a sidecar decides the values of a PET, and the choice that changes its instances."""
    return facts(
        t1_sha256=sidecar["input"]["sha256"],
        model_sha256=sidecar["model"]["sha256"],
        settings=sidecar["settings"],
        version=sidecar["versions"]["mri2pet"],
        engine=sidecar["engine"],
        device=sidecar["device"],
        overlay=overlay,
    )


def facts(
    *,
    t1_sha256: str,
    model_sha256: str,
    settings: Mapping[str, Any],
    version: str,
    engine: str,
    device: str,
    overlay: bool,
) -> dict[str, Any]:
    """The same before a result is there. Of the device its kind counts: `cpu` or `cuda`."""
    return {
        "t1": t1_sha256,
        "model": model_sha256,
        "settings": dict(settings),
        "version": version,
        "engine": engine,
        "device": device.split(" ")[0],
        "overlay": overlay,
    }


def frame_of_reference(source: Source) -> str:
    """The source's, or one that all results of this series share where it has none."""
    sources = sorted({str(frame.dataset.SOPInstanceUID) for frame in source.frames})
    return source.frame_of_reference_uid or _uid("frame of reference", sources)


def file_name(sop_instance_uid: str) -> str:
    """The file that an instance is written to: nothing of a header is part of its name."""
    return f"{hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:16]}.dcm"


def _uid(*parts: Any) -> str:
    """Below 2.25, the root for integers of 128 bits (ITU-T X.667): at most 44 characters."""
    return f"2.25.{int(_digest(*parts)[:32], 16)}"


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
