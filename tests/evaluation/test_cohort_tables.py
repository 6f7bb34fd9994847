"""Tables 4 and 5 of a cohort, in three forms, and the command that writes them."""

from __future__ import annotations

import csv

import pytest

from mri2pet.cli import main as cli
from mri2pet.errors import UsageError
from mri2pet.evaluation.cohort_tables import cohort_tables


@pytest.fixture
def people(cohort_root):
    lines = [f"sub-{i:02d}\t{60 + i}\t{'MF'[i % 2]}\tCN\t28" for i in range(1, 13)]
    head = "participant_id\tage\tsex\tdiagnosis\tmmse"
    (cohort_root / "participants.tsv").write_text("\n".join([head, *lines]) + "\n")
    return cohort_root


def cells(path) -> dict[tuple[str, str], str]:
    return {(r["row"], r["column"]): r["value"] for r in csv.DictReader(path.open())}


def test_the_splits_add_up_and_the_paper_stands_beside(people, tmp_path):
    cohort_tables([people], tmp_path / "out")
    found = cells(tmp_path / "out" / "table5.csv")
    splits = ("train", "val", "test")
    for line in ("PET scans", "patients", "CN", "MMSE ≥ 20"):
        assert sum(float(found[line, split]) for split in splits) == 12
    assert found["age at intake (years)", "paper.train"] == "71.93"
    assert found["cortical SUVR, measured", "train"] == ""
    text = (tmp_path / "out" / "table5.md").read_text()
    assert "| MMSE | 28.00 ± 0.00 | 28.00" in text
    assert "71.93 ± 7.12" in text
    assert "no PET of this cohort is in model space" in text
    tex = (tmp_path / "out" / "table5.tex").read_text()
    assert tex.count(r"\toprule") == tex.count("MMSE $\\geq$ 20") >= 1
    assert cells(tmp_path / "out" / "table4.csv")["MRIs", "cohort"] == "12.0"


def test_cortical_suvr_is_that_of_the_pets_in_model_space(people, cohort_cache, tmp_path):
    text = cohort_tables([people], tmp_path / "out").text
    found = cells(tmp_path / "out" / "table5.csv")
    assert 0.9 < float(found["cortical SUVR, measured", "train"]) < 1.6
    assert found["cortical SUVR unknown", "train"] == "0.0"
    assert "on the grid 16 × 32 × 32, registration estimate" in text


def test_of_several_cohorts_each_has_its_table(people, tmp_path, capsys):
    table = tmp_path / "second.tsv"
    assert cli.main(["cohort", "build", str(people), "-o", str(table)]) == 0
    assert cli.main(["cohort", "stats", str(people), str(table), "-o", str(tmp_path / "o")]) == 0
    assert "| MRIs | 12 | 12 | 24 |" in capsys.readouterr().out
    assert (tmp_path / "o" / "table5_second.md").is_file()
    with pytest.raises(UsageError, match="the same name"):
        cohort_tables([people, people], tmp_path / "o")
