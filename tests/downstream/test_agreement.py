"""MMSE from the drawn against that from the measured PET, and from other people's."""

from __future__ import annotations

import numpy as np
import pytest

from mri2pet.downstream.agreement import agreement, others, write_agreement
from mri2pet.tables import read_table

PEOPLE = [f"p{i // 2}" for i in range(60)]  # two scans each
SEXES = ["FM"[i // 2 % 2] for i in range(60)]


def records(shared, seeds=3):
    rng = np.random.default_rng(0)
    person = np.repeat(rng.normal(size=30), 2)
    found = []
    for _ in range(seeds):
        measured = 25 + person + 0.3 * rng.normal(size=60)
        drawn = 26 + shared * person + 0.3 * rng.normal(size=60)
        found.append(
            {
                "rows": [f"scan{i}" for i in range(60)],
                "subjects": PEOPLE,
                "truth": [27.0] * 60,
                "predicted": measured.tolist(),
                "predicted_of_drawn": drawn.tolist(),
            }
        )
    return found


def test_what_is_shared_is_lost_with_other_people():
    found = agreement(records(1.0), SEXES)
    assert found.r.value > 0.8
    assert found.r.low < found.r.value < found.r.high
    assert abs(found.of_others.value) < 0.15
    assert found.of_others.high < found.r.low
    none = agreement(records(0.0), SEXES)
    assert none.r.low < 0.1
    assert "0.273" in found.note


def test_nobody_meets_themselves_or_the_other_sex():
    for number in range(5):
        other = others(PEOPLE, SEXES, number)
        assert all(PEOPLE[o] != PEOPLE[i] for i, o in enumerate(other))
        assert all(SEXES[o] == SEXES[i] for i, o in enumerate(other))
    assert (others(PEOPLE, SEXES, 0) != others(PEOPLE, SEXES, 1)).any()
    assert others(["a", "a", "b"], ["F", "F", None], 0).tolist() == [-1, -1, -1]


@pytest.mark.filterwarnings("error")
def test_where_nobody_has_another_of_the_same_sex_there_is_no_figure():
    two = [{key: of[key][:4] for key in of} for of in records(1.0)]
    found = agreement(two, SEXES[:4])
    assert np.isnan(found.of_others.value)
    assert "of the same sex –" in found.note


def test_a_table_and_a_scatter(tmp_path):
    found = agreement(records(1.0), SEXES)
    table, figure = write_agreement(tmp_path / "table3_real_against_drawn", found)
    lines = read_table(table)
    assert len(lines) == 60
    assert float(lines[0]["from_drawn"]) == pytest.approx(found.drawn[0], abs=1e-3)
    assert figure.read_bytes().startswith(b"\x89PNG")
