"""The Python ends of the C++ example: what goes into the program, and what comes of its result."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import safetensors.torch
import torch

from mri2pet.config import ModelConfig
from mri2pet.diffusion.samplers import make_table
from mri2pet.diffusion.schedule import alpha_bar
from mri2pet.engines.exported import (
    BIASES,
    DENOISER,
    ENCODER,
    FILES,
    LINEAR,
    read_export,
    write_manifest,
)
from mri2pet.errors import ModelError
from mri2pet.imaging.space.grid import grid_affine
from mri2pet.imaging.space.record import SpaceRecord
from mri2pet.imaging.space.subject_grid import SubjectGrid
from mri2pet.nn import Network

SHAPE = (16, 32, 32)
SHA256 = "f" * 15 + "e" + "0" * 48


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    shapes = {"mri_shape": (16, 48, 48), "pet_shape": SHAPE}
    made = Network(ModelConfig(**shapes, prediction="v", cond="concat", linear_components=2)).eval()
    pets, mris = torch.randn(64, 2, math.prod(SHAPE)).unbind(1)
    pets[::4] += 1  # so that a mixture is taken
    made.linear.fit(pets, mris)
    return made


@pytest.fixture
def export(tmp_path, network):
    """A folder as `mri2pet export` leaves it, but for what is in the graphs and the plans."""
    folder = tmp_path / "export"
    plans = folder / "tensorrt" / "gpu"
    plans.mkdir(parents=True)
    layers = network.unet.bias_layers
    state = {
        "weight": torch.cat([layer.weight for layer in layers]).detach(),
        "bias": torch.cat([layer.bias for layer in layers]).detach(),
        "linear": network.linear.table,
        **{name: getattr(network.linear, name) for name in LINEAR},
    }
    (folder / ENCODER).write_bytes(b"encoder")
    (folder / DENOISER).write_bytes(b"denoiser")
    safetensors.torch.save_file(state, folder / BIASES)
    files = {name: {"sha256": sha256((folder / name).read_bytes())} for name in FILES}
    entries = []
    for name in (ENCODER, DENOISER):
        content = b"plan of " + name.encode()
        (plans / name.replace(".onnx", ".plan")).write_bytes(content)
        onnx = files[name]["sha256"]
        entries.append({"graph": name, "onnx_sha256": onnx, "sha256": sha256(content)})
    tests = [{"plans": [e["sha256"] for e in entries], "passed": True, "device": "Some GPU 80GB"}]
    write_manifest(folder, {
        "format": 4, "mri2pet": "0", "name": "small", "model_sha256": "0" * 64, "steps": 1000,
        "opset": 20, "precision": "fp32", "tolerances": {}, "provenance": {},
        "model": network.config.model_dump(mode="json"), "batch": 2, "files": files,
        "pet_mean": 1.2, "pet_std": 0.3, "plans": entries, "verification": tests,
    })  # fmt: skip
    return folder


@pytest.fixture
def record():
    affine = grid_affine((20, 40, 40))
    image = nibabel.Nifti1Image(np.zeros((40, 40, 20), np.float32), affine)
    grid = SubjectGrid.of(image, assume_ras=False, doubts=[])
    mask = np.zeros(grid.shape, bool)
    mask[8:32, 8:32, 4:16] = True
    return SpaceRecord(np.eye(4), grid, SHAPE, mask)


@pytest.fixture
def run_prepare(prepare, record, network, monkeypatch):
    """`main` with an MRI that is prepared already."""
    mri = torch.rand(network.config.mri_shape, generator=torch.Generator().manual_seed(6))
    monkeypatch.setattr(prepare, "read_t1", lambda path: SimpleNamespace(sha256=SHA256))
    prepared = SimpleNamespace(mri=mri.numpy(), record=record)
    monkeypatch.setattr(prepare, "preprocess", lambda t1, **options: prepared)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
        return prepare.main()

    return run


def test_the_inputs_are_those_of_the_network(run_prepare, export, network, record, tmp_path):
    out = tmp_path / "inputs"
    assert run_prepare(export, "t1.nii", "-o", out, "--steps", 7, "--seed", 9) == 0
    arrays = {path.stem: np.load(path) for path in out.glob("*.npy")}
    table = make_table("dpmpp", "v", 7)
    np.testing.assert_array_equal(arrays["coefficients"], table.coefficients)
    np.testing.assert_array_equal(arrays["timesteps"], table.timesteps)
    mri = torch.from_numpy(arrays["mri"])
    embedding = torch.randn(1, 256, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        seen = network.guide(mri)
        np.testing.assert_array_equal(arrays["guide"], seen)
        np.testing.assert_array_equal(
            arrays["start"], alpha_bar()[999].sqrt() * network.expected(seen)
        )
        np.testing.assert_array_equal(
            arrays["expected"], (network.expected(seen) * 0.3 + 1.2)[0, 0]
        )
        np.testing.assert_array_equal(arrays["directions"], network.linear.directions)
        expected = network.block_biases(embedding, table.timesteps)
    activated = torch.nn.functional.silu(embedding + torch.from_numpy(arrays["time_embeddings"]))
    rows = activated.numpy() @ arrays["bias_weight"].T + arrays["bias_bias"]
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    settings = dict(s.split(" ", 1) for s in (out / "settings.txt").read_text().splitlines())
    plans = [export / "tensorrt" / "gpu" / f"{name}.plan" for name in ("encoder", "denoiser")]
    assert settings == {
        "format": "3", "samples": "4", "seed": "9", "subject": str(2**64 - 2),
        "noise_step": "1000", "pet_mean": "1.2", "pet_std": "0.3", "gpu": "Some GPU 80GB",
        "encoder_sha256": sha256(plans[0].read_bytes()),
        "denoiser_sha256": sha256(plans[1].read_bytes()),
    }  # fmt: skip
    assert SpaceRecord.from_json((out / "record.json").read_text()).pet_shape == record.pet_shape


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f, m: (f / "tensorrt/gpu/denoiser.plan").write_bytes(b"plan"), "manifest names"),
        (lambda f, m: (f / "tensorrt/gpu/encoder.plan").unlink(), "No such file"),
        (lambda f, m: (f / "denoiser.onnx").write_bytes(b"other"), "hash differs"),
        (lambda f, m: m["plans"][0].update(onnx_sha256="0"), "manifest names"),
        (lambda f, m: m.pop("plans"), "manifest names"),
        (lambda f, m: m["verification"][0].update(passed=False), "not passed a self-test"),
        (lambda f, m: m["verification"][0].update(plans=["0", "1"]), "not passed a self-test"),
        (lambda f, m: (f / "tensorrt/gpu").rename(f / "gone"), "--plans"),
        (lambda f, m: m.pop("pet_std"), "pet_std: Field required"),
    ],
)
def test_plans_that_cannot_be_trusted_are_refused(
    run_prepare, export, tmp_path, capsys, change, words
):
    manifest = json.loads((export / "manifest.json").read_text())
    change(export, manifest)
    write_manifest(export, manifest)
    assert run_prepare(export, "t1.nii", "-o", tmp_path / "inputs") == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "inputs").exists()


@pytest.mark.parametrize("option", [("--samples", 0), ("--steps", 1000), ("--seed", -1)])
def test_numbers_out_of_range_are_refused(run_prepare, export, tmp_path, option):
    assert run_prepare(export, "t1.nii", "-o", tmp_path / "inputs", *option) == 2


def test_two_folders_of_plans_must_be_told_apart(prepare, export):
    other = export / "tensorrt" / "other"
    other.mkdir()
    (other / "denoiser.plan").write_bytes(b"plan")
    with pytest.raises(ModelError, match="name one folder"):
        prepare.plans_folder(read_export(export))


@pytest.fixture
def run_finish(finish, record, tmp_path, monkeypatch):
    (tmp_path / "record.json").write_text(record.to_json())

    def run(suvr, *arguments):
        np.save(tmp_path / "suvr.npy", suvr)
        files = [tmp_path, tmp_path / "suvr.npy", *arguments]
        monkeypatch.setattr(sys, "argv", ["finish.py", *map(str, files)])
        return finish.main()

    return run


def test_the_result_comes_back_to_the_grid_of_the_scan(run_finish, record, tmp_path):
    suvr = np.stack([np.full(SHAPE, value, np.float32) for value in (1.0, 2.0)])
    names = [tmp_path / "pet.nii.gz", tmp_path / "std.nii.gz"]
    assert run_finish(suvr, "-o", names[0], "--std", names[1]) == 0
    for name, value in zip(names, (1.5, np.sqrt(0.5)), strict=True):
        image = nibabel.load(name)
        np.testing.assert_allclose(image.affine, record.grid.affine)
        np.testing.assert_allclose(np.asarray(image.dataobj)[record.brain_mask], value, rtol=1e-5)
        assert b"synthetic" in image.header["descrip"].item()


def test_the_mean_has_the_level_that_the_model_expects(run_finish, record, network, tmp_path):
    """What `mean_of_samples` gives; one sample stays a draw."""
    directions = network.linear.directions
    expected = torch.full(SHAPE, 1.25)
    np.save(tmp_path / "expected.npy", expected.numpy())
    np.save(tmp_path / "directions.npy", directions.numpy())
    suvr = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(8)) + 1
    out = tmp_path / "pet.nii.gz"
    for count in (3, 1):
        mean = suvr[:count].mean(0)
        if count > 1:
            rest = (expected - mean).flatten() @ directions.T @ directions
            assert rest.abs().max() > 1e-3
            mean = mean + rest.reshape(SHAPE)
        assert run_finish(suvr[:count].numpy(), "-o", out) == 0
        image = np.asarray(nibabel.load(out).dataobj)
        np.testing.assert_allclose(image, record.to_subject(mean.numpy()), atol=1e-5)


def test_a_result_of_other_inputs_is_refused(run_finish, tmp_path, capsys):
    out = tmp_path / "pet.nii.gz"
    assert run_finish(np.zeros((2, 3, 4, 5), np.float32), "-o", out) == 1
    assert "has the shape" in capsys.readouterr().err
    one = np.zeros((1, *SHAPE), np.float32)
    assert run_finish(one, "-o", out, "--std", tmp_path / "std.nii.gz") == 2
    assert run_finish(one, "-o", tmp_path / "pet.nii") == 2
    np.save(tmp_path / "expected.npy", one[0])
    assert run_finish(one, "-o", out) == 1
    assert "directions.npy" in capsys.readouterr().err
    (tmp_path / "record.json").unlink()
    assert run_finish(one, "-o", out) == 1
    assert "record.json" in capsys.readouterr().err
    assert not out.exists()
