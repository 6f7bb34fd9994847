"""An experiment's file, YAML or JSON, or a preset, as a validated configuration."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mri2pet.config import preset_names
from mri2pet.errors import InputError, UsageError
from mri2pet.experiment.config import CohortConfig, ExperimentConfig, TrainedElsewhere

UNKNOWN = "extra_forbidden"
PRESETS = ("tiny", "phantom", "paper")
NOT_FILES = ("cerebellum", "minmax")  # of the reference region


def read_experiment(file: str | Path, out: str | Path | None = None) -> ExperimentConfig:
    """The configuration in a file, its paths relative to the file's folder.

    Args:
        file: `.yaml` or `.json`, or the name of a preset, whose paths are relative to where one is.
        out: takes the place of the configuration's `out`.

    Raises:
        InputError: no such file, no YAML, or a file or folder that it names is missing.
        UsageError: an unknown key, or a value that a key does not take.
    """
    name = str(file)
    if name in PRESETS:
        preset = resources.files("mri2pet.experiment") / "presets" / f"{name}.yaml"
        folder, text = Path(), preset.read_text()
    else:
        folder, text = Path(file).parent, _text(Path(file))
    try:
        tree = _parsed(name, text)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if out is not None:
        tree["out"] = str(Path(out).absolute())
    try:
        config = ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"{name}: {_sentence(error)}") from None
    config = _with_paths(config, folder)
    _check(name, config)
    return config


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file; give an experiment's file or one of "
            f"{', '.join(PRESETS)}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); check the file.") from None


def _parsed(name: str, text: str) -> dict[str, Any]:
    if name.endswith(".json"):
        try:
            tree = json.loads(text, object_pairs_hook=_once)
        except ValueError as error:
            raise InputError(f"{name}: is no JSON ({error}); correct the file.") from None
    else:
        try:
            import yaml
        except ImportError:
            raise InputError(
                f"{name}: reading YAML needs PyYAML; install it by pip install 'mri2pet[eval]', or "
                "write the file as .json."
            ) from None

        class Loader(yaml.SafeLoader):
            """One that does not let the last of several values of a key win."""

            def compose_mapping_node(self, anchor: Any) -> Any:
                node = super().compose_mapping_node(anchor)
                _once((k.value, None) for k, _ in node.value if isinstance(k, yaml.ScalarNode))
                return node

        try:
            tree = yaml.load(text, Loader)
        except yaml.YAMLError as error:
            words = " ".join(str(error).split())
            raise InputError(f"{name}: is no YAML ({words}); correct the file.") from None
    if not isinstance(tree, dict):
        raise InputError(f"{name}: holds no settings; see docs/experiment.md.")
    return tree


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Raises UsageError for a key that stands twice."""
    tree: dict[Any, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise UsageError(f"the key {key} stands twice; keep one")
        tree[key] = value
    return tree


def _sentence(error: ValidationError) -> str:
    """An unknown key and the one that may have been meant, else what is wrong with a value."""
    first = min(error.errors(), key=_unlikely)
    *parents, key = place = _place(first)
    field = ".".join(place)
    if first["type"] == UNKNOWN:
        known = sorted(_keys(ExperimentConfig, parents))
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}" if near else f"there are {', '.join(known)}"
        return f"unknown key {field}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    scalar = not isinstance(first["input"], dict | list | BaseModel)
    return f"{field}: {message}" + (f" ({first['input']!r} was given)" if scalar else "")


def _unlikely(error: Any) -> int:
    """How little an error says: of what may have several forms, all forms complain."""
    *parents, key = _place(error)
    if error["type"] == UNKNOWN:
        return 0 if key not in _keys(ExperimentConfig, parents) else 4
    return {"value_error": 1, "missing": 3}.get(error["type"], 2)


def _place(error: Any) -> list[str]:
    """The keys that lead to an error, without numbers and names of types."""
    types_named = {"str", "TrainedElsewhere", "Variant", "list", "literal"}
    parts = [part for part in error["loc"] if isinstance(part, str)]
    return [part for part in parts if part.partition("[")[0] not in types_named] or [""]


def _keys(model: type[BaseModel], parents: Sequence[str]) -> set[str]:
    """The keys that a part of the configuration takes."""
    if not parents:
        return set(model.model_fields)
    field = model.model_fields.get(parents[0])
    inside = [] if field is None else list(_models(field.annotation))
    return set().union(*(_keys(m, parents[1:]) for m in inside))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, list):
        for part in get_args(annotation):
            yield from _models(part)


def _with_paths(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """With all paths absolute."""

    def placed(value: Any) -> Any:
        if isinstance(value, Path):
            return (folder / value).absolute()
        if isinstance(value, BaseModel):
            named = {name: getattr(value, name) for name in type(value).model_fields}
            if isinstance(value, CohortConfig) and value.reference not in NOT_FILES:
                named["reference"] = str(placed(Path(value.reference)))
            return value.model_copy(update={name: placed(v) for name, v in named.items()})
        return [placed(item) for item in value] if isinstance(value, list) else value

    found: ExperimentConfig = placed(config)
    return found


def _check(name: str, config: ExperimentConfig) -> None:
    """What can be known before any work: files that are there, keys that go together."""
    if config.preset not in preset_names():
        raise UsageError(f"{name}: preset: there are {', '.join(preset_names())}")
    wanted: dict[str, Path | None] = {}
    for key, cohort in (("cohort", config.cohort), ("test_cohort", config.test_cohort)):
        if isinstance(cohort, CohortConfig):
            wanted |= {f"{key}.bids": cohort.bids, f"{key}.table": cohort.table}
            if cohort.reference not in NOT_FILES:
                wanted[f"{key}.reference"] = Path(cohort.reference)
    if config.style is not None:
        wanted["style.vgg_weights"] = config.style.vgg_weights
        wanted["style.stylized"] = config.style.stylized
    if config.evaluate.inception is not None:
        wanted["evaluate.inception.weights"] = config.evaluate.inception.weights
    for method in config.methods:
        if isinstance(method, TrainedElsewhere):
            wanted[f"methods: {method.name}"] = method.model
    for key, path in wanted.items():
        if path is not None and not path.exists():
            raise InputError(f"{name}: {key}: {path} is not there; correct the path.")
