"""The paper's stages and ablations: what each trains on, for how long, with which loss."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mri2pet.checkpoint import load_model
from mri2pet.errors import InputError, UsageError
from mri2pet.stages import ABLATIONS, load_config
from mri2pet.training import log, train
from mri2pet.training.targets import moments, stage_data


def staged(*settings, preset="paper"):
    return load_config(preset, settings).training


def test_the_paper_preset_has_the_paper_s_stages():
    pretrain, finetune = staged("training.stage=pretrain"), staged()
    assert (pretrain.target, pretrain.laplacian_weight, pretrain.epochs) == ("stylized", 0.0, 250)
    assert (finetune.target, finetune.laplacian_weight, finetune.epochs) == ("pet", 0.25, 5000)
    for stage in (pretrain, finetune):
        assert (stage.batch_size, stage.lr, stage.grad_clip) == (128, 1e-4, 0.5)
        assert stage.lr_schedule == "constant"
        assert stage.snr_clip is None
        assert not stage.augment
    assert finetune.lasting(2241).volumes == 5000 * 2241


def test_volumes_and_epochs_take_each_other_s_place():
    short = staged("training.volumes=12")
    assert (short.lasting(100).volumes, short.epochs) == (12, None)
    assert staged("training.epochs=3", preset="compact").lasting(7).volumes == 21
    with pytest.raises(UsageError, match="give one"):
        staged("training.epochs=3", "training.volumes=12")


@pytest.mark.parametrize(
    ("ablation", "stage", "changed"),
    [
        ("no-style", "pretrain", {"target": "mri"}),
        ("no-style", "finetune", {}),
        ("no-laplacian", "pretrain", {}),
        ("no-laplacian", "finetune", {"laplacian_weight": 0.0}),
        ("no-pretrain", "finetune", {}),
        ("vanilla", "finetune", {"laplacian_weight": 0.0}),
    ],
)
def test_an_ablation_changes_its_part_alone(ablation, stage, changed):
    whole = staged(f"training.stage={stage}")
    cut = staged(f"training.stage={stage}", f"training.ablation={ablation}")
    assert cut == whole.model_copy(update={"ablation": ablation, **changed})
    assert set(ABLATIONS) - {"none"} == {"no-style", "no-pretrain", "no-laplacian", "vanilla"}


@pytest.mark.parametrize("ablation", ["no-pretrain", "vanilla"])
def test_without_pretraining_there_is_no_such_stage_and_no_start(ablation):
    with pytest.raises(UsageError, match="has no stage pretrain"):
        staged("training.stage=pretrain", f"training.ablation={ablation}")
    with pytest.raises(UsageError, match="starts from scratch"):
        staged(f"training.ablation={ablation}", "training.init=demo")


def test_nonsense_is_refused():
    with pytest.raises(UsageError, match="unknown stage 'tune'"):
        staged("training.stage=tune")
    with pytest.raises(UsageError, match="unknown ablation 'all'"):
        staged("training.ablation=all")
    with pytest.raises(UsageError, match="cannot have the target 'mri'"):
        staged("training.target=mri")


def test_a_user_s_setting_wins_over_stage_and_ablation():
    setting = "training.laplacian_weight=0.1"
    assert staged("training.ablation=vanilla", setting).laplacian_weight == 0.1
    assert staged("training.stage=pretrain", setting).laplacian_weight == 0.1


@pytest.fixture
def stylized(tmp_path, cohort):
    """PET-like MRIs, of half the MRI's intensity plus 0.25, of six training MRIs and one other."""
    folder = tmp_path / "styled"
    (folder / "rows").mkdir(parents=True)
    (folder / "style.json").write_text(json.dumps({"cache": "key", "style": "random"}))
    for row in [*cohort.rows("train", paired=False)[-6:], cohort.rows("val")[0]]:
        volume = (0.5 * cohort.mri(row) + 0.25).astype(np.float16)
        np.save(folder / "rows" / f"{row.name}.npy", volume)
        (folder / "rows" / f"{row.name}.json").write_text("{}")
    (folder / "rows" / "sub-00.json").write_text("{}")
    return folder


def test_pretraining_takes_the_finished_volumes_and_their_statistics(cohort, stylized):
    config = load_config("compact", ("training.stage=pretrain", f"data.stylized={stylized}"))
    data = stage_data(config, cohort)
    rows = cohort.rows("train", paired=False)[-6:]
    assert [data.train[i][2] for i in range(len(data.train))] == [row.name for row in rows]
    assert len(data.val) == 1
    volumes = np.stack([np.load(stylized / "rows" / f"{r.name}.npy") for r in rows]).astype(float)
    assert data.mean == pytest.approx(volumes.mean(), rel=1e-9)
    assert data.std == pytest.approx(volumes.std(), rel=1e-9)
    mri, target, _ = data.train[0]
    np.testing.assert_allclose(target, 0.5 * mri + 0.25, atol=1e-3)


def test_without_style_the_mri_itself_is_the_target(cohort):
    settings = ("training.stage=pretrain", "training.ablation=no-style")
    data = stage_data(load_config("compact", settings), cohort)
    assert len(data.train) == 9
    mri, target, _ = data.train[8]
    np.testing.assert_array_equal(mri, target)
    assert (data.mean, data.std) == moments(data.train)


def test_finetuning_takes_the_pairs_and_the_pets_statistics(cohort):
    data = stage_data(load_config("compact"), cohort)
    assert (len(data.train), data.mean, data.std) == (6, cohort.pet_mean, cohort.pet_std)


def test_pretraining_without_volumes_or_with_those_of_others_is_refused(cohort, stylized):
    pretrain = "training.stage=pretrain"
    with pytest.raises(UsageError, match="give --stylized"):
        stage_data(load_config("compact", (pretrain,)), cohort)
    config = load_config("compact", (pretrain, f"data.stylized={stylized}"))
    (stylized / "style.json").write_text(json.dumps({"cache": "other"}))
    with pytest.raises(InputError, match="of another cohort"):
        stage_data(config, cohort)
    (stylized / "style.json").unlink()
    with pytest.raises(InputError, match="holds no PET-like MRIs"):
        stage_data(config, cohort)


@pytest.mark.usefixtures("memory_cohort")
def test_the_two_stages_follow_each_other(tmp_path, settings, stylized):
    def go(name, *more):
        train(tmp_path / name, data=tmp_path, settings=(*settings, *more), device="cpu")
        return load_model(tmp_path / name)

    pretrain = ("training.stage=pretrain", f"data.stylized={stylized}", "training.epochs=1")
    first = go("pre", *pretrain)
    assert first.provenance["volumes"] == 6
    assert first.provenance["target"] == "stylized"
    assert first.provenance["style"]["style"] == "random"
    assert 0.25 < first.pet_mean < 0.5
    steps = [r for r in log.read(tmp_path / "pre") if "val_loss" in r]
    assert steps[-1]["val_loss"] == pytest.approx(steps[-1]["val_mse"])
    assert steps[-1]["val_laplacian"] > 0
    second = go("fine", f"training.init={tmp_path / 'pre'}", "training.volumes=2")
    assert second.pet_mean == 0.4
    assert second.provenance["init_sha256"] == first.sha256
    with pytest.raises(UsageError, match=r"training\.stage: pretrain → finetune"):
        go("pre", "training.epochs=1")


def test_a_cohort_split_by_scan_is_noted(tmp_path, settings, memory_cohort):
    memory_cohort.manifest.split_by = "scan"
    told = []
    train(
        tmp_path / "run",
        data=tmp_path,
        settings=(*settings, "training.volumes=2"),
        device="cpu",
        on_event=lambda kind, facts: told.append(facts.get("text")) if kind == "note" else None,
    )
    assert "split by scan" in told[0]
    assert load_model(tmp_path / "run").provenance["split_by"] == "scan"


@pytest.mark.usefixtures("memory_cohort")
def test_pretraining_without_validation_targets_says_so(tmp_path, settings, stylized):
    for path in (stylized / "rows").glob("sub-06.*"):
        path.unlink()
    told = []
    train(
        tmp_path / "run",
        data=tmp_path,
        settings=(
            *settings,
            "training.stage=pretrain",
            f"data.stylized={stylized}",
            "training.volumes=2",
        ),
        device="cpu",
        on_event=lambda kind, facts: told.append(facts.get("text")) if kind == "note" else None,
    )
    assert "its loss is not measured" in told[0]
