"""Pictures of what the network draws while it learns."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from mri2pet.checkpoint import Model
from mri2pet.engines.choose import engine_of
from mri2pet.engines.sampling import sample
from mri2pet.files import written_whole
from mri2pet.training.batches import TrainingData

FOLDER = "samples"
STEPS = 25


def draw_samples(run: Path, model: Model, data: TrainingData, count: int, volumes: int) -> Path:
    """One row per subject, the middle axial slice: MRI, what was measured, what is drawn.

    The noise depends on the subject alone, so pictures of one run differ by what was learnt.

    Args:
        run: gets `samples/<volumes>.png`.
        model: of the moving average.
        data: of the validation split, or of the training split when there is none.
        count: the first so many subjects.
        volumes: seen so far.

    Returns:
        The file.
    """
    rows = []
    device = model.device
    model.network.eval()
    engine = engine_of(model, graphed=False)
    for i in range(min(count, len(data))):
        mri, target, name = data[i]
        subject = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)
        drawn = sample(engine, mri[None].to(device), samples=1, steps=STEPS, subject=subject)
        drawn = (drawn[0, 0] * model.pet_std + model.pet_mean).float().cpu()
        top = max(float(target.max()), 1e-6)
        rows.append((name, [(mri[0], 1.0), (target[0], top), (drawn, top)]))
    path = run / FOLDER / f"{volumes:09d}.png"
    _draw(path, rows, volumes)
    return path


def _draw(
    path: Path, rows: list[tuple[str, list[tuple[torch.Tensor, float]]]], volumes: int
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 2.3 * len(rows) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for axes, (name, pictures) in zip(grid, rows, strict=True):
        titles = ("MRI", "target", f"drawn after {volumes} volumes")
        for place, (kij, top), title in zip(axes, pictures, titles, strict=True):
            slice_ij = np.asarray(kij[kij.shape[0] // 2])
            colours = "gray" if title == "MRI" else "inferno"
            place.imshow(slice_ij.T, origin="lower", cmap=colours, vmin=0, vmax=top)
            place.set(xticks=[], yticks=[])
            place.set_title(title, fontsize=8)
        axes[0].set_ylabel(name, fontsize=7)
    with written_whole(path) as part:
        figure.savefig(part, dpi=100)
