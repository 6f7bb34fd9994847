"""The made-up inputs and parameters whose answers `baselines_small.npz` holds."""

from __future__ import annotations

import ast
import zlib

import numpy as np
import torch

from mri2pet.baselines.networks import Critic, Generator
from mri2pet.config import ModelConfig

LAYER_SIZES = {
    "feature": (32, 96, 160, 112, 88),
    "critic": (512, 512, 512, 256, 128),
}


class Inputs:
    """Arrays by name, float32; sizes and seed as the file says."""

    def __init__(self, file) -> None:
        self.file = file
        self.seed, self.batch = int(file["seed"]), int(file["batch"])
        self.mri_shape = tuple(int(n) for n in file["mri_shape"])
        self.pet_shape = tuple(int(n) for n in file["pet_shape"])

    def config(self) -> ModelConfig:
        return ModelConfig(mri_shape=self.mri_shape, pet_shape=self.pet_shape)

    def _random(self, name):
        return np.random.RandomState((zlib.crc32(name.encode()) + self.seed) % 2**32)

    def wave(self, name, shape, scale, offset=0.0):
        values = offset + scale * self._random(name).standard_normal(shape)
        return values.astype(np.float32)

    def uniform(self, name, shape, low=0.0, high=1.0):
        values = low + (high - low) * self._random(name).random_sample(shape)
        return values.astype(np.float32)

    def integers(self, name, low, high):
        return torch.from_numpy(self._random(name).randint(low, high, self.batch))

    def mri(self):
        return torch.from_numpy(
            np.clip(self.wave("mri", (self.batch, *self.mri_shape), 0.2, 0.5), 0, 1)
        )[:, None]

    def pet(self):
        return torch.from_numpy(
            np.tanh(self.wave("pet", (self.batch, *self.pet_shape), 0.7, -0.3))
        )[:, None]

    def z(self):
        return torch.from_numpy(self.wave("z", (self.batch, 256), 1.0))

    def numbers(self, name):
        """One in [0, 1) for each volume."""
        return torch.from_numpy(self.uniform(name, (self.batch,)))

    def features(self, name, group, size, relative=None):
        """[B, size]; `relative` names the features that these were made from."""
        mix = self.wave(f"{name}.weights", (self.batch, 3), 1.0)
        if relative is not None:
            mix = 0.6 * self.wave(f"{relative}.weights", (self.batch, 3), 1.0) + 0.6 * mix
        directions = self.wave(f"{group}.directions", (3, size), 1.0)
        own = self.wave(f"{name}.own", (self.batch, size), 0.5)
        return torch.from_numpy((mix @ directions + own).astype(np.float32))

    def layers(self, kind, role):
        """The features of the five layers: kind "feature" or "critic", role "source", …"""
        return [
            self.features(
                f"{kind}_{role}{n}",
                f"{kind}{n}",
                size,
                f"{kind}_source{n}" if role == "target" else None,
            )
            for n, size in enumerate(LAYER_SIZES[kind])
        ]

    def generator(self, *, source=False) -> Generator:
        generator = Generator(self.config())
        generator.load_state_dict(_our_generator(self._state("generator", source)))
        return generator.eval()

    def critic(self, made=Critic, *, source=False, patches=False):
        """`made` is a class of critics; its patch head has the file's parameters where the file
        has one of its kind."""
        critic = made(self.config(), patches=patches)
        state = _our_critic(self._state("critic", source))
        missing, _ = critic.load_state_dict(state, strict=False)
        assert set(missing) <= {"patch_head.weight", "patch_head.bias"}
        if missing:
            with torch.no_grad():
                weight = self.wave("patch_weight", (1, 32, 3, 3, 3), 1.6 / np.sqrt(864))
                critic.patch_head.weight.copy_(torch.from_numpy(weight))
                bias = self.wave("patch_bias", (1,), 0.05)
                critic.patch_head.bias.copy_(torch.from_numpy(bias))
        return critic.eval()

    def _state(self, network, source):
        """Name in the published code → values."""
        state = {}
        names, shapes = self.file[f"{network}_names"], self.file[f"{network}_shapes"]
        for name, text in zip(names, shapes, strict=True):
            shape = ast.literal_eval(str(text))
            if name.endswith("num_batches_tracked"):
                continue
            values = self._parameter(f"source_{network}.{name}", shape)
            if not source:
                c = np.float32(0.5 if len(shape) > 1 else 0.1)
                values = (1 - c) * values + c * self._parameter(f"{network}.{name}", shape)
            state[str(name)] = torch.from_numpy(values.astype(np.float32))
        return state

    def _parameter(self, key, shape):
        if key.endswith("running_mean"):
            return self.wave(key, shape, 0.1)
        if key.endswith("running_var"):
            return np.exp(self.wave(key, shape, 0.2))
        if len(shape) == 1:
            return self.wave(key, shape, *((0.1, 1.0) if key.endswith("weight") else (0.05,)))
        # A transposed convolution reaches each voxel with an eighth of its kernel.
        gain = 4.0 if ".gen" in key else 1.6
        return self.wave(key, shape, gain / np.sqrt(np.prod(shape[1:])))


def our_generator_name(name: str) -> str:
    """A name of the published code in this package's."""
    first, _, rest = name.partition(".")
    if first == "context_emb":
        return _encoder("mri_encoder", rest)
    if first == "init_map":
        return f"start.{rest}"
    if first == "output":
        return f"finish.{0 if rest[0] == '0' else 1}.{rest[2:]}"
    layer = "norm" if rest[0] == "0" else "grow"
    return f"blocks.{int(first[3:]) - 1}.{layer}.{rest[2:]}"


def our_critic_name(name: str) -> str:
    """A name of the published code in this package's."""
    first, _, rest = name.partition(".")
    if first in ("context_emb", "image_emb"):
        return _encoder("mri_encoder" if first == "context_emb" else "pet_encoder", rest)
    if first == "final":
        return f"last.{rest[2:]}"
    if first == "patch_output":
        return f"patch_head.{rest}"
    return f"blocks.{int(first[5:]) - 1}.{rest[2:]}"


def _encoder(ours: str, rest: str) -> str:
    layer, _, kind = rest.partition(".")
    return (
        f"{ours}.{layer}.{kind}" if layer[:2] == "fc" else f"{ours}.conv.{int(layer[4]) - 1}.{kind}"
    )


def _our_generator(state):
    return {our_generator_name(name): values for name, values in state.items()}


def _our_critic(state):
    return {our_critic_name(name): values for name, values in state.items()}
