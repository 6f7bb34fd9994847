"""The example client, against its server over HTTP where tritonclient is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from mri2pet import WARNING
from mri2pet.imaging.space.grid import grid_affine, to_xyz
from mri2pet.imaging.space.record import SpaceRecord
from mri2pet.imaging.space.subject_grid import SubjectGrid

SHAPE = (16, 32, 32)
SHA256 = "f" * 16 + "0" * 48


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kserve = _load(Path(__file__).with_name("kserve.py"))


@pytest.fixture
def client(repository, monkeypatch):
    """The example's module; a T1 that lies on the PET grid stands for any."""
    module = _load(repository / "examples" / "triton" / "client.py")
    image = nibabel.Nifti1Image(to_xyz(np.ones(SHAPE, np.float32)), grid_affine(SHAPE))
    image.set_sform(image.affine, code=1)
    grid = SubjectGrid.of(image, assume_ras=False, doubts=[])
    mask = np.ones(grid.shape, bool)
    t1 = SimpleNamespace(name="t1.nii.gz", sha256=SHA256)
    prepared = SimpleNamespace(
        mri=np.full(SHAPE, 0.5, np.float32),
        record=SpaceRecord(np.eye(4), grid, SHAPE, mask),
        t1=t1,
        checks={"mask_volume_ml": 1400.0},
        warnings=[],
    )
    monkeypatch.setattr(module, "read_t1", lambda path: t1)
    monkeypatch.setattr(module, "preprocess", lambda image, **options: prepared)
    return module


@pytest.fixture
def asked():
    return []


@pytest.fixture
def address(asked):
    """A server whose sample number i is 1 + i SUVR everywhere, and their mean 1.25."""

    def answer(arrays):
        asked.append(arrays)
        if arrays["SEED"][0] == 13:
            raise ValueError("mri2pet: MRI is 0 everywhere")
        count = int(arrays.get("SAMPLES", [2])[0])
        volumes = [np.full(SHAPE, 1 + i, np.float32) for i in range(count)]
        return {"PET": np.stack(volumes), "MEAN": np.full(SHAPE, 1.25, np.float32)}

    metadata = {
        "inputs": [{"name": "MRI", "datatype": "FP32", "shape": [1, *SHAPE]}],
        "outputs": [
            {"name": "PET", "datatype": "FP32", "shape": [-1, *SHAPE]},
            {"name": "MEAN", "datatype": "FP32", "shape": [*SHAPE]},
        ],
    }
    facts = {"model": "demo", "model_sha256": "ab", "steps": "25", "warning": WARNING}
    config = {"parameters": {name: {"string_value": text} for name, text in facts.items()}}
    with kserve.serve("mri2pet", metadata, config, answer) as address:
        yield address


def _run(client, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["client.py", *map(str, arguments)])
    code = client.main()
    said = capsys.readouterr()
    assert said.err.count("\n") == (code != 0)
    return code, said.out + said.err


def test_the_image_and_what_is_written_beside_it(
    client, address, asked, tmp_path, monkeypatch, capsys
):
    out, std = tmp_path / "new" / "pet.nii.gz", tmp_path / "new" / "std.nii.gz"
    arguments = ("t1.nii.gz", "-o", out, "--std", std, "--url", address, "--seed", 3)
    code, text = _run(client, monkeypatch, capsys, *arguments)
    assert code == 0, text
    assert WARNING in text
    (arrays,) = asked
    assert arrays["MRI"].shape == (1, *SHAPE)
    assert arrays["SUBJECT"] == [2**64 - 1]
    assert arrays["SEED"] == [3]
    assert "SAMPLES" not in arrays
    image = nibabel.load(out)
    np.testing.assert_allclose(image.affine, grid_affine(SHAPE))
    assert image.header["descrip"].item() == b"synthetic AV45 SUVR"
    assert np.median(image.get_fdata()) == pytest.approx(1.25, abs=1e-4)
    assert np.median(nibabel.load(std).get_fdata()) == pytest.approx(np.sqrt(0.5), abs=1e-4)
    sidecar = json.loads((tmp_path / "new" / "pet.json").read_text())
    assert sidecar["synthetic"] is True
    assert sidecar["warning"] == WARNING
    assert sidecar["Units"] == "SUVR"
    assert sidecar["model"] == {"name": "demo", "sha256": "ab"}
    assert sidecar["settings"]["samples"] == 2
    cortical = sidecar["measurements"]["cortical_suvr"]
    assert (len(cortical["samples"]), cortical["interval"]) == (2, None)
    assert "no calibration" in sidecar["measurements"]["uncertainty"]
    assert sidecar["input"]["sha256"] == SHA256


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--seed", 13), 1, "MRI is 0 everywhere"),
        (("--model", "other"), 1, "unknown model"),
        (("--seed", -1), 2, "SEED must lie in"),
        (("--samples", 1, "--std", "std.nii.gz"), 2, "no spread"),
        (("--std", "std.nii"), 2, "name a .nii.gz"),
        (("--url", "http://localhost"), 2, "scheme"),
        (("--url", "127.0.0.1:9"), 1, "cannot answer"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    client, address, tmp_path, monkeypatch, capsys, options, code, message
):
    arguments = ("t1.nii.gz", "-o", tmp_path / "pet.nii.gz", "--url", address, *options)
    got, text = _run(client, monkeypatch, capsys, *arguments)
    assert got == code
    assert message in text
    assert not list(tmp_path.iterdir())


def test_without_tritonclient(client, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    code, text = _run(client, monkeypatch, capsys, "t1.nii.gz", "-o", tmp_path / "pet.nii.gz")
    assert code == 2
    assert "pip install 'tritonclient[http]'" in text
