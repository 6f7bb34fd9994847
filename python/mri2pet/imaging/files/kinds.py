"""The kinds of image that are read, and in what they differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageKind:
    """What an image of one kind may be.

    Attributes:
        name: for messages, with its article.
        frames: may hold several volumes.
        min_voxels: along every axis.
        head: shows a head, so its field of view has a head's size.
        needs_place: is refused when its header does not say where its axes point; otherwise its
            grid is up to the reader's caller.
        nan_outside: NaN at the edge of the volume is background.
        offset: a background other than 0 is taken off.
        as_stored: holds labels, or yes and no: all its voxels may be one number other than 0, and
            none is an outlier.
    """

    name: str
    frames: bool = False
    min_voxels: int = 2
    head: bool = False
    needs_place: bool = True
    nan_outside: bool = False
    offset: bool = False
    as_stored: bool = False


T1 = ImageKind("a T1", head=True, offset=True)
PET = ImageKind("a PET", head=True, frames=True, min_voxels=8, nan_outside=True)
MASK = ImageKind("a brain mask", needs_place=False, nan_outside=True, as_stored=True)
VOI = ImageKind("a VOI", nan_outside=True, as_stored=True)
ATLAS = ImageKind("an atlas", nan_outside=True, as_stored=True)
