"""Reads a Dockerfile, and writes its instructions as calls of shell functions.

    python tools/container_recipe.py DOCKERFILE [NAME=VALUE …]

One line an instruction, for a script that defines the functions (try_container.sh):

    stage NAME BASE                        a new tree, from an image
    run DIRECTORY USER COMMAND [NAME=VALUE …]
    copy STAGE DIRECTORY SOURCE … TARGET   STAGE '' is the build context
    start DIRECTORY USER COMMAND [NAME=VALUE …]   last: the entry point of the last stage

NAME=VALUE are build arguments. An instruction, or a form of one, that is not known here is refused:
nothing of a recipe is passed over.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

DOCKERS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class RecipeError(Exception):
    """What of a recipe is not known here."""


@dataclass
class Stage:
    """What holds at one instruction of a stage."""

    name: str
    base: str
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": DOCKERS_PATH})
    labels: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    entry: list[str] = field(default_factory=list)

    def filled(self, text: str) -> str:
        """A text with the values of variables.

        Raises:
            RecipeError: a variable has no value.
        """
        return _filled(text, {**self.arguments, **self.environment})

    def variables(self) -> list[str]:
        """NAME=VALUE of all that a command sees."""
        return [f"{k}={v}" for k, v in {**self.arguments, **self.environment}.items()]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(WORD, rest) of every instruction; continued lines are one, comments are none."""
    begun = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if line.rstrip().endswith("\\"):
            begun += line.rstrip()[:-1]
            continue
        word, _, rest = (begun + line).strip().partition(" ")
        begun = ""
        yield word.upper(), rest.strip()
    if begun:
        raise RecipeError(f"the last line goes on: {begun.strip()}")


def calls(text: str, given: Mapping[str, str]) -> Iterator[list[str]]:
    """The calls of the module's docstring, each as words.

    Raises:
        RecipeError: an instruction or a form of it that is not known; an argument that the recipe
            does not declare; a variable without a value.
    """
    stages = list(_walk(text, given))
    for _, call in stages:
        if call:
            yield call
    last = stages[-1][0]
    if not last.entry:
        raise RecipeError("the last stage has no ENTRYPOINT")
    yield ["start", last.directory, last.user, shlex.join(last.entry), *_runtime(last)]


def last_stage(text: str) -> Stage:
    """What the image is in the end, without build arguments."""
    *_, (stage, _) = _walk(text, {})
    return stage


def _runtime(stage: Stage) -> list[str]:
    return [f"{name}={value}" for name, value in stage.environment.items()]


def _walk(text: str, given: Mapping[str, str]) -> Iterator[tuple[Stage, list[str]]]:
    """The stage as it is after each instruction, and the call that carries it out, if any."""
    outside: dict[str, str] = {}
    names: list[str] = []
    declared: set[str] = set()
    stage: Stage | None = None
    for word, rest in instructions(text):
        if word == "ARG":
            name, equals, value = rest.partition("=")
            if not re.fullmatch(r"\w+", name):
                raise RecipeError(f"ARG {rest}")
            declared.add(name)
            home = outside if stage is None else stage.arguments
            value = given.get(name, _filled(value, home) if equals else outside.get(name, ""))
            home[name] = value
        elif word == "FROM":
            stage = _from(rest, outside, names)
            names.append(stage.name)
            yield stage, ["stage", stage.name, stage.base]
        elif stage is None:
            raise RecipeError(f"{word} before FROM")
        else:
            yield stage, _within(stage, word, rest, names)
    if stage is None:
        raise RecipeError("there is no FROM")
    if given.keys() - declared:
        raise RecipeError(f"the recipe has no ARG {min(given.keys() - declared)}")


def _from(rest: str, outside: Mapping[str, str], names: list[str]) -> Stage:
    match = re.fullmatch(r"(\S+)(?:\s+[Aa][Ss]\s+(\w+))?", rest)
    if match is None:
        raise RecipeError(f"FROM {rest}")
    return Stage(match.group(2) or f"stage{len(names)}", _filled(match.group(1), outside))


def _within(stage: Stage, word: str, rest: str, names: list[str]) -> list[str]:
    if word == "RUN":
        if rest.startswith(("[", "-")) or "<<" in rest:
            raise RecipeError(f"RUN in another form than a shell command: {rest}")
        return ["run", stage.directory, stage.user, rest, *stage.variables()]
    if word == "COPY":
        return _copy(stage, rest, names)
    if word in ("ENV", "LABEL"):
        for pair in shlex.split(rest):
            name, equals, value = pair.partition("=")
            if not equals:
                raise RecipeError(f"{word} {rest}")
            home = stage.environment if word == "ENV" else stage.labels
            home[name] = stage.filled(value)
    elif word == "WORKDIR":
        stage.directory = str(Path(stage.directory) / stage.filled(rest))
    elif word == "USER":
        if not re.fullmatch(r"\d+:\d+", rest):
            raise RecipeError(
                f"USER {rest}: numbers of user and group, so no file has to know them"
            )
        stage.user = rest
    elif word == "ENTRYPOINT":
        try:
            stage.entry = json.loads(rest)
        except json.JSONDecodeError:
            raise RecipeError(f"ENTRYPOINT {rest}: a list of words") from None
    else:
        raise RecipeError(f"{word} is not known")
    return []


def _copy(stage: Stage, rest: str, names: list[str]) -> list[str]:
    words, source = shlex.split(rest), ""
    if words[0].startswith("--from="):
        source = words.pop(0).removeprefix("--from=")
        if source not in names:
            raise RecipeError(f"COPY {rest}: no stage before this one has that name")
    if len(words) < 2 or any(word.startswith(("-", "[")) for word in words):
        raise RecipeError(f"COPY {rest}")
    if len(words) > 2 and not words[-1].endswith("/"):
        raise RecipeError(f"COPY {rest}: several go into a folder, which ends in /")
    return ["copy", source, stage.directory, *map(stage.filled, words)]


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in values:
            raise RecipeError(f"{text}: {name} has no value")
        return values[name]

    return _VARIABLE.sub(value, text)


def main(arguments: list[str]) -> int:
    """Prints the calls of a recipe; 2 and a sentence where one is not known."""
    path, *pairs = arguments
    try:
        given = dict(pair.split("=", 1) for pair in pairs)
        lines = [shlex.join(call) for call in calls(Path(path).read_text(), given)]
    except (RecipeError, OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
