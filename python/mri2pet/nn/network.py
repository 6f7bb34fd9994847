"""The whole network of one configuration: MRI encoder, time embedding and U-Net together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.config import ModelConfig
from mri2pet.nn.mri_encoder import MRIEncoder
from mri2pet.nn.time_embedding import time_embedding
from mri2pet.nn.unet import UNet


class Network(nn.Module):
    """MRI encoder and U-Net; `forward` is one evaluation, the parts serve the sampling loop."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mri_encoder = MRIEncoder(config.mri_shape)
        self.unet = UNet(cin=2 if config.cond == "concat" else 1)

    def mri_on_pet_grid(self, mri: Tensor) -> Tensor | None:
        """The second input channel of `cond: concat`, [B, 1, K, I, J]; None without it.

        Both grids cover the same box, so this is a scaling (trilinear, align_corners = false).
        """
        if self.config.cond != "concat":
            return None
        return F.interpolate(mri, size=self.config.pet_shape, mode="trilinear", align_corners=False)

    def block_biases(self, mri_embedding: Tensor, t: Tensor) -> Tensor:
        """[B, 256] and t int64 [B] → [B, 360]: all that depends on step and MRI embedding."""
        return self.unet.block_biases(mri_embedding + time_embedding(t))

    def denoise(self, x_t: Tensor, block_biases: Tensor, mri_pet_grid: Tensor | None) -> Tensor:
        """The part that runs at every step: [B, 1, K, I, J] → the network's output (ε or v)."""
        if mri_pet_grid is not None:
            x_t = torch.cat((x_t, mri_pet_grid.to(x_t.dtype)), dim=1)
        return self.unet(x_t, block_biases)

    def forward(self, x_t: Tensor, t: Tensor, mri: Tensor) -> Tensor:
        """The network's output (ε or v) for x_t [B, 1, K, I, J], t int64 [B] and the MRI."""
        biases = self.block_biases(self.mri_encoder(mri), t)
        return self.denoise(x_t, biases, self.mri_on_pet_grid(mri))
