"""What a synthesis returns for each input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mri2pet.errors import Mri2petError

if TYPE_CHECKING:
    import nibabel

    from mri2pet.synthesis.outputs import OutputPaths


@dataclass
class SynthesisResult:
    """One input's synthetic PET, or why there is none.

    Attributes:
        label: the input as it was named.
        status: `done`, `skipped` (an earlier result with the same settings holds) or `failed`.
        pet: mean of the samples in SUVR on the input's grid; None when failed. With an output
            folder this is the written file, read from the disk only where it is used.
        std: standard deviation over the samples, in SUVR; None for a single sample.
        sidecar: the numbers and the provenance, as in the JSON file.
        report: the HTML page; None with an output folder, where it is in `paths.report`.
        paths: the written files; None when no output folder was given.
        error: what went wrong when failed.
    """

    label: str
    status: Literal["done", "skipped", "failed"]
    pet: nibabel.Nifti1Image | None = None
    std: nibabel.Nifti1Image | None = None
    sidecar: dict[str, Any] = field(default_factory=dict)
    report: str | None = None
    paths: OutputPaths | None = None
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Why it failed, in one line; a fault of the program is named as such."""
        if self.error is None or isinstance(self.error, Mri2petError):
            return str(self.error or "")
        return f"internal error ({type(self.error).__name__}): {self.error}"
