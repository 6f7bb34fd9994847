"""FID and KID by hand, by law, and against torchmetrics and torch-fidelity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.evaluation.distance_rows import difference, distances_of
from mri2pet.evaluation.distances import (
    Moments,
    PeopleKernel,
    extrapolated,
    fid,
    fid_of_moments,
    kid,
)


def rows(n, d, seed, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def gaussian(mean, variances):
    """Moments with exactly this mean and diagonal covariance."""
    return Moments(11, np.asarray(mean, float), np.diag(np.asarray(variances, float)) * 10)


def test_two_gaussians_by_hand():
    assert fid_of_moments(gaussian((0, 0), (1, 4)), gaussian((3, 0), (9, 1))) == pytest.approx(14)


def test_equal_sets_have_no_distance_and_motion_changes_nothing():
    a, b = rows(40, 6, 0), rows(30, 6, 1, 1.3, 0.2)
    assert fid(a, a) == pytest.approx(0, abs=1e-9)
    rotation = np.linalg.qr(rows(6, 6, 2))[0]
    assert fid(a @ rotation + 5, b @ rotation + 5) == pytest.approx(fid(a, b))
    assert fid(3 * a, 3 * b) == pytest.approx(9 * fid(a, b))
    assert fid(a, b) == pytest.approx(fid(b, a))


@pytest.mark.parametrize("chunks", [1, 7, 40])
def test_moments_stream(chunks):
    a = rows(40, 5, 3, shift=100.0)
    found = Moments.streamed(np.array_split(a, chunks))
    assert found.count == 40
    np.testing.assert_allclose(found.mean, a.mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.covariance, np.cov(a.T), rtol=1e-10)


def test_both_forms_agree():
    a, b = rows(12, 20, 4), rows(15, 20, 5, 1.2)
    by_moments = fid_of_moments(Moments.of(a), Moments.of(b))
    assert fid(a, b) == pytest.approx(by_moments, rel=1e-6)


def test_too_few_rows_and_other_features_are_refused():
    with pytest.raises(ValueError, match="two rows"):
        fid(rows(1, 3, 0), rows(5, 3, 1))
    with pytest.raises(ValueError, match="3 features on one side, 4"):
        fid(rows(5, 3, 0), rows(5, 4, 1))
    with pytest.raises(ValueError, match="two rows"):
        Moments.of(rows(1, 3, 0)).covariance.sum()
    with pytest.raises(ValueError, match="no features"):
        Moments.streamed([])
    with pytest.raises(ValueError, match="two rows"):
        kid(rows(1, 3, 0), rows(5, 3, 1))


def test_a_line_over_one_by_n_meets_infinity():
    sizes = [10, 20, 40]
    assert extrapolated(sizes, [3 + 7 / n for n in sizes]) == pytest.approx((3, 7))


def test_kid_of_equal_laws_is_zero_on_average():
    found = [kid(rows(30, 4, 2 * n), rows(30, 4, 2 * n + 1)) for n in range(50)]
    assert abs(np.mean(found)) < 3 * np.std(found, ddof=1) / math.sqrt(50)


def test_kid_of_people_counts_pairs_of_different_people_alone():
    real, drawn = ([rows(n, 3, seed + i) for i, n in enumerate((2, 3, 1, 4))] for seed in (10, 20))
    person = np.repeat(np.arange(4), (2, 3, 1, 4))
    apart = person[:, None] != person[None]
    x, y = np.concatenate(real), np.concatenate(drawn)

    def mean(a, b):
        return ((a @ b.T / 3 + 1) ** 3)[apart].mean()

    expected = mean(x, x) + mean(y, y) - 2 * mean(x, y)
    sums = PeopleKernel.of(real, drawn, same_people=True)
    assert float(sums.kid(np.ones(4))) == pytest.approx(expected)
    twice = sums.kid(np.array([[2, 2, 2, 2], [1, 1, 1, 1]]))
    assert twice[0] == pytest.approx(twice[1]), "copies of a person do not meet"
    assert math.isnan(sums.kid(np.array([4, 0, 0, 0])))


def test_a_person_s_own_slices_meet_where_the_people_are_others():
    real, drawn = ([rows(2, 3, seed + i) for i in range(3)] for seed in (30, 40))
    sums = PeopleKernel.of(real, drawn, same_people=False)
    assert sums.cross_pairs.sum() == 36
    assert sums.real_pairs.sum() == 24


def people(seed, count=24, slices=6, d=5, shift=0.0):
    rng = np.random.default_rng(seed)
    return [rng.normal(shift, 1, d) * 0.3 + rng.normal(shift, 1, (slices, d)) for _ in range(count)]


def test_distances_of_several_sets_and_their_difference():
    measured = people(0)
    near = [p + 0.1 * n for p, n in zip(measured, people(1), strict=True)]
    found = distances_of(
        measured,
        {"near": near, "far": people(2, shift=1.0)},
        {"floor": people(3, count=20)},
        resamples=500,
    )
    near, far, floor = (found[name] for name in ("near", "far", "floor"))
    assert near.fid.value < floor.fid.value < far.fid.value
    assert near.kid.value < far.kid.value
    assert (near.slices, floor.slices) == (144, 120)
    assert near.fid.value == pytest.approx(fid(*map(np.concatenate, (measured, people_near()))))
    assert len(near.fid_left_out) == 20
    assert near.fid.low < near.fid.value < near.fid.high
    assert floor.fid_infinity < floor.fid.value, "the bias goes away"
    by_fid, by_kid = difference(far, near)
    assert by_fid.low > 0
    assert by_kid.low > 0
    assert by_fid.value == pytest.approx(far.fid.value - near.fid.value)


def people_near():
    return [p + 0.1 * n for p, n in zip(people(0), people(1), strict=True)]


def test_one_person_and_few_people_have_no_interval():
    one = distances_of(people(0, count=1), {"drawn": people(1, count=1)}, {})["drawn"]
    assert math.isnan(one.kid.value)
    assert math.isnan(one.fid.low)
    assert math.isnan(one.fid_infinity)
    eight = distances_of(people(0, count=8), {"drawn": people(1, count=8)}, {})["drawn"]
    assert math.isfinite(eight.fid_infinity)
    few = distances_of(people(0, count=3), {"drawn": people(1, count=3)}, {})["drawn"]
    assert few.fid.kind == "jackknife"
    assert math.isnan(few.fid_infinity)


def test_single_slices_and_a_floor_of_one_person_have_no_distance():
    thin = distances_of(people(0, 1, 1), {"drawn": people(1, 1, 1)}, {"floor": people(2, 1, 1)})
    assert all(math.isnan(d.fid.value) for d in thin.values())
    found = distances_of(people(0, 12), {"drawn": people(1, 12)}, {"floor": people(2, 1, 4)})
    assert math.isfinite(found["drawn"].fid.low)
    assert math.isfinite(found["floor"].fid.value)
    assert math.isnan(found["floor"].fid_infinity), "one size is no line"
    assert math.isnan(found["floor"].fid.low), "without its one person nothing is left"
    assert math.isnan(found["floor"].kid.value)


def test_features_that_are_not_finite_give_no_distance_and_spoil_no_other():
    measured, broken = people(0), people(1)
    broken[3][0, 0] = np.nan
    alone = distances_of(measured, {"good": people(2)}, {}, resamples=50)["good"]
    found = distances_of(measured, {"broken": broken, "good": people(2)}, {}, resamples=50)
    assert found["good"].fid == alone.fid
    assert math.isnan(found["broken"].fid.value)
    assert math.isnan(found["broken"].kid.value)
    for gap in difference(found["broken"], found["good"]):
        assert all(math.isnan(n) for n in (gap.value, gap.low, gap.high))


def test_fid_is_torch_fidelitys_and_kid_is_torchmetrics(torchvision_models):
    image = pytest.importorskip("torchmetrics.image.kid", reason="torchmetrics is not installed")
    fidelity = pytest.importorskip("torch_fidelity.metric_fid", reason="no torch-fidelity")
    import torch

    a, b = rows(60, 8, 6), rows(50, 8, 7, 1.1, 0.2)
    statistics = [{"mu": x.mean(0), "sigma": np.cov(x.T)} for x in (a, b)]
    theirs = fidelity.fid_statistics_to_metric(*statistics, verbose=False)
    assert fid(a, b) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)
    m = 50
    found = image.poly_mmd(torch.from_numpy(a[:m]), torch.from_numpy(b[:m])).item()
    assert kid(a[:m], b[:m]) == pytest.approx(found, rel=1e-6)
