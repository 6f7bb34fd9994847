"""Brain extraction: which voxels are brain."""

from __future__ import annotations

import numpy as np

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.brain.registration import fixed_template
from mri2pet.imaging.space.itk import Schedule, warp_to_moving
from mri2pet.imaging.space.volume import Volume

EXTRACTORS = ("auto", "template", "deepbet", "hd-bet")
#: Displacements at 4 mm: a level at 2 mm, without iterations, moved a mask by 0.1 % of its volume.
SYN = Schedule(iterations=(40, 10), shrink=(4, 2), smoothing_voxels=(2, 1))


def check_extractor(extractor: str) -> None:
    """Refuse an unknown extractor, or one that is not installed, before any work.

    Raises:
        UsageError: with what to do.
    """
    from mri2pet.imaging.brain import deepbet

    if extractor not in EXTRACTORS:
        raise UsageError(f"extractor {extractor!r} is none of {', '.join(EXTRACTORS)}.")
    if extractor == "deepbet" and deepbet.version() is None:
        raise UsageError(
            "extractor 'deepbet' needs the package deepbet, which is not installed: "
            f"`{deepbet.INSTALL}`, or use extractor 'auto'."
        )
    if extractor == "hd-bet":
        from importlib.util import find_spec

        if find_spec("HD_BET") is None:
            raise UsageError(
                "extractor 'hd-bet' needs the package HD-BET, which is not installed: "
                "`pip install hd-bet`, or use extractor 'template'."
            )


def template_brain(head: Volume, template_from_head: np.ndarray) -> np.ndarray:
    """Brain fraction of a working head: the template's mask warped back by SyN.

    Args:
        head: 2 mm, bias-corrected, cut to the brain's range.
        template_from_head: affine to start from.

    Returns:
        float32 `[X, Y, Z]`, 0 to 1; one connected piece without holes.
    """
    fixed = fixed_template()
    fraction = warp_to_moving(
        fixed.brain,
        head,
        fixed.metric_mask,
        np.linalg.inv(template_from_head),
        fixed.mask,
        SYN,
    )
    return in_one_piece(fraction)


def hd_bet_brain(volume: Volume) -> np.ndarray:
    """The mask of HD-BET (Isensee et al. 2019, HBM 40:4952), bool `[X, Y, Z]`.

    HD-BET fetches its own weights when it first runs; run it once by hand on a machine that
    may do so.

    Raises:
        InputError: HD-BET failed or wrote no mask.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import nibabel
    import torch
    from HD_BET.checkpoint_download import maybe_download_parameters
    from HD_BET.hd_bet_prediction import get_hdbet_predictor, hdbet_predict

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory(prefix="mri2pet-") as name:
        folder = Path(name)
        given, stripped = folder / "head.nii.gz", folder / "brain.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume.data, volume.affine), given)
        try:
            maybe_download_parameters()
            predictor = get_hdbet_predictor(use_tta=False, device=device)
            hdbet_predict(str(given), str(stripped), predictor, keep_brain_mask=True)
            mask = nibabel.Nifti1Image.from_filename(folder / "brain_bet.nii.gz")
            return np.asarray(mask.dataobj) > 0
        except Exception as error:
            raise InputError(
                f"HD-BET could not extract the brain ({error}): use extractor 'template' or "
                "give a brain mask."
            ) from error


def in_one_piece(fraction: np.ndarray) -> np.ndarray:
    """A brain fraction without what does not hang together with its largest piece."""
    return fraction * _one_piece(fraction > 0.5, grow=2)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask, holes filled."""
    return _one_piece(mask, grow=0)


def _one_piece(mask: np.ndarray, grow: int) -> np.ndarray:
    from scipy.ndimage import binary_dilation, binary_fill_holes, label

    pieces, count = label(mask)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        mask = pieces == sizes.argmax()
    filled = binary_fill_holes(mask)
    return binary_dilation(filled, iterations=grow) if grow else filled
