"""VGG19 is torchvision's, and its weights are what they are said to be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mri2pet.errors import ModelError, Mri2petError, UsageError
from mri2pet.style.vgg import (
    CONVOLUTIONS,
    NORMALISED,
    SOURCE,
    STYLE_WEIGHTS,
    TORCHVISION,
    Vgg19,
    load_vgg,
    style_weight_of,
)
from mri2pet.weights import KnownFile, WeightsOrigin


def other_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    values = load_vgg(random=True).state_dict()
    return {n: 0.05 * torch.randn(v.shape, generator=generator) for n, v in values.items()}


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_is_torchvisions_network(torchvision_models, tmp_path):
    """The whole state dict of torchvision's vgg19 goes in; the same features come out."""
    with torch.device("meta"):
        theirs = torchvision_models.vgg19(weights=None, init_weights=False)
    features = theirs.features[:11].to_empty(device="cpu")
    values = other_weights()
    features.load_state_dict({n.removeprefix("features."): v for n, v in values.items()})
    assert set(values) < set(theirs.state_dict())
    path = tmp_path / "vgg19.pth"
    torch.save({**values, "classifier.6.bias": torch.zeros(1000)}, path)
    ours = load_vgg(path, sha256=sha256(path))
    image = torch.rand(2, 3, 17, 20, generator=torch.Generator().manual_seed(0))
    x = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    expected = []
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            expected.append(x.detach())
    found = ours(image)
    assert len(found) == len(expected) == len(CONVOLUTIONS) == 5
    for ours_i, theirs_i in zip(found, expected, strict=True):
        torch.testing.assert_close(ours_i, theirs_i)


def test_published_hash_is_torchvisions(torchvision_models):
    assert torchvision_models.VGG19_Weights.IMAGENET1K_V1.url == TORCHVISION.url


def test_known_files_have_a_name_and_a_style_weight(tmp_path, monkeypatch):
    def known(sha256):
        return WeightsOrigin("file", sha256, pretrained=True).known(SOURCE.known)

    assert known("dcbb9e9d" + 56 * "0") is TORCHVISION
    assert known(NORMALISED.sha256) is NORMALISED
    assert known(NORMALISED.sha256[:63] + "0") is None
    path = tmp_path / "mine.safetensors"
    save_file(other_weights(), path)
    vgg = load_vgg(path, sha256=sha256(path))
    assert style_weight_of(vgg.origin) is None
    mine = KnownFile("mine", sha256(path))
    monkeypatch.setattr("mri2pet.style.vgg.SOURCE", replace(SOURCE, known=(*SOURCE.known, mine)))
    monkeypatch.setitem(STYLE_WEIGHTS, mine, 7.0)
    vgg = load_vgg(path)
    assert (vgg.origin.source, style_weight_of(vgg.origin)) == ("mine", 7.0)
    assert style_weight_of(load_vgg(random=True).origin) is None


@pytest.fixture(scope="module")
def normalised(shared_data) -> Path:
    path = shared_data / "weights" / "vgg19_first5.safetensors"
    if not path.is_file():
        pytest.skip("the normalised VGG19 weights are not here")
    return path


def test_the_normalised_file_is_known(normalised):
    vgg = load_vgg(normalised)
    assert vgg.origin.source == "VGG19 normalised (Oxford)"
    assert vgg.origin.sha256 == NORMALISED.sha256
    assert vgg.origin.pretrained
    assert style_weight_of(vgg.origin) == STYLE_WEIGHTS[NORMALISED]


def test_mean_activations_of_the_normalised_file_are_about_one(normalised):
    """Over photographs, standardised as the network does it; unstandardised they are a quarter."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn has the photographs")
    vgg = load_vgg(normalised)
    photographs = [
        torch.from_numpy(image[:256, :256].copy()).permute(2, 0, 1) / 255.0
        for image in datasets.load_sample_images().images
    ]
    for features in vgg(torch.stack(photographs)):
        assert 0.7 < features.relu().mean() < 1.4


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file_with_its_hash(tmp_path, suffix):
    values = other_weights()
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save(values, path)
    else:
        save_file(values, path)
    vgg = load_vgg(path, sha256=sha256(path)[:12].upper())
    torch.testing.assert_close(vgg.features[5].weight, values["features.5.weight"])
    assert vgg.origin.as_dict() == {
        "source": path.name,
        "sha256": sha256(path),
        "pretrained": True,
    }
    assert not any(p.requires_grad for p in vgg.parameters())


def test_a_file_with_another_hash_is_refused(tmp_path):
    path = tmp_path / "vgg.pth"
    torch.save(other_weights(), path)
    with pytest.raises(ModelError, match=r"not dcbb9e9d \(torchvision .* or e9e3459f \(VGG19 norm"):
        load_vgg(path)
    with pytest.raises(ModelError, match="SHA-256 begins with"):
        load_vgg(path, sha256="0" * 64)
    with pytest.raises(UsageError, match="no SHA-256"):
        load_vgg(path, sha256="xyz")


def test_files_that_hold_no_vgg_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load_vgg(tmp_path / "absent.pth")
    lacking, wrong, text = (tmp_path / n for n in ("lacking.pth", "wrong.safetensors", "text.pth"))
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, lacking)
    save_file({n: torch.zeros(2) for n in other_weights()}, wrong)
    text.write_text("no weights")
    for path in (lacking, wrong, text):
        with pytest.raises(ModelError, match="holds no VGG19"):
            load_vgg(path, sha256=sha256(path))


def test_the_way_must_be_said_and_random_is_marked():
    for options in ({}, {"random": True, "download": True}):
        with pytest.raises(UsageError, match="exactly one way"):
            load_vgg(**options)
    one, two = load_vgg(random=True), load_vgg(random=True)
    assert one.origin.pretrained is False
    assert one.origin.source.startswith("random")
    assert one.origin == two.origin
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_a_failed_download_is_one_sentence(monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(Mri2petError, match="cannot be downloaded"):
        load_vgg(download=True)


def test_other_images_are_refused():
    vgg: Vgg19 = load_vgg(random=True)
    for shape in ((1, 1, 8, 8), (3, 8, 8), (1, 3, 3, 8)):
        with pytest.raises(ValueError, match="H, W >= 4"):
            vgg(torch.zeros(shape))
