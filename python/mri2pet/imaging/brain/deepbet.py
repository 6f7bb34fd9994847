"""The brain by deepbet's two networks (Fisch et al. 2024, Comput. Biol. Med. 179:108845).

The networks are TorchScript files inside the wheel of `deepbet` (MIT). They are read from where
pip put them, and the package itself is never imported: that would need cc3d, fill_voids and
pandas. The steps between them are deepbet's own (`deepbet/bet.py`, version 1.0.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from mri2pet.errors import InputError
from mri2pet.imaging.brain.extraction import in_one_piece, largest_piece
from mri2pet.imaging.space.resampling import bounding_box, crop_affine, resample
from mri2pet.imaging.space.template import grid_around
from mri2pet.imaging.space.volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[["Tensor"], "Tensor"]

INSTALL = "pip install --no-deps deepbet"

BOX_NETWORK = "data/models/bbox_model.pt"
MASK_NETWORK = "data/models/model.pt"

#: deepbet keeps the CSF outside the brain; what the template's mask holds begins deeper.
EROSION_MM = 1.5
#: Head around the template's grid that the first network sees.
AROUND_MM = 24

_BOX_SIZE = (128, 128, 128)
_MASK_SIZE = (256, 256, 256)
_BOX_MARGIN = 0.1
_BOX_MIN_SHARE = 0.02
_INTENSITY_QUANTILES = (0.005, 0.995)


def version() -> str | None:
    """The installed version of deepbet; None where it or one of its networks is missing."""
    try:
        found = metadata.distribution("deepbet")
    except metadata.PackageNotFoundError:
        return None
    there = {file.as_posix() for file in found.files or ()}
    return found.version if {BOX_NETWORK, MASK_NETWORK} <= there else None


def deepbet_brain(subject: Volume, template_from_subject: np.ndarray) -> Volume:
    """Brain fraction of a head, by deepbet on the head turned and scaled as the template.

    deepbet fails on a head that is pitched by 45 degrees or upside down; after the affine no
    head is. The mask is eroded by `EROSION_MM` of the subject.

    Args:
        subject: T1 as it was read, axes near R, A, S.
        template_from_subject: 4 x 4, subject mm → template mm.

    Returns:
        0 to 1 on a grid of about 1 mm around the brain, in the subject's space (its affine may
        be sheared); one connected piece without holes, all 0 where no brain was found. The same
        input gives the same bytes: the networks run on one thread.

    Raises:
        InputError: deepbet's files are not those that were installed.
    """
    shape, affine = grid_around(AROUND_MM)
    back = np.linalg.inv(template_from_subject)
    head = resample(subject.data, subject.affine, shape, affine, back)
    mask = largest_piece(_mask(np.maximum(head, 0.0)))
    if not mask.any():
        return Volume(np.zeros((1, 1, 1), dtype=np.float32), back @ affine, "1")
    box = bounding_box(mask, margin=2)
    voxel_mm = 1.0 / np.cbrt(abs(np.linalg.det(template_from_subject[:3, :3])))
    return Volume(_eroded(mask[box], voxel_mm), back @ crop_affine(affine, box), "1")


def _eroded(mask: np.ndarray, voxel_mm: float) -> np.ndarray:
    """A mask without its outer `EROSION_MM`, as a fraction that is 0.5 on the new surface."""
    from scipy.ndimage import distance_transform_edt

    depth_mm = (distance_transform_edt(mask) - 0.5) * voxel_mm
    fraction = np.clip(depth_mm - EROSION_MM + 0.5, 0.0, 1.0)
    return in_one_piece(fraction.astype(np.float32))


def _mask(head: np.ndarray) -> np.ndarray:
    """What deepbet takes for brain (and CSF), bool `[X, Y, Z]`; its first network finds a box."""
    import torch

    with _one_thread(), torch.inference_mode():
        values = torch.from_numpy(head)
        small = _resized(values, _BOX_SIZE)
        low, high = (small.quantile(q) for q in _INTENSITY_QUANTILES)
        coarse = _brain_of(_network(BOX_NETWORK), small, low, high)
        box = _box(largest_piece(coarse.numpy() > 0.5), head.shape)
        mask = np.zeros(head.shape, dtype=bool)
        if box is not None:
            within = values[box]
            fine = _brain_of(_network(MASK_NETWORK), _resized(within, _MASK_SIZE), low, high)
            mask[box] = (_resized(fine, within.shape) > 0.5).numpy()
    return mask


def _brain_of(network: Network, values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The network's brain channel `[X, Y, Z]` for values cut to low … high and standardised."""
    cut = ((values - low) / (high - low).clamp(min=1e-6)).clamp(0.0, 1.0)
    standard = 0.226 * (cut - cut.mean()) / cut.std().clamp(min=1e-6) + 0.449
    return network(standard[None, None])[0, 1]


def _resized(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    from torch.nn.functional import interpolate

    return interpolate(values[None, None], tuple(shape), mode="nearest-exact")[0, 0]


def _box(mask: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The box of a coarse mask on the full grid, widened by a tenth on each side."""
    box = []
    for axis, size in enumerate(shape):
        share = mask.mean(axis=tuple(a for a in range(3) if a != axis))
        there = np.flatnonzero(share > _BOX_MIN_SHARE)
        if not there.size:
            return None
        scale = size / mask.shape[axis]
        low, high = scale * there[0], scale * (there[-1] + 1)
        margin = _BOX_MARGIN * (high - low)
        box.append(slice(max(0, round(low - margin)), min(size, round(high + margin))))
    return tuple(box)


def _network(name: str) -> Network:
    """One of deepbet's networks, read whole and compared with what pip installed.

    Raises:
        InputError: the file is missing or another one.
    """
    import hashlib
    import io
    from base64 import urlsafe_b64encode

    import torch

    installed = metadata.distribution("deepbet").files or ()
    file = next((f for f in installed if f.as_posix() == name), None)
    try:
        content = file.read_binary() if file is not None else b""
    except OSError:
        content = b""
    digest = urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    if file is None or file.hash is None or file.hash.value != digest:
        raise InputError(
            f"deepbet's {name}: is missing or was changed after its installation; install it "
            f"again (`{INSTALL} --force-reinstall`), or use extractor "
            "'template'."
        )
    network: Any = torch.jit.load(io.BytesIO(content), map_location="cpu")
    return network.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread, and TorchScript as written: neither the number of cores nor how often
    a network ran before may change a sum."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.jit.optimized_execution(False):
            yield
    finally:
        torch.set_num_threads(before)
