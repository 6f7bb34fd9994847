"""The noise generator against the published vectors, and its independence of the batch."""

from __future__ import annotations

import pytest
import torch

from mri2pet.ops.philox import philox4x32, philox_normal

# Random123's kat_vectors: philox4x32 10, counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    words = philox4x32(tuple(torch.tensor(c) for c in counter), tuple(torch.tensor(k) for k in key))
    assert tuple(int(w) for w in words) == expected


def draw(subjects, samples, shape=(1, 6, 7, 5), seed=11, step=400):
    return philox_normal(
        shape,
        seed=seed,
        step=step,
        subjects=torch.tensor(subjects),
        samples=torch.tensor(samples),
    )


def test_a_sample_is_the_same_alone_and_in_any_batch():
    batch = draw([5, -3, 5, 2**40], [0, 0, 1, 7])
    assert torch.equal(draw([5], [1])[0], batch[2])
    assert torch.equal(draw([2**40, -3], [7, 0])[1], batch[1])
    assert len({tuple(v.flatten().tolist()[:4]) for v in batch}) == 4


def test_every_coordinate_matters():
    one = draw([5], [0])
    for other in (
        draw([6], [0]),
        draw([5 + 2**32], [0]),
        draw([5], [1]),
        draw([5], [0], seed=12),
        draw([5], [0], step=399),
    ):
        assert (one - other).abs().mean() > 0.5


def test_moments_are_those_of_a_standard_normal():
    z = draw([1, 2], [0, 0], shape=(1, 40, 64, 64)).double()
    n = z.numel()
    assert abs(z.mean()) < 4 / n**0.5
    assert abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    neighbours = z.flatten(1)
    assert abs((neighbours[:, 1:] * neighbours[:, :-1]).mean()) < 4 / n**0.5
    assert z.abs().max() > 4


def test_seed_out_of_range_is_refused():
    with pytest.raises(ValueError, match="seed"):
        draw([0], [0], seed=-1)
