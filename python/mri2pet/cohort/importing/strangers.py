"""Ids in the user's lists of people that are of nobody in the sources."""

from __future__ import annotations

from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.passed_over import counted

_SHOWN = 5


def strangers(
    people: set[str], wishes: Wishes, *, hidden: bool
) -> tuple[dict[str, int], list[str]]:
    """Option → how many of its ids are of nobody, and a sentence for each option with such.

    A list of people who withdrew holds many whom one never had, and nobody of it may be named:
    its ids are counted. Those of `--subjects` are named, so that a slip can be found.

    Args:
        people: everybody of the sources, in each way that lists may name them.
        hidden: nobody is named, as where pseudonyms are written.
    """
    missing, notes = {}, []
    subjects = wishes.subjects or frozenset()
    if unknown := sorted(subjects - people - wishes.withdrawn):
        missing["--subjects"] = len(unknown)
        named = ", ".join(unknown[:_SHOWN]) + (", …" if len(unknown) > _SHOWN else "")
        said = _sentence("--subjects", len(unknown), len(subjects))
        notes.append(said if hidden else f"{said}: {named}")
    if others := len(wishes.withdrawn - people):
        missing["--withdrawn"] = others
        notes.append(_sentence("--withdrawn", others, len(wishes.withdrawn)))
    return missing, notes


def _sentence(option: str, number: int, of: int) -> str:
    are = "is" if number == 1 else "are"
    return f"of the {counted(of, 'id')} of {option}, {number} {are} of nobody in the sources"
