"""The paper's form of style transfer: one slice after another, with torch's own L-BFGS.

`transfer.stylize` is this for all slices at once; here it is what that is tested and timed
against.
"""

from __future__ import annotations

import numpy as np
import torch

from mri2pet.imaging.space.resampling import to_pet_size
from mri2pet.style.transfer import StyleOptions, StyleProblem, finished
from mri2pet.style.vgg import Vgg19


def stylize_slicewise(
    mri: np.ndarray, style: np.ndarray, vgg: Vgg19, options: StyleOptions | None = None
) -> np.ndarray:
    """As `transfer.stylize`, slice after slice: float32 `[K, I, J]` in [0, 1]."""
    options = options or StyleOptions()
    content = torch.from_numpy(to_pet_size(mri, style.shape))
    target = torch.from_numpy(np.ascontiguousarray(style, dtype=np.float32))
    slices = []
    for k in range(len(content)):
        problem = StyleProblem(content[k : k + 1], target[k : k + 1], vgg, options)
        slices.append(finished(_minimise(problem, options.steps)).float().cpu())
    return torch.cat(slices).numpy()


def _minimise(problem: StyleProblem, steps: int) -> torch.Tensor:
    image = problem.start.clone().requires_grad_()
    row = torch.zeros(1, dtype=torch.long, device=image.device)
    optimiser = torch.optim.LBFGS([image], max_iter=steps)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = problem.loss(image, row).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return image.detach()
