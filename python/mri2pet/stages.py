"""A preset with stage, ablation or baseline, and the user's settings: one configuration.

The order is: preset, stage, what the preset says of the stage, ablation, baseline, the user's
settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mri2pet.baselines import find_baseline
from mri2pet.baselines.checks import SOURCES, check_config
from mri2pet.config import Config, parse_config, preset_names
from mri2pet.errors import UsageError

Tree = dict[str, Any]

STAGES: dict[str, Tree] = {
    "pretrain": {"training": {"target": "stylized", "laplacian_weight": 0.0}},
    "finetune": {"training": {"target": "pet"}},
}

#: What each ablation of the paper changes in which stage. One without a stage leaves it out.
ABLATIONS: dict[str, dict[str, Tree]] = {
    "none": {"pretrain": {}, "finetune": {}},
    "no-style": {"pretrain": {"training": {"target": "mri"}}, "finetune": {}},
    "no-pretrain": {"finetune": {}},
    "no-laplacian": {"pretrain": {}, "finetune": {"training": {"laplacian_weight": 0.0}}},
    "vanilla": {"finetune": {"training": {"laplacian_weight": 0.0}}},
}


def load_config(preset: str, settings: Sequence[str] = ()) -> Config:
    """A preset with `key=value` settings applied, e.g. `training.lr=4e-4`.

    Raises:
        UsageError: an unknown preset or key, a value that its field does not take, or settings
            that do not go together.
    """
    if preset not in preset_names():
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(preset_names())}")
    text = (resources.files("mri2pet") / "presets" / f"{preset}.json").read_text()
    given: dict[str, Any] = {}
    for setting in settings:
        _apply(given, setting)
    config = parse_config(staged(json.loads(text), given))
    check_config(config)
    return config


def staged(preset: Tree, settings: Tree) -> Tree:
    """A preset with its stage, an ablation or a baseline, and the user's settings laid over it.

    Args:
        preset: a tree of the configuration, and under "stages" what differs in a stage.
        settings: a tree of what the user set; `training.stage` ("finetune" if absent) and
            `training.ablation` or `training.baseline` choose the rest; the baseline `vanilla` is
            the ablation of that name. `training.volumes` and `training.epochs` take each other's
            place.

    Raises:
        UsageError: an unknown stage, ablation or baseline, one that has no such stage, or both
            lengths.
    """
    given = settings.get("training", {})
    if given.get("baseline") == "vanilla" and given.get("ablation", "none") in ("none", "vanilla"):
        settings = _laid_over(settings, {"training": {"ablation": "vanilla", "baseline": "none"}})
        given = settings["training"]
    stage, ablation = given.get("stage", "finetune"), given.get("ablation", "none")
    if not isinstance(stage, str) or stage not in STAGES:
        raise UsageError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    if not isinstance(ablation, str) or ablation not in ABLATIONS:
        raise UsageError(f"unknown ablation {ablation!r}; there are {', '.join(ABLATIONS)}")
    if stage not in ABLATIONS[ablation]:
        raise UsageError(f"the ablation {ablation} has no stage {stage}")
    if {"volumes", "epochs"} <= given.keys():
        raise UsageError("training.volumes and training.epochs both say how long: give one")
    tree = {key: value for key, value in preset.items() if key != "stages"}
    named = {"training": {"stage": stage, "ablation": ablation}}
    of_preset = preset.get("stages", {}).get(stage, {})
    changed = (ABLATIONS[ablation][stage], _of_baseline(settings, stage))
    for layer in (named, STAGES[stage], of_preset, *changed, settings):
        tree = _laid_over(tree, layer)
    if "volumes" in given:
        tree["training"].pop("epochs", None)
    return tree


def _of_baseline(settings: Tree, stage: str) -> Tree:
    """What the baseline that the user's settings name lays over the preset."""
    name = settings.get("training", {}).get("baseline", "none")
    if name == "none":
        return {}
    baseline = find_baseline(name)
    if stage not in baseline.settings:
        made = SOURCES.get(baseline.source or "")
        hint = f"; its source is made with {made}" if made else ""
        raise UsageError(f"the baseline {name} has no stage {stage}{hint}")
    as_authors = _is_true(settings.get("baseline", {}).get("as_authors", False))
    authors = dict(baseline.authors_settings) if as_authors else {}
    return _laid_over(baseline.settings[stage], authors)


def _is_true(value: object) -> bool:
    """Whether the configuration takes a value for true: "no" and "False" it does not.

    What is neither true nor false is refused when the whole tree is read.
    """
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        return False


def _laid_over(tree: Tree, layer: Tree) -> Tree:
    """The tree with the leaves of `layer` in it; neither is changed."""
    merged = dict(tree)
    for key, value in layer.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _laid_over(below, value)
        merged[key] = value
    return merged


def _apply(tree: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    *parents, leaf = key.split(".")
    if not equals or not leaf or not parents:
        raise UsageError(f"setting {setting!r} must read section.key=value")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise UsageError(f"setting {setting!r}: {parent!r} is no section")
    node[leaf] = value
