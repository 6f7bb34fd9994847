"""The folder of a run: one configuration for all its life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mri2pet.config import Config, parse_config
from mri2pet.descriptions import read_description, write_description
from mri2pet.errors import UsageError
from mri2pet.files import is_leftover

CONFIG = "config.json"

#: Settings that change the time and not the result, but for rounding: a resumed run may have
#: others.
FREE = {("data", "jobs"), ("data", "ray"), ("data", "loaders"), ("training", "micro_batch")}
#: What a baseline learns by, norms and pairs of volumes, is of a micro-batch.
FIXED_BY_A_BASELINE = {("training", "micro_batch")}


def stored_config(run: Path) -> Config | None:
    """The configuration of the run in this folder; None when there is none yet."""
    path = run / CONFIG
    return parse_config(read_description(path, hashed=False)) if path.exists() else None


def open_run(run: Path, config: Config) -> None:
    """Writes the configuration of a new run, or checks that of an old one.

    Raises:
        UsageError: the folder holds a run of other settings, or something else.
        ModelError: the run's configuration was cut or changed.
    """
    path = run / CONFIG
    tree = config.model_dump(mode="json")
    stored = stored_config(run)
    if stored is not None:
        different = _differences(stored.model_dump(mode="json"), tree)
        if different:
            raise UsageError(
                f"{run} holds a run with other settings ({', '.join(different)}); "
                "give the same settings to go on with it, or another folder"
            )
        return
    if run.exists() and any(not is_leftover(path) for path in run.iterdir()):
        raise UsageError(f"{run} is not empty and holds no run; choose another folder")
    run.mkdir(parents=True, exist_ok=True)
    write_description(path, tree)


def _differences(stored: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Names of the settings that differ and change the result; jobs do not."""
    free = FREE - (FIXED_BY_A_BASELINE if given["training"]["baseline"] != "none" else set())
    return [
        f"{section}.{key}: {stored.get(section, {}).get(key)} → {value}"
        for section, values in given.items()
        for key, value in values.items()
        if stored.get(section, {}).get(key) != value and (section, key) not in free
    ]
