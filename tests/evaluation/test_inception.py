"""Inception v3 is torchvision's, its weights are checked, and nothing is fetched unasked."""

from __future__ import annotations

import hashlib
import socket

import numpy as np
import pytest
import torch

from mri2pet.errors import ModelError, UsageError
from mri2pet.evaluation.features import features_of, suvr_slices
from mri2pet.evaluation.inception import TORCHVISION, InceptionV3, load_inception
from mri2pet.weights import WeightsOrigin


@pytest.fixture(scope="module")
def theirs(torchvision_models):
    torch.manual_seed(3)
    network = torchvision_models.inception_v3(weights=None, init_weights=False)
    network.transform_input = True
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return network.eval()


def test_it_is_torchvisions_network(theirs, torchvision_models, tmp_path):
    """The whole state dict goes in, the auxiliary head ignored; the same 2,048 values come out."""
    from torchvision.transforms import functional

    path = tmp_path / "inception.pth"
    torch.save(theirs.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ours = load_inception(path, sha256=digest)
    images = torch.rand(2, 24, 32, generator=torch.Generator().manual_seed(0))
    x = images[:, None].expand(-1, 3, -1, -1)
    x = functional.center_crop(functional.resize(x, 299, antialias=True), 299)
    x = functional.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    theirs.fc, fc = torch.nn.Identity(), theirs.fc
    with torch.inference_mode():
        expected = theirs(x)
        found = ours(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.fc(found), fc(expected), rtol=1e-4, atol=1e-4)
    theirs.fc = fc
    assert ours.origin == WeightsOrigin("inception.pth", digest, pretrained=True)
    assert torchvision_models.Inception_V3_Weights.IMAGENET1K_V1.url == TORCHVISION.url


def test_another_hash_and_another_content_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ModelError, match=r"not 0cc3c7bd .*--inception-sha256"):
        load_inception(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ModelError, match="holds no Inception v3"):
        load_inception(path, sha256=digest)
    with pytest.raises(UsageError, match=r"--inception-weights FILE .*--random-inception"):
        load_inception()


@pytest.fixture(scope="module")
def random_network() -> InceptionV3:
    return load_inception(random=True)


def test_random_weights_say_so_and_need_no_network(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("nothing is fetched")

    monkeypatch.setattr(socket, "socket", refused)
    network = load_inception(random=True)
    assert network.origin.pretrained is False
    assert network.origin.source == "random, seed 0"
    assert not any(p.requires_grad for p in network.parameters())


def test_features_are_of_slices_in_any_batches(random_network):
    images = np.random.default_rng(0).random((3, 20, 24), dtype=np.float32)
    together = features_of(random_network, images)
    assert together.shape == (3, 2048)
    assert np.isfinite(together).all()
    assert together.std() > 1e-3
    alone = np.concatenate([features_of(random_network, images[n : n + 1]) for n in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    assert features_of(random_network, images[:0]).shape == (0, 2048)
    with pytest.raises(ValueError, match="slices are"):
        random_network(torch.zeros(1, 1, 8, 8))


def test_slices_have_one_scale_and_enough_brain():
    brain = np.zeros((4, 10, 10), dtype=np.float32)
    brain[1, 4:6, 4:6] = 1  # 4 %
    brain[2, 2:8, 2:8] = 1
    pet = np.full((4, 10, 10), 1.25, dtype=np.float32)
    pet[2, 3, 3] = 9
    found = suvr_slices(pet, brain)
    assert found.shape == (1, 10, 10)
    assert found[0, 5, 5] == pytest.approx(0.5)
    assert found[0, 3, 3] == 1
    assert found[0, 0, 0] == 0
