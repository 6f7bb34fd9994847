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
    from mri2pet.imaging.suvr.drawn import Drawn
    from mri2pet.quantification import Quantification
    from mri2pet.quantification.measure import Region
    from mri2pet.uncertainty.results import ResultUncertainty

HEADER_DESCRIPTION = b"synthetic AV45 SUVR"
CEREBELLUM_TOLERANCE = 0.15


@dataclass(frozen=True)
class SyntheticPet:
    """Arrays of one subject.

    Attributes:
        mean: [X, Y, Z] float32 on the subject's grid, mean of the samples in SUVR, see
            `engines.mean.mean_of_samples`.
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
        drawn = draw(prepared.mri, number, observer.sampling_step)
    with stage("way back", seconds, observer):
        mean, std = _way_back(drawn, prepared)
    with stage("measurements", seconds, observer):
        inside = _within_support(drawn, prepared)
        measurements = measure(inside, uncertainty)
        regions = None
        if what is not None:
            from mri2pet.quantification.measure import measure_in_template

            regions = measure_in_template(prepared.t1.name, inside, what)
    return SyntheticPet(mean, std, measurements, seconds, regions)


def measure(drawn: Drawn, uncertainty: ResultUncertainty) -> dict[str, Any]:
    """What is measured in the samples and in their mean.

    Returns:
        cortical_suvr (composite over whole cerebellum), regional_suvr (the same of each region),
        both as `ResultUncertainty.of_region` gives them; cerebellum_suvr of the mean; uncertainty,
        the words on the intervals or on why there are none.
    """
    from mri2pet.imaging.suvr.regions import region_mean, regional_suvr

    levels = [regional_suvr(sample) for sample in drawn.samples]
    regions = {
        name: uncertainty.of_region(name, [of[name] for of in levels], mean)
        for name, mean in regional_suvr(drawn.mean).items()
    }
    return {
        "cortical_suvr": regions.pop("cortex"),
        "regional_suvr": regions,
        "cerebellum_suvr": {"mean": region_mean(drawn.mean, "cerebellum")},
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


def _within_support(drawn: Drawn, prepared: Preprocessed) -> Drawn:
    """Cut as the evaluation cuts them, so that its calibration speaks of the same."""
    from mri2pet.evaluation.methods import within_support
    from mri2pet.imaging.space.model_space import mask_to_model_space
    from mri2pet.imaging.suvr.drawn import Drawn

    record, affine = prepared.record, prepared.t1.volume.affine
    brain = mask_to_model_space(
        prepared.brain_mask, affine, record.template_from_subject, drawn.mean.shape
    )
    return Drawn(*(within_support(suvr, brain) for suvr in drawn))


def _way_back(drawn: Drawn, prepared: Preprocessed) -> tuple[np.ndarray, np.ndarray | None]:
    import numpy as np

    if len(drawn.samples) == 1:
        return prepared.record.to_subject(drawn.mean), None
    both = np.stack([drawn.mean, drawn.samples.std(axis=0, ddof=1)])
    mean, std = prepared.record.all_to_subject(both)
    return mean, std
