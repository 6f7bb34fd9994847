"""The training objective in one op: noise MSE plus a weighted Laplacian pyramid distance.

x_0 − x̃_0 is the network's error e times a scalar of the time step, and every pyramid level is
linear, so one pyramid of e replaces the two pyramids of x_0 and x̃_0 (exact; no cancellation).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 5


def pyramid_details(x: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """The detail images of a Laplacian pyramid of each axial slice.

    Args:
        x: [B, S, I, J]; the pyramid is over I and J. Level l: average-pool 2 × 2 (floor),
            bilinear upsample to the level's size (align_corners = false), subtract.

    Returns:
        `levels` tensors [B, S, I_l, J_l]; the last low-pass is not among them.
    """
    details = []
    for _ in range(levels):
        down = F.avg_pool2d(x, 2)
        up = F.interpolate(down, size=x.shape[-2:], mode="bilinear", align_corners=False)
        details.append(x - up)
        x = down
    return details


def reference(
    output: Tensor, target: Tensor, weight: Tensor, laplacian_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The op in plain torch; arguments as in `laplacian_pyramid_loss`."""
    error = output - target
    mse = error.square().mean()
    laplacian = torch.zeros_like(mse)
    for detail in pyramid_details(error.flatten(1, 2)):
        laplacian = laplacian + (detail.square().mean(dim=(1, 2, 3)) * weight).mean()
    return mse + laplacian_weight * laplacian, mse, laplacian


def laplacian_pyramid_loss(
    output: Tensor, target: Tensor, weight: Tensor, laplacian_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """mean(e²) + λ Σ_l mean_b(weight_b · mean (L_l e_b)²) with e = output − target, in float32.

    Args:
        output, target: [B, 1, K, I, J], what the network predicted and what it should have.
        weight: [B], the squared factor from e to x_0 − x̃_0: (1−ᾱ)/ᾱ for ε, 1−ᾱ for v.
        laplacian_weight: λ; 0 leaves the Laplacian term out of the sum.

    Returns:
        (loss, mse, laplacian), each a scalar; the second and third are for logging.

    Raises:
        ValueError: the shapes do not fit, λ is not finite, or a slice is too small for 5 levels.
    """
    if output.shape != target.shape or output.dim() != 5 or weight.shape != output.shape[:1]:
        raise ValueError(
            f"laplacian_pyramid_loss: output {tuple(output.shape)}, target {tuple(target.shape)} "
            f"and weight {tuple(weight.shape)} do not fit"
        )
    if min(output.shape[-2:]) < 2**LEVELS:
        raise ValueError(
            f"laplacian_pyramid_loss: slices of {tuple(output.shape[-2:])} are too small for "
            f"{LEVELS} levels (at least {2**LEVELS} voxels an axis)"
        )
    if not 0 <= laplacian_weight < float("inf"):
        raise ValueError(f"laplacian_pyramid_loss: λ = {laplacian_weight} is not usable")
    dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
    with torch.autocast(output.device.type, enabled=False):
        return reference(output.to(dtype), target.to(dtype), weight.to(dtype), laplacian_weight)
