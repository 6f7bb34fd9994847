"""A cohort is made PET-like once, whatever stops it, and its style images are drawn by name."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mri2pet.errors import InputError, UsageError
from mri2pet.style import cohort as module
from mri2pet.style.cohort import chosen_style, stylize_cohort
from mri2pet.style.transfer import StyleOptions, stylize, unit_range
from mri2pet.style.vgg import NORMALISED, STYLE_WEIGHTS
from mri2pet.weights import WeightsOrigin

from .conftest import MRI_SHAPE, PET_SHAPE, blobs

OPTIONS = StyleOptions(steps=2, style_weight=1e6, content_weight=1e3)


class Cohort:
    """What of a `CohortCache` is used: five training MRIs, three with PETs, and a test MRI."""

    def __init__(self) -> None:
        self.root = Path("key")
        self.manifest = SimpleNamespace(root="cohort")
        self.pet_shape = PET_SHAPE
        self.everything = [SimpleNamespace(name=f"sub-{i}", split="train") for i in range(5)]
        self.everything.append(SimpleNamespace(name="sub-5", split="test"))

    def rows(self, split=None, *, paired=True):
        rows = [r for r in self.everything if split in (None, r.split)]
        return [r for r in rows if r.name in ("sub-0", "sub-2", "sub-4")] if paired else rows

    def mri(self, row):
        return blobs(MRI_SHAPE, 10 + int(row.name[-1])).astype(np.float16)

    def pet(self, row):
        return (1.7 * blobs(PET_SHAPE, 20 + int(row.name[-1]))).astype(np.float16)


def make(out, vgg, **options):
    return stylize_cohort(Cohort(), out, vgg, **{"options": OPTIONS, **options})


def test_every_training_mri_gets_a_drawn_style(tmp_path, random_vgg):
    done = make(tmp_path, random_vgg, seed=4)
    assert done.done == tuple(f"sub-{i}" for i in range(5))
    assert done.failures == {}
    cohort = Cohort()
    for row in cohort.rows("train", paired=False):
        record = json.loads((tmp_path / "rows" / f"{row.name}.json").read_text())
        source = cohort.rows("train")[chosen_style(4, row.name, 3)]
        assert record["style_image"] == source.name
        assert record["pretrained_vgg"] is False
        expected = stylize(cohort.mri(row), unit_range(cohort.pet(source)), random_vgg, OPTIONS)
        np.testing.assert_allclose(done.volume(row.name), expected.kij, atol=2e-3)
        assert done.volume(row.name).dtype == np.float16
    settings = json.loads((tmp_path / "style.json").read_text())
    assert settings["vgg"]["source"].startswith("random")
    assert settings["style_pets"] == ["sub-0", "sub-2", "sub-4"]


def test_styles_are_drawn_evenly_by_seed_and_name():
    names = [f"sub-{i:04d}" for i in range(600)]
    drawn = [chosen_style(0, name, 6) for name in names]
    assert set(drawn) == set(range(6))
    assert np.bincount(drawn).min() > 60
    assert drawn != [chosen_style(1, name, 6) for name in names]
    assert chosen_style(0, "sub-0000", 6) == drawn[0]


def test_a_run_goes_on_where_it_was(tmp_path, random_vgg, monkeypatch):
    class Killed(Exception):
        pass

    real, made = module.stylize, []

    def counted(*arguments):
        if len(made) == 2:
            raise Killed
        made.append(1)
        return real(*arguments)

    monkeypatch.setattr(module, "stylize", counted)
    with pytest.raises(Killed):
        make(tmp_path, random_vgg)
    (tmp_path / "rows" / "sub-1.json").unlink()
    before = (tmp_path / "rows" / "sub-0.npy").stat().st_mtime_ns
    made[:] = [0] * 10
    seen = []
    done = make(tmp_path, random_vgg, on_subject=lambda *facts: seen.append(facts))
    assert len(done.done) == 5
    assert (tmp_path / "rows" / "sub-0.npy").stat().st_mtime_ns == before
    assert [name for _, _, name, _ in seen] == ["sub-1", "sub-2", "sub-3", "sub-4"]
    assert not list(tmp_path.rglob(".part-*"))


def test_a_failed_mri_is_listed_and_tried_again(tmp_path, random_vgg, monkeypatch):
    real = Cohort.mri

    def broken(self, row):
        values = real(self, row)
        return values[0] if row.name == "sub-3" else values

    monkeypatch.setattr(Cohort, "mri", broken)
    done = make(tmp_path, random_vgg)
    assert list(done.failures) == ["sub-3"]
    assert "sub-3" in (tmp_path / "failures.tsv").read_text()
    monkeypatch.setattr(Cohort, "mri", real)
    assert make(tmp_path, random_vgg).done[3] == "sub-3"


def test_other_settings_do_not_mix(tmp_path, random_vgg):
    make(tmp_path, random_vgg, limit=1)
    with pytest.raises(UsageError, match=r"other settings \(seed, steps\)"):
        make(tmp_path, random_vgg, seed=1, options=StyleOptions(3, 1e6, 1e3))
    make(tmp_path, random_vgg, limit=2, options=StyleOptions(2, 1e6, 1e3, slices_at_once=1))


def test_the_weight_that_was_used_is_recorded(tmp_path, random_vgg, monkeypatch):
    make(tmp_path / "default", random_vgg, limit=1, options=StyleOptions(steps=1))
    assert json.loads((tmp_path / "default" / "style.json").read_text())["style_weight"] == 1000.0
    origin = WeightsOrigin("normalised", NORMALISED.sha256, pretrained=True)
    monkeypatch.setattr(random_vgg, "origin", origin)
    made = make(tmp_path / "known", random_vgg, limit=1, options=StyleOptions(steps=1))
    assert made.settings["style_weight"] == STYLE_WEIGHTS[NORMALISED]


def test_the_mean_pet_can_be_the_style(tmp_path, random_vgg):
    done = make(tmp_path, random_vgg, style="mean", split="test")
    assert done.done == ("sub-5",)
    cohort = Cohort()
    mean = np.mean([cohort.pet(r).astype(np.float64) for r in cohort.rows("train")], axis=0)
    expected = stylize(cohort.mri(cohort.everything[5]), unit_range(mean), random_vgg, OPTIONS)
    np.testing.assert_allclose(done.volume("sub-5"), expected.kij, atol=2e-3)


def test_nonsense_is_refused(tmp_path, random_vgg, monkeypatch):
    with pytest.raises(UsageError, match="none of random, mean"):
        make(tmp_path, random_vgg, style="median")
    with pytest.raises(InputError, match="no usable MRI"):
        make(tmp_path, random_vgg, split="val")
    monkeypatch.setattr(Cohort, "rows", lambda *_, **__: [])
    with pytest.raises(InputError, match="training PET"):
        make(tmp_path, random_vgg)


def test_the_command_asks_how_to_get_the_weights(tmp_path, capsys):
    from mri2pet.cli.main import main

    assert main(["stylize", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "exactly one way" in capsys.readouterr().err
    assert main(["stylize", str(tmp_path), "-o", "x", "--random-vgg", "--steps", "0"]) == 2
    assert (
        main(["stylize", str(tmp_path), "-o", "x", "--random-vgg", "--style-weight", "much"]) == 2
    )
    assert "neither a number nor auto" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
