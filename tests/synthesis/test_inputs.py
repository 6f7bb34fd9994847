"""Files, folders and images in memory become subjects with names of their own."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError, UsageError
from mri2pet.synthesis.inputs import find_inputs, output_stem


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def names(inputs: object, out: Path | None = None) -> list[str]:
    return [subject.stem for subject in find_inputs(inputs, out)]


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("scan.nii.gz", "scan"),
        ("scan.nii", "scan"),
        ("T1.mgz", "T1"),
        ("head.img", "head"),
        ("sub-01_ses-02_T1w.nii.gz", "sub-01_ses-02"),
        ("sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz", "sub-01_ses-02"),
        ("sub-01/ses-02/anat/T1.nii.gz", "sub-01_ses-02_T1"),
        ("sub-07/T1.nii.gz", "sub-07_T1"),
        ("dots.in.name.nii.gz", "dots.in.name"),
        ("_T1w.nii.gz", "T1w"),
    ],
)
def test_stem(path: str, stem: str) -> None:
    assert output_stem(Path(path)) == stem


def test_folder_prefers_images_named_t1w(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.nii",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "derivatives/x/sub-03_T1w.nii.gz",
        ".git/sub-04_T1w.nii.gz",
        "sub-01/anat/.sub-05_T1w.nii.gz",
    )
    assert names(tmp_path) == ["sub-01", "sub-02"]


def test_folder_without_t1w_stands_for_all_images_but_results(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.nii.gz",
        "b.mgz",
        "notes.txt",
        "a_trc-18FAV45_space-T1w_desc-synthetic_pet.nii.gz",
        "a_trc-18FAV45_space-T1w_desc-syntheticstd_pet.nii.gz",
    )
    assert names(tmp_path) == ["a", "b"]
    assert names(str(tmp_path), out=tmp_path) == ["a", "b"]


def test_linked_folders_are_searched_once_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "store/anat/sub-01_T1w.nii.gz", "bids/sub-02/anat/sub-02_T1w.nii.gz")
    touch(tmp_path, "another/sub-09_T1w.nii.gz")
    bids = tmp_path / "bids"
    (bids / "sub-01").symlink_to("../store")
    (bids / "sub-03").symlink_to(".")
    (bids / "sub-04").symlink_to("../store")
    (bids / "sub-05").symlink_to("../absent")
    (bids / "sub-02" / "anat" / "all").symlink_to("../../..")
    assert names(bids) == ["sub-01", "sub-02"]
    assert find_inputs(bids)[0].label == str(bids / "sub-01/anat/sub-01_T1w.nii.gz")
    assert names(bids / "sub-01") == ["sub-01"]


def test_a_link_without_its_content_is_an_input_that_fails_later(tmp_path: Path) -> None:
    touch(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz")
    (tmp_path / "sub-02/anat/sub-01_T1w.nii.gz").symlink_to("../.git/annex/objects/x.nii.gz")
    assert names(tmp_path) == ["sub-01", "sub-02"]


def test_a_folder_of_links_without_content_says_so(tmp_path: Path) -> None:
    (tmp_path / "sub-01").symlink_to("../absent")
    with pytest.raises(InputError, match="sub-01: is a link whose target is not there"):
        find_inputs(tmp_path)


def test_output_folder_within_the_input_folder_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "results/a/copy.nii.gz")
    assert names(tmp_path, out=tmp_path / "results") == ["a"]


def test_folder_without_an_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no T1-weighted NIfTI or MGZ image"):
        find_inputs(tmp_path)
    touch(tmp_path, "slices/IM0001.dcm")
    with pytest.raises(InputError, match="no DICOM file in this folder"):
        find_inputs(tmp_path)


def test_nothing_given() -> None:
    with pytest.raises(UsageError):
        find_inputs([])


def test_a_file_named_twice_counts_once(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "a.nii.gz")
    assert names([path, str(path), tmp_path]) == ["a"]


@pytest.mark.parametrize("other", ["two/T1.nii.gz", "one/t1.nii.gz", "one/T1.nii", "T1_T1w.nii"])
def test_images_that_would_share_a_name_are_refused(tmp_path: Path, other: str) -> None:
    paths = touch(tmp_path, "one/T1.nii.gz", other)
    with pytest.raises(UsageError, match="would both be written") as caught:
        find_inputs(paths)
    assert all(str(path) in str(caught.value) for path in paths)


def test_bids_folders_keep_equal_file_names_apart(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/ses-1/anat/T1.nii.gz", "sub-02/ses-1/anat/T1.nii.gz")
    assert names(tmp_path) == ["sub-01_ses-1_T1", "sub-02_ses-1_T1"]


def test_images_in_memory() -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
    assert names(image) == ["image"]
    other = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4))
    assert names([image, other]) == ["image-1", "image-2"]


def test_a_link_to_itself_and_a_name_that_is_too_long_are_inputs_that_fail_later(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "sub-02/anat/sub-02_T1w.nii.gz")
    loop = tmp_path / "sub-02/anat/sub-01_T1w.nii.gz"
    loop.symlink_to(loop)
    assert names(tmp_path) == ["sub-01", "sub-02"]
    (found,) = find_inputs(tmp_path / ("a" * 300 + ".nii.gz"))
    assert found.stem == "a" * 300
