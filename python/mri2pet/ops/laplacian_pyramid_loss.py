"""The training objective in one op: noise MSE plus a weighted Laplacian pyramid distance.

x_0 − x̃_0 is the network's error e times a scalar of the time step, and every pyramid level is
linear, so one pyramid of e replaces the two pyramids of x_0 and x̃_0 (exact; no cancellation).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mri2pet.ops import backend
from mri2pet.ops.registration import operation
from mri2pet.ops.tensors import accumulation_dtype, as_accumulated, dtype_name, same_device

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


@operation("mri2pet::laplacian_pyramid_loss", devices=backend.NATIVE_DEVICES, has_gradient=True)
def _forward(
    output: Tensor, target: Tensor, weight: Tensor, laplacian_weight: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """(loss, mse, laplacian) as one tensor [3], and d loss / d output; empty without gradient."""
    output, target = output.contiguous(), target.contiguous()
    weight = as_accumulated(weight, output)
    terms, grad = _empty_results(output, with_gradient)
    params = backend.native().LaplacianPyramidLossForward(
        (output.shape[0] * output.shape[1], *output.shape[2:]),
        dtype_name("laplacian_pyramid_loss", "output", output),
        dtype_name("laplacian_pyramid_loss", "target", target),
        output.data_ptr(),
        target.data_ptr(),
        weight.data_ptr(),
        laplacian_weight,
        terms.data_ptr(),
        grad.data_ptr() if with_gradient else 0,
    )
    backend.launch("laplacian_pyramid_loss_forward", params, output.device)
    return terms, grad


def _empty_results(output: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    dtype = accumulation_dtype(output)
    shape = tuple(output.shape) if with_gradient else (0,)
    return output.new_empty((3,), dtype=dtype), output.new_empty(shape, dtype=dtype)


@operation("mri2pet::laplacian_pyramid_loss_backward", devices=backend.NATIVE_DEVICES)
def _backward(grad: Tensor, grad_loss: Tensor, output: Tensor) -> Tensor:
    """grad · grad_loss in the dtype of output; output is not read."""
    grad_loss = grad_loss.to(grad.dtype).contiguous()
    grad_output = output.new_empty(output.shape)
    params = backend.native().LaplacianPyramidLossBackward(
        grad.numel(),
        dtype_name("laplacian_pyramid_loss", "output", output),
        grad.data_ptr(),
        grad_loss.data_ptr(),
        grad_output.data_ptr(),
    )
    backend.launch("laplacian_pyramid_loss_backward", params, grad.device)
    return grad_output


@torch.library.register_fake(_forward)
def _forward_fake(
    output: Tensor, target: Tensor, weight: Tensor, laplacian_weight: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    return _empty_results(output, with_gradient)


@torch.library.register_fake(_backward)
def _backward_fake(grad: Tensor, grad_loss: Tensor, output: Tensor) -> Tensor:
    return output.new_empty(output.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.target_dtype = inputs[1].dtype
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # a volume of zeros for it otherwise
    ctx.save_for_backward(inputs[0], output[1])


def _is_one(value: Tensor) -> bool:
    """Whether a scalar on the CPU is 1, where it costs nothing to look and no tracer listens."""
    return type(value) is Tensor and value.device.type == "cpu" and value.item() == 1


def _autograd(ctx: Any, grad_terms: Tensor | None, unused: None) -> tuple[Tensor | None, ...]:
    if grad_terms is None:
        return (None,) * 5
    output, grad = ctx.saved_tensors
    if grad.numel() == 0:
        raise RuntimeError("laplacian_pyramid_loss: it was called without a gradient")
    as_it_is = grad.dtype == output.dtype and _is_one(grad_terms[0])
    grad_output = grad if as_it_is else _backward(grad, grad_terms[0], output)
    to_target = -grad_output.to(ctx.target_dtype) if ctx.needs_input_grad[1] else None
    return grad_output, to_target, None, None, None


torch.library.register_autograd(_forward, _autograd, setup_context=_setup_context)


def laplacian_pyramid_loss(
    output: Tensor, target: Tensor, weight: Tensor, laplacian_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """mean(e²) + λ Σ_l mean_b(weight_b · mean (L_l e_b)²) with e = output − target, in float32.

    Args:
        output, target: [B, 1, K, I, J], what the network predicted and what it should have.
        weight: [B], the squared factor from e to x_0 − x̃_0: (1−ᾱ)/ᾱ for ε, 1−ᾱ for v.
        laplacian_weight: λ; 0 leaves the Laplacian term out of the sum.

    Returns:
        (loss, mse, laplacian), each a scalar; the second and third are for logging and have no
        gradient. Under autocast the op is in float32 all the same: it takes either dtype as it is.

    Raises:
        ValueError: the shapes or devices do not fit, λ is not finite, or a slice is too small for
            5 levels.
        TypeError: a dtype that the native kernels do not take.
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
    same_device("laplacian_pyramid_loss", output, target=target, weight=weight)
    form, dtype = backend.chosen("laplacian_pyramid_loss", output), accumulation_dtype(output)
    if form == "native":
        if output.dtype == torch.float64 or target.dtype == torch.float64:
            output, target = output.double(), target.double()
        wanted = torch.is_grad_enabled() and (output.requires_grad or target.requires_grad)
        terms, _ = _forward(output, target, weight, float(laplacian_weight), wanted)
        return terms[0], terms[1].detach(), terms[2].detach()
    with torch.autocast(output.device.type, enabled=False):
        loss, mse, laplacian = reference(
            output.to(dtype), target.to(dtype), weight.to(dtype), laplacian_weight
        )
    return loss, mse.detach(), laplacian.detach()
