"""The made-up inputs whose answers `evaluation_small.json` holds, of whatever size it names."""

from __future__ import annotations

import zlib

import numpy as np


def random_of(name: str, seed: int) -> np.random.RandomState:
    """The generator of a named array."""
    return np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)


class Inputs:
    """Arrays by name, as float64 of their float32 values."""

    def __init__(self, reference: dict) -> None:
        self.sizes = reference["inputs"]
        self.seed = self.sizes["seed"]
        self.shape = tuple(self.sizes["shape"])

    def wave(self, name, shape, scale, offset=0.0):
        normal = random_of(name, self.seed).standard_normal(shape)
        return (normal * scale + offset).astype(np.float32).astype(np.float64)

    def brain(self):
        k, i, j = self._grid()
        return k**2 / 0.9 + i**2 / 0.75 + j**2 / 0.85 < 1

    def _grid(self):
        axes = (np.linspace(-1, 1, n) for n in self.shape)
        return np.meshgrid(*axes, indexing="ij")

    def volumes(self, scan):
        """Measured and predicted `[K, I, J]`, float32."""
        k, i, j = self._grid()
        base = 1.2 + 0.35 * np.cos(3 * i + scan) * np.cos(2 * j) + 0.2 * k
        measured = base + self.wave(f"measured{scan}", self.shape, 0.08)
        predicted = 0.9 * base + 0.15 + self.wave(f"predicted{scan}", self.shape, 0.05)
        brain = self.brain()
        return tuple(
            np.where(brain, np.maximum(v, 0), 0).astype(np.float32) for v in (measured, predicted)
        )

    def scores(self):
        return self.wave("scores", (self.sizes["count"],), 0.06, 0.82)

    def people_of_scores(self):
        """The person of each score: person n has 1 + (n mod 3) scans in order."""
        people = []
        while len(people) < self.sizes["count"]:
            n = people[-1] + 1 if people else 0
            people += [n] * (1 + n % 3)
        return people[: self.sizes["count"]]

    def test_pair(self, name):
        n = (self.sizes["seeds"],)
        x = self.wave("first", n, 0.03, 0.60)
        c = {"large": 0.05, "small": 0.012, "none": 0.0}[name]
        return x, 0.4 * x + 0.36 - c + self.wave(f"second_{name}", n, 0.03)

    def features(self):
        n, m, d = self.sizes["features"]
        mix = self.wave("mix", (d, d), 0.4).astype(np.float32) + np.eye(d, dtype=np.float32)
        real = self.wave("real", (n, d), 1).astype(np.float32) @ mix
        fake = self.wave("fake", (m, d), 1.1, 0.25).astype(np.float32) @ mix
        return real.astype(np.float64), fake.astype(np.float64)
