"""One subject from its image to its files: read, prepare, sample, measure, report, write."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from mri2pet.synthesis.drawing import Drawer
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.observer import Observer, stage
from mri2pet.synthesis.options import SynthesisOptions
from mri2pet.synthesis.outputs import (
    Layout,
    OutputPaths,
    Writer,
    find_done,
    packed_image,
    packed_writer,
    text_writer,
    write_together,
)
from mri2pet.synthesis.result import SynthesisResult

if TYPE_CHECKING:
    import nibabel

    from mri2pet.imaging.pipeline import Preprocessed, T1Image
    from mri2pet.quantification import Quantification
    from mri2pet.quantification.table import Measured
    from mri2pet.synthesis.pet import SyntheticPet
    from mri2pet.uncertainty.results import ResultUncertainty


@dataclass(frozen=True)
class SubjectRunner:
    """What all subjects of a run share."""

    model: Drawer
    options: SynthesisOptions
    settings: dict[str, Any]
    uncertainty: ResultUncertainty
    out: Path | None
    observer: Observer
    what: Quantification | None = None
    layout: Layout = OutputPaths.of

    def run(self, subject: SubjectInput, reading: Future[T1Image] | None = None) -> SynthesisResult:
        """Synthesise one subject, or return its finished result of an earlier run.

        Args:
            reading: the image's, where it was begun before.

        Raises:
            Mri2petError: the image cannot be used, or the results cannot be written.
        """
        from mri2pet.imaging.brain import ready
        from mri2pet.imaging.pipeline import preprocess
        from mri2pet.synthesis.pet import synthetic_pet

        seconds: dict[str, float] = {}
        ready.begin()
        with stage("read", seconds, self.observer):
            t1 = reading.result() if reading else subject.read(assume_ras=self.options.assume_ras)
        image = {"file": subject.name, "place": _place_of(subject), "sha256": t1.sha256}
        paths = self.layout(self.out, subject.stem) if self.out is not None else None
        if paths is not None:
            done = find_done(paths, image, self.model.sha256, self.settings)
            if done is not None and not self.options.overwrite:
                return from_files(subject.label, "skipped", paths, done)

        def on_stage(name: str, taken: float | None) -> None:
            if taken is not None:
                seconds[name] = taken
            self.observer.stage(name, taken)

        prepared = preprocess(
            t1,
            mri_shape=self.model.mri_shape,
            pet_shape=self.model.pet_shape,
            brain_mask=self.options.brain_mask,
            skull_stripped=self.options.skull_stripped,
            assume_ras=self.options.assume_ras,
            extractor=self.options.extractor,
            on_stage=on_stage,
        )
        number = int(t1.sha256[:16], 16)
        pet = synthetic_pet(
            prepared, self.model.draw, number, self.uncertainty, self.observer, self.what
        )
        seconds.update(pet.seconds)
        return self._finish(subject, image, prepared, pet, seconds, paths)

    def _finish(
        self,
        subject: SubjectInput,
        image: dict[str, str],
        prepared: Preprocessed,
        pet: SyntheticPet,
        seconds: dict[str, float],
        paths: OutputPaths | None,
    ) -> SynthesisResult:
        from mri2pet.imaging.suvr.reference import recorded_reference
        from mri2pet.synthesis.pet import doubts
        from mri2pet.synthesis.sidecar import make_sidecar

        reference = recorded_reference(self.model.provenance)
        person = self._person(subject.stem, pet)
        sidecar = make_sidecar(
            image=image,
            model=self.model,
            settings=self.settings,
            measurements=pet.measurements,
            checks={k: v for k, v in prepared.checks.items() if k != "seconds"},
            warnings=[*prepared.warnings, *doubts(pet.measurements, reference)],
            seconds=seconds,
            outputs=_output_names(paths, pet) if paths is not None else {},
            template_from_subject=prepared.record.template_from_subject,
            uri=subject.uri,
            quantification=self._quantified(person),
        )
        images = _images(prepared, pet)
        with ThreadPoolExecutor(2) as pool:
            # zlib packs outside the interpreter lock while the report is drawn.
            wanted = images if paths is not None else {}
            packed = {name: pool.submit(packed_image, image) for name, image in wanted.items()}
            with stage("report", seconds, self.observer):
                page = _report(subject.stem, prepared, pet, sidecar, self._threshold())
            sidecar["seconds"]["report"] = round(seconds["report"], 3)
            if paths is None:
                return SynthesisResult(
                    subject.label, "done", images["pet"], images.get("std"), sidecar, page
                )
            with stage("write", seconds, self.observer):
                _write(paths, packed, page, sidecar, subject.uri, self._table(person))
        return from_files(subject.label, "done", paths, sidecar)

    def _person(self, stem: str, pet: SyntheticPet) -> Measured | None:
        if self.what is None or pet.regions is None:
            return None
        from mri2pet.quantification.inputs import person_of

        return self.uncertainty.quantified(*person_of(Path(stem)), pet.regions, self.what)

    def _quantified(self, person: Measured | None) -> dict[str, Any] | None:
        if self.what is None or person is None:
            return None
        from mri2pet.quantification.table import for_sidecar

        return for_sidecar(person, self.what)

    def _threshold(self) -> tuple[str, float] | None:
        if self.what is None or self.what.threshold is None:
            return None
        return self.what.threshold.name, self.what.threshold.suvr

    def _table(self, person: Measured | None) -> str | None:
        if self.what is None or person is None:
            return None
        from mri2pet.quantification.table import table

        return table([person], self.what)


def _write(
    paths: OutputPaths,
    packed: dict[str, Future[bytes]],
    page: str,
    sidecar: dict[str, Any],
    uri: str | None,
    regions: str | None,
) -> None:
    """Write all files; the sidecar comes last and says how long the others took."""
    start = time.perf_counter()

    def finish(stream: BinaryIO) -> None:
        sidecar["seconds"]["write"] = round(time.perf_counter() - start, 3)
        stream.write((json.dumps(sidecar, indent=2) + "\n").encode())

    write_together(
        {
            **{getattr(paths, name): packed_writer(image) for name, image in packed.items()},
            paths.report: text_writer(page),
            **({} if regions is None else {paths.regions: text_writer(regions)}),
            **_beside_the_spread(paths, packed, sidecar, uri),
            paths.sidecar: finish,
        }
    )
    if "std" not in packed:
        paths.std.unlink(missing_ok=True)
        if paths.std_sidecar is not None:
            paths.std_sidecar.unlink(missing_ok=True)
    if regions is None:
        paths.regions.unlink(missing_ok=True)


def _beside_the_spread(
    paths: OutputPaths, packed: dict[str, Future[bytes]], sidecar: dict[str, Any], uri: str | None
) -> dict[Path, Writer]:
    from mri2pet.synthesis.sidecar import std_sidecar

    if paths.std_sidecar is None or "std" not in packed:
        return {}
    return {paths.std_sidecar: text_writer(json.dumps(std_sidecar(sidecar, uri), indent=2) + "\n")}


def _place_of(subject: SubjectInput) -> str:
    """Tells two files of one name apart without saying where they lie."""
    in_file = isinstance(subject.source, Path)
    path = str(subject.source.resolve()) if in_file else subject.stem
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _output_names(paths: OutputPaths, pet: SyntheticPet) -> dict[str, str]:
    there = {"std": pet.std is not None, "regions": pet.regions is not None}
    names = ["pet", "report", *(name for name, is_there in there.items() if is_there)]
    return {name: getattr(paths, name).name for name in names}


def _images(prepared: Preprocessed, pet: SyntheticPet) -> dict[str, nibabel.Nifti1Image]:
    from mri2pet.synthesis.pet import pet_image

    images = {"pet": pet_image(prepared, pet.mean)}
    if pet.std is not None:
        images["std"] = pet_image(prepared, pet.std)
    return images


def _report(
    stem: str,
    prepared: Preprocessed,
    pet: SyntheticPet,
    sidecar: dict[str, Any],
    threshold: tuple[str, float] | None,
) -> str:
    from mri2pet.report import ReportInput, make_report

    return make_report(
        ReportInput(
            title=stem,
            t1=prepared.t1.volume,
            brain_mask=prepared.brain_mask,
            pet=pet.mean,
            std=pet.std,
            template_from_subject=prepared.record.template_from_subject,
            sidecar=sidecar,
            threshold=threshold,
        )
    )


def from_files(
    label: str, status: Literal["done", "skipped"], paths: OutputPaths, sidecar: dict[str, Any]
) -> SynthesisResult:
    """The result of a subject whose images stay on the disk until they are used."""
    import nibabel

    has_std = "std" in sidecar["outputs"]
    return SynthesisResult(
        label,
        status,
        nibabel.Nifti1Image.from_filename(paths.pet),
        nibabel.Nifti1Image.from_filename(paths.std) if has_std else None,
        sidecar,
        paths=paths,
    )
