"""The linear denoiser against the formula of a normal distribution, and what it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

from mri2pet.checkpoint import load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.diffusion.loop import run_table
from mri2pet.diffusion.samplers import make_table
from mri2pet.diffusion.schedule import add_noise, alpha_bar
from mri2pet.errors import UsageError
from mri2pet.nn import Network
from mri2pet.nn.linear_denoiser import LinearDenoiser
from mri2pet.nn.ridge import PENALTIES

SHAPE = (2, 3, 4)


def volumes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """PETs of people who differ along two directions, and MRIs that tell the first of them."""
    g = torch.Generator().manual_seed(3)
    along = torch.randn(2, 24, generator=g)
    along[0] = along[0].abs() + 0.5  # the amount of amyloid
    people = torch.randn(count, 2, generator=g) * torch.tensor([3.0, 1.5])
    own = 0.2 * torch.randn(count, 24, generator=g)
    pets = torch.randn(24, generator=g) + people @ along + own
    told = people[:, :1] * torch.rand(24, generator=g) + 0.1 * torch.randn(count, 24, generator=g)
    return pets, 0.5 + 0.1 * told


def fitted(count: int, components: int = 2) -> tuple[LinearDenoiser, torch.Tensor, torch.Tensor]:
    linear = LinearDenoiser(components, SHAPE)
    pets, mris = volumes(count)
    linear.fit(pets, mris)
    return linear, pets, mris


def test_a_denoiser_on_another_device_is_fitted_to_volumes_in_memory():
    """The device "meta" holds no values, and refuses products with tensors in memory as CUDA."""
    LinearDenoiser(2, SHAPE).to("meta").fit(*volumes(40))


@pytest.mark.parametrize("step", [1, 50, 400, 700, 999])
def test_along_its_directions_it_gives_the_expectation_under_a_normal_distribution(step):
    linear, pets, mris = fitted(40)
    x0, t = pets[:5].reshape(5, 1, *SHAPE), torch.full((5,), step)
    noise, output = torch.randn(2, *x0.shape, generator=torch.Generator().manual_seed(4))
    x_t = add_noise(x0, noise, t)
    predicted = linear.predicted(mris[:5].reshape(5, 1, *SHAPE))
    found = linear(output, x_t, linear.rows(t), predicted).flatten(1).double().numpy()

    # Wiener's filter, written out for x_0.
    a = float(alpha_bar()[step])
    along, told, left = by_ridge(pets, mris)
    values = (left**2).mean(axis=0)
    mu = (pets.mean(0).double().numpy() @ along) + told[:5]
    seen = x_t.flatten(1).double().numpy() @ along
    weight = np.sqrt(a) * values / (a * values + 1 - a)
    x0_along = mu + weight * (seen - np.sqrt(a) * mu)
    v = (np.sqrt(a) * seen - x0_along) / np.sqrt(1 - a)
    np.testing.assert_allclose(found @ along, v, atol=2e-3)
    across = np.eye(24) - along @ along.T
    np.testing.assert_allclose(
        found @ across, output.flatten(1).double().numpy() @ across, atol=1e-4
    )


def by_ridge(pets: torch.Tensor, mris: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Written out with a fit for each left-out person.

    Returns: the two directions [24, 2]; what all 40 MRIs tell along them [40, 2]; and what is left
    for each person whom the others tell of, scaled to be right on average.
    """
    x, y = ((of - of.mean(0)).double().numpy() for of in (mris, pets))
    scale = np.linalg.eigvalsh(x @ x.T).mean()

    def without(penalty: float, target: np.ndarray) -> np.ndarray:
        errors = np.empty_like(target)
        for n in range(40):
            other = Reference(alpha=penalty * scale, solver="cholesky")
            other.fit(np.delete(x, n, 0), np.delete(target, n, 0))
            errors[n] = target[n] - other.predict(x[n : n + 1])[0]
        return errors

    def best(target: np.ndarray) -> tuple[float, np.ndarray]:
        found = [(penalty, without(penalty, target)) for penalty in PENALTIES]
        return min(found, key=lambda one: (one[1] ** 2).sum())

    _, rest = best(y)
    _, _, along = np.linalg.svd(rest, full_matrices=False)
    along = along[:2].T
    told, left = np.empty((2, 40, 2))
    for p in range(2):
        level = y @ along[:, p]
        penalty, errors = best(level)
        predicted = level - errors - (level - errors).mean()
        slope = predicted @ level / (predicted @ predicted)
        whole = Reference(alpha=penalty * scale, solver="cholesky").fit(x, level)
        told[:, p], left[:, p] = slope * whole.predict(x), level - slope * predicted
    return along, told, left


def test_what_the_mri_tells_is_predicted():
    linear, pets, mris = fitted(40)
    along, told, left = by_ridge(pets, mris)
    found = linear.predicted(mris.reshape(40, 1, *SHAPE)).flatten(1) - linear.mean
    level = (pets - pets.mean(0)).double().numpy() @ along
    most = 3 * (level - left).std(0, ddof=1)
    answer = told.clip(-most, most) @ along.T
    np.testing.assert_allclose(found.numpy(), answer, atol=1e-3)
    assert found.var() > 0.4 * pets.var(0).mean()


def test_mris_that_tell_nothing_predict_nothing():
    """Predictions for left-out people go the wrong way then: the mean of the others does."""
    linear = LinearDenoiser(2, SHAPE)
    pets, _ = volumes(40)
    linear.fit(pets, torch.full((40, 24), 0.5))
    assert (linear.regression == 0).all()
    torch.testing.assert_close(linear.mixture[:, 0, -1].sqrt(), along_each(linear, pets))


def along_each(linear: LinearDenoiser, pets: torch.Tensor) -> torch.Tensor:
    """Standard deviation of PETs along each direction."""
    return ((pets - pets.mean(0)) @ linear.directions.T).std(0, correction=0)


def test_a_person_is_left_out_with_all_scans():
    """Twins in the cohort tell of each other, not of new people."""
    pets, mris = volumes(40)
    g = torch.Generator().manual_seed(9)
    own = torch.randn(40, 24, generator=g)  # a face, which tells who it is and nothing else
    twice = torch.cat((pets, pets)), torch.cat((mris, mris)) + torch.cat((own, own))
    one, other = LinearDenoiser(2, SHAPE), LinearDenoiser(2, SHAPE)
    one.fit(*twice)
    other.fit(*twice, [f"sub-{n % 40}" for n in range(80)])
    assert one.mixture[0, 0, -1] < 0.8 * other.mixture[0, 0, -1]


def test_an_mri_unlike_all_of_the_cohort_is_taken_for_its_edge():
    linear, _, mris = fitted(40)
    mean = mris.mean(0)
    strange, stranger = (
        (mean + k * linear.regression[0]).reshape(1, 1, *SHAPE) for k in (1e4, 1e6)
    )
    edge = linear.predicted(strange).flatten()
    torch.testing.assert_close(linear.predicted(stranger).flatten(), edge)
    assert not torch.allclose(edge, linear.mean, atol=0.1)


def test_the_same_volumes_give_the_same_denoiser_and_few_give_few_directions():
    (one, _, _), (other, _, _) = fitted(9, 4), fitted(9, 4)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    lengths = one.directions.norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    coefficients = one.table[:, 2:].reshape(1000, 8, 4, 2)
    assert (coefficients[:, 0, :2] != 0).all()
    assert (coefficients[:, :, 2:] == 0).all()
    one.fit(*volumes(1))
    assert torch.equal(one.table, other.table)


def test_the_loop_starts_where_the_noising_ends():
    """Volumes that are drawn have the mean of those that it was fitted to, along its directions."""
    linear = LinearDenoiser(2, SHAPE)
    mris = torch.rand(40, 24, generator=torch.Generator().manual_seed(5))  # tell nothing
    linear.fit(volumes(40)[0] + 60.0, mris)  # as if thousands of voxels shared it
    rows = linear.rows(make_table("ddim", "v", 20).timesteps)
    guide = linear.predicted(mris[:1].reshape(1, 1, *SHAPE)).expand(200, -1, -1, -1, -1)

    def drawn(expected):
        return (
            run_table(
                lambda x, row: linear(torch.zeros_like(x), x, row, guide),
                make_table("ddim", "v", 20),
                rows[:, None].expand(-1, 200, -1),
                SHAPE,
                seed=0,
                subjects=torch.zeros(200, dtype=torch.int64),
                samples=torch.arange(200),
                expected=expected,
            )
            .mean(0)
            .flatten()
            @ linear.directions.T
        )

    wanted = guide[0].flatten() @ linear.directions.T
    torch.testing.assert_close(drawn(guide), wanted, atol=2.0, rtol=0)
    assert (drawn(None) - wanted).abs().max() > 6


def network(components: int) -> Network:
    torch.manual_seed(0)
    config = ModelConfig(
        mri_shape=(16, 32, 32),
        pet_shape=(16, 32, 32),
        prediction="v",
        cond="concat",
        linear_components=components,
    )
    return Network(config).requires_grad_(False)


def fit(made: Network, g: torch.Generator) -> None:
    made.linear.fit(*torch.randn(2, 48, 16 * 32 * 32, generator=g))


def test_it_has_the_last_word_and_the_unet_sees_the_mri_alone():
    made = network(3)
    g = torch.Generator().manual_seed(1)
    x, mri = torch.randn(2, 1, 16, 32, 32, generator=g), torch.rand(2, 1, 16, 32, 32, generator=g)
    t = torch.tensor([20, 900])
    guide = made.guide(mri)
    assert torch.equal(guide[:, :1], mri)
    assert (guide[:, 1:] == 0).all()
    rows = made.block_biases(made.mri_encoder(mri), t)
    assert torch.equal(
        made.denoise(x, rows, guide), made.unet(torch.cat((x, mri), 1), rows[:, :360])
    )
    fit(made, g)
    guide, rows = made.guide(mri), made.block_biases(made.mri_encoder(mri), t)
    assert torch.equal(guide[:, 1:], made.linear.predicted(mri))
    output = made.unet(torch.cat((x, mri), 1), rows[:, :360])
    corrected = made.linear(output, x, made.linear.rows(t), guide[:, 1:])
    assert (corrected - output).abs().mean() > 0.01
    torch.testing.assert_close(made(x, t, mri), corrected)


def test_under_autocast_it_stays_in_float32():
    made = network(3)
    g = torch.Generator().manual_seed(1)
    fit(made, g)
    x, mri = torch.randn(2, 1, 1, 16, 32, 32, generator=g)
    rows, predicted = made.linear.rows(torch.tensor([500])), made.linear.predicted(mri)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = made.linear(x, x, rows, made.linear.predicted(mri))
    assert torch.equal(inside, made.linear(x, x, rows, predicted))


def test_a_model_in_half_precision_keeps_it_as_it_is(tmp_path):
    made = network(3)
    fit(made, torch.Generator().manual_seed(1))
    saved = save_model(tmp_path, made, pet_mean=0.4, pet_std=0.6, dtype=torch.float16)
    loaded = load_model(saved).diffusion
    for name, value in made.state_dict().items():
        wanted = value if name.startswith("linear.") else value.half().float()
        assert torch.equal(loaded.state_dict()[name], wanted)


def test_it_is_of_v_and_of_an_mri_as_a_channel_alone():
    shapes = {"mri_shape": (16, 32, 32), "pet_shape": (16, 32, 32), "linear_components": 2}
    with pytest.raises(ValueError, match=r"needs model\.prediction=v"):
        ModelConfig(**shapes, cond="concat")
    with pytest.raises(ValueError, match=r"needs model\.cond=concat"):
        ModelConfig(**shapes, prediction="v")
    from mri2pet.stages import load_config

    with pytest.raises(UsageError, match="linear_components"):
        load_config("paper", ("model.linear_components=2",))
