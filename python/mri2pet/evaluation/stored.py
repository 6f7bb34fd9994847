"""What an evaluation left on disk, read again: figures of its scans and features of its slices."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.evaluation.settings import FORMAT, SETTINGS


@dataclass(frozen=True)
class Stored:
    """An evaluation.

    Attributes:
        out: its folder.
        settings: as in settings.json.
        records: row → its figures, as `evaluate_row` writes them.

    The methods raise InputError where a file is damaged.
    """

    out: Path
    settings: dict[str, Any]
    records: dict[str, dict[str, Any]]

    def as_paper(self, row: str) -> dict[str, dict[str, float]] | None:
        """Method → figures as the paper's authors compute them, or None where there are none."""
        path = as_paper_path(self.out, row)
        return _json(path) if path.is_file() else None

    def networks(self) -> dict[str, dict[str, Any]]:
        """Name of a features folder → its description."""
        return {
            path.parent.name: _json(path)
            for path in sorted(self.out.glob("features/*/features.json"))
        }

    def features(self, network: str, kind: str, row: str) -> np.ndarray | None:
        """float32 [slices, 2048], or None where they were not computed."""
        path = self.out / "features" / network / kind / f"{row}.npy"
        if not path.is_file():
            return None
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError):
            raise _damaged(path) from None


@dataclass(frozen=True)
class StoredMethod:
    """One method of an evaluation: a row of a table.

    Attributes:
        name: as the table prints it.
        method: one of `methods.METHODS`.
        ablation: or baseline of the model, where this is what a paper's row is about.
    """

    name: str
    stored: Stored
    method: str
    ablation: str | None = None

    def figures(self, rows: list[str]) -> dict[str, list[float]]:
        """Values of each scan: ssim, psnr, mae, suvr, measured, suvr_error."""
        records = [self.stored.records[row] for row in rows]
        found = [record["methods"][self.method] for record in records]
        values = {key: [f[key] for f in found] for key in ("ssim", "psnr", "mae")}
        values["suvr"] = [f["cortical_suvr"] for f in found]
        values["measured"] = [record["measured_cortical_suvr"] for record in records]
        pairs = zip(values["suvr"], values["measured"], strict=True)
        values["suvr_error"] = [abs(a - b) for a, b in pairs]
        return values


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text())
    except (OSError, ValueError):
        tree = None
    if not isinstance(tree, dict):
        raise _damaged(path)
    return tree


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: is damaged; remove it and run the same mri2pet evaluate again.")


def as_paper_path(out: Path, row: str) -> Path:
    """Where the figures of a row as in the paper are."""
    return out / "as_paper" / f"{row}.json"


def read_evaluation(out: str | Path, rows: Collection[str] | None = None) -> Stored:
    """An evaluation folder.

    Args:
        rows: of these scans alone; None for all that are done.

    Raises:
        InputError: it holds none, one of another format, or a damaged file.
    """
    out = Path(out)
    try:
        settings = json.loads((out / SETTINGS).read_text())
        if settings.get("format") != FORMAT:
            raise InputError(
                f"{out}: was written by another version of mri2pet; evaluate again into another "
                "folder."
            )
        records = [json.loads(path.read_text()) for path in sorted(out.glob("subjects/*.json"))]
        found = {r["row"]: r for r in records if rows is None or r["row"] in rows}
    except FileNotFoundError:
        raise InputError(f"{out}: holds no evaluation; make one by mri2pet evaluate.") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{out}: cannot be read ({error}); evaluate again.") from None
    if not found:
        raise InputError(f"{out}: not one scan is done; let mri2pet evaluate come to its end.")
    return Stored(out, settings, found)
