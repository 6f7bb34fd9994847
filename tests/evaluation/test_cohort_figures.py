"""Figures 2, 3a, 3b and 4: who is in them, by which rule, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from mri2pet.cli import main as cli
from mri2pet.cohort import cache as cache_module
from mri2pet.cohort.prepare import ModelSpaceSubject
from mri2pet.errors import InputError, UsageError
from mri2pet.evaluation import cohort_figures as figures
from mri2pet.evaluation.atrophy import atrophy_of, csf_share
from mri2pet.evaluation.settings import FORMAT
from mri2pet.evaluation.shown import NobodyToShowError, open_shown
from mri2pet.tables import read_table

from .conftest import MRI_SHAPE, PET_SHAPE, pet_of


@pytest.fixture
def people(cohort_root, anatomy, monkeypatch):
    """Twelve people with age and diagnosis, two of them with a second visit; atrophy grows with
    the number of the person: a hole of CSF."""
    import nibabel

    lines = [f"sub-{n:02d}\t{60 + n}\t{('AD', 'CN')[n % 2]}" for n in range(1, 13)]
    head = "participant_id\tage\tdiagnosis"
    (cohort_root / "participants.tsv").write_text("\n".join([head, *lines]) + "\n")
    header = nibabel.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.diag([10, 10, 10, 1.0]))
    for subject, days in (("sub-03", 800), ("sub-04", 300)):
        for path in sorted((cohort_root / subject).rglob("*.nii.gz")):
            for session in ("ses-01", "ses-02"):
                name = path.name.replace(f"{subject}_", f"{subject}_{session}_")
                target = cohort_root / subject / session / path.parent.name / name
                target.parent.mkdir(parents=True)
                nibabel.save(header, target)
            path.unlink()
        (cohort_root / subject / f"{subject}_sessions.tsv").write_text(
            f"session_id\tmri_days\tpet_days\nses-01\t0\t0\nses-02\t{days}\t{days}\n"
        )

    def prepare(row, mri_shape, pet_shape, registration, reference):
        mri, brain = anatomy[0.0]
        mri = mri.copy()
        half = 2 + int(row.subject[-2:]) // 2 + (row.session == "ses-02")
        k, i, j = (n // 2 for n in mri.shape)
        hole = mri[k - 4 : k + 4, i - half : i + half, j - half : j + half]
        hole[:] = 0.4 * np.median(mri[mri > 0.1])
        return ModelSpaceSubject(mri, brain, pet_of(mri, brain, 1.0))

    monkeypatch.setattr(cache_module, "prepare", prepare)
    return cohort_root


@pytest.fixture
def cohort(people):
    return cache_module.build_cache(people, mri_shape=MRI_SHAPE, pet_shape=PET_SHAPE)


@pytest.fixture
def evaluation(cohort, tmp_path):
    """A folder as `evaluate` leaves it; the drawn PET is the measured one with noise."""
    out = tmp_path / "evaluation"
    (out / "subjects").mkdir(parents=True)
    settings = {key: cohort.settings[key] for key in ("cohort", "registration", "reference")}
    settings |= {"format": FORMAT, "split": "all", "ablation": "none", "samples": 2}
    (out / "settings.json").write_text(json.dumps(settings))
    rng = np.random.default_rng(0)
    for row in cohort.rows():
        pet = np.asarray(cohort.pet(row), np.float32)
        drawn = pet + rng.normal(0, 0.02 * int(row.subject[-2:]), pet.shape)
        np.savez(out / "subjects" / f"{row.name}.npz", one_sample=drawn.astype(np.float16))
        # The mean PET's level is not that of the samples.
        level = 1.3 if row.name.endswith("ses-02") else 1.2
        record = {"row": row.name, "subject": row.subject, "measured": {"cortex": 1.1},
                  "drawn": {"cortex": [1.2, 1.3]}, "mean": {"cortex": level}}  # fmt: skip
        (out / "subjects" / f"{row.name}.json").write_text(json.dumps(record))
    return out


def listed(figure) -> list[dict[str, str]]:
    assert figure.path.stat().st_size > 1000
    return read_table(figure.table)


def test_the_grid_shows_people_once_and_by_name_where_asked(people, evaluation, tmp_path):
    path = tmp_path / "grid.png"
    rows = listed(figures.draw_grid(people, [evaluation], path, people=4, seed=1))
    assert len({row["subject"] for row in rows}) == len(rows) == 4
    assert rows[0]["rule"] == "drawn at random, seed 1"
    rows = listed(figures.draw_grid(people, [evaluation], path, subjects=["04", "sub-01"]))
    assert [row["row"] for row in rows] == ["sub-04_ses-01", "sub-04_ses-02", "sub-01"]
    with pytest.raises(UsageError, match="sub-77"):
        figures.draw_grid(people, [evaluation], path, subjects=["sub-77"])


def test_more_than_four_models_stand_below_each_other(people, evaluation, tmp_path):
    def size(models: int) -> tuple[int, int]:
        path = tmp_path / "grid.png"
        figures.draw_grid(people, [evaluation] * models, path, people=2)
        with Image.open(path) as picture:
            return picture.size

    width, height = size(4)
    assert size(3)[0] < width == size(5)[0]
    assert size(8)[1] == size(5)[1] > height + 300


def test_the_cases_are_those_with_ad_and_most_csf(people, evaluation, tmp_path):
    rows = listed(figures.draw_cases(people, [evaluation], tmp_path / "c.png", people=2))
    assert [row["subject"] for row in rows] == ["sub-12", "sub-10"]
    assert {row["diagnosis"] for row in rows} == {"AD"}
    assert float(rows[0]["atrophy"]) > float(rows[1]["atrophy"]) > 0
    assert "CSF share" in rows[0]["rule"]


def test_the_longitudinal_figure_wants_pairs_far_apart(people, evaluation, tmp_path):
    path = tmp_path / "l.png"
    rows = listed(figures.draw_longitudinal(people, [evaluation], path))
    assert [row["row"] for row in rows] == ["sub-03_ses-01", "sub-03_ses-02"]
    with pytest.raises(NobodyToShowError, match=r"1\.5 years"):
        figures.draw_longitudinal(people, [evaluation], path, subjects=["sub-04"])


def test_of_one_sample_no_range_is_told(people, evaluation, tmp_path):
    path = tmp_path / "l.png"
    assert "range in brackets" in figures.draw_longitudinal(people, [evaluation], path).text
    settings = evaluation / "settings.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"samples": 1}))
    for file in (evaluation / "subjects").glob("*.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"drawn": {"cortex": record["drawn"]["cortex"][:1]}}))
    shown = open_shown(people, [evaluation])
    words = figures._change(shown, *(r for r in shown.rows if r.subject == "sub-03"))
    assert "synthetic +0.10" in words
    assert "[" not in words
    assert "range" not in figures.draw_longitudinal(people, [evaluation], path).text


def test_the_decay_is_sorted_and_sharpness_goes_with_it(people, evaluation, tmp_path):
    figure = figures.draw_decay(people, [evaluation], tmp_path / "d.png")
    rows = listed(figure)
    assert len(rows) == 7  # of the six people with AD one has two scans
    atrophy, sharp = ([float(row[key]) for row in rows] for key in ("atrophy", "sharpness"))
    assert atrophy == sorted(atrophy)
    rho = figures.spearman([row["subject"] for row in rows], atrophy, sharp)
    assert rho.value == pytest.approx(spearmanr(atrophy, sharp).statistic)
    assert f"{rho.value:.2f}" in figure.text


def test_atrophy_is_less_what_age_explains(cohort, monkeypatch):
    monkeypatch.setattr("mri2pet.evaluation.atrophy.FEWEST_CN", 3)
    rows = cohort.rows()
    found = atrophy_of(cohort, rows)
    normal = [r for r in cohort.rows("train") if r.diagnosis == "CN"]
    slope, _ = np.polyfit([r.age for r in normal], [csf_share(cohort, r) for r in normal], 1)
    assert slope > 0
    assert f"over {len(normal)} training CN" in found.adjustment
    centre = np.mean([r.age for r in normal])
    for row in rows:
        expected = found.values[row.name] - slope * (row.age - centre)
        assert found.adjusted[row.name] == pytest.approx(expected, abs=1e-9)


def test_the_severity_of_a_simulation_goes_before_the_csf(cohort, people):
    for row in cohort.rows():
        truth = people / "derivatives" / "truth" / row.subject / f"{row.subject}_truth.json"
        truth.write_text(json.dumps({"severity": 0.01 * int(row.subject[-2:])}))
    rows = [row for row in cohort.rows() if row.truth is not None]
    found = atrophy_of(cohort, rows)
    assert found.adjusted == {row.name: 0.01 * int(row.subject[-2:]) for row in rows}


def test_drawn_and_measured_pets_have_one_scale_and_as_paper_each_its_own(people, evaluation):
    shown = open_shown(people, [evaluation])
    row = shown.rows[0]
    measured, drawn = shown.measured(row, (0.5,)), shown.drawn(row, (0.5,))
    assert (measured.low, measured.high) == (drawn.low, drawn.high) == (0.0, 2.5)
    assert (measured.synthetic, drawn.synthetic) == (False, True)
    assert not drawn.kij[np.asarray(shown.cohort.pet(row)) == 0].any()
    own = open_shown(people, [evaluation], as_paper=True).drawn(row, (0.5,))
    assert own.high == own.kij.max() != 2.5


def test_what_does_not_fit_is_refused_in_one_sentence(people, evaluation, tmp_path, capsys):
    def refused(*words: object) -> str:
        assert cli.main(["figures", *map(str, words)]) in (1, 2)
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        return message

    path = tmp_path / "figure.png"
    other = tmp_path / "other"
    for file in people.rglob("*.nii.gz"):
        target = other / file.relative_to(people)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    assert "is not the cohort" in refused("grid", other, "--evaluations", evaluation, "-o", path)
    assert "holds no evaluation" in refused("grid", people, "--evaluations", other, "-o", path)
    assert "ends in .png" in refused("grid", people, "--evaluations", evaluation, "-o", "x.pdf")
    for kind in ("grid", "cases", "longitudinal"):
        words = (kind, people, "--evaluations", evaluation, "-o", path, "--people", 0)
        assert "--people is 0; it must be at least 1" in refused(*words)
    (people / "participants.tsv").unlink()
    sentence = refused("cases", people, "--evaluations", evaluation, "-o", path)
    assert "0 of 14 scans have a diagnosis" in sentence
    assert not path.exists()


def test_several_folders_may_follow_the_option(people, evaluation, tmp_path, capsys):
    second = tmp_path / "second"
    second.mkdir()
    for file in evaluation.rglob("*.*"):
        target = second / file.relative_to(evaluation)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    words = [
        "figures",
        "grid",
        people,
        "--evaluations",
        evaluation,
        second,
        "-o",
        tmp_path / "g.png",
    ]
    assert cli.main(list(map(str, words))) == 0
    assert "written to" in capsys.readouterr().out
    shown = open_shown(people, [evaluation, second])
    assert shown.titles == ["MRI2PET (evaluation)", "MRI2PET (second)"]


def test_a_cohort_that_left_model_space_is_told(people, evaluation, tmp_path):
    with pytest.raises(InputError, match="no longer in model space"):
        open_shown(people, [evaluation], cache=tmp_path / "elsewhere")
