"""Results are written whole or not at all, and a sidecar vouches for them."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
import pytest

from mri2pet import files
from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.synthesis import outputs
from mri2pet.synthesis.outputs import (
    OutputPaths,
    check_names,
    check_output_folder,
    find_done,
    image_writer,
    remove_if_empty,
    text_writer,
    write_failures,
    write_together,
)
from mri2pet.synthesis.sidecar import FORMAT

IMAGE = {"file": "a_T1w.nii.gz", "place": "7", "sha256": "11"}
SETTINGS = {"seed": 0, "samples": 4}


def disk_full(stream: BinaryIO) -> None:
    stream.write(b"the first half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_names() -> None:
    paths = OutputPaths.of(Path("out"), "sub-01")
    assert paths.folder == Path("out/sub-01")
    assert paths.pet.name == "sub-01_trc-18FAV45_space-T1w_desc-synthetic_pet.nii.gz"
    assert paths.std.name == "sub-01_trc-18FAV45_space-T1w_desc-syntheticstd_pet.nii.gz"
    assert paths.sidecar.name == "sub-01_trc-18FAV45_space-T1w_desc-synthetic_pet.json"
    assert paths.report.name == "report.html"


def test_disk_full_half_way_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    files = {folder / "a": text_writer("a"), folder / "b": disk_full, folder / "c": disk_full}
    with pytest.raises(Mri2petError, match="the disk is full"):
        write_together(files)
    assert files_below(tmp_path) == []


def test_disk_full_half_way_leaves_the_earlier_result(tmp_path: Path) -> None:
    write_together({tmp_path / n: text_writer("old") for n in ("pet", "mark")})
    with pytest.raises(Mri2petError):
        write_together({tmp_path / "pet": text_writer("new"), tmp_path / "mark": disk_full})
    assert files_below(tmp_path) == ["mark", "pet"]
    assert (tmp_path / "pet").read_text() == "old"


def test_the_mark_is_never_beside_files_of_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("pet", "std", "mark")
    write_together({tmp_path / n: text_writer("old") for n in names})
    rename = os.replace

    def fails_at_std(source: Path, target: Path) -> None:
        if Path(target).name == "std":
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    monkeypatch.setattr(outputs.os, "replace", fails_at_std)
    with pytest.raises(Mri2petError, match="broken"):
        write_together({tmp_path / n: text_writer("new") for n in names})
    assert files_below(tmp_path) == ["pet", "std"]


def test_an_interrupt_leaves_no_part(tmp_path: Path) -> None:
    def interrupted(stream: BinaryIO) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_together(
            {tmp_path / "sub" / "a": text_writer("a"), tmp_path / "sub" / "b": interrupted}
        )
    assert files_below(tmp_path) == []


def test_image_bytes_depend_on_the_image_alone(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4))
    write_together({tmp_path / f"{n}.nii.gz": image_writer(image) for n in "ab"})
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    np.testing.assert_array_equal(nibabel.load(tmp_path / "a.nii.gz").dataobj, image.dataobj)


def test_output_folder_is_made_and_removed_again(tmp_path: Path) -> None:
    made = check_output_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    remove_if_empty(made)
    assert files_below(tmp_path) == []
    remove_if_empty(check_output_folder(tmp_path))
    assert tmp_path.is_dir()


def test_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Mri2petError, match="cannot write to the output folder"):
            check_output_folder(folder)


def finished(tmp_path: Path, **changes: Any) -> OutputPaths:
    paths = OutputPaths.of(tmp_path, "a")
    sidecar = {
        "format": FORMAT,
        "input": IMAGE,
        "model": {"sha256": "22"},
        "settings": SETTINGS,
        "outputs": {"pet": paths.pet.name},
    } | changes
    write_together({paths.pet: text_writer("pet"), paths.sidecar: text_writer(json.dumps(sidecar))})
    return paths


def test_done_needs_the_same_image_model_and_settings(tmp_path: Path) -> None:
    paths = finished(tmp_path)
    moved = {**IMAGE, "place": "8"}
    assert find_done(paths, IMAGE, "22", SETTINGS) is not None
    assert find_done(paths, moved, "22", SETTINGS) is not None
    assert find_done(paths, {**IMAGE, "sha256": "99"}, "22", SETTINGS) is None
    assert find_done(paths, IMAGE, "99", SETTINGS) is None
    assert find_done(paths, IMAGE, "22", {**SETTINGS, "seed": 1}) is None
    older = finished(tmp_path, format=FORMAT - 1)
    assert find_done(older, IMAGE, "22", SETTINGS) is None, "its numbers were made otherwise"


def test_done_needs_all_files(tmp_path: Path) -> None:
    paths = finished(tmp_path)
    paths.pet.unlink()
    assert find_done(paths, IMAGE, "22", SETTINGS) is None
    assert find_done(finished(tmp_path, outputs={}), IMAGE, "22", SETTINGS) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"input": 1}', '{"input": {"sha256": ""}}'])
def test_a_broken_sidecar_is_no_result(tmp_path: Path, content: str) -> None:
    paths = finished(tmp_path)
    paths.sidecar.write_text(content)
    assert find_done(paths, IMAGE, "22", SETTINGS) is None


def test_another_subject_is_never_overwritten(tmp_path: Path) -> None:
    paths = finished(tmp_path)
    with pytest.raises(InputError, match="already holds the result of a_T1w"):
        find_done(paths, {**IMAGE, "place": "8", "sha256": "33"}, "22", SETTINGS)


def test_failures_are_one_line_each_and_of_this_run(tmp_path: Path) -> None:
    path = write_failures(tmp_path, [("a.nii", "two\nlines\tand a tab"), ("b.nii", "flat")])
    assert path is not None
    assert path.read_text() == "file\treason\na.nii\ttwo lines and a tab\nb.nii\tflat\n"
    assert write_failures(tmp_path, []) is None
    assert files_below(tmp_path) == []


def test_a_name_that_is_too_long_is_refused_with_its_length(tmp_path: Path) -> None:
    longest = "m" * (255 - len(OutputPaths.of(tmp_path, "").std.name))
    check_names(tmp_path, ["short", longest])
    with pytest.raises(UsageError, match="would have 256 bytes, and the file system takes 255"):
        check_names(tmp_path, ["short", longest + "m"])


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path / "pet.nii.gz")], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half"
    files._remove_leftovers.cache_clear()
    write_together({tmp_path / "pet.nii.gz": text_writer("whole")})
    assert [path.name for path in tmp_path.iterdir()] == ["pet.nii.gz"]


KILLED_WRITER = """
import os, pathlib, signal, sys
from mri2pet.synthesis.outputs import write_together

def write(stream):
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

write_together({pathlib.Path(sys.argv[1]): write})
"""
