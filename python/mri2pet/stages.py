"""The stages of the paper's training and its ablations, as data laid over a preset.

The order is: preset, stage, what the preset says of the stage, ablation, the user's settings.
"""

from __future__ import annotations

from typing import Any

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


def staged(preset: Tree, settings: Tree) -> Tree:
    """A preset with its stage, an ablation and the user's settings laid over it.

    Args:
        preset: a tree of the configuration, and under "stages" what differs in a stage.
        settings: a tree of what the user set; `training.stage` ("finetune" if absent) and
            `training.ablation` choose the rest. `training.volumes` and `training.epochs` take
            each other's place.

    Raises:
        UsageError: an unknown stage or ablation, one that has no such stage, or both lengths.
    """
    given = settings.get("training", {})
    stage, ablation = given.get("stage", "finetune"), given.get("ablation", "none")
    if stage not in STAGES:
        raise UsageError(f"unknown stage {stage!r}; there are {', '.join(STAGES)}")
    if ablation not in ABLATIONS:
        raise UsageError(f"unknown ablation {ablation!r}; there are {', '.join(ABLATIONS)}")
    if stage not in ABLATIONS[ablation]:
        raise UsageError(f"the ablation {ablation} has no stage {stage}")
    if {"volumes", "epochs"} <= given.keys():
        raise UsageError("training.volumes and training.epochs both say how long: give one")
    tree = {key: value for key, value in preset.items() if key != "stages"}
    named = {"training": {"stage": stage, "ablation": ablation}}
    of_preset = preset.get("stages", {}).get(stage, {})
    for layer in (named, STAGES[stage], of_preset, ABLATIONS[ablation][stage], settings):
        tree = _laid_over(tree, layer)
    if "volumes" in given:
        tree["training"].pop("epochs", None)
    return tree


def _laid_over(tree: Tree, layer: Tree) -> Tree:
    """The tree with the leaves of `layer` in it; neither is changed."""
    merged = dict(tree)
    for key, value in layer.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _laid_over(below, value)
        merged[key] = value
    return merged
