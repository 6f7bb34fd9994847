"""A description, its weights and a checkpoint: one changed byte is refused, or means the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from mri2pet.checkpoint import DESCRIPTION, WEIGHTS, _description, load_model, save_model
from mri2pet.config import ModelConfig
from mri2pet.descriptions import HASH, read_description, write_description
from mri2pet.errors import ModelError
from mri2pet.files import PART, _remove_leftovers, is_leftover, written_whole
from mri2pet.nn import Network


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    network = Network(ModelConfig(mri_shape=(16, 32, 32), pet_shape=(16, 32, 32)))
    folder = tmp_path_factory.mktemp("model")
    return save_model(folder, network, pet_mean=1.2, pet_std=0.3, provenance={"volumes": 7})


@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: byte ^ 4, lambda byte: 49])
def test_every_changed_byte_of_a_description_is_refused_or_means_the_same(model, tmp_path, change):
    content = (model / DESCRIPTION).read_bytes()
    meant, path, refused = _description(model / DESCRIPTION), tmp_path / "model.json", 0
    for i, byte in enumerate(content):
        path.write_bytes(content[:i] + bytes([change(byte)]) + content[i + 1 :])
        try:
            assert _description(path) == meant
        except ModelError:
            refused += 1
    assert refused > 0.7 * len(content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no JSON, or cut"),
        (b'{"format": 2', "is no JSON, or cut"),
        (b"\xff\xfe", "is no JSON, or cut"),
        (b"[" * 100_000, "is no JSON, or cut"),
        (b"[]", "holds no description"),
        (b"{}", "model format None is not format 2"),
        (b'{"format": 1}', "model: Field required"),
        (b'{"format": 2}', "was changed after it was written"),
    ],
)
def test_what_is_no_description_is_refused_in_one_sentence(model, tmp_path, content, told):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes())
    (folder / DESCRIPTION).write_bytes(content)
    with pytest.raises(ModelError, match=told) as raised:
        load_model(folder)
    assert "\n" not in str(raised.value)


def test_weights_that_are_no_safetensors_with_the_right_hash(model, tmp_path):
    import hashlib

    tree = read_description(model / DESCRIPTION)
    content = b"not safetensors at all"
    (tmp_path / WEIGHTS).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    write_description(tmp_path / DESCRIPTION, tree | {"sha256": digest})
    with pytest.raises(ModelError, match="weights and description do not fit"):
        load_model(tmp_path)


def test_a_description_of_format_1_has_no_hash_and_is_read(model, tmp_path):
    tree = read_description(model / DESCRIPTION) | {"format": 1}
    (tmp_path / DESCRIPTION).write_text(json.dumps(tree))
    (tmp_path / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes())
    assert load_model(tmp_path).pet_mean == 1.2
    (tmp_path / DESCRIPTION).write_text(json.dumps(tree | {HASH: "0" * 64}))
    with pytest.raises(ModelError, match="its hash differs"):
        load_model(tmp_path)


def test_what_killed_writers_left_goes_and_what_living_ones_write_stays(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from mri2pet.files import written_whole\n"
        "with written_whole(pathlib.Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "table.tsv")], check=False)
    (left,) = tmp_path.iterdir()
    assert is_leftover(left)
    living = tmp_path / left.name.replace(left.name.split("-")[2], str(os.getppid()))
    living.touch()
    (tmp_path / f"{PART}another1-5-x.tsv").touch()  # of another machine
    _remove_leftovers.cache_clear()
    with written_whole(tmp_path / "table.tsv") as part:
        part.write_text("whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"table.tsv", living.name, f"{PART}another1-5-x.tsv"}
