"""The authors' checkpoint becomes a model folder with the same function."""

from __future__ import annotations

import os

import pytest
import torch

from mri2pet.checkpoint import load_model, save_model
from mri2pet.config import ModelConfig, parse_config
from mri2pet.convert import convert_authors_checkpoint, our_name
from mri2pet.errors import ModelError, UsageError
from mri2pet.nn import Network

SHAPES = {"mri_shape": (16, 32, 32), "pet_shape": (16, 32, 32)}
_LAYER = {"conv1": "0", "norm1": "1", "conv2": "3", "norm2": "4"}


def authors_name(ours: str) -> str:
    """The way back, written independently of the converter's rules."""
    part, *rest = ours.split(".")
    if part == "mri_encoder":
        if rest[0] == "conv":
            return f"contextEmbedding.conv{int(rest[1]) + 1}.{rest[2]}"
        return ".".join(["contextEmbedding", *rest])
    block, *rest = rest
    if block == "head":
        return f"outc.{rest[0]}"
    if block == "stem":
        return f"inc.double_conv.{_LAYER[rest[0]]}.{rest[1]}"
    number = int(rest[0])
    if block == "bottleneck":
        return f"bot{number + 1}.double_conv.{_LAYER[rest[1]]}.{rest[2]}"
    if block == "bias_layers":
        side = f"down{number + 1}" if number < 4 else f"up{number - 3}"
        return f"{side}.emb_layer.1.{rest[1]}"
    if block.endswith("attention"):
        first = 1 if block.startswith("down") else 5
        return f"sa{number + first}.{'.'.join(rest[1:])}"
    conv, layer, kind = rest[1:]
    inside, offset = ("maxpool_conv", 1) if block == "down" else ("conv", 0)
    index = ["residual", "conv"].index(conv) + offset
    return f"{block}{number + 1}.{inside}.{index}.double_conv.{_LAYER[layer]}.{kind}"


@pytest.fixture
def network():
    torch.manual_seed(1)
    return Network(ModelConfig(**SHAPES))


@pytest.fixture
def authors_file(tmp_path, network):
    path = tmp_path / "authors.pt"
    state = {authors_name(name): value for name, value in network.state_dict().items()}
    torch.save({"epoch": 3, "model": state}, path)
    return path


def test_every_name_maps_to_one_of_ours(network):
    names = list(network.state_dict())
    assert len(names) == 174
    assert [our_name(authors_name(name)) for name in names] == names


def test_converted_model_predicts_what_the_network_did(tmp_path, network, authors_file):
    folder = convert_authors_checkpoint(
        authors_file, tmp_path / "model", **SHAPES, pet_mean=0.6, pet_std=0.7
    )
    model = load_model(folder)
    assert (model.pet_mean, model.pet_std) == (0.6, 0.7)
    mri, x = torch.rand(1, 1, 16, 32, 32), torch.randn(1, 1, 16, 32, 32)
    t = torch.tensor([300])
    with torch.no_grad():
        torch.testing.assert_close(
            model.predict_noise(x, t, mri), network(x, t, mri), rtol=1e-4, atol=1e-5
        )


def test_wrong_grid_is_refused(tmp_path, authors_file):
    with pytest.raises(ModelError, match="does not fit an MRI of"):
        convert_authors_checkpoint(
            authors_file, tmp_path / "model", mri_shape=(32, 32, 32), pet_shape=(16, 32, 32)
        )
    with pytest.raises(UsageError, match="pet_shape"):
        convert_authors_checkpoint(authors_file, tmp_path / "m", pet_shape=(16, 32, 33))
    assert not (tmp_path / "model").exists()


class Payload:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_a_hostile_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Payload()}, tmp_path / "hostile.pt")
    with pytest.raises(ModelError, match="holds more than tensors, or is damaged"):
        convert_authors_checkpoint(tmp_path / "hostile.pt", tmp_path / "model")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("content", [{"weights": {}}, {"model": {"a": 1}}, [1, 2]])
def test_other_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="holds no state dict"):
        convert_authors_checkpoint(tmp_path / "other.pt", tmp_path / "model")
    with pytest.raises(ModelError, match="no such file"):
        convert_authors_checkpoint(tmp_path / "missing.pt", tmp_path / "model")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty; copy"),
        (b"<!DOCTYPE html><html>404", "is a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs pointer"),
        (b"epoch,loss\n1,0.5\n", "is a text file"),
        (b"\x1f\x8b\x08" + bytes(20), "is gzipped"),
        (b"PK\x03\x04" + bytes(60), "no checkpoint of PyTorch, or is cut"),
        (bytes(range(200, 256)) * 9, "damaged|no checkpoint of PyTorch"),
    ],
)
def test_what_is_no_checkpoint_is_said_in_a_sentence(tmp_path, content, reason):
    path = tmp_path / "authors.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=reason) as caught:
        convert_authors_checkpoint(path, tmp_path / "model")
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert not {"\n", "\x1b"} & set(message)
    assert "weights_only" not in message


def test_missing_parameters_are_counted_and_three_are_named(tmp_path, network):
    state = {authors_name(name): value for name, value in network.state_dict().items()}
    kept = dict(list(state.items())[:-5])
    torch.save({"model": kept}, tmp_path / "cut.pt")
    with pytest.raises(ModelError, match=r"lacks 5 of 174 parameters \(([\w.]+, ){3}…\)"):
        convert_authors_checkpoint(tmp_path / "cut.pt", tmp_path / "model", **SHAPES)


@pytest.mark.parametrize(
    "name", ["inc.double_conv.7.weight", "down7.maxpool_conv.1.double_conv.0.weight"]
)
def test_parameters_that_the_network_has_not_are_named(tmp_path, network, name):
    state = {authors_name(key): value for key, value in network.state_dict().items()}
    torch.save({"model": state | {name: torch.zeros(1)}}, tmp_path / "more.pt")
    with pytest.raises(ModelError, match=r"holds 1 parameters that the authors' network has not"):
        convert_authors_checkpoint(tmp_path / "more.pt", tmp_path / "model", **SHAPES)


def test_saved_models_load_and_corrupted_ones_do_not(tmp_path, network):
    folder = save_model(tmp_path / "model", network, pet_mean=1.0, pet_std=0.5)
    loaded = load_model(folder)
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.network.parameters(), network.parameters(), strict=True)
    )
    weights = folder / "model.safetensors"
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(bytes(blob))
    with pytest.raises(ModelError, match="recorded hash"):
        load_model(folder)
    with pytest.raises(ModelError, match="no model of this name"):
        load_model(tmp_path / "nowhere")


def test_unknown_configuration_names_the_field():
    with pytest.raises(UsageError, match=r"model\.predicts"):
        parse_config({"model": {**SHAPES, "predicts": "v"}})
