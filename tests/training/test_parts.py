"""Order and content of the batches, the variations, the step and the moving average."""

from __future__ import annotations

import pytest
import torch

from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.diffusion.objective import LATE_STEP, draw_steps, training_objective
from mri2pet.diffusion.schedule import alpha_bar
from mri2pet.nn import Network
from mri2pet.stages import load_config
from mri2pet.training.augmentation import augment
from mri2pet.training.batches import _CONTENT, _ORDER, TrainingBatches, _generator
from mri2pet.training.distributed import World
from mri2pet.training.part import Part
from mri2pet.training.state import TrainingState
from mri2pet.training.step import learning_rate, training_step


@pytest.fixture
def batches(cohort):
    return TrainingBatches(ModelSpaceDataset(cohort, "train"), 0.4, 0.5, seed=3, augmented=True)


def test_every_subject_comes_once_an_epoch(batches):
    epochs = [[batches.index(6 * e + i) for i in range(6)] for e in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_volume_does_not_depend_on_the_batch_around_it(batches):
    whole, part = batches.batch(4, 4), batches.batch(6, 1)
    for name in ("mri", "pet", "noise", "t"):
        assert torch.equal(getattr(whole, name)[2:3], getattr(part, name)), name
    assert whole.names[2:3] == part.names
    assert ((whole.t >= 1) & (whole.t <= 999)).all()


def test_seed_and_purpose_name_what_is_drawn(cohort):
    """torch's generator takes 32 bits of a seed: what lies above them would not count."""
    data = ModelSpaceDataset(cohort, "train")
    a, b = (TrainingBatches(data, 0.4, 0.5, seed, augmented=False) for seed in (0, 1))
    assert not torch.equal(a.batch(0, 1).noise, b.batch(0, 1).noise)
    orders = [[source.index(n) for n in range(24)] for source in (a, b)]
    assert orders[0] != orders[1]
    drawn = [_generator(0, purpose, 5).initial_seed() for purpose in (_ORDER, _CONTENT)]
    assert len(set(drawn)) == 2
    assert max(drawn) < 2**32


def test_late_share_moves_that_share_of_the_steps_to_the_end():
    count = 4000
    for share in (0.0, 0.5, 1.0):
        steps = draw_steps(count, torch.Generator().manual_seed(5), share)
        assert steps.min() >= 1
        assert steps.max() <= 999
        late = (steps >= LATE_STEP).double().mean().item()
        assert late == pytest.approx(share + (1 - share) * 100 / 999, abs=0.03)


def test_batches_draw_late_steps_when_told(cohort):
    data = ModelSpaceDataset(cohort, "train")
    late = TrainingBatches(data, 0.4, 0.5, seed=3, augmented=False, late_share=1.0)
    assert late.batch(0, 6).t.min() >= LATE_STEP


def test_snr_clip_bounds_the_laplacian_weight():
    shape = (1, 1, 16, 32, 32)
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    t = torch.tensor([900])

    def laplacian(clip):
        def network(x, t, mri):
            return torch.zeros_like(x)

        return training_objective(network, "epsilon", x0, x0, t, noise, 0.25, clip).laplacian

    a = float(alpha_bar()[900])
    ratio = laplacian(None) / laplacian(5.0)
    assert ratio == pytest.approx((1 - a) / a / 5.0, rel=1e-4)
    assert laplacian(1e9) == laplacian(None)


def test_geometry_varies_mri_and_pet_alike(batches):
    """The blob of the MRI and the blob of the PET keep one centre of mass."""
    axes = torch.meshgrid(*(torch.arange(n) for n in (16, 32, 32)), indexing="ij")
    mri, pet, _ = batches.dataset[0]

    def centre(volume):
        mass = volume[0] ** 4
        return torch.stack([(mass * axis).sum() / mass.sum() for axis in axes])

    moved = []
    for n in range(8):
        new_mri, new_pet = augment(mri, pet, torch.Generator().manual_seed(n))
        assert new_mri.min() >= 0
        assert new_mri.max() <= 1
        assert (centre(new_mri) - centre(new_pet)).norm() < 1.0
        moved.append((centre(new_pet) - centre(pet)).norm())
    assert max(moved) > 1.0
    again = augment(mri, pet, torch.Generator().manual_seed(7))
    assert torch.equal(again[0], new_mri)


@pytest.fixture
def config(settings):
    return load_config("compact", (*settings, "training.batch_size=4", "training.warmup_volumes=8"))


def one_step(config, batches, micro_batch):
    training = config.training.model_copy(update={"micro_batch": micro_batch})
    config = config.model_copy(update={"training": training})
    torch.manual_seed(0)
    network = Network(config.model)
    state = TrainingState({"network": Part(network, 1e-3, 0.9)})
    facts = training_step(state, batches, config, World(0, 1, torch.device("cpu")))
    return facts, [p.grad.clone() for p in network.parameters()]


def test_accumulated_gradients_are_those_of_the_whole_batch(config, batches):
    """Micro-batches of 1 and of 3 + 1 give the mean over all four volumes."""
    whole, gradients = one_step(config, batches, 4)
    for micro_batch in (1, 3):
        facts, others = one_step(config, batches, micro_batch)
        assert facts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        assert facts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)
        for a, b in zip(gradients, others, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_losses_of_a_step_are_read_together(config, batches, monkeypatch):
    """Each read of a GPU's memory waits for it; the mean is the one of the whole batch."""
    whole, _ = one_step(config, batches, 4)
    reads = []
    read = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: reads.append(x.shape) or read(x))
    facts, _ = one_step(config, batches, 1)
    assert reads == [(4 * 3 + 1,)]
    for name in ("loss", "mse", "laplacian", "grad_norm"):
        assert facts[name] == pytest.approx(whole[name], rel=1e-4)


def test_gradients_are_clipped(config, batches):
    facts, gradients = one_step(config, batches, 4)
    norm = torch.cat([g.flatten().double() for g in gradients]).norm()
    assert float(norm) == pytest.approx(min(facts["grad_norm"], 0.5), rel=1e-4)


def test_learning_rate_warms_up_and_falls_to_zero(config):
    config = config.model_copy(
        update={"training": config.training.model_copy(update={"volumes": 108})}
    )
    rates = [learning_rate(config, v) for v in (0, 4, 8, 58, 108)]
    expected = [config.training.lr * f for f in (1 / 8, 5 / 8, 1, 0.5, 0)]
    assert rates == pytest.approx(expected, abs=1e-12)


def test_moving_average_follows_the_parameters(config):
    part = Part(Network(config.model), 1e-3, 0.9)
    name, parameter = next(iter(part.module.named_parameters()))
    before = part.average[name].clone()
    with torch.no_grad():
        parameter.add_(1.0)
    part.update_average(1000)
    torch.testing.assert_close(part.average[name], before + 0.1)
    part.ema_decay = 0.0
    part.update_average(1000)
    assert torch.equal(part.average[name], parameter)
