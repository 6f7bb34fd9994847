"""Models on disk: a folder with `model.safetensors` and `model.json`; nothing is unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor, nn

from mri2pet.baselines.networks import Critic, Generator
from mri2pet.config import ModelConfig, parse_config
from mri2pet.descriptions import read_description, write_description
from mri2pet.diffusion.schedule import noise_from_output
from mri2pet.errors import ModelError, UsageError
from mri2pet.files import write_atomically
from mri2pet.nn import Network

FORMAT = 2
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
#: Beside a GAN's generator, for another run to start from; sampling never reads it.
CRITIC = "critic.safetensors"

#: What draws PETs: the network of diffusion, or the generator of a GAN.
Drawing = Network | Generator


@dataclass
class Model:
    """A network ready to sample, with the constants of the data that it was trained on.

    PET = standardised · pet_std + pet_mean, in the unit of the PETs that were learnt: SUVR, see
    `imaging.suvr.reference.recorded_reference`.
    """

    network: Drawing
    config: ModelConfig
    pet_mean: float
    pet_std: float
    name: str = "model"
    sha256: str = ""
    #: Of the critic that lies beside a GAN's generator.
    critic_sha256: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    #: The engine that drew from it, with what it captured: `engines.sampling` keeps it here.
    engine: Any = field(default=None, init=False, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def diffusion(self) -> Network:
        """The network of diffusion.

        Raises:
            ModelError: it is the generator of a GAN.
        """
        if not isinstance(self.network, Network):
            raise ModelError(f"{self.name}: is the generator of a GAN and predicts no noise")
        return self.network

    def encode_mri(self, mri: Tensor) -> Tensor:
        """[B, 1, K, I, J] in [0, 1] → [B, 256]; does not depend on the step."""
        return self.network.mri_encoder(mri)

    def predict_noise(self, x_t: Tensor, t: Tensor, mri: Tensor) -> Tensor:
        """ε̃ for x_t [B, 1, K, I, J], t int64 [B] (1 … 999) and the MRI [B, 1, K', I', J'].

        Raises:
            ModelError: it is the generator of a GAN.
        """
        output = self.diffusion(x_t, t, mri)
        return noise_from_output(self.config.prediction, x_t, output, t)


def save_model(
    folder: str | Path,
    network: Drawing,
    *,
    pet_mean: float,
    pet_std: float,
    critic: nn.Module | None = None,
    provenance: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Writes a model folder atomically and returns it.

    The description names the hash of the weights, so a half-written pair is never loaded.

    Args:
        network: what draws.
        pet_mean, pet_std: PET = standardised · pet_std + pet_mean.
        critic: of a GAN, for another run to start from; a head for patches is its method's own
            and left out.
        provenance: what is known of the training.
        dtype: of the weights on the disk; a linear denoiser, whose sums over all voxels would lose
            digits, stays in float32.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blobs = {WEIGHTS: _blob(network, dtype)}
    if critic is not None:
        blobs[CRITIC] = _blob(critic, dtype, without="patch_head.")
    hashes = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    description = {
        "format": FORMAT,
        "model": network.config.model_dump(mode="json"),
        "pet_mean": pet_mean,
        "pet_std": pet_std,
        "sha256": hashes[WEIGHTS],
        **({} if critic is None else {"critic_sha256": hashes[CRITIC]}),
        "provenance": provenance or {},
    }
    for name, blob in blobs.items():
        write_atomically(folder / name, blob)
    write_description(folder / DESCRIPTION, description)
    return folder


def _blob(module: nn.Module, dtype: torch.dtype, without: str | None = None) -> bytes:
    learnt = dict(module.named_parameters())
    state = {
        name: value.detach().to("cpu", dtype if name in learnt else value.dtype).contiguous()
        for name, value in module.state_dict().items()
        if without is None or not name.startswith(without)
    }
    return safetensors.torch.save(state)


def bundled_models() -> list[str]:
    """The models that come with the package."""
    folder = resources.files("mri2pet") / "models"
    return sorted(f.name for f in folder.iterdir() if f.is_dir()) if folder.is_dir() else []


def find_model(model: str | Path) -> Path:
    """The folder of a bundled model's name, of a model or of a training run.

    Raises:
        ModelError: there is none.
    """
    if str(model) in bundled_models():
        return Path(str(resources.files("mri2pet") / "models" / str(model)))
    folder = Path(model)
    for candidate in (folder, folder / "model"):
        if (candidate / DESCRIPTION).is_file():
            return candidate
    raise ModelError(
        f"{model}: no model of this name and no folder with a {DESCRIPTION}; "
        f"bundled models: {', '.join(bundled_models()) or 'none'}"
    )


def load_model(model: str | Path = "demo", device: str | torch.device = "cpu") -> Model:
    """Loads a bundled model by name, or a model folder, or the model of a training run.

    Raises:
        ModelError: unknown, of another format, or its weights do not have the recorded hash.
    """
    folder = find_model(model)
    description = _description(folder / DESCRIPTION)
    config = description["model"]
    network = _filled(_drawing, folder / WEIGHTS, description["sha256"], config).to(device)
    if isinstance(network, Network):
        # Measured for `compact` on 2 CPU cores: 0.22 s an evaluation against 0.26 s contiguous.
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return Model(
        network,
        network.config,
        float(description["pet_mean"]),
        float(description["pet_std"]),
        name=str(model) if str(model) in bundled_models() else folder.resolve().name,
        sha256=description["sha256"],
        critic_sha256=description.get("critic_sha256") or "",
        provenance=description.get("provenance", {}),
    )


def _drawing(config: ModelConfig) -> Drawing:
    """What draws PETs, of the family."""
    if config.family == "gan":
        return Generator(config)
    return Network(config)


def load_critic(model: str | Path, device: str | torch.device = "cpu") -> Critic:
    """The critic that lies beside a GAN's generator, as `load_model` finds that.

    Raises:
        ModelError: there is none, or its weights do not have the recorded hash.
    """
    folder = find_model(model)
    description = _description(folder / DESCRIPTION)
    if not description.get("critic_sha256"):
        raise ModelError(f"{folder}: has no {CRITIC}; give a GAN that was trained here")
    config, sha256 = description["model"], description["critic_sha256"]
    return _filled(Critic, folder / CRITIC, sha256, config).to(device)


Made = TypeVar("Made", bound=Drawing | Critic)


def _filled(
    make: Callable[[ModelConfig], Made], path: Path, sha256: str, model: dict[str, Any]
) -> Made:
    """A frozen module with the weights of a file, in evaluation mode.

    Raises:
        ModelError: the file cannot be read, has another hash, or does not fit.
    """
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); copy the model again"
        ) from None
    if hashlib.sha256(blob).hexdigest() != sha256:
        raise ModelError(f"{path.parent}: the weights do not have the recorded hash; copy it again")
    try:
        module = make(parse_config({"model": model}).model)
        state = safetensors.torch.load(blob)
        module.load_state_dict({k: v.to(torch.float32) for k, v in state.items()})
    except (KeyError, RuntimeError, UsageError, safetensors.SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path.parent}: weights and description do not fit: {reason}") from None
    module.requires_grad_(False).eval()
    return module


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Description(BaseModel):
    """What `model.json` holds."""

    model_config = ConfigDict(extra="forbid")

    format: int
    model: ModelConfig
    pet_mean: FiniteFloat
    pet_std: Annotated[FiniteFloat, Field(gt=0)]
    sha256: Sha256
    critic_sha256: Sha256 | None = None
    provenance: dict[str, Any]


def _description(path: Path) -> dict[str, Any]:
    """A model's description; format 1 has no hash of its own.

    Raises:
        ModelError: it cannot be used.
    """
    tree = read_description(path, hashed=False)
    if tree.get("format") not in (1, FORMAT):
        raise ModelError(
            f"{path}: model format {tree.get('format')} is not format {FORMAT}; "
            "convert the model again with this version of mri2pet"
        )
    return read_description(path, _Description, hashed=tree["format"] != 1)
