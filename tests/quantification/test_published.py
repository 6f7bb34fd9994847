"""Our SUVR beside the published one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mri2pet.cohort.manifest import build_manifest, write_cohort
from mri2pet.errors import InputError
from mri2pet.quantification.published import agreement, centiloid_slips, check_suvr, read_published

HEADER = "LONIUID,RID,SCANDATE,IMAGE_RESOLUTION,qc_flag,TRACER,CENTILOIDS,SUMMARY_SUVR\n"
THEIRS = (1.0, 1.2, 1.4)


def empty(path: Path) -> None:
    import nibabel
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.diag([10, 10, 10, 1.0]))
    nibabel.save(image, path)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three people at 6 mm."""
    root, lines = tmp_path / "bids", ["image_id\tfile\tacq_date"]
    for n in range(3):
        stem = f"sub-ADNI990S900{n}"
        pet = f"{stem}/ses-M000/pet/{stem}_ses-M000_trc-18FAV45_rec-coregiso6_pet.nii.gz"
        empty(root / stem / "ses-M000" / "anat" / f"{stem}_ses-M000_T1w.nii.gz")
        empty(root / pet)
        lines.append(f"I{100 + n}\t{pet}\t2012-03-0{n + 1}")
    (root / "sourcedata").mkdir()
    (root / "sourcedata" / "import.tsv").write_text("\n".join(lines) + "\n")
    write_cohort(build_manifest(root), tmp_path / "cohort.tsv")
    return tmp_path / "cohort.tsv"


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "UCBERKELEY_AMY_6MM_02Nov2025.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_scans_match_by_id_else_by_person_and_day(cohort, tmp_path):
    rows = (
        "I100,9000,2012-03-01,6mm,2,FBP,-1,1.0",
        "9,9001,3/3/2012,6mm,1,FBP,37,1.2",  # a day later
        "102,9002,2012-03-03,6mm,2,FBP,74,1.4",
        "102,9002,2012-03-03,8mm,2,FBP,74,1.3",
        "I100,9000,2012-03-01,6mm,0,FBP,187,2.0",
        "I100,9000,2012-03-01,6mm,2,FBB,-1,2.0",
    )
    asked = []

    def measure(row):
        asked.append(row.name)
        return THEIRS[int(row.subject[-1])] * 0.9 + 0.05

    out = tmp_path / "check"
    checked = check_suvr(cohort, table(tmp_path, *rows), out, measure=measure)
    found = checked.steps["coregiso6"]
    assert (found.n, found.r, found.slope, found.intercept) == pytest.approx((3, 1, 0.9, 0.05))
    assert found.mean_difference == pytest.approx(-0.07)
    assert checked.left_out == {"failed quality": 1, "other resolution": 1, "other tracer": 1}
    assert not any("warning" in line for line in checked.lines)
    assert (out / "scatter.png").stat().st_size > 0
    assert json.loads((out / "agreement.json").read_text())["steps"]["coregiso6"]["n"] == 3
    check_suvr(cohort, table(tmp_path, *rows), out, measure=measure)
    assert len(asked) == 3  # what was measured stays


def test_a_large_difference_and_another_equation_are_told(cohort, tmp_path):
    path = table(tmp_path, "I100,9000,2012-03-01,6mm,2,FBP,50,1.0")
    checked = check_suvr(cohort, path, tmp_path / "check", measure=lambda row: 1.5)
    assert sum("warning" in line for line in checked.lines) == 2
    assert not any("left out" in line for line in checked.lines)
    assert centiloid_slips(read_published(path)) == 1


def test_the_older_table_is_read_and_any_other_refused(cohort, tmp_path):
    old = tmp_path / "UCBERKELEYAV45_01_02_20.csv"
    old.write_text("RID,EXAMDATE,SUMMARYSUVR_WHOLECEREBNORM\n9000,2012-03-01,1.1\n")
    (row,) = read_published(old)
    assert (row.rid, row.resolution_mm, row.tracer, row.suvr) == (9000, 8, "FBP", 1.1)
    with pytest.raises(InputError, match="no row for a PET"):
        check_suvr(cohort, old, tmp_path / "check", measure=lambda row: 1.0)
    other = tmp_path / "MMSE.csv"
    other.write_text("RID,MMSCORE\n1,2\n")
    with pytest.raises(InputError, match="SUMMARY_SUVR"):
        read_published(other)


def test_kappa_and_limits():
    scans = [{"ours": o, "theirs": t} for o, t in ((1.0, 1.0), (1.2, 1.0), (1.3, 1.3), (1.4, 1.5))]
    found = agreement(scans)
    assert found.kappa == pytest.approx(0.5)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1258306, rel=1e-4)


def test_the_example_of_the_table_keeps_its_equation(shared_reference):
    path = shared_reference / "loni_example/tables/UCBERKELEY_AMY_6MM_02Nov2025.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    assert centiloid_slips(read_published(path)) == 0


@pytest.mark.slow
def test_a_real_average_of_av45_is_measured_as_its_vois_say(shared_data, tmp_path):
    """Registered with a real T1, ours is within 0.03 of the 1.505 of the Centiloid VOIs."""
    t1, pet = shared_data / "t1/spm12_single_subj_T1.nii", shared_data / "pet"
    root, stem = tmp_path / "bids", "sub-ADNI990S9001_ses-M000"
    folder = root / "sub-ADNI990S9001" / "ses-M000"
    places = (
        (t1, folder / "anat" / f"{stem}_T1w.nii.gz"),
        (
            pet / "rPOP_Template_FBP_pos.nii",
            folder / "pet" / f"{stem}_trc-18FAV45_rec-coregiso6_pet.nii.gz",
        ),
    )
    for source, target in places:
        target.parent.mkdir(parents=True)
        target.write_bytes(gzip.compress(source.read_bytes()))
    (root / "sourcedata").mkdir()
    image = places[1][1].relative_to(root).as_posix()
    text = f"image_id\tfile\tacq_date\nI100\t{image}\t2012-03-01\n"
    (root / "sourcedata" / "import.tsv").write_text(text)
    write_cohort(build_manifest(root), tmp_path / "cohort.tsv")
    theirs = table(tmp_path, "I100,9001,2012-03-01,6mm,2,FBP,94,1.505")
    checked = check_suvr(tmp_path / "cohort.tsv", theirs, tmp_path / "check")
    assert checked.failures == {}
    assert checked.steps["coregiso6"].mean_difference == pytest.approx(0, abs=0.03)
