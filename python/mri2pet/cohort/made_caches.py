"""What of a cohort is in model space already, whatever its grids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mri2pet.cohort.cache import CohortCache, default_cache_dir
from mri2pet.cohort.manifest import Manifest


def made_caches(
    manifest: Manifest, cache_dir: Path | str | None = None, **wanted: Any
) -> list[CohortCache]:
    """The caches of a cohort that lie in a folder, those with the most rows first.

    Args:
        cache_dir: None for `default_cache_dir`.
        wanted: settings that they must have, as `registration="truth"`.
    """
    found = []
    for path in sorted(Path(cache_dir or default_cache_dir(manifest.root)).glob("*/settings.json")):
        settings = _settings(path)
        if settings and all(settings.get(key) == value for key, value in wanted.items()):
            found.append(CohortCache(path.parent, settings, manifest))
    return sorted(found, key=lambda cache: -len(cache.rows(paired=False)))


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
