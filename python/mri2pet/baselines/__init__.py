"""The external methods that the paper compares with, one file each: this is the list of them."""

from __future__ import annotations

import importlib
from typing import cast

from mri2pet.baselines.base import Baseline
from mri2pet.config import Config
from mri2pet.errors import UsageError

#: Name → file. A new method is one file, which ends with `BASELINE = ...`, and one line here.
FILES = {
    "gan": "gan",
    "diffaugment": "diffaugment",
    "cdc": "cdc",
    "dcl": "dcl",
    "maskgan": "maskgan",
    "ddpm-pa": "ddpm_pa",
}


def find_baseline(name: str) -> Baseline:
    """The baseline of a name; its file is imported on use.

    Raises:
        UsageError: there is none.
    """
    if name == "vanilla":
        raise UsageError(
            "the baseline vanilla is the ablation of that name; give no other ablation"
        )
    if not isinstance(name, str) or name not in FILES:
        raise UsageError(f"unknown baseline {name!r}; there are {', '.join(FILES)}, vanilla")
    return _in_file(FILES[name])


def is_baseline(config: Config) -> bool:
    """Whether a run learns by a baseline, not by the package's own method."""
    return config.training.baseline != "none"


def method_of(config: Config) -> Baseline:
    """What a run learns by: a baseline, or the package's own method."""
    return find_baseline(config.training.baseline) if is_baseline(config) else _in_file("own")


def _in_file(file: str) -> Baseline:
    module = importlib.import_module(f"mri2pet.baselines.{file}")
    return cast(Baseline, module.BASELINE)
