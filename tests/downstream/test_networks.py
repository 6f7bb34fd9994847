"""The authors' networks: known outputs and parameter counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mri2pet.downstream.networks import classifier, regressor

from .conftest import random_of, wave

PAPER = {"mri": (64, 144, 144), "pet": (32, 128, 128)}
SMALL = {"mri": (16, 32, 24), "pet": (16, 32, 32)}
INPUTS = {"mri": ("mri",), "pet": ("pet",), "paired": ("mri", "pet")}
KINDS = [f"{inputs}_{kind}" for inputs in INPUTS for kind in ("classifier", "regressor")]


def make(name, shapes):
    inputs, kind = name.split("_")
    chosen = {key: shapes[key] for key in INPUTS[inputs]}
    return classifier(chosen, 3) if kind == "classifier" else regressor(chosen)


def fill(network):
    """Parameters by the reference file's formula."""
    for name, parameter in network.named_parameters():
        shape = tuple(parameter.shape)
        if parameter.ndim > 1:
            values = wave(name, shape, 1.6 / np.sqrt(np.prod(shape[1:])))
        else:
            values = wave(name, shape, 0.05)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values))


@pytest.mark.parametrize("name", KINDS)
def test_parameters_of_the_paper(reference, name):
    with torch.device("meta"):
        network = make(name, PAPER)
    counted = sum(p.numel() for p in network.parameters())
    assert counted == reference["networks"]["parameters_paper"][name]


@pytest.mark.parametrize("name", KINDS)
def test_known_outputs(reference, name):
    network = make(name, SMALL)
    fill(network)
    volumes = {
        key: torch.from_numpy(
            random_of(f"{key}_image", 0).uniform(0, 1, (2, 1, *shape)).astype(np.float32)
        )
        for key, shape in SMALL.items()
    }
    with torch.inference_mode():
        outputs = network(volumes).numpy()
    np.testing.assert_allclose(
        outputs, reference["networks"]["outputs"][name], rtol=1e-3, atol=1e-3
    )


def test_odd_sizes_lose_their_last_slice():
    volumes = {"pet": torch.randn(1, 1, 17, 33, 39)}
    assert classifier({"pet": (17, 33, 39)}, 1)(volumes).shape == (1, 1)
