"""The sdist and the wheel made of it: what they hold, and that they know where they came from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.packaging

LEFT_OUT = shutil.ignore_patterns(".venv", "build", "dist", "REVISION", "__pycache__", ".*_cache")


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def build_wheel(source: Path, out: Path, **environment: str) -> Path:
    done = run(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", out, source),
        cwd=out.parent,
        **environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, so that no build product falls into the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "mri2pet"
    shutil.copytree(repository, copy, ignore=LEFT_OUT, symlinks=True)
    return copy


@pytest.fixture(scope="module")
def revision(checkout: Path) -> str:
    if not (checkout / ".git").exists():
        pytest.skip("the source tree is no git checkout")
    described = run(
        *("git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"), cwd=checkout
    )
    return described.stdout.strip()


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked inside another git repository, whose revision must not leak in."""
    folder = tmp_path_factory.mktemp("sdist")
    done = run(sys.executable, "-m", "build", "--sdist", "-o", folder, checkout, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = folder.glob("*.tar.gz")
    outer = folder / "outer"
    outer.mkdir()
    run("git", "init", "-q", cwd=outer)
    run(
        *("git", "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty"),
        *("-m", "outer"),
        cwd=outer,
    )
    with tarfile.open(archive) as tar:
        tar.extractall(outer)
    (tree,) = outer.glob("mri2pet-*")
    return tree


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    return build_wheel(sdist, sdist.parents[1] / "wheel", MRI2PET_CUDA="OFF")


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    folder = wheel.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_sdist_holds_what_a_build_needs(sdist: Path):
    for name in ("CMakeLists.txt", "LICENSE", "README.md", "constraints.txt", "PKG-INFO"):
        assert (sdist / name).is_file()
    assert (sdist / "csrc" / "bindings" / "module.cpp").is_file()
    assert not (sdist / ".git").exists()


def test_sdist_carries_the_revision(sdist: Path, revision: str):
    assert (sdist / "REVISION").read_text().strip() == revision


def test_wheel_holds_the_package_alone(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
    assert {name.parts[0] for name in names} == {
        "mri2pet",
        wheel.name.split("-cp")[0] + ".dist-info",
    }
    inner = {name.parts[1] for name in names if name.parts[0] == "mri2pet"}
    assert not inner & {"tests", "csrc", "docs", "build", "tools", "__pycache__"}


def test_wheel_holds_every_source_file(sdist: Path, unpacked: Path):
    homes = {"python/mri2pet": "mri2pet", "bench": "mri2pet/bench", "export": "mri2pet/export"}
    expected = {
        f"{home}/{path.relative_to(sdist / source).as_posix()}"
        for source, home in homes.items()
        for path in (sdist / source).rglob("*")
        if path.is_file()
    }
    found = {p.relative_to(unpacked).as_posix() for p in (unpacked / "mri2pet").rglob("*.*")}
    native = {name for name in found if re.fullmatch(r"mri2pet/_C\.[^/]*so", name)}
    assert len(native) == 1
    assert {name for name in found if (unpacked / name).is_file()} - native == expected


def test_wheel_of_the_sdist_knows_its_origin(unpacked: Path, revision: str):
    code = "import json, mri2pet._C as c; print(json.dumps(c.build_info()))"
    done = run(
        sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}", cwd=unpacked
    )
    assert done.returncode == 0, done.stderr
    assert f'"revision": "{revision}"' in done.stdout
    assert "MRI2PET_CUDA=OFF" in done.stdout


def test_licence_is_in_the_wheel(sdist: Path, unpacked: Path):
    (licence,) = unpacked.glob("mri2pet-*.dist-info/licenses/LICENSE")
    assert licence.read_bytes() == (sdist / "LICENSE").read_bytes()


def test_unknown_cuda_option_is_refused(sdist: Path, tmp_path: Path):
    done = run(
        *(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path / "out", sdist),
        cwd=tmp_path,
        MRI2PET_CUDA="maybe",
    )
    assert done.returncode != 0
    assert "it must be AUTO, ON or OFF" in done.stdout + done.stderr
