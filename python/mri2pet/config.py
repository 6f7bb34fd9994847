"""The configuration: one frozen tree, validated at the edge; the presets are data."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mri2pet.errors import UsageError

Shape = tuple[int, int, int]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Frozen):
    """The network. Shapes are (K, I, J): axial slices, left to right, posterior to anterior.

    `family` says what it is and how it is sampled: the package's own "diffusion", or the generator
    of a "gan", which a baseline trains; `prediction` and `cond` are of diffusion.
    `linear_components` is along how many principal components of the training PETs a linear
    denoiser gives the output (`nn.linear_denoiser`); 0, as in the paper, along none.
    """

    family: Literal["diffusion", "gan"] = "diffusion"
    mri_shape: Shape
    pet_shape: Shape
    prediction: Literal["epsilon", "v"] = "epsilon"
    cond: Literal["embedding", "concat"] = "embedding"
    linear_components: int = Field(0, ge=0, le=64)

    @property
    def input_channels(self) -> int:
        """Of the U-Net: x_t, and the MRI where it is a channel."""
        return 1 + (self.cond == "concat")

    @field_validator("mri_shape")
    @classmethod
    def _mri_can_be_halved(cls, shape: Shape) -> Shape:
        if any(n < 16 for n in shape):
            raise ValueError(f"{shape}: every axis must have at least 16 voxels")
        return shape

    @field_validator("pet_shape")
    @classmethod
    def _pet_halves_exactly(cls, shape: Shape) -> Shape:
        if any(n < 16 or n % 16 for n in shape) or min(shape[1:]) < 32:
            raise ValueError(f"{shape}: multiples of 16 are needed, at least 32 within a slice")
        return shape

    @model_validator(mode="after")
    def _generator_doubles_its_grid(self) -> ModelConfig:
        k, i, j = self.pet_shape
        if self.family == "gan" and (k % 16 or i % 32 or j % 32):
            raise ValueError(f"{self.pet_shape}: a GAN draws multiples of (16, 32, 32) alone")
        return self

    @model_validator(mode="after")
    def _linear_part_of_v(self) -> ModelConfig:
        if self.linear_components and self.prediction != "v":
            raise ValueError("model.linear_components needs model.prediction=v")
        if self.linear_components and self.family != "diffusion":
            raise ValueError("model.linear_components needs model.family=diffusion")
        if self.linear_components and self.cond != "concat":
            raise ValueError("model.linear_components needs model.cond=concat")
        return self


class TrainingConfig(_Frozen):
    """One training run. Its progress is counted in volumes; `epochs` sets their number.

    `stage` is "pretrain" (MRI → PET-like MRI) or "finetune" (MRI → PET), `target` what the
    network learns to draw in it: "pet", "stylized" (what `mri2pet stylize` wrote) or "mri" (the
    MRI itself on the PET's grid). `ablation` names what was left out, see `mri2pet.stages`.
    `baseline` names another method of the paper's comparison instead, see `mri2pet.baselines`.
    `micro_batch` is the volumes at a time in memory; None is for `training.resources` to settle.
    Without `grad_clip` gradients are not clipped.
    """

    stage: Literal["pretrain", "finetune"] = "finetune"
    ablation: Literal["none", "no-style", "no-pretrain", "no-laplacian", "vanilla"] = "none"
    baseline: str = "none"
    target: Literal["pet", "stylized", "mri"] = "pet"
    volumes: int = Field(640_000, ge=1)
    epochs: int | None = Field(None, ge=1)
    batch_size: int = Field(128, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    lr: float = Field(1e-4, gt=0)
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_volumes: int = Field(0, ge=0)
    grad_clip: float | None = Field(0.5, gt=0)
    laplacian_weight: float = Field(0.25, ge=0)
    snr_clip: float | None = Field(None, gt=0)
    late_share: float = Field(0.0, ge=0, le=1)
    init: str | None = None
    ema_decay: float = Field(0.999, ge=0, lt=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    augment: bool = True
    activation_checkpointing: bool = False
    compile: bool = False
    validate_every: int = Field(2_000, ge=1)
    checkpoint_every: int = Field(1_000, ge=1)
    sample_images: int = Field(2, ge=0)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _stage_has_its_target(self) -> TrainingConfig:
        if (self.target == "pet") != (self.stage == "finetune"):
            raise ValueError(f"the stage {self.stage} cannot have the target {self.target!r}")
        return self

    @model_validator(mode="after")
    def _no_start_without_pretraining(self) -> TrainingConfig:
        if self.ablation in ("no-pretrain", "vanilla") and self.init is not None:
            raise ValueError(f"the ablation {self.ablation} starts from scratch, without init")
        return self

    def at_once(self, share: int) -> int:
        """Volumes of a micro-batch when a process has `share` of the batch: all, if left open."""
        return min(self.micro_batch or share, share)

    def lasting(self, pairs: int) -> TrainingConfig:
        """With `volumes` as long as `epochs` says for so many training pairs."""
        if self.epochs is None:
            return self
        return self.model_copy(update={"volumes": self.epochs * pairs})


class DataConfig(_Frozen):
    """How a cohort becomes tensors; `truth` uses the transforms a simulated cohort knows.

    `reference` scales the PETs: `cerebellum` (SUVR), `minmax` (each to [0, 1] by itself), or the
    path of a VOI file in template space (SUVR by that region), see
    `mri2pet.imaging.suvr.reference`.
    `stylized` is the folder that `mri2pet stylize` wrote, the targets of pre-training; `loaders`
    are the threads that prepare batches ahead of a GPU, None for `training.resources` to settle;
    `ray` (`local` or an address) prepares the cohort on a Ray cluster.
    """

    registration: Literal["estimate", "truth"] = "estimate"
    reference: str = Field("cerebellum", min_length=1)
    jobs: int = Field(1, ge=1)
    ray: str | None = None
    loaders: int | None = Field(None, ge=0)
    stylized: str | None = None


class OpsConfig(_Frozen):
    """Which form of the ops runs, see `mri2pet.ops.backend.set_backend`, and of the convolutions,
    see `mri2pet.ops.convolution_choice.set_convolution`."""

    backend: Literal["auto", "native", "folded", "reference"] = "auto"
    convolution: Literal["auto", "native", "library"] = "auto"


class BaselineConfig(_Frozen):
    """Weights and numbers of the baselines; each uses those of its own formula.

    `n_critic`: a generator learns in every so many-th update. `gradient_penalty`: of WGAN-GP.
    `consistency`, `critic_consistency`: of CDC's term on the generator, of MaskGAN's on the critic.
    `anchor_spread`: of z around an anchor in CDC's image steps, every `image_every`-th of the
    generator's updates. `contrast`, `critic_contrast`: of DCL's two terms. `mask_share`: of the
    PET embedding that MaskGAN hides. `pairwise`, `high_pairwise`, `high_mse`: of DDPM-PA's three
    terms. `as_authors`: the formulas of the authors' code where they differ, see
    docs/baselines.md.
    """

    n_critic: int = Field(2, ge=1)
    gradient_penalty: float = Field(10.0, ge=0)
    consistency: float = Field(1000.0, ge=0)
    critic_consistency: float = Field(2500.0, ge=0)
    anchor_spread: float = Field(0.1, ge=0)
    image_every: int = Field(4, ge=1)
    contrast: float = Field(2.0, ge=0)
    critic_contrast: float = Field(0.5, ge=0)
    mask_share: float = Field(0.75, ge=0, lt=1)
    pairwise: float = Field(4.0, ge=0)
    high_pairwise: float = Field(4.0, ge=0)
    high_mse: float = Field(0.05, ge=0)
    as_authors: bool = False


class Config(_Frozen):
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    baseline: BaselineConfig = BaselineConfig()
    data: DataConfig = DataConfig()
    ops: OpsConfig = OpsConfig()


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("mri2pet") / "presets"
    return sorted(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith("json"))


def parse_config(tree: dict[str, Any]) -> Config:
    """A validated configuration from a plain tree, as a run folder or a model stores it.

    Raises:
        UsageError: names the first field that is wrong.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"configuration: unknown key {field}; {_nearest(first['loc'])}"
            ) from None
        scalar = not isinstance(first["input"], dict | BaseModel)
        hint = f" ({first['input']!r} was given)" if scalar else ""
        raise UsageError(f"configuration: {field}: {first['msg']}{hint}") from None


def _nearest(place: Sequence[int | str]) -> str:
    """The key that may have been meant, in words, or those that there are."""
    model: type[BaseModel] = Config
    for part in place[:-1]:
        section = model.model_fields[str(part)].annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        model = section
    known = sorted(model.model_fields)
    near = difflib.get_close_matches(str(place[-1]), known, 1)
    return f"did you mean {near[0]}" if near else f"there are {', '.join(known)}"


def without_folders(config: Config) -> dict[str, Any]:
    """A configuration as plain JSON values, for a description that is given to others: of files
    and folders only their names."""
    tree = config.model_dump(mode="json")
    for section, key in (("training", "init"), ("data", "stylized"), ("data", "reference")):
        if tree[section][key] is not None:
            tree[section][key] = Path(tree[section][key]).name
    return tree
