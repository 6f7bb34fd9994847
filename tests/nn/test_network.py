"""The network's structure: parameter counts, presets, conditioning, low precision."""

from __future__ import annotations

import pytest
import torch

from mri2pet.diffusion.objective import training_objective
from mri2pet.nn import Network
from mri2pet.nn.blocks import DoubleConv
from mri2pet.stages import load_config


@pytest.fixture
def tiny_config():
    settings = ("model.mri_shape=[16,32,32]", "model.pet_shape=[32,32,32]")
    return load_config("compact", settings).model


def test_paper_preset_has_the_papers_parameters():
    network = Network(load_config("paper").model)
    assert sum(p.numel() for p in network.parameters()) == 13_085_945
    assert sum(p.numel() for p in network.mri_encoder.parameters()) == 5_447_376
    assert network.unet.cin == 1


def test_concat_conditioning_sees_the_mri_twice(tiny_config):
    torch.manual_seed(0)
    network = Network(tiny_config).eval()
    x, t = torch.randn(1, 1, *tiny_config.pet_shape), torch.tensor([500])
    mri = torch.rand(1, 1, *tiny_config.mri_shape)
    biases = network.block_biases(network.mri_encoder(mri), t)
    with torch.no_grad():
        a = network.denoise(x, biases, network.guide(mri))
        b = network.denoise(x, biases, network.guide(mri.flip(-1)))
        whole = network(x, t, mri)
    assert not torch.allclose(a, b)
    torch.testing.assert_close(a, whole)


def test_mri_of_the_wrong_grid_is_refused(tiny_config):
    network = Network(tiny_config)
    with pytest.raises(ValueError, match=r"MRI \(1, 1, 16, 32, 30\)"):
        network.mri_encoder(torch.rand(1, 1, 16, 32, 30))


def gradients(network, prediction, shapes, dtype):
    generator = torch.Generator().manual_seed(3)
    mri = torch.rand(2, 1, *shapes[0], generator=generator)
    pet = torch.randn(2, 1, *shapes[1], generator=generator)
    noise = torch.randn(2, 1, *shapes[1], generator=generator)
    t = torch.tensor([80, 700])
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        training_objective(network, prediction, mri, pet, t, noise, 0.25).total.backward()
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def test_bf16_gradients_agree_with_fp32(tiny_config):
    """The depth-2 level is where torch's CPU convolution would return garbage in bf16."""
    torch.manual_seed(0)
    network = Network(tiny_config).to(memory_format=torch.channels_last_3d)
    shapes = (tiny_config.mri_shape, tiny_config.pet_shape)
    exact = gradients(network, "v", shapes, torch.float32)
    low = gradients(network, "v", shapes, torch.bfloat16)
    whole_exact = torch.cat([g.flatten() for g in exact.values()])
    whole_low = torch.cat([g.flatten() for g in low.values()])
    assert torch.isfinite(whole_low).all()
    # Measured 0.059: bf16 has 8 bits, and the gradient passes some forty layers.
    assert (whole_low - whole_exact).norm() < 0.1 * whole_exact.norm()
    deep = [name for name in exact if "bottleneck" in name and "conv" in name]
    for name in deep:
        cosine = torch.nn.functional.cosine_similarity(
            low[name].flatten(), exact[name].flatten(), dim=0
        )
        assert cosine > 0.98, (name, float(cosine))


def test_shallow_volumes_leave_autocast():
    block = DoubleConv(4, 4, residual=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert block(torch.rand(1, 4, 2, 4, 4)).dtype == torch.float32
        assert block(torch.rand(1, 4, 4, 4, 4)).dtype == torch.bfloat16
