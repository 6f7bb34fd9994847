"""Which settings go with a baseline, asked before any work."""

from __future__ import annotations

from mri2pet.baselines import find_baseline, is_baseline
from mri2pet.config import Config
from mri2pet.errors import UsageError

#: The family of a source → how a run of it is made.
SOURCES = {
    "gan": "--baseline gan --stage pretrain",
    "diffusion": "--stage pretrain --ablation no-style",
}


def check_config(config: Config) -> None:
    """Whether a configuration makes sense with its baseline, or with none.

    Raises:
        UsageError: it does not.
    """
    training, name = config.training, config.training.baseline
    if not is_baseline(config):
        if config.model.family == "gan":
            raise UsageError("model.family gan is of the baselines: give --baseline")
        return
    baseline = find_baseline(name)
    if config.model.family != baseline.family:
        raise UsageError(f"the baseline {name} has the model.family {baseline.family}")
    if training.ablation not in ("none", "no-style") or (
        training.ablation == "no-style" and training.stage != "pretrain"
    ):
        raise UsageError(
            f"the ablation {training.ablation} and the baseline {name} do not go together; "
            "give one of them"
        )
    if training.compile:
        raise UsageError(f"training.compile is not for the baseline {name}; leave it out")
    _check_start(config)
    if baseline.family == "gan":
        _check_gan(config)


def check_share(config: Config, processes: int) -> None:
    """Whether the micro-batches of a process suit the baseline.

    Raises:
        UsageError: they are too small, or of different sizes.
    """
    training, name = config.training, config.training.baseline
    if not is_baseline(config):
        return
    least, share = find_baseline(name).least, training.batch_size // processes
    count = training.at_once(share)
    where = f"training.micro_batch {training.micro_batch}, {share} volumes for each process"
    if count < least:
        raise UsageError(f"{where}: the baseline {name} needs at least {least} at a time")
    if share % count:
        raise UsageError(f"{where}: the baseline {name} needs a divisor, for a rest would differ")


def _check_start(config: Config) -> None:
    name, init = config.training.baseline, config.training.init
    source = find_baseline(name).source
    if source is None and init is not None:
        raise UsageError(f"the baseline {name} starts from scratch, without --init")
    if source is not None and init is None:
        raise UsageError(f"the baseline {name} needs --init RUN, a run of {SOURCES[source]}")


def _check_gan(config: Config) -> None:
    training, name = config.training, config.training.baseline
    if training.precision != "fp32":
        raise UsageError(
            f"training.precision {training.precision}: the baseline {name} takes fp32 alone, for "
            "its penalty is differentiated twice"
        )
    if config.model.cond != "embedding":
        raise UsageError(
            f"model.cond {config.model.cond}: the baseline {name} sees the MRI by its embedding "
            "alone"
        )
    if training.activation_checkpointing:
        raise UsageError(
            f"training.activation_checkpointing is not for the baseline {name}; leave it out"
        )
