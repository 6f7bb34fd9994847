"""Which frames of a PET make the static one, and how much each counts.

Florbetapir is measured 50 to 70 minutes after injection (Joshi et al. 2012, J Nucl Med 53:378).
Times stand in the sidecar: `FrameTimesStart`, `FrameDuration` and `InjectionStart` in seconds, as
in BIDS. Without `InjectionStart`, a short scan whose times begin early counts from its own start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mri2pet.errors import InputError

LATE_S = (50 * 60.0, 70 * 60.0)
LATE_SCAN_S = 40 * 60.0
"""A scan no longer than this, of unknown injection, is taken as late as a whole."""
EARLY_S = 30 * 60.0
"""What ends before shows perfusion, not amyloid."""


@dataclass(frozen=True)
class FrameChoice:
    """The frames that count.

    Attributes:
        frames: their numbers in the file, from 0.
        seconds: duration of each; equal ones where none are known.
        told: what was chosen or assumed, one sentence each; nothing for a single frame.
    """

    frames: tuple[int, ...]
    seconds: tuple[float, ...]
    told: tuple[str, ...] = ()


def choose_frames(count: int, sidecar: dict[str, Any] | None) -> FrameChoice:
    """The late frames of a scan of `count` frames.

    Args:
        count: of the file.
        sidecar: its JSON, or None without one.

    Raises:
        InputError: all frames end within half an hour after a known injection; the rest of a
            sentence after the file's name.
    """
    everything = tuple(range(count))
    times, trouble = _times(count, sidecar)
    if times is None:
        if count == 1:
            return FrameChoice(everything, (1.0,))
        return FrameChoice(
            everything,
            (1.0,) * count,
            (
                f"{trouble}, so all {count} frames were taken as late ones (50 to 70 minutes "
                "after injection) of equal duration.",
            ),
        )
    starts, seconds = times
    injected = _injection(sidecar or {})
    known = injected is not None
    starts = starts - (injected or 0.0)
    ends = starts + seconds
    if known and ends.max() <= EARLY_S:
        raise InputError(
            f"its frames end {ends.max() / 60:.3g} minutes after injection, when florbetapir shows "
            "perfusion; give the scan of 50 to 70 minutes."
        )
    if count == 1:
        return FrameChoice(everything, (1.0,))
    short = float(ends.max() - starts.min()) <= LATE_SCAN_S
    if not known and short and starts.min() < LATE_S[0]:
        late = np.ones(count, dtype=bool)
        told = (
            f"The scan of {(ends.max() - starts.min()) / 60:.3g} minutes was taken as one 50 to "
            "70 minutes after injection: all its frames count."
        )
    else:
        inside = np.minimum(ends, LATE_S[1]) - np.maximum(starts, LATE_S[0])
        late = inside >= 0.5 * seconds
        told = "Of the {count} frames those of 50 to 70 minutes count: {which}."
        if not late.any():
            late = starts >= ends.max() - (LATE_S[1] - LATE_S[0])
            late |= starts == starts.max()
            told = (
                "No frame lies 50 to 70 minutes after injection; of the {count} frames those of "
                "the last 20 minutes count: {which}."
            )
    frames = tuple(int(i) for i in np.flatnonzero(late))
    which = ", ".join(str(i + 1) for i in frames)
    return FrameChoice(
        frames, tuple(float(seconds[i]) for i in frames), (told.format(count=count, which=which),)
    )


def read_sidecar(source: Any) -> dict[str, Any] | None:
    """The JSON object beside an image file (the same name with `.json`); None without one."""
    if not isinstance(source, (str, Path)):
        return None
    path = Path(source)
    stem = path.name
    for suffix in (".gz", ".bz2", ".zst", ".nii", ".img", ".hdr", ".mgz", ".mgh"):
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    try:
        content = json.loads(path.with_name(f"{stem}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _injection(sidecar: dict[str, Any]) -> float | None:
    """Seconds from the sidecar's zero to the injection; None where that is not known.

    Converters write 0 for both the injection and the scan of which they know neither.
    """
    injected, scanned = (sidecar.get(key) for key in ("InjectionStart", "ScanStart"))
    if not isinstance(injected, (int, float)) or not np.isfinite(injected):
        return None
    return None if injected == scanned else float(injected)


def _times(
    count: int, sidecar: dict[str, Any] | None
) -> tuple[tuple[np.ndarray, np.ndarray] | None, str]:
    """Starts and durations (s) of all frames, or None and why they are not known."""
    if sidecar is None or not {"FrameTimesStart", "FrameDuration"} & set(sidecar):
        return None, "No sidecar gives FrameTimesStart and FrameDuration"
    found = []
    for key in ("FrameTimesStart", "FrameDuration"):
        try:
            values = np.asarray(sidecar[key], dtype=np.float64)
        except KeyError:
            return None, f"The sidecar gives no {key}"
        except (TypeError, ValueError):
            return None, f"The sidecar's {key} holds other things than numbers"
        if values.shape != (count,):
            return None, f"The sidecar's {key} has {values.size} values for {count} frames"
        if not np.isfinite(values).all():
            return None, f"The sidecar's {key} holds values that are not finite"
        found.append(values)
    starts, seconds = found
    if (seconds <= 0).any() or (np.diff(starts) <= 0).any():
        return None, "The sidecar's frames do not follow each other in time"
    return (starts, seconds), ""
