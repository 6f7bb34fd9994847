"""What was built, and beside which packages."""

from __future__ import annotations

import platform
from importlib import import_module, metadata
from typing import Any

from mri2pet import __version__
from mri2pet.errors import UsageError

PACKAGES = ("torch", "numpy", "scipy", "nibabel", "antspyx", "nilearn", "safetensors")


def native_build() -> dict[str, Any]:
    """What `mri2pet._C` says of its own build.

    Keys: built (bool), reason (why not, else None), version, revision (git, "-dirty" when files
    differed from it), compiler, build_type and cuda (enabled, version, status, architectures,
    kernel_files). Without the module the facts are None and the reason says what to do.
    """
    try:
        info = import_module("mri2pet._C").build_info()
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        what = "there is none in this folder" if missing else f"it cannot be loaded ({error})"
        reason = f"the native module is not built: {what}; install mri2pet with `pip install .`"
        facts = ("revision", "compiler", "build_type", "cuda")
        return {"built": False, "reason": reason, "version": None} | dict.fromkeys(facts)
    return {"built": True, "reason": None, **info}


def native_module() -> Any:
    """`mri2pet._C`, for what needs no torch.

    Raises:
        UsageError: it is not built, with the reason.
    """
    try:
        return import_module("mri2pet._C")
    except ImportError:
        raise UsageError(native_build()["reason"]) from None


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that results depend on; None where one is missing."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def versions() -> dict[str, str | None]:
    """Versions of this program, of what it was built from, and of the libraries that compute."""
    return {
        "mri2pet": __version__,
        "git_revision": native_build()["revision"],
        "python": platform.python_version(),
        **package_versions(),
    }
