"""A made-up cohort in model space, and an experiment on it: also as a process that can be killed.

usage: python made_up.py CONFIG.json [STEP EVENTS]

With STEP and EVENTS the process kills itself, as kill -9 does, at the so-manieth event of a step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

MRI_SHAPE = PET_SHAPE = (16, 32, 32)
PEOPLE = 14


def write_cohort(root: Path) -> Path:
    """A BIDS folder of fourteen people, the third with two visits, of headers alone."""
    import nibabel

    header = nibabel.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.diag([10, 10, 10, 1.0]))
    people = ["participant_id\tage\tsex\tdiagnosis\tmmse"]
    for number in range(1, PEOPLE + 1):
        subject = f"sub-{number:02d}"
        for session in ("ses-01", "ses-02")[: 1 + (number == 3)]:
            for kind, suffix in (("anat", "T1w"), ("pet", "trc-AV45_pet")):
                path = root / subject / session / kind / f"{subject}_{session}_{suffix}.nii.gz"
                path.parent.mkdir(parents=True)
                nibabel.save(header, path)
        (root / subject / f"{subject}_sessions.tsv").write_text(
            "session_id\tmri_days\tpet_days\nses-01\t0\t0\nses-02\t800\t800\n"
        )
        label = ("CN", "MCI", "AD")[number % 3]
        people.append(f"{subject}\t{60 + number}\t{'MF'[number % 2]}\t{label}\t{30 - number % 3}")
    (root / "participants.tsv").write_text("\n".join(people) + "\n")
    return root


def prepare(row: Any, mri_shape: Any, pet_shape: Any, registration: str, reference: Any) -> Any:
    """In place of `mri2pet.cohort.prepare.prepare`: an ellipsoid with ventricles."""
    from mri2pet.cohort.prepare import ModelSpaceSubject

    number = int(row.subject[-2:])
    k, i, j = (np.linspace(-1, 1, n) for n in mri_shape)
    radius = k[:, None, None] ** 2 + i[:, None] ** 2 / 0.7 + j**2 / 0.8
    hole = 0.05 + 0.01 * number + 0.05 * (row.session == "ses-02")
    mri = np.where(radius < 0.9, 0.8 + 0.1 * np.cos(6 * i)[:, None], 0.0)
    mri = np.where(radius < hole, 0.2, mri).astype(np.float32)
    brain = (radius < 0.9).astype(np.float32)
    pet = (0.5 + (0.6 + 0.03 * number) * mri) * brain
    return ModelSpaceSubject(mri, brain, pet.astype(np.float32))


def configuration(root: Path, out: Path, **changed: Any) -> dict[str, Any]:
    """An experiment on that cohort that takes seconds."""
    return {
        "name": "made-up",
        "out": str(out),
        "cohort": {"bids": str(root), "fractions": [0.4, 0.3, 0.3]},
        "style": {"random_vgg": True, "steps": 1},
        "train": {
            "pretrain": {"volumes": 8},
            "finetune": {"volumes": 16},
            "gan": {"volumes": 8},
            "settings": {
                "model.mri_shape": MRI_SHAPE,
                "model.pet_shape": PET_SHAPE,
                "model.linear_components": 2,
                "training.batch_size": 4,
                "training.sample_images": 0,
                "training.checkpoint_every": 4,
            },
        },
        "methods": ["vanilla", "gan"],
        "evaluate": {"samples": 4, "steps": 2},
        **changed,
    }


def replace_slow_parts() -> None:
    """Preparation and registration by stand-ins."""
    from mri2pet.cohort import cache
    from mri2pet.evaluation.rivals import Rivals

    cache.prepare = prepare  # type: ignore[assignment]
    Rivals.warped_cohort_mean = lambda self, mri: self.mean_pet  # type: ignore[method-assign]


def main() -> int:
    from mri2pet.experiment.reading import read_experiment
    from mri2pet.experiment.run import run_experiment

    replace_slow_parts()
    current, seen = "", 0

    def event(kind: str, facts: dict[str, Any]) -> None:
        nonlocal current, seen
        current = facts.get("step", current)
        if len(sys.argv) == 4 and current == sys.argv[2]:
            seen += 1
            if seen == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

    result = run_experiment(read_experiment(sys.argv[1]), on_event=event)
    print(json.dumps(result.failures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
