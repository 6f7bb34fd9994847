"""The operations that the network, the loss and the sampling loop are made of.

Each file holds one op: its plain-torch `reference` and the public function that the rest calls.
"""

from mri2pet.ops.group_norm_gelu import group_norm_gelu
from mri2pet.ops.laplacian_pyramid_loss import laplacian_pyramid_loss
from mri2pet.ops.linear_attention import linear_attention
from mri2pet.ops.philox import philox_normal
from mri2pet.ops.sampler_step import sampler_step
from mri2pet.ops.sampler_step_at import sampler_step_at
from mri2pet.ops.upsample_concat import upsample_concat

__all__ = [
    "group_norm_gelu",
    "laplacian_pyramid_loss",
    "linear_attention",
    "philox_normal",
    "sampler_step",
    "sampler_step_at",
    "upsample_concat",
]
