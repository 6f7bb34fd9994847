"""From a source to the volumes that are measured, where they lie, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.files.kinds import PET
from mri2pet.imaging.files.reading import file_sha256, read_image
from mri2pet.imaging.pet.fit import MUTUAL_INFORMATION_NATS, measure_fit
from mri2pet.imaging.pet.frame_times import read_sidecar
from mri2pet.imaging.pet.frames import read_pet, static_pet
from mri2pet.imaging.space.template import template, template_mask
from mri2pet.quantification.composite import BUILT_IN
from mri2pet.quantification.inputs import PREPARED, Source, read_json
from mri2pet.quantification.measure import OF_THE_MEAN, Region, built_in_composite, measure
from mri2pet.quantification.settings import Quantification
from mri2pet.quantification.status import Probability
from mri2pet.quantification.table import Measured

OnStage = Callable[[str, "float | None"], None]


def quantified(source: Source, what: Quantification, on_stage: OnStage | None = None) -> Measured:
    """Read one source and measure its regions.

    Raises:
        InputError: it cannot be used; one sentence.
    """
    if source.kind == "result":
        return _result(source, what)
    if source.kind == "prepared":
        return _prepared(source, what)
    return _image(source, what, on_stage)


def _image(source: Source, what: Quantification, on_stage: OnStage | None) -> Measured:
    path = source.path
    details: dict[str, Any] = {"file": path.name, "sha256": file_sha256(path)}
    series = read_pet(path)
    if source.t1 is None:
        pet = static_pet(series).volume
        details["placed_by"] = "the file's own header, in template space"
        template_from_pet = np.eye(4)
        shared = measure_fit(pet, template(2), template_mask(2).data, template_from_pet)
        if shared.mutual_information < MUTUAL_INFORMATION_NATS[0]:
            raise InputError(
                f"{path}: does not lie in template space (mutual information with the template "
                f"{shared.mutual_information:.2f} nats, at least "
                f"{MUTUAL_INFORMATION_NATS[0]:.2f} is needed); give its T1 with --t1."
            )
    else:
        from mri2pet.imaging.pet.prepare import place_pet
        from mri2pet.imaging.pipeline import preprocess
        from mri2pet.stages import load_config

        model = load_config("compact").model
        done = preprocess(
            source.t1, mri_shape=model.mri_shape, pet_shape=model.pet_shape, on_stage=on_stage
        )
        placed = place_pet(series, done.t1.volume, done.brain_mask, on_stage=on_stage)
        pet, shared = placed.static.volume, placed.fit
        template_from_pet = done.record.template_from_subject @ placed.t1_from_pet
        details |= {
            "placed_by": "registration to its T1",
            "t1": source.t1.name,
            "checks": {k: v for k, v in done.checks.items() if k != "seconds"},
            "t1_warnings": done.warnings,
        }
    details |= {
        "template_from_pet": template_from_pet.tolist(),
        "fit": shared.as_dict(),
        "warnings": list(series.warnings),
    }
    simulated = bool((read_sidecar(path) or {}).get("Simulated", False))
    regions = measure(path.name, [pet], template_from_pet, what)
    return Measured(source.subject, source.session, False, simulated, regions, details)


def _prepared(source: Source, what: Quantification) -> Measured:
    """A PET that `mri2pet preprocess` has registered."""
    summary = read_json(source.path / PREPARED)
    image = source.path / "pet_suvr.nii.gz"
    if "t1_from_pet" not in summary or not image.is_file():
        raise InputError(
            f"{source.path}: holds no PET in SUVR; run mri2pet preprocess with --pet and without "
            "--reference minmax."
        )
    read = read_image(image, PET)
    template_from_pet = np.array(summary["template_from_t1"]) @ np.array(summary["t1_from_pet"])
    details = {
        "file": summary["pet"],
        "sha256": file_sha256(image),
        "placed_by": "mri2pet preprocess",
        "template_from_pet": template_from_pet.tolist(),
        "fit": summary.get("pet_fit"),
        "warnings": summary.get("pet_warnings", []),
    }
    regions = measure(source.path.name, [read.volume("SUVR")], template_from_pet, what)
    simulated = bool(summary.get("pet_simulated", False))
    return Measured(source.subject, source.session, False, simulated, regions, details)


def _result(source: Source, what: Quantification) -> Measured:
    """A synthetic PET: what its sidecar kept of every sample, and the rest from the mean."""
    sidecar: dict[str, Any] = read_json(source.path)
    try:
        name = sidecar["outputs"]["pet"]
        cortical = sidecar["measurements"]["cortical_suvr"]
        samples, mean = cortical["samples"], cortical["mean"]
        # The calibration of a model speaks of the built-in composite alone.
        interval = cortical.get("interval") if what.composite.key == BUILT_IN else None
        ends = interval and (interval["low"], interval["high"], interval["level"])
        drawn_by = sidecar["model"]
        model = {key: drawn_by[key] for key in ("name", "sha256")}
        if "members" in drawn_by:
            names = [{key: m[key] for key in ("name", "sha256")} for m in drawn_by["members"]]
            model["members"] = names
        place = np.array(sidecar["space"]["template_from_subject"], dtype=np.float64)
    except (KeyError, TypeError):
        raise InputError(
            f"{source.path}: does not say where the PET lies in template space; make it again "
            "with mri2pet synthesize."
        ) from None
    image = source.path.parent / name
    details = {
        "file": name,
        "model": model,
        "samples": len(samples),
        "settings": sidecar.get("settings"),
        "template_from_pet": place.tolist(),
        "warnings": sidecar.get("warnings", []),
        "interval": interval,
    }
    regions = kept(sidecar.get("quantification"), what)
    if regions is None:
        known = None
        if what.composite.key == BUILT_IN:
            known = built_in_composite(what, samples, mean)
        if known is not None and what.atlas is None:
            regions = [known]
        else:
            pet = read_image(image, PET).volume("SUVR")
            note = OF_THE_MEAN if len(samples) > 1 else ""
            regions = measure(image.name, [pet], place, what, composite=known, note=note)
            details["sha256"] = file_sha256(image)
    return Measured(
        *(source.subject, source.session, True, False, regions, details),
        interval=ends,
        probability=_told(sidecar.get("quantification"), what),
    )


def _told(stored: Any, what: Quantification) -> Probability | None:
    """The calibrated probability that a synthesis gave for the same threshold and composite.

    Its residuals are the model's, and a sidecar does not hold them.
    """
    if what.threshold is None or not isinstance(stored, dict):
        return None
    if (stored.get("composite") or {}).get("key") != what.composite.key:
        return None
    status = (stored.get("values") or {}).get("status") or {}
    if not status.get("calibrated") or status.get("question") != what.threshold.question:
        return None
    return Probability(status["p"], True, status["note"])


def kept(stored: Any, what: Quantification) -> list[Region] | None:
    """The regions of every sample that a synthesis measured with the same atlas and composite."""
    if not isinstance(stored, dict):
        return None
    asked = what.record()
    if stored.get("composite", {}).get("key") != asked["composite"]["key"]:
        return None
    same_atlas = (stored.get("atlas") or {}).get("sha256") == (asked["atlas"] or {}).get("sha256")
    if asked["atlas"] is not None and not same_atlas:
        return None
    regions = [Region.from_dict(region) for region in stored["regions"]]
    if what.atlas is None:
        return regions[:1]
    names = what.atlas.names
    return [
        regions[0],
        *(replace(r, name=names[r.index]) for r in regions[1:] if r.index is not None),
    ]
