"""From what a user names to an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mri2pet.checkpoint import Model, bundled_models, load_model
from mri2pet.config import ModelConfig
from mri2pet.engines.base import Engine
from mri2pet.engines.ensemble import Ensemble
from mri2pet.engines.exported import is_export
from mri2pet.engines.generator_engine import GeneratorEngine
from mri2pet.engines.torch_engine import TorchEngine
from mri2pet.errors import ModelError, UsageError

# Engines that take an export, and what makes one for them.
EXPORTED = {"onnxruntime": "", "tensorrt": " --format tensorrt"}

#: How a user names a model.
Named = str | Path | Model


def load_engine(
    model: Named | Sequence[Named],
    *,
    engine: str = "auto",
    device: str = "cpu",
    precision: str | None = None,
) -> Engine:
    """The engine for a model or an export.

    Args:
        model: a bundled model's name, a model or run folder, a loaded model, or an export folder;
            several of them make an `Ensemble`.
        engine: "torch" for a model, "onnxruntime" or "tensorrt" for an export; "auto" takes
            torch or ONNX Runtime, whichever fits.
        device: "cpu" or "cuda"; a loaded model stays where it is.
        precision: of the torch engine, see `TorchEngine`, by default "fp32"; that of an export
            was chosen when it was made.

    Raises:
        ModelError: the model and the engine do not fit, or the model cannot be used; or models
            that cannot draw together.
        UsageError: the engine is not installed, or a precision that it does not have.
    """
    several = named(model)
    if len(several) > 1:
        members = [
            load_engine(one, engine=engine, device=device, precision=precision) for one in several
        ]
        return Ensemble(members, [m.name if isinstance(m, Model) else str(m) for m in several])
    (model,) = several
    if isinstance(model, Model):
        if engine in EXPORTED:
            raise ModelError(f"a loaded model runs in torch; export it for the engine {engine}")
        return engine_of(model, precision)
    exported = str(model) not in bundled_models() and is_export(model)
    if engine == "auto":
        engine = "onnxruntime" if exported else "torch"
    if engine in EXPORTED:
        if not exported:
            raise ModelError(
                f"{model}: the engine {engine} takes an export; make one with "
                f"`mri2pet export {model} -o DIR{EXPORTED[engine]}` and name DIR"
            )
        loaded = _load_exported(Path(model), engine, device)
        if precision not in (None, loaded.precision):
            raise UsageError(
                f"{model}: was exported in {loaded.precision}, not {precision}; export it again"
            )
        return loaded
    if exported:
        raise ModelError(f"{model}: an export; the engine torch takes the model it was made from")
    return engine_of(load_model(model, device), precision)


def named(model: Named | Sequence[Named]) -> list[Named]:
    """One model or several as a list.

    Raises:
        UsageError: none at all.
    """
    several = [model] if isinstance(model, (str, Path, Model)) else list(model)
    if not several:
        raise UsageError("no model is named")
    return several


def engine_of(model: Model, precision: str | None = None, *, graphed: bool = True) -> Engine:
    """The engine for a loaded model of either family; arguments as of `TorchEngine`."""
    if model.config.family == "gan":
        return GeneratorEngine(model, precision or "fp32")
    return TorchEngine(model, precision or "fp32", graphed=graphed)


def recorded_sampling(config: ModelConfig, sampler: str, steps: int) -> tuple[str, int]:
    """How a model's PETs are drawn, for the record: ("generator", 1) for a GAN."""
    return ("generator", 1) if config.family == "gan" else (sampler, steps)


def _load_exported(folder: Path, engine: str, device: str) -> Engine:
    if engine == "tensorrt":
        if device == "cpu":
            raise UsageError("the engine tensorrt needs an NVIDIA GPU: --device cuda")
        from mri2pet.engines.tensorrt_engine import TensorRtEngine

        return TensorRtEngine(folder, device)
    from mri2pet.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(folder, device)
