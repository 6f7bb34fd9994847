"""What an experiment does not show: sentences that follow from its settings."""

from __future__ import annotations

from mri2pet.cohort.manifest import Manifest
from mri2pet.experiment.config import ExperimentConfig
from mri2pet.experiment.work import Work
from mri2pet.stages import load_config

FEWEST_TEST, FEWEST_VAL = 15, 9
PAPER_VOXELS = 32 * 128 * 128


def limits(
    config: ExperimentConfig, cohort: Manifest | None, tested: Manifest | None, left_out: list[str]
) -> list[str]:
    """One sentence for each reason to be careful.

    Args:
        cohort: who trains, None where it is not there yet.
        tested: who is evaluated.
        left_out: steps that are not available or failed.
    """
    return [
        *_of_people(config, cohort, tested),
        *_of_training(config),
        *_of_measures(config),
        *(f"Not in it: {name}." for name in left_out),
    ]


def _of_people(
    config: ExperimentConfig, cohort: Manifest | None, tested: Manifest | None
) -> list[str]:
    found = []
    if config.cohort.phantom is not None or config.evaluated.phantom is not None:
        found.append(
            "The people are simulated: their PET follows from their MRI by construction, so "
            "nothing here says anything about patients."
        )
    if tested is not None:
        split = None if config.test_cohort is not None else config.evaluate.split
        people = len({row.subject for row in tested.select(split)})
        if people < FEWEST_TEST:
            found.append(
                f"{people} people are evaluated; with fewer than {FEWEST_TEST} no interval means "
                "much."
            )
    if cohort is not None:
        validating = len({row.subject for row in cohort.select("val")})
        calibrates = config.uncertainty is not None and not _draws_alike(config)
        if calibrates and validating < FEWEST_VAL:
            found.append(
                f"{validating} people calibrate; a 90 % interval needs {FEWEST_VAL}, so there is "
                "none."
            )
    if config.cohort.split_by == "scan":
        found.append("Scans were divided, not people, so figures of the test split are too good.")
    if config.cohort.registration == "truth":
        found.append(
            "Registrations are those of the simulation, so errors of registration are not in it."
        )
    return found


def _of_training(config: ExperimentConfig) -> list[str]:
    found = []
    settings = [f"{key}={value}" for key, value in config.train.settings.items()
                if key.startswith("model.")]  # fmt: skip
    k, i, j = load_config(config.preset, settings).model.pet_shape
    if k * i * j < PAPER_VOXELS:
        found.append(f"PETs have {k} × {i} × {j} voxels, the paper's 32 × 128 × 128.")
    lengths = [config.train.finetune, config.train.pretrain]
    short = [f"{of.volumes:,}" for of in lengths if of is not None and of.volumes is not None]
    if short:
        found.append(
            f"Trainings are short ({' and '.join(short)} volumes of fine-tuning and pre-training): "
            "differences between methods are differences in how fast they begin to learn."
        )
    if config.style is not None and config.style.random_vgg:
        found.append(
            "The style transfer has random VGG19 weights, so it shows nothing of what trained "
            "features give."
        )
    return found


def _of_measures(config: ExperimentConfig) -> list[str]:
    found, inception = [], config.evaluate.inception
    if inception is None:
        found.append("There is no FID and no KID: they need Inception's weights.")
    elif inception.random:
        found.append("FID and KID are those of a random network and have no meaning.")
    if _draws_alike(config):
        found.append("The first method draws one PET of an MRI, so there is no spread to tell of.")
    elif config.uncertainty is None or config.uncertainty.calibrate is None:
        found.append("The spread of the samples is not calibrated, so it is no error bar.")
    if config.evaluate.samples < 4:
        found.append("Fewer than 4 samples a person say nothing of uncertainty.")
    if config.downstream is not None and config.test_cohort is not None:
        found.append(
            "Tables 2 and 3 test the people of the test split of `cohort`, not those of "
            "`test_cohort`."
        )
    if config.downstream is not None and config.downstream.crossfit == 0:
        found.append(
            "Synthetic PETs of the training people come from a generator that saw these people."
        )
    if config.downstream is None:
        found.append("Whether a synthetic PET helps a diagnosis was not asked.")
    return found


def _draws_alike(config: ExperimentConfig) -> bool:
    """Whether the first method is a GAN, whose PETs of an MRI are all alike."""
    samples = Work(config).samples_of(config.method_names[0])
    return samples < config.evaluate.samples
