"""From a result and the series it comes from to a flat folder of DICOM instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from mri2pet.dicom.source import Source
    from mri2pet.dicom.uids import Identity
    from mri2pet.imaging.files.reading import T1Image
    from mri2pet.imaging.space.volume import Volume

GRID_TOLERANCE_MM = 0.05


@dataclass(frozen=True)
class DicomChoices:
    """What is written beside the PET.

    Raises:
        UsageError: a report of another kind.
    """

    report: str = "pdf"
    std: bool = False
    overlay: bool = False

    def __post_init__(self) -> None:
        from mri2pet.dicom.report import KINDS

        if self.report not in KINDS:
            raise UsageError(f"--report {self.report}: choose one of {', '.join(KINDS)}")


def expected_files(
    source: Source, identity: Identity, choices: DicomChoices, samples: int
) -> list[str]:
    """The names of all instances, before there is anything to write."""
    from mri2pet.dicom.write import names

    count = len(source.frames)
    kinds = {"pet": count, "sd": count if has_sd(choices, samples) else 0}
    if choices.report != "none":
        kinds[choices.report] = 1
    return [name for kind, number in kinds.items() for name in names(identity, kind, number)]


def has_sd(choices: DicomChoices, samples: int) -> bool:
    """Whether the spread is written; a single sample has none."""
    return choices.std and samples > 1


def write_files(
    out: Path,
    t1: T1Image,
    source: Source,
    identity: Identity,
    pet: Volume,
    std: Volume | None,
    sidecar: Mapping[str, Any],
    choices: DicomChoices,
) -> list[Path]:
    """Writes all instances, or none.

    Args:
        out: the folder, which is there.
        pet, std: on the grid of the series, whatever the order and direction of their axes.

    Raises:
        InputError: the PET lies elsewhere than the series, or holds no numbers.
        Mri2petError: the files cannot be written.
    """
    from mri2pet.dicom.write import pet_files, sd_files
    from mri2pet.synthesis.outputs import write_together

    values = on_slices(pet, source)
    files = pet_files(source, values, sidecar, identity, overlay=choices.overlay)
    if std is not None and has_sd(choices, sidecar["settings"]["samples"]):
        spread = on_slices(std, source)
        files |= sd_files(source, spread, sidecar, identity, overlay=choices.overlay)
    files |= _report_file(t1, source, identity, values, sidecar, choices)
    write_together({out / name: write for name, write in files.items()})
    return [out / name for name in files]


def _report_file(
    t1: T1Image,
    source: Source,
    identity: Identity,
    values: np.ndarray,
    sidecar: Mapping[str, Any],
    choices: DicomChoices,
) -> dict[str, Any]:
    if choices.report == "none":
        return {}
    from mri2pet.dicom.report import pdf_file, sc_file
    from mri2pet.report.paper import as_pdf, as_picture, paper_page

    page = paper_page(t1.volume, values, sidecar, source.warnings)
    version = sidecar["versions"]["mri2pet"]
    if choices.report == "pdf":
        return pdf_file(source, as_pdf(page), identity, version)
    return sc_file(source, as_picture(page), identity, version)


def on_slices(pet: Volume, source: Source) -> np.ndarray:
    """Its values [column, row, slice], float32, in the order of the source's slices.

    Raises:
        InputError: its voxels are not those of the series.
    """
    import numpy as np

    shape = (source.columns, source.rows, len(source.frames))
    turned = np.linalg.inv(source.affine) @ pet.affine
    steps = np.rint(turned[:3, :3])
    is_turn = (np.abs(steps).sum(axis=0) == 1).all() and (np.abs(steps).sum(axis=1) == 1).all()
    values = np.asarray(pet.data, dtype=np.float32)
    if not is_turn:
        raise _elsewhere(values.shape, shape)
    order = [int(np.flatnonzero(steps[axis])[0]) for axis in range(3)]
    values = values.transpose(order)
    if values.shape != shape:
        raise _elsewhere(values.shape, shape)
    backwards = [axis for axis in range(3) if steps[axis, order[axis]] < 0]
    placed = np.eye(4)
    placed[:3, :3] = steps
    placed[backwards, 3] = [shape[axis] - 1 for axis in backwards]
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in pet.shape], (1,))).reshape(4, -1)
    apart = pet.affine @ ends - source.affine @ placed @ ends
    worst = float(np.linalg.norm(apart[:3], axis=0).max())
    if worst > GRID_TOLERANCE_MM:
        raise InputError(
            f"the PET: its corners lie up to {worst:.2f} mm from those of the series; give the "
            "series that it was synthesised from."
        )
    return np.flip(values, backwards)


def _elsewhere(found: tuple[int, ...], wanted: tuple[int, ...]) -> InputError:
    return InputError(
        f"the PET: has {' x '.join(map(str, found))} voxels where the series has "
        f"{' x '.join(map(str, wanted))}, or its axes run elsewhere; give the series that it was "
        "synthesised from."
    )
