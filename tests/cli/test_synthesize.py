"""The command and the call of the library are one: names, defaults and what arrives."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import mri2pet
from mri2pet.cli.main import main
from mri2pet.cli.synthesize import OWN
from mri2pet.cli.synthesize import synthesize as command


def test_options_and_defaults_are_those_of_the_library() -> None:
    call = inspect.signature(mri2pet.synthesize).parameters
    choices = {
        name: parameter.default
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in ("context", *OWN)
    }
    theirs = {n: p.default for n, p in call.items() if n not in ("inputs", "out", "observer")}
    assert choices == theirs


def test_what_is_given_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def synthesize(inputs, out, *, observer, **choices):
        given.update(choices, inputs=inputs, out=out)
        return []

    monkeypatch.setattr("mri2pet.synthesis.synthesize", synthesize)
    options = "--samples 2 --sampler ddim --steps 7 --seed 5 --model m --device cpu"
    more = "--engine torch --precision bf16 --brain-mask b.nii --assume-ras --overwrite --jobs 3 -q"
    regions = "--atlas l.nii --labels l.tsv --target t.nii --reference r.nii"
    named = ["--ray", "local", "--centiloid", "royse2021-fbp", "--threshold", "our lab=1.2"]
    named += ["--series", "4", "--acquisition", "2", "--echo", "1"]
    command = ["synthesize", "a.nii", "b.nii", "-o", "out", *options.split(), *more.split()]
    code = main([*command, *regions.split(), *named])
    assert code == 0
    assert given == {
        "inputs": [Path("a.nii"), Path("b.nii")],
        "out": Path("out"),
        "model": "m",
        "samples": 2,
        "sampler": "ddim",
        "steps": 7,
        "seed": 5,
        "device": "cpu",
        "engine": "torch",
        "precision": "bf16",
        "skull_stripped": False,
        "brain_mask": Path("b.nii"),
        "assume_ras": True,
        "extractor": "auto",
        "overwrite": True,
        "atlas": Path("l.nii"),
        "labels": Path("l.tsv"),
        "target": Path("t.nii"),
        "reference": Path("r.nii"),
        "centiloid": "royse2021-fbp",
        "threshold": "our lab=1.2",
        "jobs": 3,
        "ray": "local",
        "series": 4,
        "acquisition": "2",
        "echo": "1",
    }
