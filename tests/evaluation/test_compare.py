"""Evaluations beside each other: refusals, cells, tests and files."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.evaluation.compare import compare
from mri2pet.evaluation.features import KINDS
from mri2pet.evaluation.hypothesis import stars
from mri2pet.evaluation.layout import Cell
from mri2pet.evaluation.paper_stars import paper_tests
from mri2pet.evaluation.printed import paper_table
from mri2pet.evaluation.settings import FORMAT
from mri2pet.evaluation.table1 import FLOOR
from mri2pet.tables import read_table

from .test_feature_files import npz

ROWS = [f"sub-{i // 2:02d}_ses-{i % 2}" for i in range(24)]  # 12 people, two scans each
NETWORK = "inception-abc"


def write(out, *, error=0.1, ablation="none", rows=ROWS, shift=0.0, pretrained=True, **settings):
    """An evaluation folder whose methods have known figures, and features of 4 slices a scan."""
    out.mkdir()
    given = {
        "format": FORMAT,
        "model": "m",
        "ablation": ablation,
        "samples": 4,
        "sampler": "dpmpp",
        "steps": 25,
        "cohort": "c",
        "registration": "truth",
        "reference": "cerebellum",
        "split": "test",
        **settings,
    }
    (out / "settings.json").write_text(json.dumps(given))
    (out / "subjects").mkdir()
    rng = np.random.default_rng(int(1000 * error))
    for n, row in enumerate(rows):
        level = 1 + 0.02 * n
        figures = {
            method: {
                "mae": error * (1 + 0.1 * k) + 0.01 * rng.normal(),
                "ssim": 0.9 - error + 0.005 * rng.normal(),
                "psnr": 25 - 10 * error + 0.1 * rng.normal(),
                "cortical_suvr": level + error * (-1) ** n,
            }
            for k, method in enumerate(
                ("one_sample", "mean_of_samples", "cohort_mean", "cohort_mean_warped", "linear_map")
            )
        }
        record = {
            "row": row,
            "subject": row[:6],
            "measured_cortical_suvr": level,
            "methods": figures,
            "drawn": {"cortex": [level + error * k for k in (-1, 0, 1, 2)]},
            "mean": {"cortex": level + error},
            "measured": {"cortex": level},
            "voxels": {"count": 10, "variance": 1.0, "squared_error": 2.0},
            "seconds": 2.0,
        }
        (out / "subjects" / f"{row}.json").write_text(json.dumps(record))
        for kind in ("measured", *KINDS):
            features = rng.normal(shift if kind == "one_sample" else 0, 1, (4, 6))
            save(out, kind, row, features)
        for kind in ("as_paper/measured", "as_paper/one_sample"):
            save(out, kind, row, rng.normal(size=(4, 6)))
    training = {f"sub-t{i:02d}": f"sub-t{i:02d}" for i in range(10)}
    for row in training:
        save(out, "training", row, rng.normal(size=(4, 6)))
    network = {"source": "test", "sha256": "abc", "pretrained": pretrained}
    description = {"network": network, "every": 1, "training": training}
    (out / "features" / NETWORK / "features.json").write_text(json.dumps(description))
    return out


def save(out, kind, row, features):
    path = out / "features" / NETWORK / kind / f"{row}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, features.astype(np.float32))


def as_paper(out, rows=ROWS, ssim=0.8, psnr=20.0):
    (out / "as_paper").mkdir()
    for n, row in enumerate(rows):
        figures = {"ssim_volume": ssim + 0.001 * n, "ssim_slices": 0.7, "psnr": psnr}
        record = dict.fromkeys(KINDS, figures)
        (out / "as_paper" / f"{row}.json").write_text(json.dumps(record))


def test_one_table_of_two_evaluations(tmp_path):
    good = write(tmp_path / "good")
    bad = write(tmp_path / "bad", error=0.2, ablation="no-style", shift=2.0)
    result = compare([good, bad], tmp_path / "table")
    names = [row.name for row in result.table.rows]
    assert names[:4] == [
        "MRI2PET: one sample",
        "MRI2PET: mean of 4",
        "w/o Style Transfer: one sample",
        "w/o Style Transfer: mean of 4",
    ]
    assert names[-1] == FLOOR
    cells = {row.name: row.cells for row in result.table.rows}
    first, other = cells[names[0]], cells[names[2]]
    assert first["mae"].value == pytest.approx(0.1, abs=0.01)
    assert first["mae"].low < first["mae"].value < first["mae"].high
    assert first["suvr_error"].value == pytest.approx(0.1)
    assert (other["mae"].stars, other["mae"].better) == ("***", False)
    assert other["suvr_error"].stars == "", "equal for everybody: no spread, no test"
    assert other["fid"].value > 4 > first["fid"].value
    assert other["kid"].value > first["kid"].value
    assert math.isfinite(first["fid_infinity"].value)
    assert first["paper.psnr"].text(3) == "24.771 ± 0.123 ***", "better than what, it says not"
    assert other["paper.fid"].value == 62.569
    assert "fid" not in cells[names[1]], "a mean of samples is no sample"
    assert cells[FLOOR].keys() == {"fid", "fid_infinity", "kid"}
    notes = " ".join(result.table.notes)
    assert "24 scans of 12 people" in notes
    assert "BCa" in notes
    assert "mostly bias" in notes
    assert {path.name for path in result.files} == {
        "table.md",
        "table.tex",
        "table.csv",
        "table_tests.tsv",
    }
    tests = read_table(result.files[-1])
    (line,) = (
        t for t in tests if (t["metric"], t["first"], t["second"]) == ("mae", names[0], names[2])
    )
    assert float(line["p_holm"]) >= float(line["p"])
    assert float(line["high"]) < 0
    assert line["better"] == names[0]
    (line,) = (
        t for t in tests if (t["metric"], t["first"], t["second"]) == ("fid", names[0], names[2])
    )
    assert (line["interval"], line["stars"]) == ("jackknife", "")
    assert float(line["high"]) < 0


def test_the_same_table_again(tmp_path):
    good = write(tmp_path / "good")
    texts = []
    for _ in range(2):
        files = compare([good], tmp_path / "table").files
        texts.append([path.read_bytes() for path in files])
    assert texts[0] == texts[1]


def test_as_in_the_paper(tmp_path):
    out = write(tmp_path / "out")
    with pytest.raises(UsageError, match="again with --as-paper"):
        compare([out], tmp_path / "table", paper=True)
    assert not (tmp_path / "table.md").exists()
    as_paper(out)
    cells = compare([out], tmp_path / "table", paper=True).table.rows[0].cells
    assert cells["as_paper.ssim_volume"].value == pytest.approx(0.8115, abs=1e-3)
    assert cells["as_paper.fid"].plus_minus > 0
    text = (tmp_path / "table.md").read_text()
    assert "SSIM (3D), as in the paper" in text
    assert "is not an interval" in text


def test_stars_as_in_the_paper_are_against_the_best_external_baseline(tmp_path):
    outs = {}
    for name, ablation, ssim in (
        ("own", "none", 0.8),
        ("ablated", "no-style", 0.95),
        ("gan", "gan", 0.5),
        ("vanilla", "vanilla", 0.7987),
    ):
        outs[name] = write(tmp_path / name, ablation=ablation, error=0.1 + 0.01 * len(outs))
        as_paper(outs[name], ssim=ssim, psnr=20.0)
    result = compare(list(outs.values()), tmp_path / "table", paper=True)
    cells = {row.name: row.cells for row in result.table.rows}
    own, vanilla = (cells[f"{n}: one sample"] for n in ("MRI2PET", "Vanilla Diffusion"))
    printed = [own["as_paper.ssim_volume"], vanilla["as_paper.ssim_volume"]]
    # From 100 values each with the printed ± as their standard error (SD over n).
    deviations = [cell.plus_minus * 10 * (100 / 99) ** 0.5 for cell in printed]
    theirs = scipy_stats.ttest_ind_from_stats(
        *(printed[0].value, deviations[0], 100, printed[1].value, deviations[1], 100),
        equal_var=False,
    )
    assert 0.0001 < theirs.pvalue < 0.05
    assert (printed[0].stars, printed[0].better) == (stars(theirs.pvalue), True)
    lines = [t for t in read_table(result.files[-1]) if t["metric"] == "as_paper.ssim_volume"]
    (line,) = lines
    assert line["first"] == line["better"] == "MRI2PET: one sample"
    assert line["second"] == "Vanilla Diffusion: one sample", "not the ablation, not the worse one"
    assert float(line["p"]) == pytest.approx(theirs.pvalue, rel=1e-4)
    assert (line["p_holm"], line["low"], line["interval"]) == ("", "", "")
    assert own["as_paper.psnr"].stars == "", "equal values, no error: nothing to test"
    assert all(
        cell.stars == ""
        for name, row in cells.items()
        for key, cell in row.items()
        if key.startswith("as_paper.") and name != "MRI2PET: one sample"
    )
    note = next(n for n in result.table.notes if "not a valid test" in n)
    assert "n = 100" in note
    assert "Vanilla Diffusion" in note


def test_without_an_external_baseline_nothing_is_starred_as_in_the_paper(tmp_path):
    own, ablated = write(tmp_path / "own"), write(tmp_path / "ablated", ablation="no-laplacian")
    for out, ssim in ((own, 0.8), (ablated, 0.5)):
        as_paper(out, ssim=ssim)
    result = compare([own, ablated], tmp_path / "table", paper=True)
    assert not any("not a valid test" in note for note in result.table.notes)
    assert not any(t["metric"].startswith("as_paper") for t in read_table(result.files[-1]))


def test_the_printed_stars_of_the_paper_come_out_of_its_printed_numbers():
    paper = paper_table("table1")
    cells = {
        name: {
            f"as_paper.{key}": Cell(value, plus_minus=error)
            for key, (value, error) in zip(("fid", "ssim_volume", "psnr"), values, strict=True)
        }
        for name, values in paper["rows"].items()
    }
    keys = {title: key for key, title in paper["names"].items()}
    order = ["MRI2PET", *(name for name in cells if name != "MRI2PET")]
    methods = [SimpleNamespace(name=name, ablation=keys[name]) for name in order]
    tests = paper_tests(cells, methods)
    assert [test.stars for test in tests] == paper["stars"]["MRI2PET"]
    assert {test.baseline for test in tests} == {"Vanilla Diffusion"}
    assert all(test.first_is_better for test in tests)


def test_what_not_all_have_is_left_out_and_counted(tmp_path):
    whole, part = write(tmp_path / "whole"), write(tmp_path / "part", rows=ROWS[:20])
    result = compare([whole, part], tmp_path / "table")
    assert result.left_out == 4
    assert "4 scans are left out" in " ".join(result.table.notes)
    assert [row.name for row in result.table.rows][:3:2] == [
        "MRI2PET (whole): one sample",
        "MRI2PET (part): one sample",
    ]


@pytest.mark.parametrize("key", ["cohort", "registration", "reference", "split"])
def test_evaluations_of_other_scans_are_refused(tmp_path, key):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", **{key: "another"})
    with pytest.raises(UsageError, match=f"differ in {key}"):
        compare([one, other], tmp_path / "table")
    assert not (tmp_path / "table.md").exists()


def test_other_people_and_nothing_in_common_are_refused(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    apart = write(tmp_path / "apart", rows=["sub-99_ses-0"])
    path = other / "subjects" / f"{ROWS[0]}.json"
    path.write_text(path.read_text().replace('"sub-00"', '"sub-77"'))
    with pytest.raises(UsageError, match="of other people"):
        compare([one, other], tmp_path / "table")
    with pytest.raises(UsageError, match="no scan in common"):
        compare([one, apart], tmp_path / "table")


def test_folders_without_an_evaluation_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no evaluation"):
        compare([tmp_path], tmp_path / "table")
    old = write(tmp_path / "old", format=1)
    with pytest.raises(InputError, match="another version"):
        compare([old], tmp_path / "table")
    empty = write(tmp_path / "empty", rows=[])
    with pytest.raises(InputError, match="not one scan"):
        compare([empty], tmp_path / "table")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "settings.json").write_text('{"format"')
    with pytest.raises(InputError, match="cannot be read"):
        compare([tmp_path / "cut"], tmp_path / "table")


def test_the_floor_has_as_many_scans_as_are_compared(tmp_path):
    out = write(tmp_path / "out", rows=ROWS[:6])
    notes = " ".join(compare([out], tmp_path / "table").table.notes)
    assert "; 24 axial slices" in notes, "6 scans of 4 slices on all sides, of 10 training scans"


def test_features_that_are_missing_leave_their_columns_out(tmp_path):
    out = write(tmp_path / "out")
    (out / "features" / NETWORK / "one_sample" / f"{ROWS[3]}.npy").unlink()
    result = compare([out], tmp_path / "table")
    assert "fid" not in {column.key for column in result.table.columns}
    assert "--inception-weights" in " ".join(result.table.notes)
    with pytest.raises(UsageError, match=r"not all evaluations hold .*all have: none"):
        compare([out], tmp_path / "table", network=NETWORK)


def test_a_random_network_has_no_meaning_and_says_so(tmp_path):
    result = compare([write(tmp_path / "out", pretrained=False)], tmp_path / "table")
    assert "Random network: FID and KID have no meaning." in result.table.notes
    headings = [c.heading for c in result.table.columns if c.heading.startswith(("FID", "KID"))]
    said = [heading.endswith("(random network, no meaning)") for heading in headings]
    assert said == [True, True, True, False], "all but what the paper prints"


def test_few_people_and_nan(tmp_path):
    out = write(tmp_path / "out", rows=ROWS[:2])
    path = out / "subjects" / f"{ROWS[0]}.json"
    record = json.loads(path.read_text())
    record["methods"]["linear_map"]["ssim"] = math.nan
    path.write_text(json.dumps(record))
    result = compare([out], tmp_path / "table")
    assert "one person gives no interval" in " ".join(result.table.notes)
    (line,) = (x for x in (tmp_path / "table.md").read_text().splitlines() if "linearly" in x)
    assert line.split("|")[2].strip() == "–"


def test_features_of_a_model_that_draws_nan_are_a_dash(tmp_path):
    out = write(tmp_path / "out")
    as_paper(out)
    for kind in ("one_sample", "as_paper/one_sample"):
        save(out, kind, ROWS[0], np.full((4, 6), np.nan))
    result = compare([out], tmp_path / "table", paper=True)
    sample, floor = result.table.rows[0].cells, result.table.rows[-1].cells
    assert {sample[key].text(2) for key in ("fid", "fid_infinity", "kid")} == {"–"}
    assert "as_paper.fid" not in sample
    assert math.isfinite(floor["fid"].value)
    lines = [line for line in read_table(tmp_path / "table_tests.tsv") if line["metric"] == "kid"]
    assert {(line["difference"], line["better"]) for line in lines} == {("nan", "")}


@pytest.mark.parametrize(
    "name",
    [
        f"features/{NETWORK}/measured/{ROWS[0]}.npy",
        f"features/{NETWORK}/features.json",
        f"as_paper/{ROWS[0]}.json",
    ],
)
def test_damaged_files_are_named(name, tmp_path):
    out = write(tmp_path / "out", rows=ROWS[:2])
    as_paper(out, ROWS[:2])
    path = out / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=f"{path.name}: is damaged; remove it and run the same"):
        compare([out], tmp_path / "table", paper=True)
    assert not list(tmp_path.glob("table*"))


def test_a_table_without_a_name_or_a_place_is_refused(tmp_path):
    from mri2pet.evaluation.feature_files import compare_features

    out = write(tmp_path / "out", rows=ROWS[:2])
    real = npz(tmp_path / "real.npz", 0, range(2))
    for nameless in (".", "/", ".."):
        with pytest.raises(UsageError, match="give a name for the table"):
            compare([out], nameless)
        with pytest.raises(UsageError, match="give a name for the table"):
            compare_features(real, real, nameless)
    (tmp_path / "file").touch()
    with pytest.raises(Mri2petError, match=r"table\.md: cannot be written"):
        compare([out], tmp_path / "file" / "table")


def test_the_command(tmp_path):
    import typer
    from typer.testing import CliRunner

    from mri2pet.cli.compare import compare as command

    app = typer.Typer()
    app.command()(command)
    out = write(tmp_path / "out")
    done = CliRunner().invoke(app, [str(out), "-o", str(tmp_path / "t")])
    assert done.exit_code == 0, done.output
    assert "| MRI2PET: one sample |" in done.output
    assert "t_tests.tsv" in done.output
    assert "| out: dpmpp, 25 steps, 4 samples |" in done.output
    assert (tmp_path / "t_spread.csv").is_file()
    write(tmp_path / "few", samples=1)
    done = CliRunner().invoke(app, [str(tmp_path / "few"), "-o", str(tmp_path / "v")])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "v_spread.csv").exists()
    nothing = CliRunner().invoke(app, ["-o", str(tmp_path / "t")])
    assert isinstance(nothing.exception, UsageError)
    real, fake = npz(tmp_path / "r.npz", 0, range(12)), npz(tmp_path / "f.npz", 1, range(12))
    words = ["--features", str(real), str(fake), "-o", str(tmp_path / "u")]
    done = CliRunner().invoke(app, words)
    assert "f.npz against r.npz" in done.output
