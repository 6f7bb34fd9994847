"""`run_stylize`: from a BIDS folder to PET-like MRIs in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mri2pet.cohort.cache import build_cache
from mri2pet.devices import choose_device
from mri2pet.errors import UsageError
from mri2pet.stages import load_config
from mri2pet.style.cohort import STYLES, StylizedCohort, stylize_cohort
from mri2pet.style.transfer import StyleOptions
from mri2pet.style.vgg import load_vgg

#: ("prepare" or "stylize", {"done", "of", "name", "error"}), or ("note", {"text"})
OnEvent = Callable[[str, dict[str, Any]], None]


def run_stylize(
    data: Path | str,
    out: Path | str,
    *,
    preset: str = "compact",
    settings: Sequence[str] = (),
    weights: Path | None = None,
    sha256: str | None = None,
    download: bool = False,
    random: bool = False,
    options: StyleOptions | None = None,
    style: str = "random",
    seed: int = 0,
    split: str | None = "train",
    limit: int | None = None,
    registration: str = "estimate",
    reference: str = "cerebellum",
    cache: Path | None = None,
    jobs: int = 1,
    ray: str | None = None,
    device: str = "auto",
    on_event: OnEvent | None = None,
) -> StylizedCohort:
    """Prepare a cohort in model space and make its MRIs PET-like; the same call resumes.

    Args:
        preset, settings: their grids are used, as in training.
        weights, sha256, download, random: as in `vgg.load_vgg`.
        options, style, seed, split, limit: as in `cohort.stylize_cohort`.
        registration, reference, cache, jobs, ray: as in `mri2pet.cohort.cache.build_cache`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        Mri2petError: what those functions raise.
    """
    options = options or StyleOptions()
    options.check()
    if style not in STYLES:
        raise UsageError(f"style {style!r} is none of {', '.join(STYLES)}.")
    where = choose_device(device)
    config = load_config(preset, settings)
    vgg = load_vgg(weights, sha256=sha256, download=download, random=random)

    def tell(kind: str) -> Callable[[int, int, str, str | None], None]:
        def on_subject(done: int, of: int, name: str, error: str | None) -> None:
            if on_event is not None:
                on_event(kind, {"done": done, "of": of, "name": name, "error": error})

        return on_subject

    def note(text: str) -> None:
        if on_event is not None:
            on_event("note", {"text": text})

    prepared = build_cache(
        data,
        cache,
        mri_shape=config.model.mri_shape,
        pet_shape=config.model.pet_shape,
        registration=registration,
        reference=reference,
        jobs=jobs,
        ray=ray,
        include_unpaired=True,
        on_subject=tell("prepare"),
        on_note=note,
    )
    return stylize_cohort(
        prepared,
        out,
        vgg.to(where),
        options=options,
        style=style,
        seed=seed,
        split=split,
        limit=limit,
        jobs=jobs,
        ray=ray,
        on_subject=tell("stylize"),
    )
