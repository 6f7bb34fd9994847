"""The comparison of the ablations asks for the right runs and draws up the right table."""

from __future__ import annotations

import json
import signal

import pytest

from mri2pet.stages import ABLATIONS


@pytest.fixture
def script(load_tool):
    return load_tool("run_ablations")


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


def test_the_style_goes_to_the_command(script, options, monkeypatch):
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(script, "mri2pet", lambda *words: asked.append(tuple(map(str, words))))
    (options.out / "cohort.tsv").touch()
    script.stylize(options)
    stylize = " ".join(asked[-1])
    assert f"--vgg-weights {options.vgg_weights}" in stylize
    assert "--style-weight auto" in stylize
    assert "--steps 5" in stylize


def test_a_command_that_is_told_to_stop_ends_first(script, tmp_path, monkeypatch):
    """SIGTERM reaches the command, whose status is the script's."""
    wait = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "signal.pause()\n"
    )
    stand_in = tmp_path / "mri2pet.py"
    stand_in.write_text(wait)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        script.mri2pet("train")
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


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
    (options.out / "styled").mkdir()
    made = {"vgg": {"source": "VGG19 of a test"}, "style_weight": 1e5, "steps": 5}
    (options.out / "styled" / "style.json").write_text(json.dumps(made))
    table = script.report(options).splitlines()
    assert "0.0300 [0.0300, 0.0300]" in table[3]
    assert "4 test scans of 4 people" in table[5]
    assert "style: VGG19 of a test, weight 100000, 5 steps" in table[5]
    results = json.loads((options.out / "results.json").read_text())
    assert results["mri2pet"]["mae"]["value"] == pytest.approx(0.115)
    assert results["vanilla"]["suvr_error"]["value"] == pytest.approx(0.1)
