"""The two networks of the GAN baselines: a generator and a critic, both told the MRI.

Adapted from the layers of the MRI2PET paper's published baselines. Tensors: `pet` and `mri`
[B, 1, K, I, J], `condition` and `z` [B, 256], `joint` [B, 512], a score [B]. The PET is on the
scale of tanh, (−1, 1).
"""

from __future__ import annotations

import functools
import itertools
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mri2pet.config import ModelConfig, Shape
from mri2pet.errors import UsageError
from mri2pet.nn.blocks import EMBEDDING
from mri2pet.nn.convolution import Conv3d
from mri2pet.nn.mri_encoder import MRIEncoder

NOISE = 256
SLOPE, DROPOUT = 0.2, 0.4

#: torch's own convolution, for the critic: a penalty differentiates it twice, which the package's
#: does not allow.
_PlainConv3d = functools.partial(nn.Conv3d, kernel_size=3, padding=1)


class BatchNorm(nn.Module):
    """A norm over the micro-batch; in evaluation mode by running statistics (momentum 0.1).

    The running statistics follow the evaluations that learn: in training mode without gradient
    the batch's own are used and nothing is changed. There is no counter of batches, so every
    entry of the state dict can be averaged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        followed = not self.training or torch.is_grad_enabled()
        mean = self.running_mean if followed else None
        var = self.running_var if followed else None
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, momentum=0.1)


class GrowingBlock(nn.Module):
    """Norm · transposed convolution without bias, ×2 within a slice · LeakyReLU."""

    def __init__(self, cin: int, cout: int, *, slices_too: bool) -> None:
        super().__init__()
        kernel, stride = (4, 2) if slices_too else ((3, 4, 4), (1, 2, 2))
        self.norm = BatchNorm(cin)
        self.grow = nn.ConvTranspose3d(cin, cout, kernel, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.grow(self.norm(x)), SLOPE)


class Generator(nn.Module):
    """Draws a PET from an MRI and a noise vector in one evaluation.

    Raises:
        UsageError: the PET's shape is no multiple of (16, 32, 32).
    """

    CHANNELS = (8, 16, 32, 32, 16, 8)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.start_shape = _start_shape(config.pet_shape)
        self.mri_encoder = MRIEncoder(config.mri_shape)
        self.start = nn.Linear(EMBEDDING + NOISE, prod(self.start_shape))
        pairs = list(itertools.pairwise(self.CHANNELS))
        self.blocks = nn.ModuleList(
            GrowingBlock(cin, cout, slices_too=n < len(pairs) - 1)
            for n, (cin, cout) in enumerate(pairs)
        )
        self.finish = nn.ModuleList((Conv3d(8, 4, bias=True), Conv3d(4, 1, bias=True)))

    def encode(self, mri: Tensor) -> Tensor:
        """The condition of `draw`, once for all draws of the same MRIs."""
        return self.mri_encoder(mri)

    def draw(self, condition: Tensor, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The PET and the activations A¹ … A⁵, the blocks' outputs flattened, [B, ·] each."""
        x = self.start(torch.cat((condition, z), 1)).unflatten(1, self.start_shape)
        activations = []
        for block in self.blocks:
            x = block(x)
            activations.append(x.flatten(1))
        hidden, last = self.finish
        return torch.tanh(last(F.relu(hidden(x)))), activations

    def forward(self, z: Tensor, mri: Tensor) -> Tensor:
        return self.draw(self.encode(mri), z)[0]


class Critic(nn.Module):
    """Scores how real a PET is beside its MRI: any real number, no sigmoid.

    Args:
        config: the shapes.
        patches: whether it has the patch head as well, which judges local realism alone.
    """

    WIDTHS = (2 * EMBEDDING, 512, 512, 512, 256, 128)

    def __init__(self, config: ModelConfig, *, patches: bool = False) -> None:
        super().__init__()
        self.mri_encoder = MRIEncoder(config.mri_shape, _PlainConv3d)
        self.pet_encoder = MRIEncoder(config.pet_shape, _PlainConv3d)
        self.blocks = nn.ModuleList(
            nn.Linear(cin, cout) for cin, cout in itertools.pairwise(self.WIDTHS)
        )
        self.last = nn.Linear(self.WIDTHS[-1], 1)
        if patches:
            self.patch_head = self._patch_head()

    def _patch_head(self) -> nn.Module:
        return _PlainConv3d(32, 1)

    def encode(self, mri: Tensor) -> Tensor:
        """The condition of `joint`, once for all evaluations with the same MRIs."""
        return self.mri_encoder(mri)

    def joint(self, condition: Tensor, pet: Tensor) -> Tensor:
        """What the head reads: the condition, then the embedding of the PET."""
        return torch.cat((condition, self.pet_encoder(pet)), 1)

    def features(self, joint: Tensor, *, dropout: bool | None = None) -> list[Tensor]:
        """F¹ … F⁵, the outputs of the head's five blocks; dropout by the module's mode if None."""
        dropping = self.training if dropout is None else dropout
        features = []
        x = joint
        for n, block in enumerate(self.blocks):
            x = block(x)
            x = F.leaky_relu(F.dropout(x, DROPOUT, dropping and n > 0), SLOPE)
            features.append(x)
        return features

    def score(self, joint: Tensor) -> Tensor:
        """The whole head's."""
        return self.last(self.features(joint)[-1])[:, 0]

    def patch_map(self, pet: Tensor) -> Tensor:
        """The patch head's logits, [B, 1, K/8, I/8, J/8]."""
        return self.patch_head(self.pet_encoder.convolved(pet, levels=3))

    def patch_score(self, condition: Tensor, pet: Tensor) -> Tensor:
        """The mean of the patch map, which sees no MRI."""
        del condition
        return self.patch_map(pet).mean((1, 2, 3, 4))

    def forward(self, pet: Tensor, mri: Tensor) -> Tensor:
        return self.score(self.joint(self.encode(mri), pet))


class AuthorsCritic(Critic):
    """The critic of the published baselines: scores through a sigmoid, hence in (0, 1), and in
    place of the patch head a small head on F², which has no places left."""

    def _patch_head(self) -> nn.Module:
        return nn.Sequential(nn.Linear(512, 128), nn.LeakyReLU(SLOPE), nn.Linear(128, 1))

    def score(self, joint: Tensor) -> Tensor:
        return super().score(joint).sigmoid()

    def patch_score(self, condition: Tensor, pet: Tensor) -> Tensor:
        return self.patch_score_of(self.joint(condition, pet))

    def patch_score_of(self, joint: Tensor) -> Tensor:
        """The small head's."""
        return self.patch_head(self.features(joint)[1])[:, 0].sigmoid()


def _start_shape(pet_shape: Shape) -> tuple[int, int, int, int]:
    k, i, j = pet_shape
    if k % 16 or i % 32 or j % 32:
        raise UsageError(
            f"model.pet_shape {k}x{i}x{j}: a GAN's generator draws multiples of 16x32x32 alone"
        )
    return 8, k // 16, i // 32, j // 32
