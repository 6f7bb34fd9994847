"""Which series is the T1, and the reason of each that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mri2pet.dicom.collect import collect
from mri2pet.dicom.listing import listing
from mri2pet.dicom.select import choose, judge
from mri2pet.errors import InputError

from .make_series import enhanced, head, save, series

SMALL = (6, 7, 20)


@pytest.fixture
def study(tmp_path: Path):
    """Writes series with these headers, each with a number of its own, and collects them."""

    def write(*headers: dict, shape=SMALL, form=None):
        for number, header in enumerate(headers, start=1):
            header = {"SeriesNumber": str(number), "salt": str(number)} | header
            voxel = header.pop("voxel", (4.0, 4.0, 4.0))
            made = series(*head(header.pop("shape", shape), voxel), **header)
            save([form(made)] if form else made, tmp_path / str(number))
        return collect(tmp_path)

    return write


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "modality CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.2"}, "not an MR image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "screen save"),
        ({"SyntheticData": "YES"}, "synthetic, not acquired"),
        ({"ImageType": ["DERIVED", "PRIMARY", "SYNTHETIC"]}, "synthetic, not acquired"),
        ({"ManufacturerModelName": "mri2pet"}, "synthetic, not acquired"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"EchoTime": "98"}, "not T1-weighted (TE 98 ms)"),
        ({"SeriesDescription": "AX T2 FLAIR", "EchoTime": "120"}, "FLAIR (TE 120 ms)"),
        ({"SeriesDescription": "t2w_tse"}, "T2-weighted"),
        ({"SeriesDescription": "SWI_mag"}, "susceptibility-weighted"),
        ({"SeriesDescription": "ep2d ADC"}, "diffusion-weighted"),
        ({"SeriesDescription": "ASL_3D"}, "arterial spin labelling"),
        ({"SeriesDescription": "bold rest"}, "BOLD"),
        ({"SeriesDescription": "TOF3D"}, "time of flight"),
        ({"SeriesDescription": "B0 phase"}, "phase image"),
        ({"SeriesDescription": "3-plane Localiser"}, "localizer"),
        ({"SeriesDescription": "AAHead_Scout"}, "localizer"),
        ({"SeriesDescription": "t1_mp2rage_INV1"}, "MP2RAGE inversion image"),
        ({"SeriesDescription": "t1_mp2rage_T1_Images"}, "T1 map"),
        ({"SeriesDescription": "", "ProtocolName": "T2 TSE"}, "T2-weighted"),
        ({"shape": (6, 7, 19)}, "19 slices, and 20 are needed"),
    ],
)
def test_what_is_no_t1(study, header, reason: str) -> None:
    found = study(header)
    assert judge(found.series[0]).against == reason
    with pytest.raises(InputError, match="holds no T1 that can be used") as caught:
        choose(found)
    assert f"series 1: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        {"SeriesDescription": "t1_mp2rage_UNI_Images"},
        {"SeriesDescription": "T1 fast 3D, swirl"},
        {"SeriesDescription": "", "ProtocolName": ""},
        {"ImageType": ["DERIVED", "SECONDARY"]},
        {"EchoTime": ""},
    ],
)
def test_what_is_a_t1(study, header) -> None:
    assert judge(study(header).series[0]).against is None


def test_the_echo_time_of_an_enhanced_image_counts(study) -> None:
    found = study({"EchoTime": "90"}, form=enhanced)
    assert judge(found.series[0]).against == "not T1-weighted (TE 90 ms)"


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        ({}, {"ContrastBolusAgent": "GADOVIST", "voxel": (2, 2, 2)}, "with contrast agent"),
        ({}, {"SeriesDescription": "T1 +C"}, "with contrast agent"),
        ({}, {"SeriesDescription": "T1 post"}, "with contrast agent"),
        ({}, {"MRAcquisitionType": "2D", "voxel": (2, 2, 2)}, "2D"),
        ({}, {"voxel": (4, 4, 5)}, "4 × 4 × 5 mm voxels"),
        ({"ContrastBolusAgent": "NONE"}, {"voxel": (4, 4, 5)}, "4 × 4 × 5 mm voxels"),
    ],
)
def test_the_better_one_is_taken_and_the_other_named(study, better, worse, reason) -> None:
    chosen = choose(study(worse, better))
    assert chosen.series.number == 2
    assert f"not taken: 1 {reason}" in chosen.took
    assert chosen.warnings == ()


def test_two_as_good_as_each_other_are_not_guessed(study) -> None:
    found = study({}, {"SeriesDescription": "SECRET"})
    with pytest.raises(InputError, match="2 T1 series that are as good") as caught:
        choose(found)
    assert "series 1: 20 slices, 4 × 4 × 4 mm, series 2" in str(caught.value)
    assert "--series" in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert choose(found, 2).series.number == 2


def test_two_people_are_not_guessed_between(study) -> None:
    found = study({}, {"study": "other", "PatientID": "SECRET", "voxel": (4, 4, 5)})
    with pytest.raises(InputError, match="T1 series of 2 studies") as caught:
        choose(found)
    assert "SECRET" not in str(caught.value)


def test_a_series_that_is_named(study) -> None:
    found = study({}, {"ContrastBolusAgent": "X"}, {"SeriesDescription": "T1 FLAIR"},
                  {"EchoTime": "90"})  # fmt: skip
    assert "contrast agent" in choose(found, 2).warnings[0]
    assert "by its description it is no T1 (FLAIR)" in choose(found, 3).warnings[0]
    with pytest.raises(InputError, match=r"series 4 cannot be used as a T1 .*TE 90 ms"):
        choose(found, 4)
    with pytest.raises(InputError, match="has no series 7; it has 1, 2, 3, 4"):
        choose(found, 7)


def test_the_list_shows_no_patient_unless_asked(study, tmp_path: Path) -> None:
    study({"PatientName": "SECRET^Ann"}, {"Modality": "CT"}, {"shape": (6, 7, 3)})
    table, sentence = listing(tmp_path)
    assert table[0] == ["series", "description", "slices", "voxel", "T1"]
    assert table[1] == ["1", "T1_MPRAGE", "20", "4 × 4 × 4 mm", "yes"]
    assert [row[-1] for row in table[2:]] == ["no: modality CT", "no: 3 slices, and 20 are needed"]
    assert "took series 1" in sentence
    assert "SECRET" not in str((table, sentence))
    assert "SECRET^Ann" in listing(tmp_path, show_patient=True)[0][1]


def test_the_list_names_what_the_stack_will_be_refused_for(tmp_path: Path) -> None:
    made = series(*head((6, 7, 24)))
    save(made[:10] + made[12:], tmp_path)
    table, sentence = listing(tmp_path)
    assert table[1][-1].startswith("no: misses 2 slices, after slice 10")
    assert "misses 2 slices" in sentence
