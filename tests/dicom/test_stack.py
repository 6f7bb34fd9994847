"""What does not make one volume is refused in one sentence with its numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mri2pet.dicom.collect import collect
from mri2pet.dicom.stack import stack
from mri2pet.errors import InputError

from .make_series import enhanced, head, save, series

N = 12


@pytest.fixture
def slices():
    """Few and small ones: nothing here looks at their voxels."""
    return series(*head((24, 20, N)))


@pytest.fixture
def stacked(tmp_path: Path) -> Callable:
    """The stack of instances that make one series."""

    def put(instances, **options):
        save(instances, tmp_path)
        (found,) = collect(tmp_path).series
        return stack("in", found, **options)

    return put


def refused(stacked, instances, pattern: str, **options) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        stacked(instances, **options)
    assert str(caught.value).startswith("in: series 4 ")


def moved(instances, millimetres) -> None:
    """Shifts slice k by `[N, 3]` mm."""
    for one, by in zip(instances, millimetres, strict=True):
        place = np.array(one.ImagePositionPatient, float) + by
        one.ImagePositionPatient = [f"{v:.8g}" for v in place]


def normal(one) -> np.ndarray:
    row, column = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
    return np.cross(row, column)


def row(one) -> np.ndarray:
    return np.array(one.ImageOrientationPatient, float)[:3]


@pytest.mark.parametrize(
    ("keyword", "value", "pattern"),
    [
        ("PatientID", "SECRET", "mixes 2 patients .*differ in PatientID"),
        ("StudyInstanceUID", "1.2.3", "mixes 2 studies"),
        ("FrameOfReferenceUID", "1.2.3", "mixes 2 frames of reference"),
        ("SamplesPerPixel", 3, "SamplesPerPixel 1 and 3"),
        ("BitsAllocated", 8, "BitsAllocated 16 and 8|BitsAllocated 8 and 16"),
        ("Columns", 30, "slices of 24 and 30 columns"),
        ("PixelSpacing", ["4", "4.1"], "pixel spacings from 4 to 4.1 mm"),
        ("PixelSpacing", ["4", "0"], "without a pixel spacing"),
        ("ImagePositionPatient", None, "1 of 12 slices without a position"),
        ("Rows", None, "without rows or columns"),
        ("NumberOfFrames", 4, "4 frames in a file for one slice .IM0012."),
        ("ImageOrientationPatient", ["1", "0", "0", "0", "0", "-1"], "1 of 12 .* IM0012"),
    ],
)
def test_slices_that_differ(stacked, slices, keyword: str, value, pattern: str) -> None:
    setattr(slices[11], keyword, value)
    with pytest.raises(InputError, match=pattern) as caught:
        stacked(slices)
    assert "SECRET" not in str(caught.value)


def test_jitter_of_the_orientation_is_none(stacked, slices) -> None:
    turned = [f"{float(v) + 4e-4:.8f}" for v in slices[5].ImageOrientationPatient]
    slices[5].ImageOrientationPatient = turned
    assert len(stacked(slices).frames) == N


@pytest.mark.parametrize("degrees", [1.0, 15.0])
def test_a_tilted_gantry(stacked, slices, degrees: float) -> None:
    step = 4.0 * np.tan(np.deg2rad(degrees)) * row(slices[0])
    moved(slices, [k * step for k in range(N)])
    refused(stacked, slices, rf"at {degrees:.1f} degrees")


def test_a_slice_shifted_sideways(stacked, slices) -> None:
    moved(slices, [(k == 9) * 2.5 * row(slices[0]) for k in range(N)])
    refused(stacked, slices, r"shifted sideways by up to 2.50 mm \(IM0010\)")


def test_missing_slices(stacked, slices) -> None:
    refused(stacked, slices[:3] + slices[4:6] + slices[9:], "misses 4 slices, after slices 3 and 5")


@pytest.mark.parametrize("jitter_mm", [0.015, 0.2])
def test_irregular_spacing(stacked, slices, jitter_mm: float) -> None:
    """4 mm slices may be off by 0.04 mm a gap."""
    moved(slices, [(-1) ** k * jitter_mm / 2 * normal(slices[0]) for k in range(N)])
    if jitter_mm < 0.04:
        assert stacked(slices).slice_spacing_mm == pytest.approx(4.0, abs=2e-3)
    else:
        refused(stacked, slices, r"irregular spacing: 3.80 to 4.20 mm")


@pytest.mark.parametrize(
    ("keyword", "values", "says"),
    [
        ("AcquisitionNumber", ("1", "2"), "AcquisitionNumber 1 and 2; take one with --acquisition"),
        ("EchoNumbers", ("1", "2"), "EchoNumbers 1 and 2; take one with --echo"),
        ("InversionTime", ("700", "2500"), "InversionTime 700 and 2500; export"),
        ("TriggerTime", ("0", "40"), "TriggerTime 0 and 40; export"),
        ("TemporalPositionIdentifier", ("1", "2"), "TemporalPositionIdentifier 1 and 2; export"),
        ("ContentTime", ("10", "11"), "nothing in their headers tells them apart"),
    ],
)
def test_slices_at_one_place(stacked, slices, keyword: str, values, says: str) -> None:
    others = copy.deepcopy(slices)
    for mine, other in zip(slices, others, strict=True):
        other.SOPInstanceUID = f"2.25.{other.InstanceNumber}"
        setattr(mine, keyword, values[0])
        setattr(other, keyword, values[1])
    refused(stacked, slices + others, f"12 of 24 slices where another one lies.*{says}")


def test_an_echo_or_an_acquisition_is_taken_when_named(stacked, slices) -> None:
    others = copy.deepcopy(slices[:9])
    for other in others:
        other.SOPInstanceUID = f"2.25.{other.InstanceNumber}"
        other.AcquisitionNumber, other.EchoNumbers = "7", "2"
    both = slices + others
    assert len(stacked(both, acquisition="7").frames) == 9
    assert len(stacked(both, echo="1").frames) == N
    refused(stacked, both, "no AcquisitionNumber 3; --acquisition can be 1 and 7", acquisition="3")


def test_acquisitions_that_alternate_are_one_volume(stacked, slices) -> None:
    for k, one in enumerate(slices):
        one.AcquisitionNumber = str(1 + k % 2)
    assert len(stacked(slices).frames) == N


def test_an_enhanced_image_that_describes_fewer_frames(stacked, slices) -> None:
    made = enhanced(slices)
    made.NumberOfFrames = 13
    refused(stacked, [made], "promises 13 frames and describes 12")


def test_pixels_that_end_early(tmp_path: Path, slices) -> None:
    path = save(slices, tmp_path)[6]
    path.write_bytes(path.read_bytes()[:-1])
    (found,) = collect(tmp_path).series
    with pytest.raises(InputError, match="IM0007 promises 960 bytes of pixels and has 959"):
        stack("in", found)


def test_what_is_doubtful(stacked, slices) -> None:
    for one in slices:
        one.ImagesInAcquisition = "40"
        one.LossyImageCompression = "01"
    fewer, lossy = stacked(slices).warnings
    assert "announce 40 slices, and 12 were read" in fewer
    assert "with loss" in lossy


def test_spacing_is_from_the_first_to_the_last_slice(stacked) -> None:
    values, affine = head((24, 20, N))
    instances = series(values, affine @ np.diag([1, 1, 0.8776, 1]), SpacingBetweenSlices="9")
    for one in instances:
        one.ImagePositionPatient = [f"{float(v):.2f}" for v in one.ImagePositionPatient]
    assert stacked(instances).slice_spacing_mm == pytest.approx(4 * 0.8776, abs=1e-3)
