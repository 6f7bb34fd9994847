"""One person's scans: simulate every visit and write it with its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.cohort.phantom import files, mri, pet
from mri2pet.cohort.phantom.anatomy import Anatomy, best_affine, draw_shape, make_anatomy
from mri2pet.cohort.phantom.fields import sample
from mri2pet.cohort.phantom.grids import Grid
from mri2pet.cohort.phantom.people import Person, Visit, generator
from mri2pet.cohort.phantom.template import template_fields
from mri2pet.imaging.suvr.equations import STANDARD

TRACER = "trc-18FAV45"
_SHAPE, _MRI, _TRACER, _PET, _SCAN = 1, 2, 3, 4, 5
FRAME_S = 300.0
FIRST_FRAME_S = 3000.0


def simulate_visit(seed: int, person: Person, visit: Visit) -> dict[str, Any]:
    """Simulate one visit without writing anything.

    Returns:
        anatomy (`Anatomy`), and where the visit has them: t1 (`mri.MriScan`), uptake
        (`pet.TrueUptake`) and pet (`pet.PetScan`).
    """
    number = person.number
    day = visit.mri_day if visit.mri_day is not None else visit.pet_day
    shape = draw_shape(generator(seed, number, _SHAPE))
    anatomy = make_anatomy(shape, visit.severity)
    index = int(visit.session.removeprefix("ses-"))
    result: dict[str, Any] = {"anatomy": anatomy, "day": day, "t1": None, "pet": None}
    subject_from_t1 = np.eye(4)
    if visit.mri_day is not None:
        settings = mri.draw_settings(generator(seed, number, _MRI))
        result["t1"] = mri.scan_mri(anatomy, settings, generator(seed, number, _SCAN, index, 0))
        result["t1_settings"] = settings
        subject_from_t1 = result["t1"].subject_from_t1
    tracer = pet.draw_tracer(generator(seed, number, _TRACER))
    scanner = pet.draw_settings(generator(seed, number, _PET))
    result["uptake"] = pet.true_uptake(anatomy, tracer, visit.amyloid, scanner.fwhm_mm)
    if visit.pet_day is not None:
        rng = generator(seed, number, _SCAN, index, 1)
        result["pet"] = pet.scan_pet(anatomy, result["uptake"], scanner, subject_from_t1, rng)
        result["pet_settings"] = scanner
    return result


def truth_path(out: Path, person: Person, visit: Visit) -> Path:
    """Where the truth of a visit lies; it is the last file written for the visit."""
    stem = f"{person.label}_{visit.session}"
    return out / "derivatives" / "truth" / person.label / visit.session / f"{stem}_truth.json"


def write_visit(out: Path, seed: int, person: Person, visit: Visit) -> Path:
    """Simulate one visit and write its BIDS files and its truth; returns the truth's path."""
    result = simulate_visit(seed, person, visit)
    stem = f"{person.label}_{visit.session}"
    folder = out / person.label / visit.session
    truth = _latent_values(person, visit, result)
    target = truth_path(out, person, visit)
    t1: mri.MriScan | None = result["t1"]
    if t1 is not None:
        image = folder / "anat" / f"{stem}_T1w.nii.gz"
        orientation = result["t1_settings"].orientation
        files.write_nifti(image, t1.image, t1.grid.affine, orientation=orientation)
        files.write_json(_sidecar(image), files.t1_sidecar(visit.mri_day or 0))
        truth["template_from_t1"] = _write_t1_truth(target, t1, result, orientation).tolist()
    scan: pet.PetScan | None = result["pet"]
    if scan is not None:
        image = folder / "pet" / f"{stem}_{TRACER}_pet.nii.gz"
        frames = scan.frames.shape[-1]
        stored, slope = files.quantise(scan.frames, 8000)
        orientation = result["pet_settings"].orientation
        stored = stored[..., 0] if frames == 1 else stored
        files.write_nifti(image, stored, scan.grid.affine, orientation=orientation, slope=slope)
        length = FRAME_S * (4 if frames == 1 else 1)
        starts = [FIRST_FRAME_S + length * index for index in range(frames)]
        sidecar = files.pet_sidecar(visit.pet_day or 0, starts, [length] * frames)
        files.write_json(_sidecar(image), sidecar)
        if t1 is not None:
            truth["t1_from_pet"] = scan.t1_from_frame[0].tolist()
        truth["pet_scale_to_suvr"] = scan.scale_to_suvr
        truth["frames"] = [
            {"start_s": start, "duration_s": length, "t1_from_frame": matrix.tolist()}
            for start, matrix in zip(starts, scan.t1_from_frame, strict=True)
        ]
        truth["pet_fwhm_mm"] = result["pet_settings"].fwhm_mm
    files.write_json(target, truth)
    return target


def _sidecar(image: Path) -> Path:
    return image.with_name(image.name.replace(".nii.gz", ".json"))


def _latent_values(person: Person, visit: Visit, result: dict[str, Any]) -> dict[str, Any]:
    """What the truth file tells about the visit; transforms are filled in later."""
    suvr = result["uptake"].cortical_suvr
    return {
        "simulated": True,
        "description": files.SIMULATED,
        "diagnosis": visit.diagnosis,
        "age": visit.age,
        "sex": person.sex,
        "mmse": visit.mmse,
        "severity": visit.severity,
        "amyloid": visit.amyloid,
        "cortical_suvr": suvr,
        "centiloid_like": STANDARD.centiloid(suvr),
        "template_from_t1": None,
        "t1_from_pet": None,
        "pet_scale_to_suvr": None,
        "frames": [],
    }


def _write_t1_truth(
    target: Path, t1: mri.MriScan, result: dict[str, Any], orientation: str
) -> np.ndarray:
    """Brain mask, true SUVR and displacement on T1 grids; returns the best affine 4x4."""
    name = target.name.replace("_truth.json", "")
    mask = target.with_name(f"{name}_space-T1w_desc-brain_mask.nii.gz")
    files.write_nifti(mask, t1.brain.astype(np.uint8), t1.grid.affine, orientation=orientation)
    coarse = _coarser(t1.grid, 2.0)
    suvr = result["uptake"].suvr
    values = sample(suvr, coarse.flat_points(t1.subject_from_t1))[0].reshape(coarse.shape)
    files.write_nifti(
        target.with_name(f"{name}_space-T1w_desc-true_suvr.nii.gz"),
        np.rint(values * 1000.0).astype(np.int16),
        coarse.affine,
        orientation=orientation,
        slope=0.001,
    )
    return _write_displacement(target, t1, result["anatomy"], orientation)


def _write_displacement(
    target: Path, t1: mri.MriScan, anatomy: Anatomy, orientation: str
) -> np.ndarray:
    grid = _coarser(t1.grid, 4.0)
    world = grid.flat_points(np.eye(4))
    template_mm = anatomy.to_template(grid.flat_points(t1.subject_from_t1))
    displacement = (template_mm - world).T.reshape(*grid.shape, 1, 3)
    name = target.name.replace("_truth.json", "")
    files.write_nifti(
        target.with_name(f"{name}_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.nii.gz"),
        np.rint(displacement * 100.0).astype(np.int16),
        grid.affine,
        orientation=orientation,
        slope=0.01,
        vector=True,
    )
    inside = sample(template_fields().brain, template_mm)[1] > 0.5
    return best_affine(world[:, inside], template_mm[:, inside])


def _coarser(grid: Grid, spacing_mm: float) -> Grid:
    """The same box and axes with another isotropic spacing."""
    edges = grid.voxel_mm * np.array(grid.shape)
    counts = np.ceil(edges / spacing_mm).astype(int)
    axes = grid.affine[:3, :3] / grid.voxel_mm
    corner = grid.affine[:3, 3] - 0.5 * grid.affine[:3, :3].sum(axis=1)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    affine[:3, 3] = corner + 0.5 * spacing_mm * axes.sum(axis=1)
    return Grid((int(counts[0]), int(counts[1]), int(counts[2])), affine)
