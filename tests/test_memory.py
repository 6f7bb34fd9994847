"""The memory plan counts what torch allocates, and is told where it helps."""

from __future__ import annotations

import json

import pytest
import torch

from mri2pet import memory
from mri2pet.bench.timing import extra_bytes
from mri2pet.diffusion import schedule
from mri2pet.diffusion.objective import training_objective
from mri2pet.errors import Mri2petError
from mri2pet.memory import MemoryPlan, explained, sampling_plan, training_plan
from mri2pet.nn import Network
from mri2pet.stages import load_config

SETTINGS = (
    "model.mri_shape=[16,64,64]",
    "model.pet_shape=[16,64,64]",
    'training.precision="fp32"',
)


@pytest.fixture(scope="module", params=["compact", "paper"])
def config(request):
    return load_config(request.param, SETTINGS)


@pytest.fixture(scope="module")
def plans(config):
    """Of sampling and of training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "BATCHES", (1, 4))
        sampling = sampling_plan(config.model)
        patch.setattr(memory, "BATCHES", (2,))
        return sampling, training_plan(config)


def parameters(network):
    """Bytes of all that a network holds, parameters and buffers."""
    return sum(value.numel() * 4 for value in network.state_dict().values())


def test_sampling_is_what_torch_allocates(config, plans):
    network = Network(config.model).requires_grad_(False)
    network.to(memory_format=torch.channels_last_3d)
    plan, _ = plans
    assert plan.fixed == parameters(network)
    for count in (1, 4):

        def loop(count=count):
            mri = torch.rand(1, 1, *config.model.mri_shape)
            x = torch.rand(count, 1, *config.model.pet_shape)
            same = network.guide(mri)
            t = torch.full((count,), 500)
            with torch.inference_mode():
                rows = network.block_biases(network.mri_encoder(mri).expand(count, -1), t)
                whole = None if same is None else same.expand(count, -1, -1, -1, -1)
                return network.denoise(x, rows, whole)

        loop()
        allocated = extra_bytes(loop, "cpu")
        assert plan.peaks[count] - plan.fixed == pytest.approx(allocated, rel=0.15)


def test_a_training_step_is_what_torch_allocates(config, plans):
    network = Network(config.model).to(memory_format=torch.channels_last_3d)
    _, plan = plans
    shape = (2, 1, *config.model.pet_shape)
    adam = torch.optim.Adam(network.parameters())

    def step():
        mri, pet, noise = torch.rand(2, 1, *config.model.mri_shape), *torch.randn(2, *shape)
        t = torch.tensor([3, 500])
        training_objective(
            network, config.model.prediction, mri, pet, t, noise, 0.25
        ).total.backward()
        adam.step()

    allocated = extra_bytes(step, "cpu")  # with Adam's moments, which the first step makes
    assert plan.peaks[2] - plan.fixed == pytest.approx(allocated, rel=0.15)
    assert plan.fixed >= 2 * parameters(network)  # and the moving average


@pytest.mark.usefixtures("plans")
def test_nothing_of_a_plan_stays_behind():
    assert type(schedule.alpha_bar()) is torch.Tensor
    assert torch.backends.mkldnn.enabled
    assert float(schedule.alpha_bar()[999]) == pytest.approx(2.0e-5, rel=0.1)


def test_the_largest_batch_leaves_room_for_the_libraries():
    gib = 2**30
    plan = MemoryPlan("sampling", 0, {1: gib, 2: 2 * gib, 4: 4 * gib}, 3 * gib)
    assert plan.largest == 2
    assert "2 at once fit" in plan.text()
    none = MemoryPlan("sampling", 0, {1: gib}, gib)
    assert none.largest is None
    assert "not even one" in none.text()


def test_out_of_memory_says_what_would_fit():
    plan = MemoryPlan("sampling", 0, {1: 2**30, 2: 2**31}, 2**31)
    told = r"2 volumes at once; 2\.0 GiB are free, 1 would fit"
    with pytest.raises(Mri2petError, match=told), explained(lambda: plan, 2):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(Mri2petError, match="out of memory"), explained(lambda: plan, 2):
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="something else"), explained(lambda: plan, 2):
        raise RuntimeError("something else")


def test_commands(capsys, tmp_path, monkeypatch):
    from mri2pet.cli.main import main

    monkeypatch.setattr(memory, "BATCHES", (1, 2))
    assert main(["synthesize", "x.nii", "-o", str(tmp_path / "out"), "--memory-plan"]) == 0
    assert "memory plan for sampling" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    arguments = ["train", str(tmp_path / "run"), "--data", "x", "--dry-run", "--set", SETTINGS[0]]
    assert main([*arguments, "--set", SETTINGS[1]]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["model"]["pet_shape"] == [16, 64, 64]
    assert "memory plan for training" in shown.err
    assert memory.available_bytes("cpu") > 2**28


def peak_on_gpu(run):
    """Bytes that torch's allocator held at most during a call, beyond those before it."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    kept = run()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu_sampling_stays_within_its_plan(precision):
    """What is not in the plan, cuDNN's workspaces and the second copy of a graph, is overhead."""
    from mri2pet.checkpoint import Model
    from mri2pet.engines.sampling import sample
    from mri2pet.engines.torch_engine import TorchEngine

    config = load_config("paper").model
    plan = sampling_plan(config, "cuda")

    def run():
        network = Network(config).requires_grad_(False).eval().to("cuda")
        network.to(memory_format=torch.channels_last_3d)
        engine = TorchEngine(Model(network, config, 1.0, 0.5), precision)
        mri = torch.rand(1, 1, *config.mri_shape, device="cuda")
        return engine, sample(engine, mri, samples=4, batch=4, steps=3)

    peak = peak_on_gpu(run)
    assert plan.peaks[4] / 4 < peak < plan.peaks[4] + memory.OVERHEAD_BYTES


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_a_training_step_stays_within_its_plan(precision):
    config = load_config("compact", [f"training.precision={precision}"])
    plan = training_plan(config, "cuda")
    shape = (4, 1, *config.model.pet_shape)

    def run():
        network = Network(config.model).to("cuda").to(memory_format=torch.channels_last_3d)
        average = [p.detach().clone() for p in network.parameters()]
        adam = torch.optim.Adam(network.parameters())
        mri = torch.rand(4, 1, *config.model.mri_shape, device="cuda")
        pet, noise = torch.randn(2, *shape, device="cuda")
        t = torch.full((4,), 500, device="cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = training_objective(
                network, config.model.prediction, mri, pet, t, noise, 0.25
            ).total
        loss.backward()
        adam.step()
        return average

    peak = peak_on_gpu(run)
    assert plan.peaks[4] / 4 < peak < plan.peaks[4] + memory.OVERHEAD_BYTES


def test_files_in_the_cache_of_a_control_group_are_free_memory(tmp_path, monkeypatch):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    monkeypatch.setattr(memory, "_SYSTEM", tmp_path)
    assert memory.available_bytes("cpu") == 8000 * 1024
    (group / "memory.max").write_text("max")
    assert memory.available_bytes("cpu") == 8000 * 1024
    (group / "memory.max").write_text("5000000")
    (group / "memory.current").write_text("4900000")
    (group / "memory.stat").write_text("anon 900000\ninactive_file 3000000\n")
    assert memory.available_bytes("cpu") == 5000000 - 4900000 + 3000000
