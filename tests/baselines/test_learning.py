"""A baseline learns what it says, on a few minutes of a processor."""

from __future__ import annotations

import pytest
import torch

from mri2pet.baselines.networks import NOISE
from mri2pet.baselines.pairwise import mean_consistency
from mri2pet.cohort.dataset import ModelSpaceDataset
from mri2pet.training.batches import TrainingBatches
from mri2pet.training.distributed import World
from mri2pet.training.modules import new_modules, new_parts
from mri2pet.training.state import TrainingState
from mri2pet.training.step import training_step

from ..training.conftest import MemoryCohort

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def error(generator, data, half):
    """Mean absolute error of the mean of eight draws, of eight people."""
    generator.eval()
    errors = []
    for i in range(8):
        mri, pet, _ = data[i]
        z = torch.randn(8, NOISE, generator=torch.Generator().manual_seed(i))
        with torch.no_grad():
            drawn = generator.draw(generator.encode(mri[None]).expand(8, -1), z)[0].mean(0)
        errors.append(float((drawn - (pet / half - 1)).abs().mean()))
    return sum(errors) / len(errors)


def test_a_gan_halves_the_error_of_an_untrained_generator(small):
    config = small("training.baseline=gan", "training.lr=1e-3")
    data, half = ModelSpaceDataset(MemoryCohort(32), "train"), 0.75
    batches = TrainingBatches(data, half, half, seed=0, augmented=False)
    torch.manual_seed(0)
    state = TrainingState(new_parts(config, CPU, 1))
    generator = state.parts["generator"].module
    before = error(generator, data, half)
    for _ in range(160):
        training_step(state, batches, config, World(0, 1, CPU))
    assert error(generator, data, half) < before / 2


def test_the_consistency_falls_when_it_alone_is_trained(small):
    """Towards a source whose draws differ in another way."""
    config = small("training.baseline=gan")
    torch.manual_seed(0)
    source, adapted = (new_modules(config, CPU)["generator"].train() for _ in "sa")
    mri = torch.rand(4, 1, 16, 32, 32)
    optimizer = torch.optim.Adam(adapted.parameters(), lr=1e-3)
    values = []
    for step in range(40):
        z = torch.randn(4, NOISE, generator=torch.Generator().manual_seed(step % 2))
        with torch.no_grad():
            wanted = source.draw(source.encode(mri), z)[1]
        loss = mean_consistency(wanted, adapted.draw(adapted.encode(mri), z)[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-4:]) < 0.5 * sum(values[:4])
