"""A trained network as two ONNX graphs and the table of weights between them."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn

from mri2pet import __version__
from mri2pet.checkpoint import Model
from mri2pet.diffusion.schedule import STEPS
from mri2pet.engines.exported import (
    BIASES,
    DENOISER,
    ENCODER,
    FILES,
    FORMAT,
    LINEAR,
    MANIFEST,
    PLANS,
    sha256_of,
    write_manifest,
)
from mri2pet.errors import ModelError, UsageError
from mri2pet.export.plain import in_half, plain_network
from mri2pet.export.policy import OPSET, check_policy
from mri2pet.export.verify import TOLERANCES, verify_export
from mri2pet.files import write_atomically
from mri2pet.nn import Network
from mri2pet.nn.network import BLOCK_BIASES

if TYPE_CHECKING:
    import onnx

PRECISIONS = tuple(TOLERANCES)


class Denoiser(nn.Module):
    """The part that runs at every step; float32 at its inputs and its output."""

    def __init__(self, plain: Network, precision: str) -> None:
        super().__init__()
        self.unet, self.linear = plain.unet, plain.linear
        self.half_input = precision == "fp16"
        if precision != "fp32":
            in_half(self.unet, between=self.half_input)

    def forward(self, x_t: Tensor, block_biases: Tensor, *guide: Tensor) -> Tensor:
        mri = guide if self.linear is None else (guide[0][:, :1],)
        x = torch.cat((x_t, *mri), dim=1) if mri else x_t
        x = x.half() if self.half_input else x
        if self.linear is None:
            return self.unet(x, block_biases).float()
        output = self.unet(x, block_biases[:, :BLOCK_BIASES])
        return self.linear(output, x_t, block_biases[:, BLOCK_BIASES:], guide[0][:, 1:])


def export_onnx(
    model: Model, folder: str | Path, *, precision: str = "fp32", batch: int = 1
) -> Path:
    """Writes `encoder.onnx`, `denoiser.onnx`, `biases.safetensors` and `manifest.json`.

    Both graphs have static shapes and hold only the operators of `policy.KERNELS`. Inputs and
    outputs are float32. The export is compared with the torch model in ONNX Runtime before it
    counts; the manifest holds what was measured.

    Args:
        model: from `load_model`.
        folder: a new folder, or one that holds an export, which is replaced.
        precision: "fp32"; "fp16": convolutions, matrix products and what lies between them in half
            precision, norms and sums over voxels in float32; or "mixed": operands of convolutions
            and matrix products in half precision, all else in float32.
        batch: volumes a call takes.

    Returns:
        The folder.

    Raises:
        UsageError: an unknown precision, a batch below 1, a folder that holds something else, or
            the exporter is not installed.
        ModelError: a GAN, the graph breaks the policy, or the export does not compute what torch
            does.
    """
    folder = Path(folder)
    if model.config.family != "diffusion":
        raise ModelError(
            f"{model.name}: is the generator of a GAN, and exports are of diffusion models; "
            "synthesize with the model itself"
        )
    _check(folder, precision, batch)
    config = model.config
    plain = plain_network(model.diffusion)
    mri = torch.rand(1, 1, *config.mri_shape)
    pet = torch.randn(batch, 1, *config.pet_shape)
    columns, channels = BLOCK_BIASES, 1
    if plain.linear is not None:
        columns, channels = columns + plain.linear.table.shape[1], 2
    arguments = [pet, torch.zeros(batch, columns)]
    names = ["x_t", "block_biases"]
    if config.cond == "concat":
        arguments.append(torch.rand(batch, channels, *config.pet_shape))
        names.append("guide")
    state = [layer.state_dict() for layer in plain.unet.bias_layers]
    weights = {name: torch.cat([part[name] for part in state]) for name in ("weight", "bias")}
    if plain.linear is not None:
        weights["linear"] = plain.linear.table
        weights |= {name: getattr(plain.linear, name) for name in LINEAR}
    graphs = {
        ENCODER: _graph(plain.mri_encoder, [mri], ["mri"], "embedding"),
        DENOISER: _graph(Denoiser(plain, precision), arguments, names, "output"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder / PLANS, ignore_errors=True)
    for name, graph in graphs.items():
        write_atomically(folder / name, graph.SerializeToString())
    write_atomically(folder / BIASES, safetensors.torch.save(weights))
    write_manifest(folder, _manifest(model, folder, precision, batch))
    try:
        verify_export(folder, model)
    except BaseException:
        (folder / MANIFEST).unlink()
        raise
    return folder


def _check(folder: Path, precision: str, batch: int) -> None:
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: choose one of {', '.join(PRECISIONS)}")
    if batch < 1:
        raise UsageError(f"--batch {batch}: at least 1 volume is needed")
    known = {*FILES, MANIFEST, PLANS}
    if folder.exists() and (
        not folder.is_dir() or any(file.name not in known for file in folder.iterdir())
    ):
        raise UsageError(f"{folder}: not a folder of an export; name a new one")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the export needs the package {error.name}; install it with "
            "`pip install 'mri2pet[onnx]'`"
        ) from None


def _graph(
    module: nn.Module, arguments: list[Tensor], names: list[str], output: str
) -> onnx.ModelProto:
    # The exporter tells of every operator library that it did not find.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(arguments),
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=[output],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # paths and stacks of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    check_policy(proto)
    return proto


def _manifest(model: Model, folder: Path, precision: str, batch: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "mri2pet": __version__,
        "name": model.name,
        "model": model.config.model_dump(mode="json"),
        "model_sha256": model.sha256,
        "pet_mean": model.pet_mean,
        "pet_std": model.pet_std,
        "steps": STEPS,
        "opset": OPSET,
        "precision": precision,
        "batch": batch,
        "files": {
            name: {"sha256": sha256_of(folder / name), "bytes": (folder / name).stat().st_size}
            for name in FILES
        },
        "tolerances": TOLERANCES[precision],
        "verification": [],
        "provenance": model.provenance,
    }
