"""Several BIDS trees become one, by the rules of a cohort."""

from __future__ import annotations

from pathlib import Path

from mri2pet.cli.main import main
from mri2pet.cohort.manifest import build_manifest

from .test_import_adni import contents, left_out, rows
from .trees import put


def tree(root: Path, rec: str = "coregiso6") -> Path:
    put(
        root,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz",
        f"sub-01/ses-2/pet/sub-01_ses-2_trc-AV45_rec-{rec}_pet.nii.gz",
    )
    table = "session_id\texamination_date\tdiagnosis\tMMSE\n"
    text = f"{table}ses-1\t2012-03-05\tLMCI\t27\nses-2\t2012-03-20\tCN\t-1\n"
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(text)
    people = "participant_id\tsex\tage\tname\nsub-01\tfemale\t93.2\tSECRET\n"
    (root / "participants.tsv").write_text(people)
    return root


def test_two_trees_of_equal_labels_become_one(tmp_path):
    a, b, out = tree(tmp_path / "a"), tree(tmp_path / "b"), tmp_path / "out"
    arguments = ["cohort", "import", "bids", str(a), str(b), "-o", str(out), "-q"]
    assert main(arguments) == 0
    manifest = build_manifest(out)
    assert [(r.subject, r.diagnosis, r.mmse, r.days_apart) for r in manifest] == [
        ("sub-a01", "MCI", 27, 15),
        ("sub-b01", "MCI", 27, 15),
    ]
    assert [row["reason"] for row in left_out(out)] == ["worse_duplicate"] * 2
    person = rows(out / "participants.tsv")[0]
    assert (person["sex"], person["age"]) == ("F", "89")
    before = contents(out)
    assert not any(b"SECRET" in content for content in before.values())
    assert main(arguments) == 0
    assert contents(out) == before


def test_trees_of_two_steps_need_a_choice(tmp_path, capsys):
    a, b, out = tree(tmp_path / "a"), tree(tmp_path / "b", "coregiso8"), tmp_path / "out"
    arguments = ["cohort", "import", "bids", str(a), str(b), "-q"]
    assert main([*arguments, "-o", str(out)]) == 2
    assert "coregiso8 (1 scans)" in capsys.readouterr().err
    chosen = tmp_path / "chosen"
    assert main([*arguments, "-o", str(chosen), "--pet-step", "8mm"]) == 0
    assert len(build_manifest(chosen).select()) == 1
    assert "other_step" in {row["reason"] for row in left_out(chosen)}


def test_days_since_baseline_stay_days(tmp_path):
    a, out = tree(tmp_path / "a"), tmp_path / "out"
    text = "session_id\tmri_days\tpet_days\tdiagnosis\nses-1\t0\tn/a\tCN\nses-2\tn/a\t15\tn/a\n"
    (a / "sub-01" / "sub-01_sessions.tsv").write_text(text)
    assert main(["cohort", "import", "bids", str(a), "-o", str(out), "-q"]) == 0
    (row,) = build_manifest(out)
    assert (row.days_apart, row.pair_days_signed, row.diagnosis) == (15, 15, "CN")


def files(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob("*.nii.gz"))


def test_a_filter_narrows_what_is_imported(tmp_path, capsys):
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b", "coregiso8")
    arguments = ["cohort", "import", "bids", str(a), str(b), "-q"]
    out = tmp_path / "out"
    narrow = ["--filter", "T1w:run=2", "--filter", "pet:rec=coregiso8"]
    assert main([*arguments, *narrow, "-o", str(out)]) == 0
    (pet,) = build_manifest(out).select()
    assert pet.subject == "sub-b01"
    reasons = {(Path(row["image_id"]).name, row["reason"]) for row in left_out(out)}
    assert reasons == {
        ("sub-01_ses-1_T1w.nii.gz", "not_chosen"),
        ("sub-01_ses-2_trc-AV45_rec-coregiso6_pet.nii.gz", "other_step"),
    }
    capsys.readouterr()
    assert main([*arguments, "--pet-step", "8mm", "-o", str(out)]) == 2
    assert "another pet_step, filter" in capsys.readouterr().err
    both = [*narrow, "--pet-step", "8mm"]
    assert main([*arguments, *both, "-o", str(tmp_path / "both")]) == 2
    assert "both name the steps" in capsys.readouterr().err


def test_contrast_is_imported_on_request_and_keeps_its_name(tmp_path, capsys):
    a = tmp_path / "a"
    put(a, "sub-01/ses-1/anat/sub-01_ses-1_ce-gad_T1w.nii.gz")
    arguments = ["cohort", "import", "bids", str(a), "-q", "-o"]
    assert main([*arguments, str(tmp_path / "without")]) == 1
    assert left_out(tmp_path / "without")[0]["reason"] == "contrast"
    out = tmp_path / "with"
    assert main([*arguments, str(out), "--use-contrast"]) == 0
    assert files(out) == ["sub-01_ses-1_ce-gad_T1w.nii.gz"]
    assert rows(out / "sourcedata" / "import.tsv")[0]["note"] == "contrast"
    assert len(build_manifest(out, use_contrast=True)) == 1
    adni = ["cohort", "import", "adni", str(a), "-o", str(tmp_path / "x"), "--use-contrast"]
    assert main(adni) == 2
    assert "for BIDS trees" in capsys.readouterr().err


def test_a_withdrawn_person_is_named_nowhere_even_if_misplaced(tmp_path):
    a, out = tree(tmp_path / "a"), tmp_path / "out"
    put(
        a,
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-1/pet/sub-02_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
    )
    (tmp_path / "w.csv").write_text("02\n")
    arguments = ["cohort", "import", "bids", str(a), "-o", str(out), "-q"]
    assert main([*arguments, "--withdrawn", str(tmp_path / "w.csv")]) == 0
    assert [r["reason"] for r in left_out(out)].count("withdrawn") == 3
    assert not any(b"sub-02" in content for content in contents(out).values())


def test_pseudonyms_and_sources_name_no_one(tmp_path):
    import json

    a = tree(tmp_path / "a")
    put(a, "sub-01/ses-1/anat/sub-03_ses-1_T1w.nii.gz")
    sidecar = a / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.json"
    sidecar.write_text(json.dumps({"Sources": ["bids::sub-01/x.nii.gz"]}))
    arguments = ["cohort", "import", "bids", str(a), "-q", "-o"]
    assert main([*arguments, str(tmp_path / "open")]) == 3
    made = next((tmp_path / "open").rglob("*_T1w.json"))
    assert json.loads(made.read_text())["Sources"] == ["bids::sub-01/x.nii.gz"]
    hidden = tmp_path / "hidden"
    assert main([*arguments, str(hidden), "--pseudonyms", str(tmp_path / "key.tsv")]) == 3
    found = contents(hidden)
    assert not any(b"sub-01" in content or b"sub-03" in content for content in found.values())
    sidecar.write_text(json.dumps({"Sources": ["/home/someone/sub-01.nii.gz"]}))
    assert main([*arguments, str(tmp_path / "path")]) == 3
    assert not any(b"/home" in content for content in contents(tmp_path / "path").values())
