"""Everything unusable is refused on the command line: one sentence, a code, no output."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mri2pet.checkpoint import load_model, save_model
from mri2pet.cli.main import main
from mri2pet.errors import InputError
from mri2pet.imaging import pipeline
from mri2pet.synthesis import outputs


@dataclass
class Told:
    """What the command said, and the output folder if it left one."""

    code: int
    out: str
    err: str
    left: list[Path]


@pytest.fixture
def synthesize(
    tmp_path: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """`mri2pet synthesize … -o OUT` with the small model."""

    def run(*arguments: Any, out: Path | None = None, model: Path | str = small_model) -> Told:
        words = ["synthesize", *arguments, "-o", out or tmp_path / "out", "--model", model]
        if "--steps" not in arguments:
            words += ["--steps", 2]
        code = main([str(word) for word in [*words, "--skull-stripped"]])
        captured = capsys.readouterr()
        left = [tmp_path / "out"] if (tmp_path / "out").exists() else []
        return Told(code, captured.out, captured.err, left)

    return run


def refused(told: Told, path: Path | str, *patterns: str, code: int = 1) -> None:
    """One line that names the file, what is wrong and what to do, the code, and no output."""
    assert told.code == code
    assert told.left == []
    assert told.out == ""
    assert told.err.startswith("mri2pet: error: ")
    assert told.err.count("\n") == 1
    assert str(path) in told.err
    for pattern in patterns:
        assert re.search(pattern, told.err, re.IGNORECASE), told.err


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def test_missing_file(synthesize: Callable[..., Told], tmp_path: Path) -> None:
    refused(
        synthesize(tmp_path / "gone.nii.gz"),
        tmp_path / "gone.nii.gz",
        "no such file|not found|does not exist",
    )


@pytest.mark.parametrize("name", ["text.nii.gz", "text.nii", "text.mgz", "notes.txt"])
def test_not_an_image(synthesize: Callable[..., Told], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("This is not an image.\n" * 40)
    refused(synthesize(path), path, "image")


def test_truncated_gzip(synthesize: Callable[..., Told], tmp_path: Path, head_file: Path) -> None:
    path = tmp_path / "half.nii.gz"
    content = head_file.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(synthesize(path), path, "truncated|incomplete|cut|ends")


def test_2d(synthesize: Callable[..., Told], tmp_path: Path) -> None:
    path = save(tmp_path / "flat.nii.gz", np.ones((64, 64), np.float32), np.eye(4))
    refused(synthesize(path), path, "2D|two|dimension|slice")


def test_more_than_one_frame(
    synthesize: Callable[..., Told], tmp_path: Path, head: nibabel.Nifti1Image
) -> None:
    frames = np.stack([np.asarray(head.dataobj)] * 3, axis=-1)
    path = save(tmp_path / "frames.nii.gz", frames, head.affine)
    refused(synthesize(path), path, "frame|volumes")


def test_all_zero(synthesize: Callable[..., Told], changed: Callable[..., Path]) -> None:
    path = changed("zero.nii.gz", np.zeros_like)
    refused(synthesize(path), path, "zero|empty|constant")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_many_voxels_without_a_number(
    synthesize: Callable[..., Told], changed: Callable[..., Path], value: float
) -> None:
    def spoil(data: np.ndarray) -> np.ndarray:
        data[20:60] = value
        return data

    path = changed("spoiled.nii.gz", spoil)
    refused(synthesize(path), path, "NaN|finite|infin")


@pytest.mark.slow
def test_a_few_voxels_without_a_number_are_mended_and_told(
    synthesize: Callable[..., Told], changed: Callable[..., Path], tmp_path: Path
) -> None:
    def spoil(data: np.ndarray) -> np.ndarray:
        data[50, 50, 50:53] = np.nan
        return data

    told = synthesize(changed("few.nii.gz", spoil))
    assert told.code == 0, told.err
    sidecar = next((tmp_path / "out" / "few").glob("*.json")).read_text()
    assert re.search("NaN|finite", sidecar)
    assert re.search("NaN|finite", (tmp_path / "out" / "few" / "report.html").read_text())


@pytest.fixture
def without_affine(head: nibabel.Nifti1Image, tmp_path: Path) -> Path:
    data = nibabel.as_closest_canonical(head).dataobj
    image = nibabel.Nifti1Image(np.asarray(data), None)
    image.header.set_zooms((2, 2, 2))
    image.header["qform_code"] = image.header["sform_code"] = 0
    path = tmp_path / "nowhere.nii.gz"
    nibabel.save(image, path)
    return path


def test_no_affine_code(synthesize: Callable[..., Told], without_affine: Path) -> None:
    refused(synthesize(without_affine), without_affine, "affine|orientation", "--assume-ras")


def test_assume_ras_goes_on(
    synthesize: Callable[..., Told], without_affine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def stop(t1: Any, **options: Any) -> None:
        read.append(t1)
        raise InputError(f"{t1.name}: far enough")

    monkeypatch.setattr(pipeline, "preprocess", stop)
    refused(synthesize(without_affine, "--assume-ras"), without_affine, "far enough")
    np.testing.assert_allclose(np.diag(read[0].volume.affine), [2, 2, 2, 1])
    assert "R, A, S" in read[0].warnings[0]


def test_voxels_too_large(
    synthesize: Callable[..., Told], tmp_path: Path, head: nibabel.Nifti1Image
) -> None:
    data = np.asarray(head.dataobj)[::3, ::3, ::3]
    path = save(tmp_path / "coarse.nii.gz", data, head.affine @ np.diag([3, 3, 3, 1]))
    refused(synthesize(path), path, "4 mm")


def test_field_of_view_cuts_the_brain(
    synthesize: Callable[..., Told], changed: Callable[..., Path]
) -> None:
    path = changed("slab.nii.gz", lambda data: data[:, :, 35:55])
    refused(synthesize(path), path, "field of view|covers|brain")


@pytest.mark.slow
def test_pet_given_as_t1(synthesize: Callable[..., Told], changed: Callable[..., Path]) -> None:
    def pet(data: np.ndarray) -> np.ndarray:
        return gaussian_filter((data > 0) * (1.2 + 0.0005 * data), 3.5)[1:]

    path = changed("uptake.nii.gz", pet)
    refused(synthesize(path), path, "T1|PET")


def test_ct_given_as_t1(synthesize: Callable[..., Told], changed: Callable[..., Path]) -> None:
    def ct(data: np.ndarray) -> np.ndarray:
        return np.where(data > 0, 35.0 + 0.01 * data, -1000.0).astype(np.float32)

    path = changed("ct.nii.gz", ct)
    refused(synthesize(path), path, "CT|T1")


def test_output_folder_not_writable(
    synthesize: Callable[..., Told], head_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    refused(synthesize(head_file, out=out), out, "cannot write", "choose another")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_output_folder_without_permission(
    synthesize: Callable[..., Told], head_file: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(synthesize(head_file, out=locked / "out"), locked, "cannot write")


@pytest.mark.slow
def test_disk_full_half_way(
    synthesize: Callable[..., Told], head_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def full_at_the_second(image: Future[bytes]) -> outputs.Writer:
        def write(stream: Any) -> None:
            stream.write(b"half of it")
            written.append(image)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return write

    monkeypatch.setattr("mri2pet.synthesis.subject.packed_writer", full_at_the_second)
    refused(synthesize(head_file), "sub-01", "the disk is full", "make room")
    assert len(written) == 2


def test_unknown_model(synthesize: Callable[..., Told], head_file: Path) -> None:
    refused(synthesize(head_file, model="nonsense"), "nonsense", "model")


def test_a_model_that_is_only_pre_trained(
    synthesize: Callable[..., Told], head_file: Path, small_model: Path, tmp_path: Path
) -> None:
    model = load_model(small_model)
    provenance = {"config": {"training": {"stage": "pretrain"}}}
    folder = tmp_path / "pretrained"
    save_model(folder, model.network, pet_mean=0.3, pet_std=0.2, provenance=provenance)
    refused(synthesize(head_file, model=folder), "pretrained", "draws no SUVR; fine-tune it")


@pytest.mark.parametrize("part", ["model.safetensors", "model.json"])
def test_corrupted_model(
    synthesize: Callable[..., Told], head_file: Path, small_model: Path, tmp_path: Path, part: str
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in small_model.iterdir():
        content = bytearray(file.read_bytes())
        if file.name == part:
            content[len(content) // 2] ^= 0xFF
        (broken / file.name).write_bytes(content)
    refused(synthesize(head_file, model=broken), broken, "model|hash")


@pytest.mark.parametrize(
    "options",
    [
        ("--steps", "0"),
        ("--samples", "-1"),
        ("--samples", "0"),
        ("--sampler", "euler"),
        ("--seed", "-1"),
        ("--device", "tpu"),
        ("--brain-mask", "mask.nii.gz"),
    ],
)
def test_options_that_make_no_sense(
    synthesize: Callable[..., Told], head_file: Path, options: tuple[str, ...]
) -> None:
    refused(synthesize(head_file, *options), options[0], code=2)


def test_unknown_preset_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", tmp_path / "out", "--data", tmp_path, "--set", "training.learning_rate=1"]
    code = main([str(word) for word in words])
    refused(Told(code, *capsys.readouterr(), []), "training.learning_rate", code=2)


def test_folder_without_images(synthesize: Callable[..., Told], tmp_path: Path) -> None:
    refused(synthesize(tmp_path), tmp_path, "no T1")


def test_some_failed(
    synthesize: Callable[..., Told], head_file: Path, changed: Callable[..., Path], tmp_path: Path
) -> None:
    bad = changed("sub-00_T1w.nii.gz", np.zeros_like)
    told = synthesize(bad, head_file)
    assert told.code == 3
    assert told.out.startswith(str(head_file))
    assert told.out.count("\n") == 1
    lines = told.err.splitlines()
    assert str(bad) in lines[0]
    assert "1 of 2" in lines[-1]
    assert str(tmp_path / "out" / "failures.tsv") in lines[-1]
    assert [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()] == ["sub-01"]


def test_all_failed(synthesize: Callable[..., Told], tmp_path: Path) -> None:
    told = synthesize(tmp_path / "a.nii", tmp_path / "b.nii")
    assert told.code == 1
    assert told.err.count("mri2pet: error:") == 3
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["failures.tsv"]


def test_clean_output_where_there_is_no_terminal(
    head_file: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["synthesize", head_file, "-o", tmp_path / "out", "--model", small_model]
    words += ["--steps", "1", "--samples", "1", "--skull-stripped"]
    assert main([str(word) for word in words]) == 0
    first = capfd.readouterr()
    number = r"cortical SUVR \d\.\d+, \d+ s, results in .*"
    assert re.fullmatch(rf"{re.escape(str(head_file))}: {number}\n", first.out)
    assert first.err == ""
    assert main([str(word) for word in words]) == 0
    assert "already done" in capfd.readouterr().out


def test_the_installed_command_returns_the_code(tmp_path: Path, small_model: Path) -> None:
    command = [sys.executable, "-m", "mri2pet", "synthesize", "gone.nii", "-o", "out"]
    command += ["--model", str(small_model)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("mri2pet: error: gone.nii")
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()


def test_quiet_prints_nothing(synthesize: Callable[..., Told], head_file: Path) -> None:
    told = synthesize(head_file, "--quiet")
    assert (told.code, told.out, told.err) == (0, "", "")
