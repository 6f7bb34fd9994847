"""A user's atlas: where its header puts it, by its names, or not at all."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.imaging.files.reading import file_sha256
from mri2pet.imaging.space.template import template_gm, template_mask
from mri2pet.quantification.atlas import Atlas, read_names

from .conftest import NAMES, save_image


def test_labels_names_volumes_and_hash(atlas_file, names, labels):
    atlas = Atlas.read(atlas_file, names)
    assert atlas.names == NAMES
    assert atlas.record() == {"file": "atlas.nii.gz", "sha256": file_sha256(atlas_file)}
    assert atlas.volume_ml(7) == pytest.approx(0.008 * (labels.data == 7).sum())
    assert atlas.labels.data.dtype == np.int32
    assert atlas.labels.data.size < labels.data.size


def test_the_sform_counts(tmp_path, names, labels):
    flipped = np.diag([1.0, -1, -1, 1]) @ labels.affine
    path = save_image(tmp_path / "a.nii", labels.data, labels.affine, qform=flipped)
    assert Atlas.read(path, names).names == NAMES
    with pytest.raises(InputError):
        Atlas.read(save_image(path, labels.data, flipped, qform=labels.affine), names)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d + np.float32(0.5), "no whole numbers"),
        (lambda d: -d.astype(np.int16), "labels from -7 to 0"),
        (lambda d: np.stack([d, d], -1), "has 2 frames; give one 3D volume"),
        (
            lambda d: np.where(d == 7, 8, d).astype(np.int16),
            r"1 of its 3 labels \(8\) have no name",
        ),
        (lambda d: 0 * d, "is empty"),
    ],
)
def test_unusable_labels_are_refused(change, why, tmp_path, names, labels):
    path = save_image(tmp_path / "a.nii", change(labels.data), labels.affine)
    with pytest.raises(InputError, match=why):
        Atlas.read(path, names)


def test_labels_elsewhere_are_refused(tmp_path, names, labels):
    moved = labels.affine.copy()
    moved[:3, 3] += 60
    with pytest.raises(InputError, match=r"only \d+ % of this atlas lies in the template's brain"):
        Atlas.read(save_image(tmp_path / "a.nii", labels.data, moved), names)


def test_a_header_without_orientation_is_refused(tmp_path, names, labels):
    image = nibabel.Nifti1Image(labels.data, None)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match="does not say which side is left"):
        Atlas.read(tmp_path / "a.nii", names)


@pytest.mark.parametrize("axis", [1, 2])
def test_an_axis_turned_over_is_refused(axis, tmp_path, names):
    grey = template_gm(2)
    data = np.flip((grey.data > 0.4).astype(np.int16), axis)
    with pytest.raises(InputError, match=r"% of this atlas lies in the template's brain"):
        Atlas.read(save_image(tmp_path / "a.nii", data, grey.affine), names)


def test_a_small_atlas_at_the_border_is_taken(tmp_path, names):
    mask = template_mask(2)
    low = np.zeros(mask.shape, np.int16)
    low[:, :, :8] = mask.data[:, :, :8]
    names.write_text("index\tname\n1\tlow\n")
    assert Atlas.read(save_image(tmp_path / "a.nii", low, mask.affine), names).names == {1: "low"}


def test_exchanged_sides_are_refused(tmp_path, names, labels):
    mirrored = labels.data[::-1].copy()
    with pytest.raises(InputError, match="2 of 2 regions named left or right lie on the other"):
        Atlas.read(save_image(tmp_path / "a.nii", mirrored, labels.affine), names)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("label\tname\n1\ta\n", "no rows with the columns index and name"),
        ("index\tname\n", "no rows"),
        ("index\tname\n1.5\ta\n", "is no whole number"),
        ("index\tname\none\ta\n", "is no whole number"),
        ("index\tname\n1\ta\n1\tb\n", "names the index 1 twice"),
        ("index\tname\n1\t\n", "empty name"),
    ],
)
def test_unusable_names_are_refused(text, why, tmp_path):
    path = tmp_path / "names.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        read_names(path)


def test_absent_names_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.tsv: there is no such file"):
        read_names(tmp_path / "absent.tsv")


def test_names_in_capitals_and_with_commas(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("Index,Name\n1,a\n2.0,b\n")
    assert read_names(path) == {1: "a", 2: "b"}
