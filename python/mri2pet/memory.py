"""What sampling and training will allocate, counted before anything is computed."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mri2pet.config import Config, ModelConfig
from mri2pet.diffusion import schedule
from mri2pet.errors import Mri2petError

#: What torch, the libraries and (on a GPU) the CUDA context take beside the tensors.
OVERHEAD_BYTES = 2**30
BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of all tensors at the worst moment, by the volumes that are computed at once.

    Attributes:
        what: "sampling" or "training".
        fixed: parameters, and for training gradients, Adam's moments and the moving average.
        peaks: volumes at once → bytes with `fixed`.
        available: bytes free on the device now.
    """

    what: str
    fixed: int
    peaks: dict[int, int]
    available: int

    @property
    def largest(self) -> int | None:
        """The most volumes at once that fit beside the overhead; None if not even one does."""
        return self.largest_within(self.available)

    def largest_within(self, available: int) -> int | None:
        """`largest` for another number of free bytes."""
        fitting = [n for n, peak in self.peaks.items() if peak + OVERHEAD_BYTES <= available]
        return max(fitting, default=None)

    def text(self) -> str:
        """The plan for a reader."""
        gib = 2**30
        lines = [
            f"memory plan for {self.what}: {self.available / gib:.1f} GiB are free, "
            f"{OVERHEAD_BYTES / gib:.0f} GiB of them left to the libraries",
            f"  {'at once':>8}  {'tensors':>9}",
        ]
        for count, peak in self.peaks.items():
            fits = "" if peak + OVERHEAD_BYTES <= self.available else "  does not fit"
            lines.append(f"  {count:>8}  {peak / gib:>5.2f} GiB{fits}")
        largest = self.largest
        lines.append(
            "  not even one volume fits" if largest is None else f"  {largest} at once fit"
        )
        return "\n".join(lines)


def sampling_plan(
    config: ModelConfig, device: str = "cpu", *, others: Sequence[ModelConfig] = ()
) -> MemoryPlan:
    """The plan of the sampling loop: network, one evaluation, and the loop's own volumes.

    Args:
        others: networks that lie beside it, as in an ensemble.
    """

    def counted(count: int) -> Counted:
        own = _sampling(config, device, count)
        beside = [_sampling(other, device, count).keep for other in others]
        return Counted((own.keep, beside), own.work)

    def peak(count: int) -> tuple[int, int]:
        return count_bytes(lambda: counted(count))

    return _plan("sampling", peak, device)


def training_plan(config: Config, device: str = "cpu") -> MemoryPlan:
    """The plan of a training step, by `training.micro_batch`.

    A step is counted as a CPU makes it, whatever the device: torch without CUDA cannot pass stand-
    ins of CUDA tensors backward, and the tensors are the same.
    """

    from mri2pet.baselines import method_of

    def peak(count: int) -> tuple[int, int]:
        return count_bytes(lambda: _training(config, count))

    return _plan("training", peak, device, method_of(config).least)


@contextmanager
def explained(plan: Callable[[], MemoryPlan], count: int) -> Iterator[None]:
    """Says what would fit when the memory does not suffice.

    Args:
        plan: asked only then.
        count: volumes that are computed at once.

    Raises:
        Mri2petError: instead of torch's own out-of-memory errors.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        made = plan()
        largest = made.largest
        fits = "not even one fits" if largest is None else f"{largest} would fit"
        raise Mri2petError(
            f"out of memory for {made.what} with {count} volumes at once; "
            f"{made.available / 2**30:.1f} GiB are free, {fits}"
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text


_SYSTEM = Path("/")
_MEMINFO_UNIT = 1024


def available_bytes(device: str) -> int:
    """Free memory of a GPU, or of this machine (within the limit of its control group)."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    free = _MEMINFO_UNIT * _entry(_SYSTEM / "proc/meminfo", "MemAvailable:")
    groups = _SYSTEM / "sys/fs/cgroup"
    for limit, used, statistics, cached in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        try:
            most = int((groups / limit).read_text())
            taken = int((groups / used).read_text())
            # Files that were read count as used, and go when the memory is needed.
            taken -= _entry(groups / statistics, cached)
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        free = min(free, most - taken)
    return free


def _entry(path: Path, name: str) -> int:
    """The number behind a name in a file of the kernel."""
    lines = (line.split() for line in path.read_text().splitlines())
    return next(int(words[1]) for words in lines if words and words[0] == name)


def count_bytes(run: Callable[[], Counted]) -> tuple[int, int]:
    """(bytes that stay, most bytes at once) of tensors that `run` makes, without computing them.

    The tensors are fakes: shapes and dtypes pass through every op, and nothing is allocated.
    What an op needs inside itself (a convolution's workspace) is not seen.
    """
    schedule.alpha_bar()  # cached for the process, so it must be computed for real
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    with _without_onednn(), fakes, _Meter() as meter:
        kept = run()
        fixed = meter.held
        kept.work()
    return fixed, meter.peak


@contextmanager
def _without_onednn() -> Iterator[None]:
    """oneDNN's own operator takes real tensors only; the plain one allocates the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # set along with it
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@dataclass
class Counted:
    """Tensors that stay, and the work that is done beside them."""

    keep: Any
    work: Callable[[], Any]


class _Meter(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.held -= size


def _plan(
    what: str, peak: Callable[[int], tuple[int, int]], device: str, least: int = 1
) -> MemoryPlan:
    counted = {count: peak(count) for count in BATCHES if count >= least}
    fixed = next(iter(counted.values()))[0]
    return MemoryPlan(
        what, fixed, {count: most for count, (_, most) in counted.items()}, available_bytes(device)
    )


def _sampling(config: ModelConfig, device: str, count: int) -> Counted:
    if config.family == "gan":
        return _generating(config, device, count)
    from mri2pet.nn import Network

    with torch.device(device):
        network = Network(config).requires_grad_(False)

    def work() -> None:
        mri = torch.empty(1, 1, *config.mri_shape, device=device)
        x = torch.empty(count, 1, *config.pet_shape, device=device)
        same = network.guide(mri)
        steps = torch.zeros(count, dtype=torch.int64, device=device)
        with torch.inference_mode():
            rows = network.block_biases(network.mri_encoder(mri).expand(count, -1), steps)
            whole = None if same is None else same.expand(count, -1, -1, -1, -1)
            output = network.denoise(x, rows, whole)
            previous = torch.empty_like(x)
            (torch.empty_like(x), torch.empty_like(previous), output)

    return Counted(network, work)


def _generating(config: ModelConfig, device: str, count: int) -> Counted:
    from mri2pet.baselines.networks import NOISE, Generator

    with torch.device(device):
        generator = Generator(config).requires_grad_(False).eval()

    def work() -> None:
        mri = torch.empty(1, 1, *config.mri_shape, device=device)
        z = torch.empty(count, NOISE, device=device)
        with torch.inference_mode():
            generator.draw(generator.encode(mri).expand(count, -1), z)

    return Counted(generator, work)


def _training(config: Config, count: int) -> Counted:
    """Every part with its average and Adam's moments; one micro-batch of each phase."""
    from mri2pet.baselines import method_of
    from mri2pet.baselines.draws import Draws

    method, training = method_of(config), config.training
    parts = method.parts(config)
    averages = {name: _values(module) for name, module in parts.items()}
    optimizers = {
        name: torch.optim.Adam(module.parameters(), lr=1e-4) for name, module in parts.items()
    }
    sources = {
        name: module.requires_grad_(False).eval()
        for name, module in (method.parts(config) if method.source else {}).items()
    }
    update = config.baseline.n_critic - 1  # in which every part learns

    def step() -> None:
        batch = _Volumes(
            mri=torch.empty(count, 1, *config.model.mri_shape),
            pet=torch.empty(count, 1, *config.model.pet_shape),
            noise=torch.empty(count, 1, *config.model.pet_shape),
            t=torch.ones(count, dtype=torch.int64),
        )
        for phase in method.phases(update, config):
            for name, module in parts.items():
                module.requires_grad_(name == phase.part)
            draws = Draws(training.seed, phase.part, 0, count, count)
            with _autocast(training.precision):
                terms = method.loss(phase, parts, sources, batch, draws, config)
            terms["loss"].backward()
            optimizers[phase.part].step()

    return Counted((parts, averages, optimizers, sources), step)


@dataclass
class _Volumes:
    """A micro-batch, as `baselines.base.Pairs`."""

    mri: Tensor
    pet: Tensor
    noise: Tensor
    t: Tensor


def _values(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _autocast(precision: str) -> AbstractContextManager[Any]:
    if precision == "fp32":
        return nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16)
