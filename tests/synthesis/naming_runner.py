"""A runner for the tests of workers; they import it, so it has a module of its own."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import nibabel
import numpy as np

from mri2pet.errors import InputError, ProcessLost
from mri2pet.synthesis.inputs import SubjectInput
from mri2pet.synthesis.result import SynthesisResult
from mri2pet.synthesis.subject import SubjectRunner


@dataclass(frozen=True)
class Runner(SubjectRunner):
    """Does to a subject what its name says, and writes who drew for it."""

    def run(self, subject: SubjectInput, reading: object = None) -> SynthesisResult:
        assert self.out is not None
        paths = self.layout(self.out, subject.stem)
        begun = self.out / f"{subject.stem}-begun"
        again = begun.exists()
        begun.touch()
        if subject.stem.startswith("always-killed") or (
            subject.stem.startswith("killed") and not again
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        if subject.stem.startswith("lost") and not again:
            raise ProcessLost("ANTs' process ended without an answer")
        if subject.stem.startswith("refused"):
            raise InputError(f"{subject.stem}: is no head")
        number = int(subject.stem[-1])
        samples = self.model.draw(np.full((1, 2, 3), number, np.float32), number, None)
        paths.folder.mkdir()
        nibabel.save(nibabel.Nifti1Image(samples[0], np.eye(4)), paths.pet)
        sidecar = {"outputs": {}, "drawn_by": int(samples[1, 0, 0, 0]), "pid": os.getpid()}
        return SynthesisResult(subject.label, "done", sidecar=sidecar)
