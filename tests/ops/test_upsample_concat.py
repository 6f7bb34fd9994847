"""Upsampling and concatenation through the public function; the kernels' tests are in
test_cuda_ops.py and tests/cuda_emulation."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops import upsample_concat


def test_a_linear_function_of_the_place_stays_one():
    """Trilinear interpolation with aligned corners is exact for it, up to the corners."""
    coarse, fine = (2, 3, 4), (5, 7, 9)

    def plane(shape):
        axes = torch.meshgrid(*(torch.linspace(0, 1, n) for n in shape), indexing="ij")
        return sum(weight * axis for weight, axis in zip((1.0, -2.0, 3.0), axes, strict=True))

    skip = torch.randn(1, 2, *fine)
    y = upsample_concat(plane(coarse)[None, None], skip)
    assert torch.equal(y[:, :2], skip)
    torch.testing.assert_close(y[0, 2], plane(fine))


def test_the_result_has_the_dtype_of_skip():
    y = upsample_concat(torch.randn(1, 2, 2, 2, 2), torch.randn(1, 1, 4, 4, 4).bfloat16())
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("x", "skip"), [((2, 1, 2, 2, 2), (1, 1, 4, 4, 4)), ((1, 1, 2, 2), (1, 1, 4, 4, 4))]
)
def test_what_does_not_fit_is_refused(x, skip):
    with pytest.raises(ValueError, match="do not fit"):
        upsample_concat(torch.zeros(x), torch.zeros(skip))


def test_on_another_device_is_refused():
    with pytest.raises(ValueError, match="is on cpu"):
        upsample_concat(torch.zeros(1, 1, 2, 2, 2, device="meta"), torch.zeros(1, 1, 4, 4, 4))
