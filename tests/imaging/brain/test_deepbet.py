"""deepbet's brain with stand-ins for its networks: geometry, erosion, files, repetition."""

from __future__ import annotations

import base64
import hashlib
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import torch

from mri2pet.errors import InputError, UsageError
from mri2pet.imaging.brain import deepbet
from mri2pet.imaging.brain.extraction import check_extractor
from mri2pet.imaging.pipeline import _on_grid, preprocess
from mri2pet.imaging.space.volume import Volume, reorder, restore_order

SHAPES = {"mri_shape": (32, 72, 72), "pet_shape": (32, 64, 64)}


class Bright(torch.nn.Module):
    """Takes for brain what is brighter than CSF; the scalp, too, is another piece."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        low, high = values.min(), values.max()
        brain = (values > low + 0.2 * (high - low)).to(values.dtype)
        return torch.cat([1 - brain, brain], dim=1)


class Convolution(torch.nn.Module):
    """Sums in float32, whose last bits depend on the order of the terms."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv3d(1, 8, 3, padding=1),
            torch.nn.GELU(),
            torch.nn.Conv3d(8, 2, 3, padding=1),
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.layers(values)


def ras(image: nibabel.Nifti1Image) -> tuple[Volume, np.ndarray]:
    data, affine, order = reorder(image.get_fdata(dtype=np.float32), image.affine)
    return Volume(data, affine), order


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture
def stand_in(monkeypatch):
    network = torch.jit.script(Bright())
    monkeypatch.setattr(deepbet, "_network", lambda name: network)
    monkeypatch.setattr(deepbet, "_MASK_SIZE", (144, 144, 144))


@pytest.mark.slow
def test_the_mask_lies_on_the_brain_of_an_oblique_head(head, stand_in, monkeypatch):
    subject, order = ras(head.image)
    masks = {}
    for erosion in (0.0, 1.5):
        monkeypatch.setattr(deepbet, "EROSION_MM", erosion)
        found = deepbet.deepbet_brain(subject, head.template_from_subject)
        masks[erosion] = restore_order(_on_grid(subject, found), order)
    assert masks[0.0].shape == head.image.shape
    assert dice(masks[0.0], head.brain_mask) > 0.95
    centres = [np.argwhere(mask).mean(axis=0) for mask in (masks[0.0], head.brain_mask)]
    assert np.linalg.norm(head.image.affine[:3, :3] @ np.subtract(*centres)) < 1.0
    assert masks[1.5].sum() < 0.95 * masks[0.0].sum()
    assert not (masks[1.5] & ~masks[0.0]).any()


@pytest.mark.slow
def test_48_axis_orders_get_the_same_mask(head, stand_in):
    subject, order = ras(head.image)
    mask = _on_grid(subject, deepbet.deepbet_brain(subject, head.template_from_subject))
    stored = nibabel.Nifti1Image(restore_order(mask, order).astype(np.uint8), head.image.affine)
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        change = np.array(list(zip(axes, flips, strict=True)))
        turned, turned_order = ras(head.image.as_reoriented(change))
        np.testing.assert_array_equal(turned.data, subject.data)
        np.testing.assert_allclose(turned.affine, subject.affine, atol=1e-9)
        expected = np.asarray(stored.as_reoriented(change).dataobj)
        np.testing.assert_array_equal(restore_order(mask, turned_order), expected)


@pytest.mark.parametrize("voxel_mm", [1.0, 0.8])
def test_erosion_takes_a_millimetre_and_a_half_of_the_subject(voxel_mm):
    distance = np.linalg.norm(np.indices((61, 61, 61)) - 30.0, axis=0) * voxel_mm
    fraction = deepbet._eroded(distance < 20.0, voxel_mm)
    radius = np.cbrt(fraction.sum() * voxel_mm**3 * 3 / (4 * np.pi))
    assert radius == pytest.approx(20.0 - deepbet.EROSION_MM, abs=0.25)


def test_the_number_of_threads_and_of_runs_changes_no_bit(monkeypatch):
    network = torch.jit.script(Convolution())
    monkeypatch.setattr(deepbet, "_network", lambda name: network)
    seen = []
    monkeypatch.setattr(
        deepbet, "_resized", lambda values, shape: seen.append(values.numpy().copy()) or values
    )
    monkeypatch.setattr(deepbet, "_box", lambda mask, shape: (slice(None),) * 3)
    head = np.random.default_rng(0).random((40, 44, 36), dtype=np.float32)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            deepbet._mask(head)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    calls = len(seen) // 3
    for first, second, third in zip(seen[:calls], seen[calls:-calls], seen[-calls:], strict=True):
        assert first.tobytes() == second.tobytes() == third.tobytes()


def test_a_head_without_a_brain_gets_an_empty_mask(head, monkeypatch):
    monkeypatch.setattr(deepbet, "_network", lambda name: lambda x: torch.zeros(1, 2, *x.shape[2:]))
    subject, _ = ras(head.image)
    found = deepbet.deepbet_brain(subject, head.template_from_subject)
    assert not _on_grid(subject, found).any()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A deepbet that pip might have installed, with tiny networks; its folder."""
    models = tmp_path / "data" / "models"
    models.mkdir(parents=True)
    info = tmp_path / "deepbet-1.0.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deepbet\nVersion: 1.0.2\n")
    record = []
    for name in (deepbet.BOX_NETWORK, deepbet.MASK_NETWORK):
        torch.jit.script(Bright()).save(tmp_path / name)
        digest = hashlib.sha256((tmp_path / name).read_bytes()).digest()
        hashed = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        record.append(f"{name},sha256={hashed},1\n")
    (info / "RECORD").write_text("".join(record))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_networks_are_read_without_importing_the_package(installed):
    assert deepbet.version() == "1.0.2"
    check_extractor("deepbet")
    values = torch.arange(2.0)[None, None, None, None]
    answer = deepbet._network(deepbet.MASK_NETWORK)(values)
    np.testing.assert_array_equal(answer.ravel(), [1, 0, 0, 1])


def test_another_file_in_their_place_is_refused(installed):
    path = installed / deepbet.BOX_NETWORK
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"bbox_model\.pt: is missing or was changed"):
        deepbet._network(deepbet.BOX_NETWORK)
    path.unlink()
    with pytest.raises(InputError, match="install it again"):
        deepbet._network(deepbet.BOX_NETWORK)


def test_deepbet_without_its_networks_does_not_count(installed):
    (installed / "deepbet-1.0.2.dist-info" / "RECORD").write_text("deepbet/__init__.py,,\n")
    assert deepbet.version() is None


def test_deepbet_is_asked_for_by_name_and_must_be_installed(head, monkeypatch):
    monkeypatch.setattr(deepbet, "version", lambda: None)
    check_extractor("auto")
    with pytest.raises(UsageError, match=r"needs the package deepbet.*pip install --no-deps"):
        preprocess(head.image, extractor="deepbet", **SHAPES)


@pytest.mark.slow
def test_deepbet_finds_the_brain_of_a_real_head(shared_data):
    if deepbet.version() is None:
        pytest.skip(f"deepbet is not installed ({deepbet.INSTALL})")
    path = shared_data / "t1" / "spm12_single_subj_T1.nii"
    masks = {}
    for extractor in ("deepbet", "template"):
        done = preprocess(path, extractor=extractor, **SHAPES)
        assert done.checks["extractor_used"] == extractor
        assert done.warnings == []
        masks[extractor] = done.brain_mask
    assert 1700 < masks["deepbet"].sum() * 0.008 < 1900
    assert dice(masks["deepbet"], masks["template"]) > 0.95
