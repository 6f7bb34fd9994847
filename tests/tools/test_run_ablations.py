"""The comparison of the ablations asks for the right runs and draws up the right table."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mri2pet.stages import ABLATIONS


@pytest.fixture
def script(repository: Path, monkeypatch):
    path = repository / "tools" / "run_ablations.py"
    spec = importlib.util.spec_from_file_location("run_ablations", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_ablations", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(
        out=tmp_path,
        volumes=40,
        pretrain_volumes=20,
        pairs=60,
        unpaired=150,
        random_vgg=True,
        style_steps=5,
        samples=4,
        steps=25,
        limit=None,
        jobs=1,
        device="cpu",
        set=[],
    )


def test_every_ablation_is_a_variant_of_equal_length(script, options, monkeypatch):
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(script, "mri2pet", lambda *words: asked.append(tuple(map(str, words))))
    assert set(ABLATIONS) - {"none"} <= set(script.VARIANTS)
    for name in script.VARIANTS:
        asked.clear()
        script.make(options, name)
        *trainings, evaluation = asked
        assert evaluation[0] == "evaluate"
        assert trainings[-1][1] == str(options.out / "runs" / name / "finetune")
        assert "training.volumes=40" in trainings[-1]
        alone = name in ("no-pretrain", "vanilla")
        assert len(trainings) == (1 if alone else 2)
        assert ("--init" in trainings[-1]) is not alone
        if not alone:
            assert "training.volumes=20" in trainings[0]
            assert ("--stylized" in trainings[0]) is (name != "no-style")


def test_the_table_compares_the_same_scans(script, options):
    columns = ("row", "subject", "method", "mae", "ssim", "psnr", "cortical_suvr")
    head = "\t".join((*columns, "measured_cortical_suvr"))
    for name, worse, scans in (("mri2pet", 0.0, 5), ("vanilla", 0.03, 4)):
        folder = options.out / "evaluation" / name
        folder.mkdir(parents=True)
        lines = [
            f"s{i}\tsub-{i}\t{method}\t{0.1 + 0.01 * i + worse}\t0.9\t24\t1.2\t1.3"
            for i in range(scans)
            for method in ("mean_of_samples", "one_sample")
        ]
        (folder / "metrics.tsv").write_text("\n".join((head, *lines)) + "\n")
    table = script.report(options).splitlines()
    assert "0.0300 [0.0300, 0.0300]" in table[3]
    assert "4 test scans of 4 people" in table[5]
    results = json.loads((options.out / "results.json").read_text())
    assert results["mri2pet"]["mae"]["value"] == pytest.approx(0.115)
    assert results["vanilla"]["suvr_error"]["value"] == pytest.approx(0.1)
