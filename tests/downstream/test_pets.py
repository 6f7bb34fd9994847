"""Measured and drawn PETs cannot be told apart by file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mri2pet.downstream import drawn as drawn_module
from mri2pet.downstream.drawn import Making, Wanted, make_pets, missing_pets
from mri2pet.downstream.pets import as_stored, read_pet
from mri2pet.errors import ModelError, Mri2petError
from mri2pet.evaluation.rivals import Rivals
from mri2pet.evaluation.settings import Sampling
from mri2pet.imaging.suvr.drawn import Drawn

from .conftest import brain


@pytest.fixture
def making(study, tmp_path):
    return Making(tmp_path / "out", study.cache(), Sampling(1, "dpmpp", 2), "cpu", 1, None)


ONES = Drawn(np.ones((1, 16, 32, 32)), np.ones((16, 32, 32)))


def silent(*facts):
    pass


def test_a_measured_pet_sent_as_a_drawn_one_equals_itself(making, monkeypatch):
    """Drawn, stored, read, clipped and masked: the same bits as down the measured path."""
    cohort, row = making.cohort, making.cohort.rows()[0]
    monkeypatch.setattr(drawn_module, "_loaded", lambda model, device: None)
    monkeypatch.setattr(
        drawn_module,
        "draw",
        lambda network, mri, row, sampling: Drawn(cohort.pet(row)[None], cohort.pet(row)),
    )
    wanted = [Wanted("measured", row), Wanted("drawn", row, "model", "abc")]
    make_pets(wanted, making, silent)
    for as_paper in (False, True):
        one, other = (read_pet(pet.path(making.out), as_paper=as_paper) for pet in wanted)
        assert one.dtype == other.dtype == np.float32
        assert one.tobytes() == other.tobytes()
    assert read_pet(wanted[0].path(making.out), as_paper=False) == pytest.approx(
        np.asarray(cohort.pet(row), dtype=np.float32) / 2.5
    )
    assert (one.min(), one.max()) == (0, 1)


def test_what_a_model_draws_beyond_the_brain_or_below_0_does_not_show():
    wild = np.random.default_rng(0).normal(1, 1, brain().shape)
    stored = as_stored(wild, brain())
    assert stored.dtype == np.float16
    assert stored.min() == 0
    outside = np.zeros(brain().shape, bool)
    outside[0], outside[:, 0] = True, True
    assert not stored[outside].any()
    assert (as_stored(stored, brain()) == stored).all()


def test_pets_are_made_once_and_again_for_another_row(making, monkeypatch):
    made = []
    monkeypatch.setattr(
        drawn_module,
        "draw",
        lambda n, mri, row, s: made.append(row.name) or ONES,
    )
    monkeypatch.setattr(drawn_module, "_loaded", lambda model, device: None)
    first, second = (Wanted("drawn", row, "m", "abc") for row in making.cohort.rows()[:2])
    make_pets([first], making, silent)
    make_pets([first, second, second], making, silent)
    assert made == [first.row.name, second.row.name]
    other = Wanted("drawn", first.row, "n", "def")
    assert missing_pets([first, other], making) == [other]


def test_a_pet_that_cannot_be_drawn_keeps_the_others(making, monkeypatch):
    rows = making.cohort.rows()[:2]

    def draw(network, mri, row, sampling):
        if row == rows[1]:
            raise ModelError("cannot")
        return ONES

    monkeypatch.setattr(drawn_module, "draw", draw)
    monkeypatch.setattr(drawn_module, "_loaded", lambda model, device: None)
    wanted = [Wanted("drawn", row, "m", "abc") for row in rows]
    with pytest.raises(Mri2petError, match=f"{rows[1].name}: cannot"):
        make_pets(wanted, making, silent)
    assert missing_pets(wanted, making) == wanted[1:]


def test_the_control_gets_the_mean_pet_warped(study, making, monkeypatch):
    """Without the PET of one who stands in train too, but is tested by another scan."""
    monkeypatch.setattr(Rivals, "warped_cohort_mean", lambda rivals, mri: rivals.mean_pet)
    study.write(lambda row: replace(row, split="test") if row.name == "sub-05_ses-02" else row)
    making = replace(making, cohort=study.cache())
    row = next(row for row in making.cohort.rows(paired=False) if row.name == "sub-31_ses-01")
    wanted = Wanted("mean", row)
    make_pets([wanted], making, silent)
    trained = [row for row in making.cohort.rows("train") if row.subject != "sub-05"]
    assert len(trained) == len(making.cohort.rows("train")) - 1
    pets = [making.cohort.pet(row) for row in trained]
    mean = np.mean([np.asarray(pet, dtype=np.float64) for pet in pets], axis=0)
    stored = read_pet(wanted.path(making.out), as_paper=False) * 2.5
    np.testing.assert_allclose(stored, mean, atol=2e-3)
