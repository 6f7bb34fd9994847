"""Every baseline as a run: it trains, goes on to the same bits, and refuses what does not fit."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
import safetensors.torch
import torch

from mri2pet.baselines import FILES, find_baseline
from mri2pet.baselines.checks import check_share
from mri2pet.checkpoint import DESCRIPTION, load_critic, load_model
from mri2pet.errors import ModelError, UsageError
from mri2pet.stages import load_config
from mri2pet.training import log, train
from mri2pet.training.start import find_start
from mri2pet.training.summary import summarise_run, table

from ..training.conftest import MemoryCohort
from ..training.test_distributed import launch
from .conftest import SMALL


class Killed(BaseException):
    pass


def kill(kind, facts):
    """Ends a run in its second update, whose volumes no checkpoint has."""
    if kind == "step" and facts["volumes"] == 8:
        raise Killed


@pytest.fixture
def go(monkeypatch, tmp_path, sources):
    """Runs a baseline in this process."""
    monkeypatch.setattr("mri2pet.training.run.build_cache", lambda *a, **k: MemoryCohort())

    def run(name, folder, *more, **options):
        settings = (*SMALL, *of(name, sources), *more)
        train(tmp_path / folder, data=tmp_path, settings=settings, device="cpu", **options)
        return tmp_path / folder

    return run


def of(name, sources):
    """The settings of a baseline, with the source that it needs."""
    source = find_baseline(name).source
    start = (f"training.init={sources[source]}",) if source else ()
    return (f"training.baseline={name}", *start)


def checkpoint(run):
    return safetensors.torch.load_file(run / "checkpoints" / "last.safetensors")


def same(run, other):
    ours, theirs = checkpoint(run), checkpoint(other)
    equal = all(torch.equal(value, theirs[name]) for name, value in ours.items())
    return ours.keys() == theirs.keys() and equal


# Each loop once: the others differ from `gan` by terms of their loss.
KILLED = [
    pytest.param(name, marks=() if name in ("gan", "maskgan", "ddpm-pa") else pytest.mark.slow)
    for name in FILES
]


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_goes_on_to_the_same_bits(go, sources, name):
    whole = go(name, "whole")
    with pytest.raises(Killed):
        go(name, "killed", on_event=kill)
    killed = go(name, "killed")
    assert same(whole, killed)
    model = load_model(whole)
    family = find_baseline(name).family
    assert model.config.family == family
    records = log.read(whole)
    assert records[-1]["val_loss"] > 0
    source = find_baseline(name).source
    expected = load_model(sources[source]).sha256 if source else None
    assert model.provenance["init_sha256"] == expected
    assert name in table([summarise_run(whole)])
    if family == "gan":
        largest = max(MemoryCohort().pet(r).max() for r in MemoryCohort().rows("train"))
        assert model.pet_mean == model.pet_std == pytest.approx(float(largest) / 2)
        assert "val_gap" in records[-1]
        load_critic(whole)


@pytest.mark.parametrize("name", ["gan", "cdc", "dcl", "maskgan"])
def test_the_published_forms_train_as_well(go, name):
    """Also from a source of the methods' own form; DDPM-PA's needs no part of another kind."""
    run = go(name, "run", "training.volumes=4", "baseline.as_authors=true", "baseline.n_critic=1")
    assert load_model(run).provenance["config"]["baseline"]["as_authors"]
    adam = checkpoint(run)
    assert any(name.startswith("generator.adam.exp_avg.") for name in adam)


def test_a_gan_starts_from_its_source(go, sources):
    """Also its critic; the head that CDC adds is its own."""
    started = go("cdc", "started", "training.lr=1e-12", "training.volumes=4")
    parts = checkpoint(started)
    source = load_model(sources["gan"]).network.state_dict()
    found = {k.removeprefix("generator.network."): v for k, v in parts.items()}
    parameters = [name for name in source if "running" not in name]
    assert all(torch.allclose(found[name], source[name], atol=1e-6) for name in parameters)
    critic = load_critic(sources["gan"]).state_dict()
    found = {k.removeprefix("critic.network."): v for k, v in parts.items()}
    assert all(torch.allclose(found[name], critic[name], atol=1e-6) for name in critic)
    assert {k.partition(".")[0] for k in found if k.startswith("patch_head")} == {"patch_head"}


def test_another_source_under_the_same_name_is_noticed(go, sources, tmp_path):
    source = shutil.copytree(sources["gan"], tmp_path / "source")
    init = f"training.init={source}"
    with pytest.raises(Killed):
        go("dcl", "run", init, on_event=kill)
    other = go("gan", "other", "training.volumes=4")
    shutil.rmtree(source / "model")
    shutil.copytree(other / "model", source / "model")
    with pytest.raises(UsageError, match="is another model now than this run began with"):
        go("dcl", "run", init)


def test_a_damaged_or_missing_critic_is_refused(sources, tmp_path):
    model = shutil.copytree(sources["gan"] / "model", tmp_path / "model")
    critic = model / "critic.safetensors"
    content = bytearray(critic.read_bytes())
    content[-1] ^= 1
    critic.write_bytes(content)
    with pytest.raises(ModelError, match="do not have the recorded hash"):
        load_critic(model)
    assert load_model(model).config.family == "gan"
    with pytest.raises(ModelError, match=r"has no critic\.safetensors"):
        load_critic("demo")
    assert "critic_sha256" in json.loads((model / DESCRIPTION).read_text())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["training.baseline=[1]"], r"unknown baseline \[1\]; there are gan"),
        (["training.stage=[1]"], r"unknown stage \[1\]; there are"),
        (["training.ablation={}"], r"unknown ablation \{\}; there are"),
        (["training.baseline=gan", "baseline.as_authors=perhaps"], "baseline.as_authors: "),
        (["training.baseline=style-gan"], "unknown baseline 'style-gan'; there are gan, diffau"),
        (["training.baseline=gan", "training.ablation=no-laplacian"], "do not go together"),
        (["training.baseline=gan", "training.ablation=no-style"], "do not go together"),
        (["training.baseline=gan", "training.precision=bf16"], "takes fp32 alone"),
        (["training.baseline=gan", "model.cond=concat"], "by its embedding alone"),
        (["training.baseline=gan", "training.compile=true"], "training.compile is not for"),
        (["training.baseline=gan", "model.pet_shape=[16,48,32]"], r"multiples of \(16, 32, 32\)"),
        (["training.baseline=gan", "training.init=demo"], "starts from scratch, without --init"),
        (["training.baseline=cdc"], "needs --init RUN, a run of --baseline gan --stage pretrain"),
        (["training.baseline=ddpm-pa"], "needs --init RUN, a run of --stage pretrain --ablation"),
        (["training.baseline=dcl", "training.stage=pretrain"], "no stage pretrain; its source is"),
        (["training.baseline=diffaugment", "training.stage=pretrain"], "no stage pretrain$"),
        (["model.family=gan", "model.linear_components=0"], "give --baseline"),
        (["training.baseline=gan", "model.family=diffusion"], "has the model.family gan"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, told):
    with pytest.raises(UsageError, match=told):
        load_config("compact", (*SMALL, *settings))


def test_a_start_or_a_micro_batch_that_does_not_fit_is_refused(go, sources, tmp_path):
    def refused(told, name, *settings):
        with pytest.raises(UsageError, match=told):
            go(name, "refused", *settings)
        assert not (tmp_path / "refused").exists()

    refused("of the family diffusion", "cdc", "training.init=demo")
    refused("of the family gan", "ddpm-pa", f"training.init={sources['gan']}")
    refused("its network differs", "cdc", "model.mri_shape=[16,48,32]")
    refused("needs at least 2 at a time", "gan", "training.micro_batch=1")
    refused("needs at least 4 at a time", "cdc", "training.micro_batch=2")
    refused("needs a divisor", "gan", "training.batch_size=8", "training.micro_batch=3")


def test_a_micro_batch_belongs_to_the_run(go):
    """Norms and pairs are of a micro-batch: resuming with another one is another run."""
    go("gan", "run", "training.volumes=4")
    with pytest.raises(UsageError, match=r"training\.micro_batch: 4 → 2"):
        go("gan", "run", "training.volumes=4", "training.micro_batch=2")


def test_the_figure_draws_the_terms_that_a_record_has(tmp_path, monkeypatch):
    """A critic's loss falls below zero; the generator speaks in some updates alone."""
    from matplotlib.axes import Axes

    drawn = {}
    plot = Axes.plot

    def noted(self, x, y, *given, **named):
        drawn[named["label"]] = list(y)
        return plot(self, x, y, *given, **named)

    monkeypatch.setattr(Axes, "plot", noted)
    steps = {"volumes": 4, "of": 8, "lr": 1.0, "loss": -1.0, "gap": 2.0, "grad_norm": 3.0}
    log.append(tmp_path, steps)
    log.append(tmp_path, {**steps, "volumes": 8, "generator_loss": 0.5})
    log.append(tmp_path, {"volumes": 8, "val_loss": 0.7, "val_gap": 0.1})
    log.plot(tmp_path)
    checks = drawn.pop("validation loss (moving average)")
    assert checks == [0.7]
    assert drawn == {"loss": [-1.0, -1.0], "gap": [2.0, 2.0], "generator loss": [0.5]}
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_vanilla_is_the_ablation_of_that_name():
    by_name = load_config("compact", ["training.baseline=vanilla"])
    assert by_name == load_config("compact", ["training.ablation=vanilla"])
    with pytest.raises(UsageError, match="give no other ablation"):
        load_config("compact", ["training.baseline=vanilla", "training.ablation=no-style"])


@pytest.mark.parametrize("name", FILES)
def test_a_baseline_is_laid_over_the_preset(name, sources):
    config = load_config("paper", of(name, sources))
    training, preset = config.training, load_config("paper").training
    assert (training.batch_size, training.epochs, training.augment) == (128, 5000, False)
    assert (training.micro_batch, training.lr, training.laplacian_weight) == (16, 1e-4, 0.0)
    assert training.grad_clip == (None if name == "gan" else 0.5)
    changed = {"baseline", "init", "micro_batch", "laplacian_weight", "grad_clip"}
    kept = set(type(training).model_fields) - changed
    assert all(getattr(training, key) == getattr(preset, key) for key in kept)


@pytest.mark.parametrize("name", FILES)
def test_a_baseline_is_laid_over_a_preset_of_other_numbers(name):
    """Preset compact has a schedule, bfloat16, late steps and the MRI as a channel."""
    start = ("training.init=any",) if find_baseline(name).source else ()
    config, preset = (
        load_config("compact", settings) for settings in ((f"training.baseline={name}", *start), ())
    )
    changed = {"baseline": name, "micro_batch": 16, "laplacian_weight": 0.0}
    if start:
        changed["init"] = "any"
    if find_baseline(name).family == "gan":
        changed |= {"lr": 1e-4, "lr_schedule": "constant", "warmup_volumes": 0, "late_share": 0.0}
        changed |= {"precision": "fp32", "grad_clip": None if name == "gan" else 0.5}
        model = {"family": "gan", "cond": "embedding", "linear_components": 0}
    else:
        model = {}  # the loss and the start are another's, nothing else
    assert config.training == preset.training.model_copy(update=changed)
    assert config.model == preset.model.model_copy(update=model)


@pytest.mark.parametrize("ablation", ["none", "no-style"])
def test_the_gan_of_a_pretraining_learns_the_mri(ablation):
    """`no-style` says of a baseline what is so anyway."""
    settings = ("training.baseline=gan", "training.stage=pretrain")
    config = load_config("paper", (*settings, f"training.ablation={ablation}"))
    training = config.training
    assert (training.target, training.epochs, training.grad_clip) == ("mri", 250, 0.5)


def test_the_micro_batch_is_asked_for_of_each_process():
    config = load_config("compact", ["training.baseline=cdc", "training.init=any"])
    for processes in (1, 2):  # 8 volumes or 4 for each
        check_share(config, processes)
    with pytest.raises(UsageError, match=r"2 volumes for each process: .* at least 4 at a time"):
        check_share(config, 4)
    check_share(load_config("compact"), 8)  # a method that compares no volumes takes one


def test_a_source_is_frozen_and_evaluates(sources):
    config = load_config("compact", (*SMALL, *of("cdc", sources)))
    start = find_start(config, torch.device("cpu"))
    assert set(start.modules) == {"generator", "critic"}
    for module in start.modules.values():
        assert not any(m.training for m in module.modules())
        assert not any(p.requires_grad for p in module.parameters())


def test_authors_numbers_stand_below_the_user_s(sources):
    settings = (*of("ddpm-pa", sources), "baseline.as_authors=true")
    assert load_config("paper", settings).baseline.pairwise == 0.5
    assert load_config("paper", (*settings, "baseline.pairwise=2")).baseline.pairwise == 2


@pytest.mark.parametrize(
    ("said", "weight"), [("true", 0.5), ("yes", 0.5), ("False", 4), ("no", 4), ("0", 4)]
)
def test_authors_numbers_come_with_their_formulas_alone(said, weight):
    """However a truth is written: `--set` hands on a word as it is."""
    settings = ("training.baseline=ddpm-pa", "training.init=any", f"baseline.as_authors={said}")
    config = load_config("paper", settings).baseline
    assert (config.as_authors, config.pairwise) == (weight == 0.5, weight)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
@pytest.mark.parametrize("name", ["gan", "maskgan", "ddpm-pa"])
def test_two_processes_train_like_one(go, sources, tmp_path, name):
    """Micro-batches are the same ones; rounding is left, and where running statistics went."""
    more = ("training.batch_size=8", "training.volumes=8", "baseline.n_critic=1")
    more += ("training.precision=fp32", "training.warmup_volumes=0")  # as what is launched has them
    one = checkpoint(go(name, "one", *more))
    two = checkpoint(launch(tmp_path, 2, (*SMALL, *of(name, sources), *more)))
    family = find_baseline(name).family
    for part in ("critic.", "generator.") if family == "gan" else ("",):
        moments = [key for key in one if key.startswith(f"{part}adam.exp_avg.")]
        a, b = (torch.cat([state[key].flatten() for key in moments]) for state in (one, two))
        assert (a - b).norm() < 1e-4 * a.norm()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_ended_by_sigkill_goes_on_to_the_same_bits(go, sources, tmp_path):
    whole = go("maskgan", "whole")
    settings = (*SMALL, *of("maskgan", sources))
    ended = {"killed": (8, signal.SIGKILL), "status": -signal.SIGKILL}
    killed = launch(tmp_path, 1, settings, **ended)
    assert same(whole, go("maskgan", killed.name))
