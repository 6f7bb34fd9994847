"""An export on disk: `encoder.onnx`, `denoiser.onnx`, `biases.safetensors`, `manifest.json`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from mri2pet.config import ModelConfig, parse_config
from mri2pet.descriptions import read_description, write_description
from mri2pet.errors import ModelError, UsageError

FORMAT = 4
MANIFEST = "manifest.json"
ENCODER, DENOISER, BIASES = "encoder.onnx", "denoiser.onnx", "biases.safetensors"
FILES = (ENCODER, DENOISER, BIASES)
# Arrays in BIASES beside "weight", "bias" and "linear": attributes of a linear denoiser, by which
# an MRI predicts a PET, and by which that makes one expected.
PREDICTION = ("mean", "directions", "regression", "offsets")
EXPECTATION = ("mean", "directions", "mixture")
LINEAR = (*PREDICTION, "mixture")
# Folder of TensorRT's plans, see `tensorrt_plans`.
PLANS = "tensorrt"


class _File(BaseModel):
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: int = 0


class _Manifest(BaseModel):
    """What `manifest.json` holds."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    format: int
    mri2pet: str
    name: str
    model: ModelConfig
    model_sha256: str
    pet_mean: FiniteFloat
    pet_std: Annotated[FiniteFloat, Field(gt=0)]
    steps: int
    opset: int
    precision: str
    batch: Annotated[int, Field(gt=0)]
    files: dict[str, _File]
    tolerances: dict[str, float]
    verification: list[dict[str, Any]]
    provenance: dict[str, Any]
    plans: list[dict[str, Any]] = []
    timing_caches: dict[str, Any] = {}

    @model_validator(mode="after")
    def _names_every_file(self) -> _Manifest:
        missing = [name for name in FILES if name not in self.files]
        if missing:
            raise ValueError(f"files: {', '.join(missing)} missing")
        return self


@dataclass(frozen=True)
class Export:
    """A checked export folder.

    Attributes:
        folder: where it lies.
        manifest: the JSON tree of `manifest.json`.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def config(self) -> ModelConfig:
        return parse_config({"model": self.manifest["model"]}).model

    @property
    def batch(self) -> int:
        return int(self.manifest["batch"])

    @property
    def precision(self) -> str:
        return str(self.manifest["precision"])

    def file(self, name: str) -> Path:
        return self.folder / name


def is_export(folder: str | Path) -> bool:
    """Whether a folder holds an export's manifest."""
    return (Path(folder) / MANIFEST).is_file()


def read_export(folder: str | Path) -> Export:
    """Reads an export and checks every file against the manifest's hashes.

    Raises:
        ModelError: no export, another format, or a file that is missing, cut or changed.
    """
    folder = Path(folder)
    if not is_export(folder):
        raise ModelError(
            f"{folder}: no export (there is no {MANIFEST}); make one with "
            "`mri2pet export MODEL -o DIR`"
        )
    try:
        manifest = read_description(folder / MANIFEST, hashed=False)
        if manifest.get("format") != FORMAT:
            raise ModelError(
                f"{folder}: export format {manifest.get('format')} is not format {FORMAT}; "
                "export the model again with this version of mri2pet"
            )
        manifest = read_description(folder / MANIFEST, _Manifest)
        export = Export(folder, manifest)
        _ = export.config
    except UsageError as error:
        raise ModelError(f"{folder / MANIFEST}: cannot be used ({error}); export again") from None
    hashes = {name: manifest["files"][name]["sha256"] for name in FILES}
    for name, expected in hashes.items():
        try:
            found = sha256_of(folder / name)
        except OSError as error:
            raise ModelError(f"{folder / name}: {error.strerror}; export again") from None
        if found != expected:
            raise ModelError(
                f"{folder / name}: not the file that was exported (its hash differs); export again"
            )
    return export


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest atomically; it is the mark of a complete export."""
    write_description(folder / MANIFEST, manifest)
