"""What draws volumes for a subject: a model in this process, or one that another process holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mri2pet.synthesis.options import SynthesisOptions

if TYPE_CHECKING:
    import numpy as np

    from mri2pet.engines import Engine
    from mri2pet.imaging.suvr.drawn import Drawn

OnStep = Callable[[int, int], None]

Draw = Callable[["np.ndarray", int, OnStep | None], "Drawn"]
"""(MRI [K, I, J] in model space, number of the image, on_step) → what is drawn."""


@dataclass(frozen=True)
class Drawer:
    """The facts of a model that a result names, and the function that draws with it.

    Attributes:
        described: what a sidecar says of the model.
        sha256, provenance: of the model.
        mri_shape, pet_shape: (K, I, J) of its grids.
        engine: "torch", "onnxruntime" or "tensorrt".
        device: "cpu" or "cuda"; `device_name` is what a reader knows it by.
    """

    described: dict[str, Any]
    sha256: str
    provenance: dict[str, Any]
    mri_shape: tuple[int, int, int]
    pet_shape: tuple[int, int, int]
    engine: str
    device: str
    device_name: str
    draw: Draw

    @classmethod
    def of(cls, engine: Engine, options: SynthesisOptions) -> Drawer:
        """Draws with an engine of this process."""
        from mri2pet.synthesis.sidecar import describe_model, device_name

        def draw(mri: np.ndarray, number: int, on_step: OnStep | None) -> Drawn:
            return draw_together(engine, [mri], [number], options, on_step)[0]

        return cls(
            described=describe_model(engine),
            sha256=engine.sha256,
            provenance=engine.provenance,
            mri_shape=engine.config.mri_shape,
            pet_shape=engine.config.pet_shape,
            engine=engine.engine,
            device=engine.device.type,
            device_name=device_name(engine.device.type),
            draw=draw,
        )


def draw_together(
    engine: Engine,
    mris: Sequence[np.ndarray],
    numbers: Sequence[int],
    options: SynthesisOptions,
    on_step: OnStep | None = None,
) -> list[Drawn]:
    """Samples of each MRI and their mean; on a GPU people share the batches."""
    import numpy as np
    import torch

    from mri2pet.engines.ensemble import memory_plan
    from mri2pet.engines.mean import drawn_in_suvr
    from mri2pet.engines.sampling import sample_subjects
    from mri2pet.memory import explained

    # A GPU is fastest with all volumes at once, as far as its memory goes; a CPU with one.
    at_once = 1
    if engine.device.type == "cuda":
        at_once = min(options.samples * len(mris), memory_plan(engine).largest or 1)
    whole = torch.from_numpy(np.stack(mris))[:, None]
    with explained(lambda: memory_plan(engine), batch := engine.batch or at_once):
        drawn = sample_subjects(
            engine,
            whole,
            numbers,
            samples=options.samples,
            sampler=options.sampler,
            steps=options.steps,
            seed=options.seed,
            batch=batch,
            on_step=on_step,
        )
        return drawn_in_suvr(engine, whole, drawn)
