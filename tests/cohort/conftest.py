"""A hand-made cohort of ellipsoid brains in the layout of the phantom cohort."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest

MRI_SHAPE = (16, 24, 24)
PET_SHAPE = (16, 16, 16)
SUBJECTS = 6
RAMP = 0.002  # per mm to the right: no PET is the same all over the brain


@dataclass
class TinyCohort:
    """Where the cohort lies, and the true SUVR level of every subject."""

    root: Path
    level: dict[str, float] = field(default_factory=dict)

    def t1(self, subject: str) -> Path:
        return next(self.root.glob(f"{subject}/ses-01/anat/*_T1w.nii.gz"))

    def pet(self, subject: str) -> Path:
        return next(self.root.glob(f"{subject}/ses-01/pet/*_pet.nii.gz"))


def rigid(shift_mm: tuple[float, float, float], angle: float = 0.0) -> np.ndarray:
    """A rotation about z by `angle` (radians), then a shift."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift_mm
    return matrix


def ellipsoid(shape, affine, to_template, radii=(60.0, 75.0, 55.0), centre=(0.0, -17.0, 8.0)):
    """The part of a grid that `to_template` maps into an ellipsoid of the template, bool."""
    points = template_mm(shape, to_template @ affine)
    return (((points - centre) / radii) ** 2).sum(-1) < 1


def template_mm(shape, template_from_index) -> np.ndarray:
    """Where the voxels of a grid lie in the template: `[X, Y, Z, 3]`, RAS mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)
    return index @ template_from_index[:3, :3].T + template_from_index[:3, 3]


def uptake(shape, template_from_index) -> np.ndarray:
    """Of a PET of level 1: 1 in the middle plane, more to the right."""
    return 1 + RAMP * template_mm(shape, template_from_index)[..., 0]


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), affine), path)


def empty_image(path: Path, shape=(20, 20, 20), voxel_mm: float = 10.0, unit: str = "mm") -> None:
    """An image whose name and header count alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = nibabel.Nifti1Header()
    header.set_xyzt_units(unit)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine, header), path)


def add_subject(
    cohort: TinyCohort, subject: str, level: float, *, frames: int = 1, paired: bool = True
) -> None:
    """One session: an MRI of 100 in the brain, a PET of SUVR `level` times `uptake`, the truth."""
    session, name = "ses-01", f"{subject}_ses-01"
    rng = np.random.default_rng(int(subject[-4:]))
    shape, affine = (60, 72, 60), np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -90, -110, -85
    template_from_t1 = rigid(tuple(rng.uniform(-6, 6, 3)), 0.05)
    t1_from_pet = rigid(tuple(rng.uniform(-8, 8, 3)), -0.1)
    brain = ellipsoid(shape, affine, template_from_t1)
    folder = cohort.root / subject / session
    t1 = np.where(brain, 100.0, rng.uniform(20, 40, shape))
    save(folder / "anat" / f"{name}_T1w.nii.gz", t1, affine)
    truth = cohort.root / "derivatives" / "truth" / subject / session
    save(truth / f"{name}_space-T1w_desc-brain_mask.nii.gz", brain, affine)
    if paired:
        template_from_pet = template_from_t1 @ t1_from_pet
        head = ellipsoid(shape, affine, template_from_pet, (70.0, 85.0, 65.0))
        head = head * uptake(shape, template_from_pet @ affine)
        scale = 2500.0
        pet = np.repeat((level * scale * head)[..., None], frames, axis=3)
        weights = 1 + 0.2 * (np.arange(frames) - (frames - 1) / 2)
        pet = pet * weights
        file = folder / "pet" / f"{name}_trc-18FAV45_pet.nii.gz"
        save(file, pet[..., 0] if frames == 1 else pet, affine)
        cohort.level[subject] = level
    drifts = [3.0 * (n - (frames - 1) / 2) for n in range(frames)]
    poses = [(rigid((0, drift, 0)) @ t1_from_pet).tolist() for drift in drifts]
    (truth / f"{name}_truth.json").write_text(
        json.dumps(
            {
                "template_from_t1": template_from_t1.tolist(),
                "t1_from_pet": poses[0],
                "pet_scale_to_suvr": 1 / 2500.0,
                "frames": [{"t1_from_frame": pose} for pose in poses],
                "diagnosis": "CN",
                "cortical_suvr": level,
            }
        )
    )


@pytest.fixture(scope="session")
def _tiny_cohort(tmp_path_factory: pytest.TempPathFactory) -> TinyCohort:
    cohort = TinyCohort(tmp_path_factory.mktemp("cohort"))
    subjects = [f"sub-{i:04d}" for i in range(1, SUBJECTS + 1)]
    for i, subject in enumerate(subjects):
        add_subject(
            cohort, subject, 1.0 + 0.1 * i, frames=1 + 3 * (i == 1), paired=i < SUBJECTS - 1
        )
    lines = ["participant_id\tsession_id\tdiagnosis"]
    lines += [f"{s}\tses-01\t{'CN' if i < 3 else 'AD'}" for i, s in enumerate(subjects)]
    (cohort.root / "phenotype").mkdir()
    (cohort.root / "phenotype" / "diagnosis.tsv").write_text("\n".join(lines) + "\n")
    mmse = ["participant_id\tsession_id\tmmse", "sub-0001\tses-01\t29", "sub-0002\tses-01\tn/a"]
    (cohort.root / "phenotype" / "mmse.tsv").write_text("\n".join(mmse) + "\n")
    return cohort


@pytest.fixture
def tiny_cohort(_tiny_cohort: TinyCohort, tmp_path: Path) -> TinyCohort:
    """A copy of its own for every test: 6 subjects, the last one without a PET."""
    import shutil

    root = tmp_path / "cohort"
    shutil.copytree(_tiny_cohort.root, root)
    return TinyCohort(root, dict(_tiny_cohort.level))
