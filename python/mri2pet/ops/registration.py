"""How a native kernel becomes an op of PyTorch: its schema, devices, gradient and autocast rule.

`torch.library.custom_op` does the same, but the first call of such an op imports the compiler,
which costs every command a second and more.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch


def operation(
    name: str,
    *,
    devices: str | Sequence[str],
    mutates: Sequence[str] = (),
    has_gradient: bool = False,
) -> Callable[[Callable[..., Any]], Any]:
    """Makes a function the kernel of a new op; the schema is that of its annotations.

    The function's name then stands for the op, to be called and to be given to
    `torch.library.register_fake`. What the kernel returns must share no memory with its arguments.

    Args:
        name: "namespace::name".
        devices: "cpu", "cuda" or both.
        mutates: the arguments that the kernel writes; it must call
            `torch.autograd.graph.increment_version` on them.
        has_gradient: `torch.library.register_autograd` follows for this op. A gradient through an
            op without raises an error.
    """

    def register(kernel: Callable[..., Any]) -> Any:
        schema = torch.library.infer_schema(kernel, mutates_args=mutates)
        torch.library.define(name, schema, tags=(torch.Tag.pt2_compliant_tag,))
        torch.library.impl(name, devices, _untraced(kernel))
        if not has_gradient and not mutates:
            torch.library.register_autograd(name, _refusal(name))
        namespace, short = name.split("::")
        return getattr(getattr(torch.ops, namespace), short).default

    return register


def _untraced(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel as `torch.compiler.disable` makes it, in a process that has the compiler.

    A kernel that the compiler cuts into parts no longer holds, when it is launched, the tensors
    whose addresses it has passed on.
    """
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(kernel)
    def run(*args: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return kernel(*args)
        if not disabled:
            disabled.append(torch.compiler.disable(kernel))
        return disabled[0](*args)

    return run


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(f"{name} has no gradient")

    return refuse


def register_autocast(op: Any, rule: Callable[..., tuple[Any, ...]]) -> None:
    """Runs `rule(dtype, *arguments)` on the arguments of an op under autocast.

    `torch.library.register_autocast` would cast the weights as well, which the kernels take in
    float32 at no cost.
    """
    keys = {"cpu": torch._C.DispatchKey.AutocastCPU, "cuda": torch._C.DispatchKey.AutocastCUDA}
    library = torch.library.Library(op.namespace, "FRAGMENT")
    _LIBRARIES.append(library)
    for device, key in keys.items():

        def under_autocast(*args: Any, device: str = device, key: Any = key) -> Any:
            excluded = torch._C.DispatchKeySet(key)
            with torch._C._ExcludeDispatchKeyGuard(excluded):
                return op(*rule(torch.get_autocast_dtype(device), *args))

        library.impl(op, under_autocast, f"Autocast{device.upper()}")


_LIBRARIES: list[torch.library.Library] = []  # a rule lives as long as its library
