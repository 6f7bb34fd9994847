"""The lines of docs/embedding.md, as they stand there, on a real scan."""

from __future__ import annotations

import re
import shutil

import nibabel
import numpy as np
import pytest

import mri2pet
from mri2pet.diffusion.samplers import make_table
from mri2pet.engines import sampling
from mri2pet.imaging import pipeline
from mri2pet.imaging.brain import registration, starts
from mri2pet.imaging.space.itk import Schedule


def _block(text):
    (block,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return block


def a_fifth(sampler, prediction, steps, **options):
    """Of the steps that either asks for."""
    return make_table(sampler, prediction, steps // 5, **options)


@pytest.mark.slow
def test_the_lines_give_the_image_of_synthesize(
    repository, export, shared_data, tmp_path, monkeypatch
):
    shutil.copyfile(shared_data / "t1" / "antspy_ch2_brain.nii.gz", tmp_path / "brain.nii.gz")
    shutil.copytree(export, tmp_path / "EXPORT")
    monkeypatch.chdir(tmp_path)
    prepared = []
    preprocess = pipeline.preprocess

    def once(t1, **options):
        """The registration is slow, and not what is compared."""
        if not prepared:
            prepared.append(preprocess(t1, **options))
        return prepared[0]

    monkeypatch.setattr(pipeline, "preprocess", once)
    monkeypatch.setattr(registration, "STARTS", 1)
    monkeypatch.setattr(registration, "FINE", Schedule((200, 100), (4, 2), (2, 1)))
    monkeypatch.setattr(starts, "YAW_DEG", (0.0,))
    monkeypatch.setattr(starts, "ROLL_DEG", (0.0,))
    monkeypatch.setattr(sampling, "make_table", a_fifth)
    monkeypatch.setattr("mri2pet.synthesis.subject._report", lambda *of: "")
    names = {}
    exec(
        compile(_block((repository / "docs" / "embedding.md").read_text()), "lines", "exec"), names
    )
    image = nibabel.load("pet.nii.gz")
    (result,) = mri2pet.synthesize("brain.nii.gz", model="EXPORT", skull_stripped=True)
    wanted = result.pet.get_fdata()
    assert wanted.max() > 0.1
    np.testing.assert_allclose(image.get_fdata(), wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(image.affine, nibabel.load("brain.nii.gz").affine)
    assert image.header["descrip"].item() == b"synthetic AV45 SUVR"
    with pytest.raises(mri2pet.UsageError, match="samples"):
        names["synthetic_pet"]("brain.nii.gz", samples=0, skull_stripped=True)
