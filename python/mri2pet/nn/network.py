"""The whole network of one configuration: MRI encoder, time embedding and U-Net together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.config import ModelConfig
from mri2pet.nn.linear_denoiser import LinearDenoiser
from mri2pet.nn.mri_encoder import MRIEncoder
from mri2pet.nn.time_embedding import time_embedding
from mri2pet.nn.unet import BIAS_SIZES, UNet

BLOCK_BIASES = sum(BIAS_SIZES)


def mri_on_pet_grid(mri: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """[B, 1, K, I, J] → the same on the PET grid of a shape (trilinear, align_corners = false).

    Both grids cover the same box, so this is a scaling.
    """
    return F.interpolate(mri, size=shape, mode="trilinear", align_corners=False)


class Network(nn.Module):
    """MRI encoder and U-Net; `forward` is one evaluation, the parts serve the sampling loop."""

    activations: torch.dtype | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mri_encoder = MRIEncoder(config.mri_shape)
        components = config.linear_components
        self.unet = UNet(cin=config.input_channels)
        self.linear = LinearDenoiser(components, config.pet_shape) if components else None

    def guide(self, mri: Tensor) -> Tensor | None:
        """What `denoise` takes beside x_t with `cond: concat`, [B, 1 or 2, K, I, J]; else None.

        The MRI on the PET grid, which the U-Net sees, and the PET that it predicts by the linear
        denoiser where the network has one.
        """
        if self.config.cond != "concat":
            return None
        mri = mri_on_pet_grid(mri, self.config.pet_shape)
        if self.linear is None:
            return mri
        return torch.cat((mri, self.linear.predicted(mri)), dim=1)

    def expected(self, guide: Tensor | None) -> Tensor | None:
        """The expected PET of a `guide`, [B, 1, K, I, J]; None without a linear denoiser."""
        return None if self.linear is None or guide is None else self.linear.expected(guide[:, 1:])

    def block_biases(self, mri_embedding: Tensor, t: Tensor) -> Tensor:
        """[B, 256] and t int64 [B] → all that depends on step and MRI embedding.

        [B, 360] for the U-Net's blocks, followed by the linear denoiser's coefficients where the
        network has one.
        """
        rows = self.unet.block_biases(mri_embedding + time_embedding(t))
        return rows if self.linear is None else torch.cat((rows, self.linear.rows(t)), dim=1)

    def denoise(self, x_t: Tensor, block_biases: Tensor, guide: Tensor | None) -> Tensor:
        """The part that runs at every step: [B, 1, K, I, J] → the network's output (ε or v).

        Activations have the dtype of `activations`, or x_t's where that is None.
        """
        seen = x_t if self.activations is None else x_t.to(self.activations)
        if guide is not None:
            seen = torch.cat((seen, guide[:, :1].to(seen.dtype)), dim=1)
        output = self.unet(seen, block_biases[:, :BLOCK_BIASES])
        if self.linear is None or guide is None:
            return output
        return self.linear(output, x_t, block_biases[:, BLOCK_BIASES:], guide[:, 1:])

    def forward(self, x_t: Tensor, t: Tensor, mri: Tensor) -> Tensor:
        """The network's output (ε or v) for x_t [B, 1, K, I, J], t int64 [B] and the MRI."""
        biases = self.block_biases(self.mri_encoder(mri), t)
        return self.denoise(x_t, biases, self.guide(mri))
