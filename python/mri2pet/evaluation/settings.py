"""How an evaluation is made: the draws, their checks, and what its folder remembers of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.cohort.cache import CohortCache
from mri2pet.cohort.manifest import ManifestRow, steps_of
from mri2pet.cohort.splits import SPLITS
from mri2pet.errors import UsageError
from mri2pet.files import written_whole
from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, Reference, recorded_reference

if TYPE_CHECKING:
    from mri2pet.engines import Engine
    from mri2pet.quantification import Quantification

FORMAT = 3
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Sampling:
    """How the model's PETs are drawn.

    `batch`: how many at once, which changes the time and not the result; None takes 2 on a CPU,
    where that was fastest, and all of a subject's elsewhere.
    """

    samples: int = 8
    sampler: str = "dpmpp"
    steps: int = 25
    seed: int = 0
    batch: int | None = None


SAMPLING = Sampling()
"""How PETs are drawn unless told otherwise."""


def check_rows(split: str, limit: int | None) -> None:
    if split not in (*SPLITS, "all"):
        raise UsageError(f"unknown split {split!r}; there are {', '.join(SPLITS)}, all")
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, not {limit}")


def check_sampling(network: Engine, sampling: Sampling) -> None:
    from mri2pet.diffusion.samplers import make_table
    from mri2pet.engines.ensemble import check_samples

    if network.config.family == "diffusion":
        make_table(sampling.sampler, network.config.prediction, sampling.steps)
    check_samples(network, sampling.samples)
    for name, value in (("samples", sampling.samples), ("batch", sampling.batch)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")


def model_reference(
    network: Engine, setting: str | Path, what: Quantification | None = None
) -> Reference:
    """The reference of a setting, if the model's PETs are SUVR by the same.

    Args:
        what: with a composite of VOIs the setting may name its reference: regions are then divided
            by that, and the PETs are SUVR by the whole cerebellum if the model learnt this.
    """
    reference, learnt = Reference.of(setting), recorded_reference(network.provenance)
    drawn = CEREBELLUM if learnt["key"] == MINMAX else learnt["key"]
    if reference.key == drawn:
        return reference
    if drawn == CEREBELLUM and what is not None and reference.key == what.composite.reference.key:
        return Reference.of(CEREBELLUM)
    name = learnt["name"] if drawn == learnt["key"] else CEREBELLUM
    raise UsageError(
        f"--reference {setting}: the model's PETs are SUVR by another region ({name}); "
        "give that one"
    )


def other_steps(network: Any, rows: Sequence[ManifestRow]) -> str:
    """A warning if the PETs are of other reconstruction steps than those the model learnt from.

    '' where they are of the same, or the model does not tell.
    """
    learnt, given = network.provenance.get("pet_steps"), steps_of(rows)
    if not learnt or set(given) <= set(learnt):
        return ""
    return (
        f"warning: the model learnt from PETs of the step {', '.join(learnt)}, and these are of "
        f"{', '.join(given)}: other data, so the figures do not tell how good it is"
    )


def open_folder(
    out: Path,
    network: Engine,
    cohort: CohortCache,
    training: CohortCache,
    split: str,
    sampling: Sampling,
) -> dict[str, Any]:
    """Writes the settings of a new evaluation, or checks those of an old one."""
    from mri2pet.engines.choose import recorded_sampling
    from mri2pet.engines.ensemble import described_members

    sampler, steps = recorded_sampling(network.config, sampling.sampler, sampling.steps)
    names = "\n".join(row.name for row in training.rows("train"))
    settings = {
        "format": FORMAT,
        "model": network.name,
        "model_sha256": network.sha256,
        "ablation": trained_by(network),
        "cohort": cohort.settings["cohort"],
        "registration": cohort.settings["registration"],
        "reference": cohort.settings["reference"],
        "training_cohort": training.settings["cohort"],
        "training_rows_sha256": hashlib.sha256(names.encode()).hexdigest(),
        "split": split,
        "samples": sampling.samples,
        "sampler": sampler,
        "steps": steps,
        "seed": sampling.seed,
    }
    if members := described_members(network):
        settings["members"] = members
    path = out / SETTINGS
    if path.is_file():
        stored = json.loads(path.read_text())
        other = sorted(k for k in settings if stored.get(k) != settings[k])
        if other:
            raise UsageError(
                f"{out} holds an evaluation with another {', '.join(other)}; "
                "give another folder or the same settings"
            )
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no evaluation; choose another folder")
    else:
        with written_whole(path) as part:
            part.write_text(json.dumps(settings, indent=2) + "\n")
    return settings


def trained_by(network: Engine) -> str:
    """The baseline or the ablation that a model was trained by, `none` for the whole recipe.

    `ensemble of M` for M models: no row of the paper is about these.
    """
    if members := network.provenance.get("members"):
        return f"ensemble of {len(members)}"
    training = network.provenance.get("config", {}).get("training", {})
    baseline = training.get("baseline", "none")
    return str(training.get("ablation", "none") if baseline == "none" else baseline)
