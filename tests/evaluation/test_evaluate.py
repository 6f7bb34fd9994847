"""An evaluation from the model to its tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mri2pet.checkpoint import save_model
from mri2pet.cohort import cache as cache_module
from mri2pet.config import ModelConfig
from mri2pet.descriptions import write_description
from mri2pet.engines import load_engine
from mri2pet.errors import InputError, ModelError, UsageError
from mri2pet.evaluation import evaluate as module
from mri2pet.evaluation.evaluate import evaluate
from mri2pet.evaluation.features import KINDS, FeatureOptions
from mri2pet.evaluation.methods import METHODS, within_support
from mri2pet.evaluation.metrics import mean_absolute_error
from mri2pet.evaluation.rivals import Rivals
from mri2pet.evaluation.rows import draw
from mri2pet.evaluation.settings import Sampling
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.imaging.suvr.regions import cortical_suvr, region_mean
from mri2pet.nn import Network
from mri2pet.tables import read_table

from .conftest import MRI_SHAPE, PET_SHAPE, level_of

QUICK = Sampling(samples=2, steps=2)


@pytest.fixture
def quick_warp(monkeypatch):
    """Registration is tested elsewhere."""
    monkeypatch.setattr(Rivals, "warped_cohort_mean", lambda self, mri: self.mean_pet)


def run(model_folder, cohort_root, out, **options):
    settings = {"split": "train", "sampling": QUICK, "device": "cpu", "limit": 3}
    return evaluate(model_folder, data=cohort_root, out=out, **{**settings, **options})


@pytest.mark.usefixtures("quick_warp")
def test_the_mean_has_the_level_that_the_model_expects(cohort_root, cohort_cache, tmp_path):
    """Its figures and regions are those of that mean; the spread's own error is the samples'."""
    torch.manual_seed(3)
    config = ModelConfig(
        mri_shape=MRI_SHAPE,
        pet_shape=PET_SHAPE,
        prediction="v",
        cond="concat",
        linear_components=1,
    )
    network, rows = Network(config), cohort_cache.rows()
    pets, mris = (
        torch.stack(
            [torch.from_numpy(np.array(of(row), dtype=np.float32)).flatten() for row in rows]
        )
        for of in (cohort_cache.pet, cohort_cache.mri_on_pet_grid)
    )
    level = torch.randn(len(rows), 1, generator=torch.Generator().manual_seed(4))
    network.linear.fit((pets - 0.5) / 0.6 + level, mris)  # two samples differ by about as much
    model = save_model(tmp_path / "linear", network, pet_mean=0.5, pet_std=0.6)
    run(model, cohort_root, tmp_path / "out", limit=1)
    row = cohort_cache.rows("train")[0]
    brain = np.asarray(cohort_cache.brain(row))
    mri = np.asarray(cohort_cache.mri(row), dtype=np.float32)
    drawn = draw(load_engine(model), mri, row, QUICK)
    mean = within_support(drawn.mean, brain)
    plain = within_support(drawn.samples, brain).mean(axis=0)
    with np.load(tmp_path / "out" / "subjects" / f"{row.name}.npz") as arrays:
        np.testing.assert_allclose(arrays["mean"], mean, atol=2e-3)
    assert np.abs(mean - plain).max() > 0.02
    record = json.loads((tmp_path / "out" / "subjects" / f"{row.name}.json").read_text())
    assert record["mean"]["cortex"] == pytest.approx(cortical_suvr(mean), rel=1e-5)
    assert record["methods"]["mean_of_samples"]["cortical_suvr"] == record["mean"]["cortex"]
    measured = np.asarray(cohort_cache.pet(row), dtype=np.float32)
    error = np.square((plain - measured)[brain > 0.5]).sum()
    assert record["voxels"]["squared_error"] == pytest.approx(error, rel=1e-4)


@pytest.mark.usefixtures("quick_warp")
def test_figures_are_those_of_the_predictions(model_folder, cohort_root, cohort_cache, tmp_path):
    out = tmp_path / "out"
    result = run(model_folder, cohort_root, out)
    lines = read_table(out / "metrics.tsv")
    assert len(lines) == 3 * len(METHODS)
    assert {line["method"] for line in lines} == set(METHODS)
    rows = cohort_cache.rows("train")[:3]
    for row in rows:
        with np.load(out / "subjects" / f"{row.name}.npz") as arrays:
            mean = arrays["mean"].astype(np.float32)
            spread, raw = arrays["spread"].astype(np.float64), arrays["one_sample"]
        pet = np.asarray(cohort_cache.pet(row), dtype=np.float32)
        brain = np.asarray(cohort_cache.brain(row)) > 0.5
        record = json.loads((out / "subjects" / f"{row.name}.json").read_text())
        assert record["mean"]["cortex"] == pytest.approx(cortical_suvr(mean), abs=2e-3)
        assert record["measured"]["cortex"] == pytest.approx(cortical_suvr(pet))
        assert {len(levels) for levels in record["drawn"].values()} == {2}
        assert record["voxels"]["count"] == brain.sum()
        variance = (spread[brain] ** 2).sum()
        assert record["voxels"]["variance"] == pytest.approx(variance, rel=2e-3) != 0
        squares = ((mean - pet)[brain] ** 2).sum()
        assert record["voxels"]["squared_error"] == pytest.approx(squares, rel=5e-3)
        assert raw[0, 0, 0] != 0, "as drawn, not cut to the brain"
        (line,) = (x for x in lines if x["row"] == row.name and x["method"] == "mean_of_samples")
        assert float(line["mae"]) == pytest.approx(mean_absolute_error(mean, pet, brain), rel=2e-3)
        assert float(line["true_cortical_suvr"]) == pytest.approx(level_of(row.subject))
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rows"] == summary["subjects"] == 3
    maes = [float(x["mae"]) for x in lines if x["method"] == "linear_map"]
    assert summary["methods"]["linear_map"]["mae"]["value"] == pytest.approx(np.mean(maes), 1e-4)
    table = (out / "table1.md").read_text()
    assert table == result.table
    assert "| MRI2PET: mean of 2 |" in table
    assert "3 scans of 3 people" in table
    assert "--inception-weights FILE" in table
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("quick_warp")
def test_done_subjects_are_kept_and_more_can_be_added(
    model_folder, cohort_root, tmp_path, monkeypatch
):
    out, seen = tmp_path / "out", []
    original = module.evaluate_row

    def watched(network, cohort, row, *rest):
        seen.append(row.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(network, cohort, row, *rest)

    monkeypatch.setattr(module, "evaluate_row", watched)
    with pytest.raises(KeyboardInterrupt):
        run(model_folder, cohort_root, out)
    run(model_folder, cohort_root, out)
    assert len(seen) == 4
    assert seen[1] == seen[2]
    done = {p: p.stat().st_mtime_ns for p in (out / "subjects").iterdir()}
    run(model_folder, cohort_root, out, limit=4)
    assert len(seen) == 5
    assert all(p.stat().st_mtime_ns == date for p, date in done.items())
    assert len(read_table(out / "metrics.tsv")) == 4 * len(METHODS)


@pytest.mark.usefixtures("quick_warp")
def test_features_and_figures_as_in_the_paper_are_added_and_go_on(
    model_folder, cohort_root, cohort_cache, tmp_path, monkeypatch
):
    def brightness(network, images):
        return np.tile(images.mean((1, 2))[:, None], 2048).astype(np.float32)

    monkeypatch.setattr("mri2pet.evaluation.features.features_of", brightness)
    out = tmp_path / "out"
    options = {"split": "all", "limit": 1, "as_paper": True, "training_data": cohort_root}
    run(model_folder, cohort_root, out, **options | {"limit": 2, "as_paper": False})
    inception = FeatureOptions(random=True, every=8)
    first = run(model_folder, cohort_root, out, **options, features=inception)
    assert "FID, as in the paper" in first.table
    assert "1 scans of 1 people" in first.table, "of this call's limit alone"
    assert "Random network" in first.table
    (folder,) = (out / "features").iterdir()
    assert folder.name.endswith("-every-8")
    files = {p.relative_to(folder): p for p in folder.rglob("*.npy")}
    (row,) = cohort_cache.rows()[:1]
    kinds = ("measured", *KINDS, "as_paper/measured", "as_paper/one_sample")
    assert {f"{kind}/{row.name}.npy" for kind in kinds} < {str(path) for path in files}
    trained = json.loads((folder / "features.json").read_text())["training"]
    assert len(trained) == 1
    assert row.subject not in trained.values()
    assert np.load(folder / "as_paper/measured" / f"{row.name}.npy").shape == (2, 2048)
    dates = {path: file.stat().st_mtime_ns for path, file in files.items()}
    lost = files.popitem()[1]
    content = lost.read_bytes()
    lost.unlink()
    again = run(model_folder, cohort_root, out, **options, features=inception)
    assert again.table == first.table
    assert lost.read_bytes() == content
    assert all(file.stat().st_mtime_ns == dates[path] for path, file in files.items())
    figures = json.loads((out / "as_paper" / f"{row.name}.json").read_text())
    assert set(figures) == set(KINDS)
    assert 0 < figures["cohort_mean"]["ssim_volume"] < 1


@pytest.mark.usefixtures("quick_warp")
def test_the_same_settings_give_the_same_figures(model_folder, cohort_root, tmp_path):
    first = run(model_folder, cohort_root, tmp_path / "a", limit=1)
    second = run(
        model_folder,
        cohort_root,
        tmp_path / "b",
        limit=1,
        sampling=Sampling(samples=2, steps=2, batch=1),
    )
    for name in ("mae", "ssim", "psnr"):
        a, b = (r.summary["methods"]["one_sample"][name]["value"] for r in (first, second))
        assert a == pytest.approx(b, rel=1e-4)


@pytest.mark.usefixtures("quick_warp")
def test_other_settings_are_refused(model_folder, cohort_root, tmp_path):
    run(model_folder, cohort_root, tmp_path / "out", limit=1)
    with pytest.raises(UsageError, match="another samples"):
        run(model_folder, cohort_root, tmp_path / "out", sampling=Sampling(samples=1, steps=2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        run(model_folder, cohort_root, tmp_path / "full")


@pytest.mark.usefixtures("quick_warp")
def test_failures_are_listed_and_the_rest_goes_on(
    model_folder, cohort_root, cohort_cache, tmp_path, monkeypatch
):
    first, second = (row.name for row in cohort_cache.rows("train")[:2])
    prepare = cache_module.prepare

    def failing(row, *rest):
        if row.name == first:
            raise InputError(f"{row.t1}: is bad.")
        return prepare(row, *rest)

    monkeypatch.setattr(cache_module, "prepare", failing)
    original = module.evaluate_row

    def surprised(network, cohort, row, *rest):
        if row.name == second:
            raise RuntimeError("surprise")
        return original(network, cohort, row, *rest)

    monkeypatch.setattr(module, "evaluate_row", surprised)
    out = tmp_path / "out"
    result = run(model_folder, cohort_root, out, cache=tmp_path / "another-cache")
    assert set(result.failures) == {first, second}
    assert [line["row"] for line in read_table(out / "failures.tsv")] == [first, second]
    assert "is bad" in (out / "failures.tsv").read_text()
    assert result.summary["rows"] == 1


@pytest.fixture
def scaled_model(model_folder, tmp_path):
    """The same network, said to have learnt PETs of another reference."""
    import shutil

    def model(record):
        folder = tmp_path / "scaled"
        shutil.copytree(model_folder, folder, dirs_exist_ok=True)
        description = json.loads((folder / "model.json").read_text())
        description["provenance"]["reference"] = record
        write_description(folder / "model.json", description)
        return folder

    return model


@pytest.mark.usefixtures("quick_warp")
def test_a_minmax_model_is_brought_to_suvr(scaled_model, cohort_root, tmp_path):
    model = scaled_model(Reference.of("minmax").record())
    result = run(model, cohort_root, tmp_path / "out", limit=1)
    (path,) = (tmp_path / "out" / "subjects").glob("*.npz")
    with np.load(path) as arrays:
        mean = arrays["mean"].astype(np.float32)
    assert region_mean(mean, "cerebellum") == pytest.approx(1, abs=0.2)
    assert result.summary["settings"]["reference"] == "cerebellum"
    with pytest.raises(UsageError, match="--reference minmax"):
        run(model, cohort_root, tmp_path / "other", limit=1, reference="minmax")


def test_a_model_of_another_region_asks_for_it(scaled_model, cohort_root, tmp_path):
    record = {"key": "sha256:abc", "name": "pons.nii, sha256 abc", "unit": "SUVR"}
    with pytest.raises(UsageError, match=r"another region \(pons\.nii, sha256 abc\)"):
        run(scaled_model(record), cohort_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_options_are_refused(model_folder, cohort_root, tmp_path):
    out = tmp_path / "out"
    for options in (
        {"split": "holdout"},
        {"limit": 0},
        {"device": "tpu"},
        {"sampling": Sampling(samples=0)},
        {"sampling": Sampling(batch=0)},
        {"sampling": Sampling(steps=0)},
        {"sampling": Sampling(sampler="euler")},
    ):
        with pytest.raises(UsageError):
            run(model_folder, cohort_root, out, **options)
    with pytest.raises(ModelError):
        run(tmp_path / "absent", cohort_root, out)
    assert not out.exists()


def test_an_empty_split_is_an_error(model_folder, cohort_root, tmp_path):
    for pet in sorted(cohort_root.glob("*/pet/*"))[1:]:
        pet.unlink()
    with pytest.raises(InputError, match="test split has no MRI-PET pair"):
        run(model_folder, cohort_root, tmp_path / "out", split="test")


def test_predictions_have_values_in_the_dilated_brain_only():
    brain = np.zeros((8, 8, 8), dtype=np.float16)
    brain[3:5, 3:5, 3:5] = 1
    kept = within_support(np.full((8, 8, 8), 2.0), brain)
    assert kept[2, 3, 3] == 2
    assert kept[1, 3, 3] == 0
    assert within_support(np.full((8, 8, 8), -1.0), brain).max() == 0


@pytest.mark.usefixtures("quick_warp")
def test_the_command_prints_the_table(model_folder, cohort_root, tmp_path):
    import typer
    from typer.testing import CliRunner

    from mri2pet.cli.evaluate import evaluate as command

    app = typer.Typer()
    app.command()(command)
    out = tmp_path / "out"
    options = f"{model_folder} --data {cohort_root} -o {out} --split train --limit 2"
    quick = "--samples 1 --steps 1 --device cpu"
    result = CliRunner().invoke(app, [*options.split(), *quick.split()])
    assert result.exit_code == 0, result.output
    assert "taken: 12 T1s and 12 AV45 PETs (step unknown)" in result.output
    again = CliRunner().invoke(app, [*options.split(), *quick.split(), "--quiet"])
    assert "taken" not in again.output
    assert "| MRI2PET: one sample |" in result.output
    assert "mean of" not in result.output
    again = CliRunner().invoke(app, [*options.split(), *quick.split(), "--samples", "2"])
    assert isinstance(again.exception, UsageError)
    every = [*options.split(), *quick.split(), "--inception-every", "4"]
    assert "exactly one way" in str(CliRunner().invoke(app, every).exception)


def test_pets_of_other_steps_than_the_model_learnt_from_are_told():
    from types import SimpleNamespace

    from mri2pet.evaluation.settings import other_steps

    rows = [SimpleNamespace(pet="x", step="coregiso6"), SimpleNamespace(pet=None, step=None)]
    assert other_steps(SimpleNamespace(provenance={}), rows) == ""
    assert other_steps(SimpleNamespace(provenance={"pet_steps": ["coregiso6"]}), rows) == ""
    told = other_steps(SimpleNamespace(provenance={"pet_steps": ["coregiso8"]}), rows)
    assert "coregiso8" in told
    assert "coregiso6" in told
