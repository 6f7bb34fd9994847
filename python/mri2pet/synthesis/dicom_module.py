"""One call inside a container of somebody else's pipeline: mercure, MONAI Deploy and their like."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri2pet.errors import InputError, UsageError
from mri2pet.synthesis.dicom_series import DicomResult, synthesize_series

if TYPE_CHECKING:
    from mri2pet.synthesis.observer import Observer

FOLDERS = (
    ("MERCURE_IN_DIR", "MERCURE_OUT_DIR"),
    ("HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"),
)
"""Environment variables that name the folders; the first pair that is there counts."""
TASK = "task.json"


def run_module(environment: Mapping[str, str], observer: Observer | None = None) -> DicomResult:
    """Synthesise what lies in the host's input folder into its output folder.

    Settings are the arguments of `synthesize_series`, from `process.settings` of a `task.json` in
    the input folder.

    Raises:
        UsageError: no folders are named, or a setting is unknown or of the wrong kind.
        Others: as `synthesize_series`.
    """
    source, out = _folders(environment)
    return synthesize_series(source, out, observer=observer, **settings_of(source))


def _folders(environment: Mapping[str, str]) -> tuple[Path, Path]:
    for names in FOLDERS:
        given = [environment.get(name, "") for name in names]
        if all(given):
            return Path(given[0]), Path(given[1])
        if any(given):
            missing = names[given.index("")]
            raise UsageError(f"the environment has no {missing}; the host has to set both folders")
    pairs = ", or ".join(" and ".join(names) for names in FOLDERS)
    raise UsageError(f"the environment names no folders: set {pairs}")


def settings_of(source: Path) -> dict[str, Any]:
    """`process.settings` of the task, checked; empty where there is no task.

    Raises:
        InputError: the task is not as mercure writes it.
        UsageError: what `checked_settings` raises.
    """
    path = source / TASK
    if not path.is_file():
        return {}
    try:
        process = json.loads(path.read_text()).get("process") or {}
        settings = process.get("settings") or {}
    except (OSError, ValueError, AttributeError):
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"{TASK}: its process.settings are no settings of one module.")
    return checked_settings(settings, TASK)


def checked_settings(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The same, all of them arguments of `synthesize_series` with values of their kind.

    Raises:
        UsageError: with the setting, and with `where` it stands.
    """
    kinds = _kinds()
    for name, value in settings.items():
        if name not in kinds:
            raise UsageError(f"{where}: unknown setting {name!r}; known are {', '.join(kinds)}")
        if type(value) not in kinds[name] and not _is_names(name, value):
            wanted = " or ".join(kind.__name__ for kind in kinds[name] if kind is not type(None))
            raise UsageError(f"{where}: {name} takes {wanted}, not {value!r}")
    return dict(settings)


def _kinds() -> dict[str, tuple[type, ...]]:
    """What JSON may hold for each argument: bool, int, str or null."""
    kinds: dict[str, tuple[type, ...]] = {}
    for name, parameter in inspect.signature(synthesize_series).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "observer":
            words = str(parameter.annotation)
            plain = {"bool": bool, "int": int}.get(words.split(" |")[0], str)
            kinds[name] = (plain, type(None)) if "None" in words else (plain,)
    return kinds


def _is_names(name: str, value: Any) -> bool:
    """Several models of an ensemble."""
    return name == "model" and isinstance(value, list) and all(isinstance(m, str) for m in value)
