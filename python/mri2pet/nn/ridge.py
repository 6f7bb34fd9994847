"""Ridge regression of many numbers on volumes, judged by people that it was not fitted to.

Hoerl & Kennard 1970. With N volumes of many voxels all is computed from their products with each
other (the dual form). Leaving people out needs no fit of its own: with the hat matrix H, the
leave-one-person-out residuals of the rows b of one person are (I − H)_bb⁻¹ ((I − H) y)_b (PRESS,
Allen 1974; of several rows Cook & Weisberg 1982, "Residuals and influence in regression").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PENALTIES = [10 ** (exponent / 4) for exponent in range(-8, 9)]
"""Tried ones, in units of the mean variance of the volumes along their principal components."""


class Ridge:
    """Of N centred volumes.

    Args:
        products: of each with each, float64 [N, N].
        people: who each volume is of; a person is left out with all of them. None: all differ.

    Attributes:
        left_out: for each of `PENALTIES` the matrix [N, N] whose product with any targets is
            their leave-one-person-out residuals, an intercept included.
    """

    def __init__(self, products: Tensor, people: Sequence[str] | None = None) -> None:
        values, self._vectors = torch.linalg.eigh(products)
        self._values = values.clamp_min(0)
        count = len(products)
        scale = self._values.mean().clamp_min(1e-12)
        self._penalties = [scale * penalty for penalty in PENALTIES]
        rows: dict[str, list[int]] = {}
        for row in range(count):
            rows.setdefault(str(row) if people is None else people[row], []).append(row)
        self.left_out = []
        for penalty in self._penalties:
            shrunk = self._values / (self._values + penalty)
            errors = torch.eye(count, dtype=torch.float64) - 1 / count
            errors -= self._vectors * shrunk @ self._vectors.T
            for one in rows.values():
                errors[one] = torch.linalg.solve(errors[one][:, one], errors[one])
            self.left_out.append(errors)

    @staticmethod
    def best(squared_errors: Sequence[Tensor]) -> int:
        """The index in `PENALTIES` of the least error; of equal ones the largest."""
        errors = torch.stack(list(squared_errors)).flip(0)
        return len(errors) - 1 - int(errors.argmin())

    def weights(self, target: Tensor, place: int) -> Tensor:
        """Dual coefficients [N] of a centred target [N]: their sum of the volumes is β."""
        inverse = 1 / (self._values + self._penalties[place])
        return self._vectors @ (inverse * (self._vectors.T @ target))
