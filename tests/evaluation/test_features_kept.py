"""Features of what no model drew are made once for all evaluations of a cohort."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from mri2pet.evaluation import features


def test_the_same_images_are_looked_at_once_by_each_network(tmp_path, monkeypatch):
    seen = []

    def made(network, images):
        seen.append(network.origin.sha256)
        return images.sum(axis=(1, 2))[:, None] * np.ones((1, 4), np.float32)

    monkeypatch.setattr(features, "features_of", made)
    one, two = (SimpleNamespace(origin=SimpleNamespace(sha256=c * 64)) for c in "ab")
    images = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    first = features.kept_features(tmp_path, one, images)
    again = features.kept_features(tmp_path, one, images)
    assert (first == again).all()
    assert len(seen) == 1
    features.kept_features(tmp_path, two, images)
    features.kept_features(tmp_path, one, images + 1)
    features.kept_features(tmp_path, one, images.reshape(3, 4, 16))
    assert len(seen) == 4
