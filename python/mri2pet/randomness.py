"""Random numbers named by a key: the same key gives the same numbers, another key others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def random_of(*key: object) -> np.random.Generator:
    """The generator that a key names, e.g. (seed, purpose, number of the volume)."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(_number_of(*key)))


def torch_seed(*key: object) -> int:
    """A seed for torch, whose generator on the CPU takes 32 bits and leaves the rest out."""
    return _number_of(*key) % 2**32


def _number_of(*key: object) -> int:
    text = "\0".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
