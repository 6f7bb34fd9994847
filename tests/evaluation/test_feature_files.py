"""Distances of features that another network made."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mri2pet.errors import InputError
from mri2pet.evaluation.feature_files import compare_features


def npz(path, seed, people, d=5, **more):
    rng = np.random.default_rng(seed)
    subject = np.repeat([f"p{i}" for i in people], 3)
    np.savez(path, features=rng.normal(size=(len(subject), d)), subject=subject, **more)
    return path


def test_features_of_another_network(tmp_path):
    real = npz(tmp_path / "real.npz", 0, range(12))
    same, others = npz(tmp_path / "a.npz", 1, range(12)), npz(tmp_path / "b.npz", 2, range(20, 30))
    for fake in (same, others):
        table, files = compare_features(real, fake, tmp_path / "out")
        assert math.isfinite(table.rows[0].cells["kid"].value)
        assert len(files) == 3
    for fake, message in (
        (npz(tmp_path / "c.npz", 3, range(6, 18)), "share some people"),
        (npz(tmp_path / "d.npz", 3, range(12), d=4), "5 features a row"),
        (tmp_path / "absent.npz", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            compare_features(real, fake, tmp_path / "none")
    np.savez(tmp_path / "e.npz", features=np.full((4, 5), np.nan), subject=list("abcd"))
    np.savez(tmp_path / "f.npz", features=np.zeros((4, 5)), subject=list("abc"))
    np.savez(tmp_path / "g.npz", features=np.zeros((1, 5)), subject=["a"])
    (tmp_path / "h.npz").write_text("no archive")
    (tmp_path / "i.npz").write_bytes(real.read_bytes()[:-30])
    changed = bytearray(real.read_bytes())
    changed[300] ^= 255
    (tmp_path / "j.npz").write_bytes(changed)
    with (tmp_path / "k.npz").open("wb") as file:
        np.save(file, np.zeros((4, 5)))
    for name, message in (
        ("e", "not finite"),
        ("f", "do not fit"),
        ("g", "1 rows"),
        *((damaged, r"is no \.npz") for damaged in "hijk"),
    ):
        with pytest.raises(InputError, match=message):
            compare_features(real, tmp_path / f"{name}.npz", tmp_path / "none")
    assert not list(tmp_path.glob("none*"))
