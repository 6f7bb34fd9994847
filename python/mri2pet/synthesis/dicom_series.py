"""A T1 series in DICOM in, the synthetic PET beside it out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mri2pet import __version__
from mri2pet.errors import InputError
from mri2pet.synthesis.dicom_files import (
    DicomChoices,
    expected_files,
    write_files,
)
from mri2pet.synthesis.observer import Observer
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import OutputPaths, check_output_folder, remove_if_empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    import nibabel

    from mri2pet.dicom.source import DicomT1
    from mri2pet.engines.choose import Named
    from mri2pet.imaging.files.reading import T1Image
    from mri2pet.imaging.space.volume import Volume
    from mri2pet.synthesis.result import SynthesisResult
    from mri2pet.synthesis.subject import SubjectRunner


T1_NAME = "the T1 series"  # what messages call it: no path, nothing of a header


@dataclass(frozen=True)
class DicomResult:
    """What was written.

    Attributes:
        status: `done`, or `skipped` where all files of the same result were there.
        took: the sentence on which series was taken and why not the others.
        files: the instances, by series.
        sidecar: the numbers and the provenance; None when skipped without a NIfTI result.
    """

    status: Literal["done", "skipped"]
    took: str
    files: list[Path]
    sidecar: dict[str, Any] | None


def synthesize_series(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    series: int | None = None,
    acquisition: str | None = None,
    echo: str | None = None,
    report: str = "pdf",
    std: bool = False,
    nifti: bool = False,
    overlay: bool = False,
    model: Named | Sequence[Named] = "demo",
    samples: int = 4,
    sampler: str = "dpmpp",
    steps: int = 25,
    seed: int = 0,
    device: str = "auto",
    engine: str = "auto",
    precision: str | None = None,
    skull_stripped: bool = False,
    brain_mask: str | os.PathLike[str] | None = None,
    extractor: str = "auto",
    overwrite: bool = False,
    atlas: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    target: str | os.PathLike[str] | None = None,
    reference: str | os.PathLike[str] | None = None,
    centiloid: str | None = None,
    threshold: str | None = None,
    observer: Observer | None = None,
) -> DicomResult:
    """Synthetic PET instances in the study of a T1 series.

    Args:
        source: folder, zip or file with the series, or a study that holds it.
        out: folder for the instances, flat; what else lies in it stays.
        series: number of the series, where the choice is not to be left to the rules.
        acquisition, echo: of a series that holds several volumes.
        report: `pdf`, `sc` (Secondary Capture, for archives that take no PDF) or `none`.
        std: a second series with the standard deviation over the samples.
        nifti: also keep what `mri2pet.synthesize` writes, in a folder of `out`.
        overlay: SYNTHETIC in an overlay plane of every slice.
        observer: hears of the progress.

    The others are those of `mri2pet.synthesize`. The same series, model and settings give the same
    files to the byte, so what is there already is not made again.

    Raises:
        UsageError: an option makes no sense, or what reads DICOM is not installed.
        ModelError: the model is unknown or corrupted.
        InputError: the series cannot be used.
        Mri2petError: the files cannot be written.
    """
    choices = DicomChoices(report, std, overlay)
    options = SynthesisOptions(
        model=model,
        samples=samples,
        sampler=sampler,
        steps=steps,
        seed=seed,
        device=device,
        engine=engine,
        precision=precision,
        skull_stripped=skull_stripped,
        brain_mask=_path(brain_mask),
        extractor=extractor,
        overwrite=overwrite,
        atlas=_path(atlas),
        labels=_path(labels),
        target=_path(target),
        reference=_path(reference),
        centiloid=centiloid,
        threshold=threshold,
    )
    observer = observer or Observer()
    observer.run_started(1)
    read = _read(source, series, acquisition, echo)
    observer.note(read.source.took)
    made = check_output_folder(Path(out))
    try:
        return _synthesize(read, Path(out), options, choices, nifti, observer)
    finally:
        remove_if_empty(made)


def _path(name: str | os.PathLike[str] | None) -> Path | None:
    return None if name is None else Path(name)


def _read(
    source: str | os.PathLike[str], series: int | None, acquisition: str | None, echo: str | None
) -> DicomT1:
    from mri2pet.dicom.reading import read_t1_series

    return read_t1_series(Path(source), series=series, acquisition=acquisition, echo=echo)


def _synthesize(
    read: DicomT1,
    out: Path,
    options: SynthesisOptions,
    choices: DicomChoices,
    nifti: bool,
    observer: Observer,
) -> DicomResult:
    from mri2pet.dicom.reading import t1_of
    from mri2pet.dicom.uids import Identity
    from mri2pet.synthesis.run import make_runner

    t1, source = t1_of(read, T1_NAME, T1_NAME), read.source
    runner, _ = make_runner(options, out if nifti else None, observer, OutputPaths.of)
    identity = Identity.of(source, _facts(runner, t1, choices))
    files = [out / name for name in expected_files(source, identity, choices, options.samples)]
    there = not options.overwrite and all(file.is_file() for file in files)
    if there and not nifti:
        return DicomResult("skipped", source.took, files, None)
    result = _result(runner, t1, identity)
    sidecar = result.sidecar
    if there and result.status == "skipped":
        return DicomResult("skipped", source.took, files, sidecar)
    pet, spread = _volume(result.pet), _volume(result.std)
    assert pet is not None
    written = write_files(out, t1, source, identity, pet, spread, sidecar, choices)
    return DicomResult("done", source.took, written, sidecar)


def _volume(image: nibabel.Nifti1Image | None) -> Volume | None:
    from mri2pet.imaging.space.volume import Volume

    return None if image is None else Volume(image.get_fdata(dtype="float32"), image.affine, "SUVR")


def _facts(runner: SubjectRunner, t1: T1Image, choices: DicomChoices) -> dict[str, Any]:
    from mri2pet.dicom.uids import facts

    return facts(
        t1_sha256=t1.sha256,
        model_sha256=runner.model.sha256,
        settings=runner.settings,
        version=__version__,
        engine=runner.model.engine,
        device=runner.model.device,
        overlay=choices.overlay,
    )


def _result(runner: SubjectRunner, t1: T1Image, identity: Any) -> SynthesisResult:
    """The result, by a name that says nothing of the person."""
    from mri2pet.dicom.uids import file_name
    from mri2pet.synthesis.inputs import SubjectInput

    stem = file_name(identity.series("pet")).removesuffix(".dcm")
    return runner.run(SubjectInput(t1, stem))


def write_series(
    pet: str | os.PathLike[str],
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    series: int | None = None,
    acquisition: str | None = None,
    echo: str | None = None,
    report: str = "pdf",
    std: bool = False,
    overlay: bool = False,
) -> DicomResult:
    """The instances of a PET that `mri2pet.synthesize` wrote; arguments as of `synthesize_series`.

    Args:
        pet: the NIfTI image, with its sidecar beside it.
        source: the series that its T1 came from.

    Raises:
        UsageError: an option makes no sense, or what reads DICOM is not installed.
        InputError: no result of this program, or another series than its own.
        Mri2petError: the files cannot be written.
    """
    from mri2pet.dicom.reading import t1_of
    from mri2pet.dicom.uids import Identity, facts_of

    choices = DicomChoices(report, std, overlay)
    path = Path(pet)
    sidecar = _sidecar(path)
    image, spread = _read_result(path), None
    if std and "std" in sidecar["outputs"]:
        spread = _read_result(path.parent / sidecar["outputs"]["std"])
    read = _read(source, series, acquisition, echo)
    identity = Identity.of(read.source, facts_of(sidecar, overlay=overlay))
    made = check_output_folder(Path(out))
    try:
        t1 = t1_of(read, T1_NAME, T1_NAME)
        written = write_files(Path(out), t1, read.source, identity, image, spread, sidecar, choices)
    finally:
        remove_if_empty(made)
    return DicomResult("done", read.source.took, written, sidecar)


def _read_result(path: Path) -> Volume:
    """A PET or its spread, as it is stored."""
    from mri2pet.imaging.files.kinds import ImageKind
    from mri2pet.imaging.files.reading import read_image

    return read_image(path, ImageKind("a PET of `mri2pet synthesize`", as_stored=True)).volume()


def _sidecar(pet: Path) -> dict[str, Any]:
    """The sidecar beside a PET.

    Raises:
        InputError: there is none, or it is of something else.
    """
    from mri2pet.dicom.uids import facts_of

    path = pet.with_name(pet.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    try:
        sidecar = json.loads(path.read_text())
        facts_of(sidecar, overlay=False)
        is_ours = sidecar["synthetic"] is True and sidecar["outputs"]["pet"] == pet.name
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours or not pet.is_file():
        raise InputError(
            f"{pet}: is no PET of `mri2pet synthesize` with its sidecar {path.name} beside it; "
            "give the ..._desc-synthetic_pet.nii.gz in a folder of its results."
        )
    return sidecar
