"""A real Ray cluster of two workers makes what one process makes, also when a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mri2pet.cli import main as cli
from mri2pet.cohort.cache import build_cache
from mri2pet.cohort.on_ray import ray_map
from mri2pet.cohort.parallel import one_thread
from mri2pet.errors import InputError, UsageError

from .conftest import MRI_SHAPE, PET_SHAPE

SETTINGS = {"mri_shape": MRI_SHAPE, "pet_shape": PET_SHAPE, "registration": "truth"}


@pytest.fixture
def _ray():
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'mri2pet[ray]')")


@pytest.mark.usefixtures("_ray")
def test_a_killed_worker_costs_no_scan(tiny_cohort, tmp_path):
    """The worker at work on the second scan is killed; a broken scan is listed, tried once."""
    pet = tiny_cohort.pet("sub-0003")
    pet.write_bytes(pet.read_bytes()[:2000])
    alone = build_cache(tiny_cohort.root, tmp_path / "alone", **SETTINGS)
    seen, killed = [], []

    def on_subject(done, of, name, error):
        seen.append(name)
        if not killed:
            killed.extend(workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    cluster = build_cache(
        tiny_cohort.root, tmp_path / "ray", jobs=2, ray="local", on_subject=on_subject, **SETTINGS
    )
    assert len(killed) == 1
    assert sorted(seen) == [f"sub-{i:04d}_ses-01" for i in range(1, 6)]
    assert cluster.failures == alone.failures
    assert list(cluster.failures) == ["sub-0003_ses-01"]
    for row in alone.rows():
        np.testing.assert_array_equal(cluster.mri(row), alone.mri(row))
        np.testing.assert_array_equal(cluster.pet(row), alone.pet(row))


@pytest.mark.usefixtures("_ray")
def test_a_task_is_tried_again_only_when_its_worker_died(tmp_path):
    def work(task):
        with (tmp_path / f"{task}.tries").open("a") as file:
            file.write("x")
        if task == 1 and (tmp_path / "1.tries").stat().st_size == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == 3:
            raise InputError("unusable")
        return 10 * task

    assert sorted(ray_map(work, [0, 1, 2], 2, "local")) == [(0, 0), (1, 10), (2, 20)]
    with pytest.raises(InputError, match="unusable"):
        list(ray_map(work, [3], 2, "local"))
    tries = [(tmp_path / f"{task}.tries").stat().st_size for task in range(4)]
    assert tries == [1, 2, 1, 1]


def test_an_address_without_a_cluster_fails_at_once():
    """Ray itself would try for minutes."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'mri2pet[ray]')")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            began = time.monotonic()
            with pytest.raises(UsageError, match=f"--ray {address}: no Ray cluster answers there"):
                list(ray_map(str, [1], 1, address))
            assert time.monotonic() - began < 20
    for address in ("localhost", "here:there", ""):
        with pytest.raises(UsageError, match="is no address of a cluster"):
            list(ray_map(str, [1], 1, address))


def test_a_connection_that_was_there_stays():
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'mri2pet[ray]')")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        assert list(ray_map(str, [1], 1, "127.0.0.1:1")) == [(1, "1")]
        assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_the_command_stylises_on_a_cluster(tiny_cohort, tmp_path, capsys):
    def stylised(name, *more):
        out = tmp_path / name
        given = ["stylize", str(tiny_cohort.root), "-o", str(out), "--random-vgg", "--steps", "1"]
        more = (*more, "--registration", "truth", "--limit", "2", "--device", "cpu", "-q")
        assert cli.main([*given, *more]) == 0
        assert f"2 PET-like MRIs in {out}" in capsys.readouterr().out
        volumes = {path.stem: np.load(path) for path in (out / "rows").glob("*.npy")}
        assert len(volumes) == 2
        assert json.loads((out / "style.json").read_text())["vgg"]["source"].startswith("random")
        return volumes

    with one_thread():
        alone = stylised("alone")
    cluster = stylised("cluster", "--ray", "local", "--jobs", "2")
    for name, volume in alone.items():
        np.testing.assert_allclose(cluster[name], volume, atol=2e-3)
    assert not sys.modules["ray"].is_initialized()


def test_without_ray_one_sentence_says_what_to_install(tiny_cohort, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install .mri2pet\[ray\]"):
        build_cache(tiny_cohort.root, ray="local", **SETTINGS)


def workers() -> list[int]:
    """Ray's worker processes below this one, those at work first."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            title = (folder / "cmdline").read_bytes()
            # Not Ray's agents, whose names begin alike: a node dies with them.
            if title.startswith((b"ray::_in_worker", b"ray::IDLE")) and below_this(
                int(folder.name)
            ):
                found.append((title.startswith(b"ray::IDLE"), int(folder.name)))
        except (OSError, ValueError):
            continue
    return [pid for _, pid in sorted(found)]


def below_this(pid: int) -> bool:
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == os.getpid()
