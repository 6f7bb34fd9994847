"""A real Ray cluster of two workers makes what one process makes, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from mri2pet.cohort.cache import build_cache
from mri2pet.cohort.on_ray import ray_map
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
