"""Agreement with numbers of the authors' own network (norm of the difference over the norm)."""

from __future__ import annotations

import ast
import zlib

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import Model
from mri2pet.config import ModelConfig
from mri2pet.convert import network_from_authors_state, our_name
from mri2pet.diffusion import schedule
from mri2pet.diffusion.objective import training_objective
from mri2pet.diffusion.samplers import make_table
from mri2pet.nn import time_embedding
from mri2pet.ops import linear_attention, sampler_step
from mri2pet.ops.linear_attention import reference as linear_attention_reference

TOLERANCE = 1e-4


def wave(name: str, shape: tuple[int, ...], scale: float, offset: float = 0.0, seed: int = 0):
    """The reference file's generator of everything that it does not store."""
    generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    return (offset + scale * generator.standard_normal(shape)).astype(np.float32)


def authors_state(reference) -> dict[str, torch.Tensor]:
    """The authors' state dict with the reference file's parameters."""
    state = {}
    for name, text in zip(reference["param_names"], reference["param_shapes"], strict=True):
        shape = ast.literal_eval(str(text))
        if len(shape) == 1 and name.endswith("weight"):
            values = wave(str(name), shape, 0.1, 1.0)
        elif len(shape) == 1:
            values = wave(str(name), shape, 0.05)
        else:
            values = wave(str(name), shape, 1 / np.sqrt(np.prod(shape[1:])))
        state[str(name)] = torch.from_numpy(values)
    return state


def reference_inputs(reference) -> dict[str, torch.Tensor]:
    """mri, pet, noise as [B, 1, K, I, J] and t."""
    mri_shape, pet_shape = tuple(reference["mri_shape"]), tuple(reference["pet_shape"])
    volumes = {
        "mri": np.clip(wave("mri", mri_shape, 0.2, 0.5), 0, 1),
        "pet": wave("pet", pet_shape, 1.0),
        "noise": wave("noise", pet_shape, 1.0),
        "start": wave("start", pet_shape, 1.0),
    }
    tensors = {name: torch.from_numpy(v)[:, None] for name, v in volumes.items()}
    return {**tensors, "t": torch.from_numpy(reference["t"])}


def relative_error(value: torch.Tensor, expected) -> float:
    """Norm of the difference over the norm."""
    expected = torch.as_tensor(np.asarray(expected))
    value = value.detach().reshape(expected.shape)
    return float((value - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def reference(shared_reference):
    return np.load(shared_reference / "reference_small.npz")


@pytest.fixture(scope="module")
def network(reference):
    config = ModelConfig(
        mri_shape=tuple(reference["mri_shape"][1:]), pet_shape=tuple(reference["pet_shape"][1:])
    )
    return network_from_authors_state(authors_state(reference), config)


@pytest.fixture(scope="module")
def inputs(reference):
    return reference_inputs(reference)


def test_noise_prediction_and_embeddings(reference, network, inputs):
    model = Model(network, network.config, 0.0, 1.0)
    x_t = schedule.add_noise(inputs["pet"], inputs["noise"], inputs["t"])
    with torch.no_grad():
        noise = model.predict_noise(x_t, inputs["t"], inputs["mri"])
        assert relative_error(noise, reference["eps_pred"]) < TOLERANCE
        x0 = schedule.x0_from_noise(x_t, noise, inputs["t"])
        assert relative_error(x0, reference["x0_pred"]) < TOLERANCE
        assert relative_error(model.encode_mri(inputs["mri"]), reference["mri_embedding"]) < 1e-5
    assert relative_error(time_embedding(inputs["t"]), reference["time_embedding"]) < 1e-5


def test_loss_terms_and_gradients(reference, network, inputs):
    network.zero_grad()
    leaf = schedule.add_noise(inputs["pet"], inputs["noise"], inputs["t"])
    captured = {}

    def evaluate(x_t, t, mri):
        captured["x_t"] = x_t.requires_grad_()
        return network(x_t, t, mri)

    objective = training_objective(
        evaluate, "epsilon", inputs["mri"], inputs["pet"], inputs["t"], inputs["noise"], 0.25
    )
    objective.total.backward()
    assert torch.equal(captured["x_t"], leaf)
    assert objective.mse.item() == pytest.approx(float(reference["mse"]), rel=TOLERANCE)
    assert objective.laplacian.item() == pytest.approx(float(reference["laplacian"]), rel=TOLERANCE)
    assert objective.total.item() == pytest.approx(float(reference["total"]), rel=TOLERANCE)
    assert relative_error(captured["x_t"].grad, reference["grad_x"]) < TOLERANCE
    gradients = {name: p.grad for name, p in network.named_parameters()}
    for name, norm in zip(reference["grad_norm_names"], reference["grad_norms"], strict=True):
        ours = float(gradients[our_name(str(name))].norm())
        assert ours == pytest.approx(float(norm), rel=1e-3, abs=1e-6), name
    norms = [float(gradients[our_name(str(n))].norm()) for n in reference["grad_norm_names"]]
    assert relative_error(torch.tensor(norms), reference["grad_norms"]) < TOLERANCE


def test_attention(reference):
    state = authors_state(reference)
    weights = [state[f"sa1.{k}"] for k in ("to_qkv.weight", "to_out.weight", "to_out.bias")]
    x = torch.from_numpy(reference["attention_in_sa1"])
    for attention in (linear_attention, linear_attention_reference):
        assert relative_error(attention(x, *weights), reference["attention_out_sa1"]) < TOLERANCE


def test_schedule(reference):
    np.testing.assert_allclose(schedule.beta(), reference["beta"], rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha_bar(), reference["alpha_hat"], rtol=1e-6)


def test_ancestral_trajectory(reference, network, inputs):
    """The paper's update at five steps in turn, with the reference's own noise."""
    table = make_table("ddpm", "epsilon", 999)
    x = inputs["start"]
    nobody = torch.zeros(len(x), dtype=torch.int64)
    for step, expected in zip(reference["steps"].tolist(), reference["trajectory"], strict=True):
        row = table.coefficients[999 - step].clone()
        assert table.timesteps[999 - step] == step
        noise_gain, row[2] = float(row[2]), 0.0
        with torch.no_grad():
            output = network(x, torch.full((len(x),), step), inputs["mri"])
        x, _ = sampler_step(x, output, x, row, seed=0, step=step, subjects=nobody, samples=nobody)
        if step > 1:
            z = wave(f"z{step}", tuple(reference["pet_shape"]), 1.0)
            x = x + noise_gain * torch.from_numpy(z)[:, None]
        else:
            assert noise_gain == 0
        assert relative_error(x, expected) < TOLERANCE
