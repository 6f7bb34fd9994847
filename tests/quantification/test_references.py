"""The known answers of the reference file."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from mri2pet.imaging.space.volume import Volume
from mri2pet.imaging.suvr.equations import AVID, ROYSE
from mri2pet.imaging.suvr.means import label_means_mm
from mri2pet.quantification.status import Threshold, probability_above

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def reference(shared_reference):
    path = shared_reference / "evaluation_small.json"
    if not path.exists():
        pytest.skip(f"no {path.name} in {path.parent}")
    return json.loads(path.read_text())


def wave(name, shape, scale, offset=0.0, seed=0):
    generator = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    return (offset + scale * generator.standard_normal(shape)).astype(np.float32)


def measured(shape, seed):
    """The measured volume of scan 0 and the brain, `[K, I, J]`."""
    k, i, j = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = k**2 / 0.9 + i**2 / 0.75 + j**2 / 0.85 < 1
    base = 1.2 + 0.35 * np.cos(3 * i) * np.cos(2 * j) + 0.2 * k
    pet = np.maximum(base + wave("measured0", shape, 0.08, seed=seed), 0) * brain
    return pet.astype(np.float32), brain


def test_means_and_ratios_of_labels(reference):
    inputs, answers = reference["inputs"], reference["quantification"]
    shape = tuple(inputs["shape"])
    pet, brain = measured(shape, inputs["seed"])
    random = np.random.RandomState(zlib.crc32(b"atlas") + inputs["seed"])
    labels = (random.randint(0, 4, shape) * brain).astype(np.int32)
    sizes = {str(i): int((labels == i).sum()) for i in (1, 2, 3)}
    assert sizes == answers["label_voxels"]
    affine = np.diag([-2.0, 3.0, 1.5, 1.0])
    affine[:3, 3] = [7.3, -11.1, 5.7]
    found = label_means_mm(Volume(pet, affine), Volume(labels, affine))
    for name, mean in answers["means"].items():
        assert found[int(name)].mean == pytest.approx(mean, abs=TOLERANCE)
    for name, ratio in answers["suvr_by_label_3"].items():
        assert found[int(name)].mean / found[3].mean == pytest.approx(ratio, abs=TOLERANCE)


def test_centiloid(reference):
    equations = {"royse2021": ROYSE, "navitsky2018_avid": AVID}
    for suvr, values in reference["quantification"]["centiloid"].items():
        for name, centiloid in values.items():
            assert equations[name].centiloid(float(suvr)) == pytest.approx(centiloid)


def test_share_of_samples_above_a_threshold(reference):
    inputs = reference["inputs"]
    people, count, seed = inputs["people"], inputs["samples"], inputs["seed"]
    centre = wave("centre", (people,), 0.18, 1.25, seed).astype(np.float64)
    draws = wave("draws", (people, count), 0.05, 0.02, seed).astype(np.float64)
    limit = Threshold("made up", 1.25)
    shares = [probability_above(c + d, c, limit).value for c, d in zip(centre, draws, strict=True)]
    assert shares[:6] == reference["uncertainty"]["p_above_1_25_share"]
