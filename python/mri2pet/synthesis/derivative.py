"""The files at the top of a BIDS derivative of synthetic PETs, and of failures in its logs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mri2pet import WARNING, __version__
from mri2pet.errors import Mri2petError
from mri2pet.files import write_atomically
from mri2pet.synthesis.inputs import DATASET_DESCRIPTION, RAW_DATASET

BIDS_VERSION = "1.10.0"
LOGS = "logs"
IGNORED = ("*.html", "logs/", "*_regions.tsv", "group_measurements.*", "*failures.tsv")
"""What of the results BIDS does not know; the last is of `mri2pet synthesize`."""


def write_dataset_files(out: Path, data: Path) -> None:
    """`dataset_description.json`, `README` and `.bidsignore`, where they are missing or differ.

    Args:
        out: the derivative's folder, which is there.
        data: the raw dataset, whose name and place (relative to `out`) are noted.

    Raises:
        Mri2petError: they cannot be written.
    """
    link = Path(os.path.relpath(data.resolve(), out.resolve())).as_posix()
    description = {
        "Name": "Synthetic AV45 PET by mri2pet",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "mri2pet",
                "Version": __version__,
                "Description": "A diffusion model draws PETs from T1-weighted MRIs.",
            }
        ],
        "SourceDatasets": [_source(data, link)],
        "DatasetLinks": {RAW_DATASET: link},
    }
    readme = (
        f"Synthetic AV45 (amyloid) PET volumes, drawn by mri2pet from T1-weighted MRIs.\n\n"
        f"{WARNING}\n\n"
        "The image of a person is the mean of several volumes drawn from the MRI, in SUVR on the\n"
        "MRI's own grid, at the level of amyloid that the model expects where it knows one (see\n"
        "`settings` in the sidecar); ...std_pet is the standard deviation of the volumes, and no\n"
        "error bar.\n"
    )
    files = {
        DATASET_DESCRIPTION: json.dumps(description, indent=2) + "\n",
        "README": readme,
        ".bidsignore": "".join(f"{pattern}\n" for pattern in IGNORED),
    }
    for name, text in files.items():
        path = out / name
        try:
            if not path.is_file() or path.read_bytes() != text.encode():
                write_atomically(path, text.encode())
        except OSError as error:
            raise Mri2petError(
                f"{path}: cannot be written ({error.strerror or error}); choose another folder"
            ) from None


def _source(data: Path, link: str) -> dict[str, str]:
    """The raw dataset as it names itself, or by the way to it."""
    try:
        described = json.loads((data / DATASET_DESCRIPTION).read_text())
        return {"DOI": str(described["DatasetDOI"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"URL": link}


def failure_path(out: Path, stem: str) -> Path:
    """Where the reason of a failed person lies, until a later run of that person goes well."""
    return out / LOGS / f"{stem}_failure.txt"


def note_failure(out: Path, stem: str, reason: str | None) -> None:
    """Keeps the reason why a person failed; None removes that of an earlier run."""
    path = failure_path(out, stem)
    if reason is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, f"{' '.join(reason.split())}\n".encode())
