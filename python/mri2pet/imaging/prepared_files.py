"""`preprocess_files`: a subject in model space, written to a folder.

mri.npy          float32 [K, I, J] in [0, 1]
brain.npy        float32 [K, I, J] on the PET grid, the fraction of each voxel that is brain
pet.npy          float32 [K, I, J], SUVR (or 0 to 1 for `minmax`), with a PET only
record.json      the way back to the T1's grid (`SpaceRecord`)
pet_suvr.nii.gz  the static PET on its own grid, SUVR; pet_suvr.json says how it was made
pet_motion.tsv   motion of every frame, mm and degrees, for a dynamic PET
preprocess.json  inputs, checks, settings; written last
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import Mri2petError
from mri2pet.imaging.files.reading import T1Image
from mri2pet.imaging.pet.frame_times import read_sidecar
from mri2pet.imaging.pet.frames import FrameMotion, read_pet
from mri2pet.imaging.pet.prepare import OnStage, PreparedPet, prepare_pet
from mri2pet.imaging.pipeline import Preprocessed, preprocess
from mri2pet.imaging.space.model_space import mask_to_model_space
from mri2pet.imaging.suvr.reference import CEREBELLUM, MINMAX, Reference

Shape = tuple[int, int, int]
SUVR_FILES = ("pet_suvr.nii.gz", "pet_suvr.json")


def preprocess_files(
    t1: Path | str | T1Image,
    out: Path | str,
    *,
    mri_shape: Shape,
    pet_shape: Shape,
    pet: Path | str | None = None,
    reference: Path | str = CEREBELLUM,
    degrees_of_freedom: int = 12,
    brain_mask: Path | str | None = None,
    skull_stripped: bool = False,
    assume_ras: bool = False,
    extractor: str = "auto",
    on_stage: OnStage | None = None,
) -> dict[str, Any]:
    """Bring a T1, and a PET of the same person, to model space and write both.

    Args:
        t1: file, or what was read of DICOM.
        mri_shape: (K, I, J).
        pet_shape: (K, I, J).
        pet: of one or several frames.
        reference: `cerebellum`, `minmax` or a VOI file in template space, see `Reference.of`.
        degrees_of_freedom: as in `pet.prepare_pet`.
        brain_mask, skull_stripped, assume_ras, extractor, on_stage: as in
            `pipeline.preprocess`.

    Returns:
        The content of `preprocess.json`.

    Raises:
        InputError: an image that cannot be used. UsageError: contradictory options.
        Mri2petError: the folder cannot be written.
    """
    scale = Reference.of(reference)
    series = None if pet is None else read_pet(pet, assume_ras=assume_ras)
    done = preprocess(
        t1,
        mri_shape=mri_shape,
        pet_shape=pet_shape,
        brain_mask=brain_mask,
        skull_stripped=skull_stripped,
        assume_ras=assume_ras,
        extractor=extractor,
        on_stage=on_stage,
    )
    from_t1 = done.record.template_from_subject
    volume = done.t1.volume
    brain = mask_to_model_space(done.brain_mask, volume.affine, from_t1, pet_shape)
    prepared = None
    if series is not None:
        prepared = prepare_pet(
            series,
            volume,
            done.brain_mask,
            from_t1,
            brain,
            pet_shape,
            reference=scale,
            degrees_of_freedom=degrees_of_freedom,
            on_stage=on_stage,
        )
    try:
        return _write(Path(out), done, brain, prepared, {} if pet is None else _origin(pet))
    except OSError as error:
        raise Mri2petError(f"{out}: cannot be written ({error.strerror}).") from error


def _write(
    out: Path,
    done: Preprocessed,
    brain: np.ndarray,
    pet: PreparedPet | None,
    origin: dict[str, Any],
) -> dict[str, Any]:
    import nibabel

    from mri2pet.files import written_whole
    from mri2pet.tables import write_tsv

    out.mkdir(parents=True, exist_ok=True)
    summary = {
        "t1": Path(done.t1.name).name,
        "t1_sha256": done.t1.sha256,
        "pet": None,
        **origin,
        "mri_shape": list(done.mri.shape),
        "pet_shape": list(brain.shape),
        "template_from_t1": done.record.template_from_subject.tolist(),
        "checks": done.checks,
        "warnings": done.warnings,
        **(pet.details() if pet is not None else {}),
    }
    arrays = {"mri": done.mri, "brain": brain} | ({"pet": pet.kij} if pet is not None else {})
    for name, array in arrays.items():
        with written_whole(out / f"{name}.npy") as part, part.open("wb") as file:
            np.save(file, np.ascontiguousarray(array, dtype=np.float32))
    with written_whole(out / "record.json") as part:
        part.write_text(done.record.to_json() + "\n")
    if pet is None or pet.reference.key == MINMAX:
        for name in SUVR_FILES:
            (out / name).unlink(missing_ok=True)
    else:
        image = nibabel.Nifti1Image(pet.volume.data, pet.volume.affine)
        image.header.set_xyzt_units("mm")
        image.header["intent_name"] = b"SUVR"
        with written_whole(out / SUVR_FILES[0]) as part:
            part.write_bytes(_gzipped(image))
        sidecar = {"Sources": [origin["pet"]], "Units": "SUVR", **pet.details()}
        with written_whole(out / SUVR_FILES[1]) as part:
            part.write_text(json.dumps(sidecar, indent=2) + "\n")
    if pet is not None and pet.motion:
        write_tsv(out / "pet_motion.tsv", _MOTION_COLUMNS, map(_motion_row, pet.motion))
    with written_whole(out / "preprocess.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _origin(pet: Path | str) -> dict[str, Any]:
    """Which PET it was, and whether its sidecar says that no person was scanned."""
    simulated = bool((read_sidecar(pet) or {}).get("Simulated", False))
    return {"pet": Path(pet).name, "pet_simulated": simulated}


_MOTION_COLUMNS = (
    "frame",
    *(f"translation_{axis}_mm" for axis in "xyz"),
    *(f"rotation_{axis}_deg" for axis in "xyz"),
    "displacement_mm",
)


def _motion_row(motion: FrameMotion) -> dict[str, Any]:
    figures = (*motion.translation_mm, *motion.rotation_deg, motion.displacement_mm)
    values = [motion.frame, *(round(v, 3) for v in figures)]
    return dict(zip(_MOTION_COLUMNS, values, strict=True))


def _gzipped(image: Any) -> bytes:
    import gzip

    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
