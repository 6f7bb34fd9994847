"""Known answers, made with scikit-image, scipy, torchmetrics, torch-fidelity and torchvision."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mri2pet.evaluation import as_paper, distances, hypothesis, intervals
from mri2pet.evaluation.inception import InceptionV3
from mri2pet.evaluation.metrics import mean_absolute_error, psnr, ssim
from mri2pet.weights import WeightsOrigin

from .reference_inputs import Inputs


@pytest.fixture(scope="module")
def reference(shared_reference) -> dict:
    path = shared_reference / "evaluation_small.json"
    if not path.is_file():
        pytest.skip(f"no known answers in {path}")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def inputs(reference) -> Inputs:
    return Inputs(reference)


def about(value, tolerance=1e-6):
    return pytest.approx(value, rel=tolerance, abs=tolerance)


def test_image_metrics_in_the_brain(reference, inputs):
    known, brain = reference["image"]["brain"], inputs.brain()
    assert brain.sum() == known["brain_voxels"]
    for scan in range(inputs.sizes["scans"]):
        measured, predicted = inputs.volumes(scan)
        for name, metric in (("mae", mean_absolute_error), ("psnr", psnr), ("ssim", ssim)):
            assert metric(predicted, measured, brain) == about(known[name][scan])


def test_image_metrics_as_in_the_paper(reference, inputs):
    known = reference["image"]["as_paper"]
    for scan in range(inputs.sizes["scans"]):
        measured, predicted = inputs.volumes(scan)
        found = as_paper.image_figures(predicted, measured)
        assert found == {name: about(values[scan], 2e-6) for name, values in known.items()}


def test_intervals(reference, inputs):
    known, scores = reference["intervals"], inputs.scores()
    assert scores.mean() == about(known["mean"])
    grown = as_paper.growing_list(scores)
    assert grown.mean == about(known["as_paper_growing"]["mean"])
    assert grown.plus_minus == about(known["as_paper_growing"]["plus_minus"])
    picks = np.random.RandomState(1).randint(0, len(scores), (2000, len(scores)))
    assert intervals.percentile_limits(scores[picks].mean(1)) == about(
        tuple(known["percentile_95"])
    )
    for values, name in ((scores, "bca_95"), (np.exp(4 * scores), "bca_95_skewed")):
        draws, without = values[picks].mean(1), _left_out(values)
        z0, a = intervals.bca_constants(values.mean(), draws, without)
        assert (z0, a) == about((known[name]["z0"], known[name]["acceleration"]))
        limits = intervals.bca_limits(values.mean(), draws, without)
        assert limits == about(tuple(known[name]["limits"]))


def _left_out(values):
    return (values.sum() - values) / (len(values) - 1)


def test_people_are_drawn_with_all_their_scans(reference, inputs):
    known, people = reference["intervals"]["by_subject"], inputs.people_of_scores()
    per_scan = intervals.MEAN.sums(inputs.scores())
    sums = intervals.by_person(per_scan, [str(person) for person in people])
    assert len(sums) == known["subjects"]
    picks = np.random.RandomState(2).randint(0, len(sums), (2000, len(sums)))
    counts = np.stack([np.bincount(row, minlength=len(sums)) for row in picks])
    draws = intervals.MEAN.of(counts @ sums)
    assert intervals.percentile_limits(draws) == about(tuple(known["percentile_95"]))
    assert draws.std() == about(known["se"], 2e-3)  # over n or n − 1 of 2000 draws


def test_tests_of_differences(reference, inputs):
    known = reference["tests"]
    for name in ("large", "small", "none"):
        x, y = inputs.test_pair(name)
        n = len(x)
        found = hypothesis.paired(x, y)
        expected = known[name]["paired"]
        assert (found.t, found.df) == about((expected["t"], expected["df"]))
        assert found.p == pytest.approx(expected["p"], rel=1e-6)
        assert hypothesis.stars(found.p) == expected["stars"]
        printed = [(float(v.mean()), float(v.std() / n**0.5)) for v in (x, y)]
        np.testing.assert_allclose(printed, known[name]["mean_se"], rtol=1e-6)
        (a, se_a), (b, se_b) = printed
        found, expected = hypothesis.welch(a, se_a, n, b, se_b, n), known[name]["welch"]
        assert (found.t, found.df) == about((expected["t"], expected["df"]), 1e-5)
        assert found.p == pytest.approx(expected["p"], rel=1e-5)
        assert hypothesis.stars(found.p) == expected["stars"]
    assert hypothesis.holm(known["holm"]["p"]) == about(known["holm"]["adjusted"])


def test_fid_and_kid(reference, inputs):
    known, (real, fake) = reference["features"], inputs.features()
    m, d = min(len(real), len(fake)), real.shape[1]
    assert m == known["m"]
    assert distances.fid(real, fake) == about(known["fid"])
    assert distances.fid(real, real) == about(0.0)
    few = d // 2
    assert known["fid_rank_deficient"]["rows"] == few
    found = distances.fid(real[:few], fake[:few])
    assert found == about(known["fid_rank_deficient"]["fid"], 1e-4)
    assert distances.kid(real, fake) == about(known["kid_all"])
    real, fake = real[:m], fake[:m]
    assert distances.kid(real, fake) == about(known["kid_first_m"])
    groups = [np.arange(m) // 4 == person for person in range(-(-m // 4))]
    sums = distances.PeopleKernel.of(
        [real[g] for g in groups], [fake[g] for g in groups], same_people=True
    )
    everybody = np.ones(len(groups))
    assert float(sums.kid(everybody)) == about(known["kid_by_subject_4_rows_each"])
    jack = known["fid_jackknife_4_rows_each"]
    assert len(groups) == jack["groups"]
    value = distances.fid(real, fake)
    assert value == about(jack["fid_first_m"])
    left_out = [distances.fid(real[~g], fake[~g]) for g in groups]
    assert intervals.jackknife_se(left_out) == about(jack["se"])
    sizes = [m // 4, m // 3, m // 2, m]
    line = known["extrapolated"]
    assert sizes == line["sizes"]
    found = [distances.fid(real[:n], fake[:n]) for n in sizes]
    assert found == about(line["fid"], 1e-5)
    assert distances.extrapolated(sizes, found) == about((line["intercept"], line["slope"]), 1e-5)


def test_distances_as_in_the_paper(reference, inputs):
    known, (real, fake) = reference["features"], inputs.features()
    m = known["m"]
    grown = as_paper.resampled_fid(real[:m], fake[:m])
    expected = known["as_paper_bootstrap"]
    assert (grown.mean, grown.plus_minus) == about((expected["mean"], expected["plus_minus"]), 1e-5)
    score = as_paper.inception_score(2 * real[:m])
    assert score == about(known["inception_score_softmax_of_2_real"])


def test_fid_of_equal_gaussians_is_its_bias(reference):
    for name, expected in reference["fid_bias_of_equal_gaussians"].items():
        d, n = (int(part[1:]) for part in name.split("_"))
        sets = np.random.default_rng(0).normal(size=(5, 2, n, d))
        found = np.mean([distances.fid(one, two) for one, two in sets])
        assert found == pytest.approx(expected, rel=0.03)


def test_inception_has_torchvisions_features(reference, inputs):
    known = reference["inception"]
    network = InceptionV3(WeightsOrigin("", "", pretrained=False))
    fill_by_name(network, inputs)
    inputs.shape = (4, 32, 32)
    measured, predicted = inputs.volumes(0)
    for name, volume in (("measured", measured), ("predicted", predicted)):
        features = network(torch.from_numpy(as_paper.slices(volume)[1:3]))
        assert features.norm(dim=1).tolist() == about(known[name]["norms"], 1e-3)
        assert features[0, : len(known[name]["first"])].tolist() == about(
            known[name]["first"], 1e-3
        )
        assert features.mean().item() == about(known[name]["mean"], 1e-3)
        logits = network.fc(features).norm(dim=1).tolist()
        assert logits == about(known[name]["logit_norms"], 1e-3)


def fill_by_name(network, inputs) -> None:
    """Parameters and statistics by the reference's formula of their names."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            shape = tuple(value.shape)
            if name.endswith("num_batches_tracked"):
                continue
            if name.endswith("running_mean"):
                new = inputs.wave(name, shape, 0.1)
            elif name.endswith("running_var"):
                new = np.exp(inputs.wave(name, shape, 0.2))
            elif len(shape) > 1:
                new = inputs.wave(name, shape, 1.6 / np.prod(shape[1:]) ** 0.5)
            elif name.endswith("weight"):
                new = inputs.wave(name, shape, 0.1, 1)
            else:
                new = inputs.wave(name, shape, 0.05)
            value.copy_(torch.from_numpy(new))
