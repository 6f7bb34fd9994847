"""What an import is asked (people, places, which T1 first), and what it says it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mri2pet.cli.main import main
from mri2pet.cohort.importing import provenance, run
from mri2pet.cohort.manifest import build_manifest

from .test_import_adni import contents, rows
from .test_import_bids import tree
from .trees import put


def imported(out: Path, *given: object) -> int:
    return main(["cohort", "import", "bids", *map(str, given), "-o", str(out), "-q"])


def said(out: Path) -> dict:
    return json.loads((out / "sourcedata" / "import.json").read_text())


def test_ids_of_nobody_are_told_and_those_who_withdrew_are_counted(tmp_path, capsys):
    a, out = tree(tmp_path / "a"), tmp_path / "out"
    put(a, "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz")
    (tmp_path / "people.txt").write_text("sub-01\n02\nO3\ngone\n")
    (tmp_path / "w.csv").write_text("02\ngone\nwent\n")
    lists = ["--subjects", tmp_path / "people.txt", "--withdrawn", tmp_path / "w.csv"]
    assert imported(out, a, *lists) == 0
    told = capsys.readouterr()
    assert "of the 4 ids of --subjects, 1 is of nobody in the sources: O3\n" in told.err
    assert "of the 3 ids of --withdrawn, 2 are of nobody in the sources\n" in told.err
    assert "not found        1  ids of --subjects\n" in told.out
    assert "not found        2  ids of --withdrawn\n" in told.out
    assert said(out)["ids_not_found"] == {"--subjects": 1, "--withdrawn": 2}
    found = contents(out)
    assert b"O3" in found["sourcedata/import.log"]
    assert not any(w in content for w in (b"gone", b"went") for content in found.values())
    hidden = tmp_path / "hidden"
    key = ["--pseudonyms", tmp_path / "key.tsv"]
    assert imported(hidden, a, "--subjects", tmp_path / "people.txt", *key) == 0
    assert "of the 4 ids of --subjects, 2 are of nobody in the sources\n" in capsys.readouterr().err
    assert not any(b"O3" in content or b"gone" in content for content in contents(hidden).values())


def test_where_everybody_is_known_nothing_is_said(tmp_path, capsys):
    a = tree(tmp_path / "a")
    (tmp_path / "people.txt").write_text("01\n")
    assert imported(tmp_path / "out", a, "--subjects", tmp_path / "people.txt") == 0
    assert "nobody" not in "".join(capsys.readouterr())
    assert said(tmp_path / "out")["ids_not_found"] == {}


@pytest.mark.parametrize(
    ("source", "out", "where"),
    [
        ("a", "a", "is"),
        ("a", "a/out", "lies in"),
        ("a", ".", "holds"),
        ("a", "linked/x", "lies in"),
    ],
)
def test_output_and_sources_do_not_hold_each_other(
    source, out, where, tmp_path, monkeypatch, capsys
):
    tree(tmp_path / source)
    (tmp_path / "linked").symlink_to(tmp_path / source)
    before = contents(tmp_path)

    def works(*given):
        raise AssertionError("begins")

    monkeypatch.setattr(run, "_open", works)
    assert imported(tmp_path / out, tmp_path / source) == 2
    told = capsys.readouterr().err
    assert f"the output {where} the source" in told
    assert len(told.splitlines()) == 1
    assert contents(tmp_path) == before


def test_a_zip_in_the_output_is_refused_too(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part1.zip").write_bytes(b"")
    given = ["cohort", "import", "adni", str(tmp_path / "out" / "part1.zip")]
    assert main([*given, "-o", str(tmp_path / "out")]) == 2
    assert "the output holds the source" in capsys.readouterr().err


def t1_of(out: Path) -> str:
    return next(
        Path(row["image_id"]).name
        for row in rows(out / "sourcedata" / "import.tsv")
        if row["taken"] == "yes"
    )


def test_which_t1_of_a_bids_tree_goes_first(tmp_path, capsys):
    a, stem = tmp_path / "a", "sub-01/anat/sub-01"
    put(a, f"{stem}_T1w.nii.gz", f"{stem}_rec-norm_T1w.nii.gz", f"{stem}_rec-defaced_T1w.nii.gz")
    assert imported(tmp_path / "plain", a) == 0
    assert imported(tmp_path / "original", a, "--t1", "original") == 0
    assert imported(tmp_path / "processed", a, "--t1", "processed") == 0
    assert t1_of(tmp_path / "plain") == t1_of(tmp_path / "original") == "sub-01_T1w.nii.gz"
    assert t1_of(tmp_path / "processed") == "sub-01_rec-norm_T1w.nii.gz"
    (row,) = build_manifest(a)
    assert row.t1.name == "sub-01_T1w.nii.gz"
    capsys.readouterr()
    assert imported(tmp_path / "plain", a, "--t1", "processed") == 2
    assert "another t1" in capsys.readouterr().err
    both = ["--t1", "original", "--filter", "T1w:rec=norm"]
    assert imported(tmp_path / "both", a, *both) == 2
    assert "both order the T1s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("study", "option", "told"),
    [
        ("ukb", ["--t1", "original"], "--t1 chooses among several T1s"),
        ("ukb", ["--pet-step", "6mm"], "--pet-step is for PETs"),
        ("ppmi", ["--pet-step", "6mm"], "--pet-step is for PETs"),
        ("adni", ["--t1", "new"], "none of processed, original"),
    ],
)
def test_options_that_mean_nothing_are_refused(study, option, told, tmp_path, capsys):
    given = ["cohort", "import", study, str(tmp_path), "-o", str(tmp_path / "out")]
    assert main([*given, "--withdrawn", "none", *option]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_tables_of_one_name_keep_a_hash_each(tmp_path):
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b")
    (a / "phenotype").mkdir()
    (a / "phenotype" / "mmse.tsv").write_text("participant_id\tmmse\nsub-01\t20\n")
    (b / "participants.tsv").write_text("participant_id\tsex\nsub-01\tM\n")
    assert imported(tmp_path / "out", a, b) == 0
    tables = said(tmp_path / "out")["tables"]
    assert set(tables) == {"a/participants.tsv", "a/phenotype/mmse.tsv", "b/participants.tsv"}
    assert tables["a/participants.tsv"] != tables["b/participants.tsv"]
    assert imported(tmp_path / "days", a, b, "--dates", "days") == 0
    hidden = {"participants.tsv", "participants.tsv#2", "mmse.tsv"}
    assert set(said(tmp_path / "days")["tables"]) == hidden


def test_tables_of_adni_are_named_below_their_folder(tmp_path):
    from mri2pet.cohort.importing.options import ImportOptions
    from mri2pet.cohort.importing.sources import Sources

    (tmp_path / "src").mkdir()
    below = tmp_path / "tables"
    files = [below / "new" / "MMSE.csv", below / "old" / "MMSE.csv", tmp_path / "MMSE.csv"]
    shown = provenance.shown_tables(files, ImportOptions(tables=below), Sources([tmp_path / "src"]))
    names = {"MMSE.csv", "tables/new/MMSE.csv", "tables/old/MMSE.csv"}
    assert set(shown.values()) == names


def test_versions_of_what_reads_and_converts_are_kept(tmp_path, monkeypatch):
    assert imported(tmp_path / "out", tree(tmp_path / "a")) == 0
    found = said(tmp_path / "out")["versions"]
    installed = set()
    for name in ("pydicom", "dcm2niix"):
        try:
            __import__(name)
            installed.add(name)
        except ImportError:
            pass
    assert {"mri2pet", "nibabel", *installed} <= set(found)
    assert all(found.values())
    program = tmp_path / "dcm2niix"
    program.write_text(
        "#!/bin/sh\necho 'Chris Rorden dcm2niiX version v1.0.20260706  GCC'\nexit 3\n"
    )
    program.chmod(0o755)

    def version(name):
        raise provenance.PackageNotFoundError

    monkeypatch.setattr(provenance, "version", version)
    monkeypatch.setattr(provenance, "dcm2niix_program", lambda: str(program))
    assert provenance.versions()["dcm2niix"] == "1.0.20260706"
