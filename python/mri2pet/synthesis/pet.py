"""One subject: model space, sampling, SUVR, and the way back to the image's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mri2pet.synthesis.drawing import Draw
from mri2pet.synthesis.observer import Observer, stage

if TYPE_CHECKING:
    import nibabel
    import numpy as np

    from mri2pet.imaging.pipeline import Preprocessed
    from mri2pet.quantification import Quantification
    from mri2pet.quantification.measure import Region
    from mri2pet.uncertainty.results import ResultUncertainty

HEADER_DESCRIPTION = b"synthetic AV45 SUVR"
CEREBELLUM_TOLERANCE = 0.15


@dataclass(frozen=True)
class SyntheticPet:
    """Arrays of one subject.

    Attributes:
        mean: [X, Y, Z] float32 on the subject's grid, mean of the samples in SUVR.
        std: [X, Y, Z] float32, standard deviation over the samples in SUVR (n - 1); None for one.
        measurements: see `measure`.
        seconds: wall time of the stages here, by name.
        regions: composite and regions of every sample, where they were asked for.
    """

    mean: np.ndarray
    std: np.ndarray | None
    measurements: dict[str, Any]
    seconds: dict[str, float]
    regions: list[Region] | None = None


def synthetic_pet(
    prepared: Preprocessed,
    draw: Draw,
    number: int,
    uncertainty: ResultUncertainty,
    observer: Observer,
    what: Quantification | None = None,
) -> SyntheticPet:
    """Sample synthetic PET volumes and bring their mean and spread back to the subject's grid.

    Args:
        draw: gives the samples.
        number: of the image; keys the noise, beside the seed.
        uncertainty: what may be said of the error of the numbers.
        what: to be measured in every sample beside the built-in composite.
    """
    seconds: dict[str, float] = {}
    with stage("sampling", seconds, observer):
        suvr = draw(prepared.mri, number, observer.sampling_step)
    with stage("way back", seconds, observer):
        mean, std = _way_back(suvr, prepared)
    with stage("measurements", seconds, observer):
        inside = _within_support(suvr, prepared)
        measurements = measure(inside, uncertainty)
        regions = None
        if what is not None:
            from mri2pet.quantification.measure import measure_in_template

            cortical = measurements["cortical_suvr"]["samples"]
            regions = measure_in_template(prepared.t1.name, inside, what, composite_suvr=cortical)
    return SyntheticPet(mean, std, measurements, seconds, regions)


def measure(suvr: np.ndarray, uncertainty: ResultUncertainty) -> dict[str, Any]:
    """What is measured in samples [S, K, I, J].

    Returns:
        cortical_suvr (composite over whole cerebellum), regional_suvr (the same of each region),
        both as `ResultUncertainty.of_region` gives them; cerebellum_suvr, the mean of the
        samples; uncertainty, the words on the intervals or on why there are none.
    """
    import numpy as np

    from mri2pet.imaging.suvr.regions import region_mean, regional_suvr

    levels = [regional_suvr(sample) for sample in suvr]
    regions = {name: uncertainty.of_region(name, [of[name] for of in levels]) for name in levels[0]}
    cerebellum = [region_mean(sample, "cerebellum") for sample in suvr]
    return {
        "cortical_suvr": regions.pop("cortex"),
        "regional_suvr": regions,
        "cerebellum_suvr": {"mean": float(np.mean(cerebellum))},
        "uncertainty": uncertainty.note,
    }


def doubts(measurements: dict[str, Any], reference: dict[str, str]) -> list[str]:
    """What the numbers say against the result, one sentence each.

    Args:
        reference: of the model, see `imaging.suvr.reference.recorded_reference`.
    """
    from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX

    if reference["key"] == MINMAX:
        return [
            "The model learnt PETs without SUVR, each scaled by its own minimum and maximum; every "
            "drawn volume was divided by its own mean in the cerebellum."
        ]
    if reference["key"] != CEREBELLUM:
        return []
    cerebellum = measurements["cerebellum_suvr"]["mean"]
    if abs(cerebellum - 1.0) <= CEREBELLUM_TOLERANCE:
        return []
    return [
        f"The cerebellum's mean is {cerebellum:.2f} SUVR where 1 is expected: the scale of this "
        "result is off, and only ratios within it can be compared."
    ]


def pet_image(prepared: Preprocessed, array: np.ndarray) -> nibabel.Nifti1Image:
    """A NIfTI image on the grid of the input whose header says that it is synthetic.

    A header that names no unit of length gets mm, which is what its values were taken for.
    """
    image = prepared.record.nifti(array, "SUVR")
    if image.header.get_xyzt_units()[0] == "unknown":
        image.header.set_xyzt_units("mm")
    image.header["descrip"] = HEADER_DESCRIPTION
    return image


def _within_support(suvr: np.ndarray, prepared: Preprocessed) -> np.ndarray:
    """The samples cut as the evaluation cuts them, so that its calibration speaks of the same."""
    from mri2pet.evaluation.methods import within_support
    from mri2pet.imaging.space.model_space import mask_to_model_space

    record, affine = prepared.record, prepared.t1.volume.affine
    mask, shape = prepared.brain_mask, (suvr.shape[1], suvr.shape[2], suvr.shape[3])
    return within_support(
        suvr, mask_to_model_space(mask, affine, record.template_from_subject, shape)
    )


def _way_back(suvr: np.ndarray, prepared: Preprocessed) -> tuple[np.ndarray, np.ndarray | None]:
    import numpy as np

    if len(suvr) == 1:
        return prepared.record.to_subject(suvr[0]), None
    both = np.stack([suvr.mean(axis=0), suvr.std(axis=0, ddof=1)])
    mean, std = prepared.record.all_to_subject(both)
    return mean, std
