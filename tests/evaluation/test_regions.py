"""Regions of measured and synthetic PETs: measured with the draws, or by drawing them again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mri2pet.engines import load_engine
from mri2pet.errors import UsageError
from mri2pet.evaluation import evaluate as module
from mri2pet.evaluation import rows as rows_module
from mri2pet.evaluation.evaluate import evaluate
from mri2pet.evaluation.methods import within_support
from mri2pet.evaluation.regions import read_regions, regions_path
from mri2pet.evaluation.rivals import Rivals
from mri2pet.evaluation.rows import draw
from mri2pet.evaluation.settings import Sampling, model_reference
from mri2pet.imaging.space.template import template_mask
from mri2pet.imaging.suvr.drawn import Drawn
from mri2pet.imaging.suvr.reference import Reference
from mri2pet.imaging.suvr.regions import cerebellum
from mri2pet.quantification import Quantification
from mri2pet.quantification.measure import measure_in_template
from mri2pet.tables import read_table
from mri2pet.uncertainty.evaluated import write_uncertainty

SAMPLING = Sampling(samples=4, steps=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An atlas of the front and the back of the template's brain, its names, and two VOIs."""
    import nibabel

    folder, mask = tmp_path_factory.mktemp("atlas"), template_mask(2)
    labels = mask.data.astype(np.int16)
    labels[:, : labels.shape[1] // 2] *= 5
    whole = cerebellum(2)
    for name, data, affine in (
        ("atlas", labels, mask.affine),
        ("front", (labels == 1).astype(np.uint8), mask.affine),
        ("reference", (whole.data > 0).astype(np.uint8), whole.affine),
    ):
        nibabel.save(nibabel.Nifti1Image(data, affine), folder / f"{name}.nii.gz")
    (folder / "names.tsv").write_text("index\tname\n1\tfront\n5\tback\n")
    return folder


@pytest.fixture
def atlas(files):
    return {"atlas": files / "atlas.nii.gz", "labels": files / "names.tsv"}


@pytest.fixture
def vois(files):
    return {"target": files / "front.nii.gz", "reference": files / "reference.nii.gz"}


@pytest.fixture
def run(model_folder, cohort_root, tmp_path, monkeypatch):
    """Evaluates two scans without pictures, and counts how often PETs are drawn."""
    for place in ("mri2pet.evaluation.evaluate", "mri2pet.uncertainty.evaluated"):
        monkeypatch.setattr(f"{place}.draw_figure", lambda *rest: None)
    monkeypatch.setattr(Rivals, "warped_cohort_mean", lambda self, mri: self.mean_pet)
    drawn, original = [], rows_module.draw

    def watched(network, mri, row, sampling):
        drawn.append(row.name)
        return original(network, mri, row, sampling)

    monkeypatch.setattr(rows_module, "draw", watched)

    def call(what, **options):
        settings = {"split": "train", "limit": 2, "device": "cpu", **options}
        drawn.clear()
        out = tmp_path / "out"
        evaluate(model_folder, data=cohort_root, out=out, sampling=SAMPLING, what=what, **settings)
        line = write_uncertainty(out, model_folder, training_data=cohort_root, what=what)
        return out, len(drawn), line

    return call


def test_measured_and_synthetic_regions_stand_in_one_table(run, atlas, model_folder, cohort_cache):
    what = Quantification.of(**atlas, threshold="mine=1.0")
    out, drawn, _ = run(what)
    assert drawn == 2
    lines = read_table(out / "regions.tsv")
    assert len(lines) == 2 * 2 * 3
    first = cohort_cache.rows("train")[0]
    brain = np.asarray(cohort_cache.brain(first))
    mri = np.asarray(cohort_cache.mri(first), dtype=np.float32)
    measured = np.asarray(cohort_cache.pet(first), dtype=np.float32)
    pets = draw(load_engine(model_folder), mri, first, SAMPLING)
    expected = {
        "measured": Drawn(measured[None], measured),
        "synthetic": Drawn(*(within_support(pet, brain) for pet in pets)),
    }
    for source, drawn_pets in expected.items():
        own = [x for x in lines if (x["subject"], x["source"]) == (first.subject, source)]
        found = measure_in_template("pet", drawn_pets, what)
        assert [line["region"] for line in own][1:] == ["front", "back"]
        for line, region in zip(own, found, strict=True):
            assert float(line["mean_suvr"]) == pytest.approx(region.mean, abs=2e-5)
            assert (line["sd_samples"] == "") == (source == "measured")
    record = json.loads((out / "subjects" / f"{first.name}.json").read_text())
    assert float(own[0]["mean_suvr"]) == pytest.approx(record["mean"]["cortex"], abs=2e-5)
    share = np.mean(np.array(record["drawn"]["cortex"]) > 1.0)
    assert float(own[0]["P(SUVR > mine 1, uncalibrated)"]) == pytest.approx(share)
    told = json.loads((out / "regions.json").read_text())
    assert [value["source"] for value in told["values"]] == ["measured", "synthetic"] * 2
    assert all(value["simulated"] for value in told["values"][::2])
    assert told["values"][1]["model_sha256"] == load_engine(model_folder).sha256
    page = (out / "uncertainty.md").read_text()
    assert "## Amyloid: P(measured SUVR > mine)" in page
    assert "Brier score" in page


def test_what_is_there_is_not_drawn_again(run, atlas):
    composite = Quantification.of(threshold="mine=1.0", centiloid="royse2021-fbp")
    assert run(None)[1] == 2
    assert run(composite)[1] == 0, "the figures of a scan hold the built-in composite"
    assert run(Quantification.of(**atlas))[1] == 2, "the samples were not kept"
    assert run(Quantification.of(**atlas, threshold="other=1.2"))[1] == 0


def test_another_composite_has_its_own_status(run, vois, files):
    what = Quantification.of(**vois, threshold="mine=1.0")
    out, _, _ = run(what, reference=vois["reference"])
    (composite, *_) = [x for x in read_table(out / "regions.tsv") if x["source"] == "synthetic"]
    assert "front.nii.gz" in composite["region"]
    assert composite["low"] == "", "no calibration speaks of it"
    lines = read_table(out / "uncertainty.tsv")
    (brier,) = [x for x in lines if x["quantity"] == "status_brier"]
    assert "front.nii.gz (sha256 " in brier["region"]
    levels = []
    for path in sorted((out / "subjects").glob("*.json")):
        regions = read_regions(out, json.loads(path.read_text()), what)
        p = np.mean(np.array(regions["synthetic"][0].suvr) > 1.0)
        levels.append((p - (regions["measured"][0].suvr[0] > 1.0)) ** 2)
    assert float(brier["value"]) == pytest.approx(np.mean(levels))


def test_a_scan_whose_regions_cannot_be_measured_is_told(run, atlas, cohort_cache, monkeypatch):
    good, bad = (row.name for row in cohort_cache.rows("train")[:2])

    def fails(out, row, *rest):
        if row == bad:
            raise ValueError("no signal")
        return original(out, row, *rest)

    run(None)
    original = rows_module.write_regions
    monkeypatch.setattr(rows_module, "write_regions", fails)
    out, _, _ = run(Quantification.of(**atlas))
    assert [line["error"] for line in read_table(out / "failures.tsv")] == ["ValueError: no signal"]
    assert {line["subject"] for line in read_table(out / "regions.tsv")} == {good}
    assert list(json.loads((out / "regions.json").read_text())["failures"]) == [bad]
    assert not regions_path(out, bad).exists()


def test_the_reference_may_be_that_of_the_vois(model_folder, vois, files):
    network, what = load_engine(model_folder), Quantification.of(**vois)
    assert model_reference(network, vois["reference"], what).key == "cerebellum"
    assert model_reference(network, "cerebellum", what).key == "cerebellum"
    for other in (None, Quantification.of()):
        with pytest.raises(UsageError, match="SUVR by another region"):
            model_reference(network, vois["reference"], other)
    with pytest.raises(UsageError, match="SUVR by another region"):
        model_reference(network, vois["target"], what)
    learnt = Reference.of(vois["reference"])
    network.provenance = {"reference": learnt.record()}
    assert model_reference(network, vois["reference"], what).key == learnt.key


def test_the_command_takes_the_options(atlas, vois, monkeypatch):
    from types import SimpleNamespace

    from mri2pet.cli.main import main

    asked = {}

    def found(model, **options):
        asked["evaluate"] = options
        return SimpleNamespace(table="", out=vois["target"].parent, failures={})

    def written(out, model, **options):
        asked["write"] = options
        return ""

    monkeypatch.setattr("mri2pet.uncertainty.evaluated.check_calibration", lambda model: None)
    monkeypatch.setattr(module, "evaluate", found)
    monkeypatch.setattr("mri2pet.uncertainty.evaluated.write_uncertainty", written)
    words = ["evaluate", "m", "--data", "d", "-o", "o", "-q"]
    assert main(words) == 0
    assert asked["evaluate"]["what"] is None
    options = {**atlas, "target": vois["target"], "reference": vois["reference"]}
    given = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    assert main([*words, *given, "--threshold", "mine=1.2", "--centiloid", "royse2021-fbp"]) == 0
    what = asked["write"]["what"]
    assert asked["evaluate"]["what"] is what
    assert what.threshold.suvr == 1.2
    assert what.atlas is not None
    assert what.composite.label == "front.nii.gz over reference.nii.gz"
    assert asked["evaluate"]["reference"] == str(vois["reference"])
    assert main([*words, "--target", str(vois["target"])]) == 2, "a target without its reference"
