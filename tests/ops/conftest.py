"""What the tests of the native ops share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mri2pet.errors import UsageError
from mri2pet.ops import backend

FLOOR = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-3, torch.float16: 2e-4}


@pytest.fixture
def native() -> Iterator[None]:
    """The native kernels for this test; skipped where the module is not built."""
    try:
        backend.native()
    except UsageError as error:
        pytest.skip(str(error))
    with backend.use_backend("native"):
        yield


def relative_error(value: Tensor, exact: Tensor) -> float:
    """‖value − exact‖ / ‖exact‖ in float64."""
    value, exact = value.detach().double(), exact.detach().double()
    return float((value - exact).norm() / exact.norm().clamp_min(1e-30))


@pytest.fixture
def assert_as_exact() -> Callable[..., None]:
    """Error of each value ≤ 2 × the error of torch in the same dtype + a floor of the dtype."""

    def check(
        values: tuple[Tensor, ...], torch_values: tuple[Tensor, ...], exact: tuple[Tensor, ...]
    ) -> None:
        for i, (value, plain, truth) in enumerate(zip(values, torch_values, exact, strict=True)):
            assert torch.isfinite(value).all(), f"value {i} is not finite"
            assert value.shape == truth.shape
            error, allowed = relative_error(value, truth), relative_error(plain, truth)
            floor = FLOOR[value.dtype]
            assert error <= 2 * allowed + floor, f"value {i}: {error:.2e}, torch {allowed:.2e}"

    return check


@pytest.fixture
def nan_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that torch hands out is full of NaN: a value that no kernel writes shows."""
    empty, empty_like, new_empty = torch.empty, torch.empty_like, Tensor.new_empty

    def poison(x: Tensor) -> Tensor:
        return x.fill_(float("nan")) if x.is_floating_point() else x.fill_(0xFF)

    monkeypatch.setattr(torch, "empty", lambda *a, **k: poison(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: poison(empty_like(*a, **k)))
    monkeypatch.setattr(Tensor, "new_empty", lambda *a, **k: poison(new_empty(*a, **k)))


@pytest.fixture
def restored_threads() -> Iterator[None]:
    """torch's number of threads as it was."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
