"""One MRI made PET-like: neural style transfer, slice by slice, all slices at once.

Gatys, Ecker & Bethge 2016, CVPR, 2414: the content is what conv_4 of VGG19 says, the style the
Gram matrices of conv_1 … conv_5. As in the MRI2PET paper every axial slice of the MRI takes the
style of the slice of a PET at the same height, is a problem of its own, and starts from itself.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mri2pet.errors import UsageError
from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.style.lbfgs import minimise
from mri2pet.style.vgg import STYLE_WEIGHTS, TORCHVISION, Vgg19, style_weight_of
from mri2pet.weights import WeightsOrigin

Shape = tuple[int, int, int]

CONTENT_LAYER = 4
STYLE_LAYERS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class StyleOptions:
    """The paper's settings.

    Attributes:
        steps: L-BFGS steps of every slice.
        style_weight: of the sum over layers of the mean squared difference of Gram matrices.
            None takes the weight that is known for the weights file; where none is known, the
            paper's 1000.
        content_weight: of the mean squared difference at conv_4.
        slices_at_once: so many slices in one batch; None for all. It changes memory and speed,
            not the result.
    """

    steps: int = 100
    style_weight: float | None = None
    content_weight: float = 1.0
    slices_at_once: int | None = None

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            UsageError: it names the value.
        """
        if self.steps < 1:
            raise UsageError(f"style steps is {self.steps}; it must be at least 1.")
        if self.slices_at_once is not None and self.slices_at_once < 1:
            raise UsageError(f"slices at once is {self.slices_at_once}; it must be at least 1.")
        for name, weight in (("style", self.style_weight), ("content", self.content_weight)):
            if weight is not None and not 0 <= weight < math.inf:
                raise UsageError(f"the {name} weight is {weight:g}; it must be 0 or more.")

    def weight_for(self, origin: WeightsOrigin) -> float:
        """The style weight with features of this origin."""
        if self.style_weight is not None:
            return self.style_weight
        return style_weight_of(origin) or STYLE_WEIGHTS[TORCHVISION]

    def as_dict(self) -> dict[str, Any]:
        """What changes the result, for JSON."""
        values = asdict(self)
        del values["slices_at_once"]
        return values


@dataclass(frozen=True, eq=False)
class Stylized:
    """A PET-like MRI.

    Attributes:
        kij: float32 `[K, I, J]` in [0, 1].
        loss_first: `[K]`, the loss of every slice at its start.
        loss_last: `[K]`, the last loss that was evaluated.
        steps: int `[K]`, L-BFGS steps taken; fewer than asked where a slice converged.
        diverged: bool `[K]`, slices whose loss overflowed; they keep their last finite image.
    """

    kij: np.ndarray
    loss_first: np.ndarray
    loss_last: np.ndarray
    steps: np.ndarray
    diverged: np.ndarray


def stylize(
    mri: np.ndarray, style: np.ndarray, vgg: Vgg19, options: StyleOptions | None = None
) -> Stylized:
    """Give an MRI the style of a PET.

    Args:
        mri: `[K, I, J]` in [0, 1] on the MRI grid.
        style: `[K', I', J']` in [0, 1] on the PET grid (`unit_range`).
        vgg: on the device that shall do the work.

    Returns:
        On the grid of `style`.

    Raises:
        UsageError: impossible options.
    """
    options = options or StyleOptions()
    options.check()
    content = torch.from_numpy(to_pet_size(mri, style.shape))
    target = torch.from_numpy(np.ascontiguousarray(style, dtype=np.float32))
    size = options.slices_at_once or len(content)
    parts = [
        _stylize_slices(c, s, vgg, options)
        for c, s in zip(content.split(size), target.split(size), strict=True)
    ]
    joined = [np.concatenate([part[i] for part in parts]) for i in range(5)]
    return Stylized(*joined)


def unit_range(pet: np.ndarray) -> np.ndarray:
    """A PET as a style image: (x − min) / (max − min), float32 in [0, 1]."""
    from mri2pet.imaging.pet.prepare import minmax

    return minmax(np.asarray(pet, dtype=np.float32))


def gram(features: Tensor) -> Tensor:
    """Gram matrix of every slice's features, divided by their number.

    Args:
        features: `[S, C, H, W]`.

    Returns:
        `[S, C, C]`.
    """
    flat = features.flatten(2)
    return torch.bmm(flat, flat.transpose(1, 2)) / (flat.shape[1] * flat.shape[2])


class StyleProblem:
    """The loss of every slice, and its gradient.

    Args:
        content: `[S, H, W]` in [0, 1].
        style: `[S, H, W]` in [0, 1].
        vgg: features; its dtype and device are used.
    """

    def __init__(self, content: Tensor, style: Tensor, vgg: Vgg19, options: StyleOptions) -> None:
        if content.shape != style.shape:
            raise ValueError(f"content {tuple(content.shape)}, style {tuple(style.shape)}")
        self.vgg, self.content_weight = vgg, options.content_weight
        self.style_weight = options.weight_for(vgg.origin)
        self.start = _three_channels(content, vgg)
        with torch.no_grad():
            self.content = vgg(self.start)[CONTENT_LAYER - 1]
            self.grams = [gram(f) for f in vgg(_three_channels(style, vgg))]

    def terms(self, image: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss adds up, before its weights, for images `[A, 3, H, W]` of slices `rows`.

        Features s times as large make the style's terms s⁴ times as large and the content's s².

        Returns:
            The style's terms of conv_1 … conv_5 `[5, A]`, the content's `[A]`.
        """
        features = self.vgg(image)
        difference = features[CONTENT_LAYER - 1] - self.content[rows]
        style = [
            (gram(features[layer - 1]) - self.grams[layer - 1][rows]).square().mean((1, 2))
            for layer in STYLE_LAYERS
        ]
        return torch.stack(style), difference.square().flatten(1).mean(1)

    def loss(self, image: Tensor, rows: Tensor) -> Tensor:
        """Loss `[A]` of the images `[A, 3, H, W]` of the slices `rows`."""
        style, content = self.terms(image, rows)
        return self.style_weight * style.sum(0) + self.content_weight * content

    def evaluate(self, flat: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Loss `[A]` and gradient `[A, N]` at `flat` `[A, N]`, N = 3 H W."""
        image = flat.view(-1, *self.start.shape[1:]).detach().requires_grad_()
        losses = self.loss(image, rows)
        (gradient,) = torch.autograd.grad(losses.sum(), image)
        return losses.detach(), gradient.flatten(1)


def finished(image: Tensor) -> Tensor:
    """Images `[S, 3, H, W]` clipped to [0, 1] and averaged over the channels: `[S, H, W]`."""
    return image.clamp(0.0, 1.0).mean(1)


def _stylize_slices(
    content: Tensor, style: Tensor, vgg: Vgg19, options: StyleOptions
) -> tuple[np.ndarray, ...]:
    problem = StyleProblem(content, style, vgg, options)
    start = problem.start.flatten(1)
    with torch.no_grad():
        everything = torch.arange(len(start), device=start.device)
        first = problem.loss(problem.start, everything)
    found = minimise(start, problem.evaluate, steps=options.steps)
    image = finished(found.x.view_as(problem.start)).float()
    results = (image, first, found.loss, found.steps, found.diverged)
    return tuple(values.cpu().numpy() for values in results)


def _three_channels(slices: Tensor, vgg: Vgg19) -> Tensor:
    """`[S, H, W]` → `[S, 3, H, W]` of the network's dtype, on its device."""
    weight = next(vgg.parameters())
    image = slices.to(weight.device, weight.dtype)[:, None]
    return image.expand(-1, 3, -1, -1).contiguous()
