"""A node within the test's process, and one in processes of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("pynetdicom", reason="the extra dicom is not installed")


def _loaded(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"pacs_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def peers() -> ModuleType:
    """`peers.py`."""
    return _loaded("peers")


@pytest.fixture
def quick() -> Any:
    """The pace of tests."""
    return _loaded("stub_node").PACE


@pytest.fixture
def tree(tmp_path: Path, node_json: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """NODE.json of one test."""
    return node_json(tmp_path)


@pytest.fixture(scope="session")
def node_json(peers: ModuleType) -> Callable[[Path], dict[str, Any]]:
    """Makes NODE.json for a folder: free ports, a private spool, a series is complete after
    0.1 s without an open association."""
    return lambda folder: {
        "aet": "MRI2PET",
        "port": peers.free_port(),
        "health_port": peers.free_port(),
        "peers": [
            {"aet": "SENDER", "addresses": ["127.0.0.1"]},
            {"aet": "READER", "addresses": ["127.0.0.1"], "may_send": False},
            {"aet": "ELSEWHERE", "addresses": ["10.0.0.0/8"]},
        ],
        "destination": {"aet": "ARCHIVE", "host": "127.0.0.1", "port": peers.free_port()},
        "spool": str(folder / "spool"),
        "stable_s": 0.1,
        "incomplete_s": 0.5,
        "min_free_gib": 0,
    }


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of it for the node and a client."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2"
    )
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
    for name in ("node", "client"):
        openssl(
            "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", "san",
        )  # fmt: skip
    return folder


class Within:
    """A receiver in this process; `work` does what a worker would."""

    def __init__(self, tree: dict[str, Any], pace: Any, synthesis: Callable[..., None]) -> None:
        from mri2pet.pacs.database import Database
        from mri2pet.pacs.receiver import Receiver
        from mri2pet.pacs.settings import NodeSettings
        from mri2pet.pacs.spool import Spool

        self.settings = NodeSettings.model_validate(tree)
        self.port = self.settings.port
        self.spool = Spool(self.settings.spool)
        self.spool.open()
        self.database = Database(self.spool.database)
        self.receiver = Receiver(self.settings, self.spool, self.database, pace=pace)
        self._synthesis = synthesis

    def states(self) -> list[str]:
        return [row["state"] for row in self.database.rows("SELECT state FROM job ORDER BY id")]

    def work(self) -> int:
        """Does all ready jobs; their number."""
        from mri2pet.pacs.jobs import take
        from mri2pet.pacs.worker import work

        count = 0
        while job := take(self.database):
            work(job, self.spool, self.database, self._synthesis)
            count += 1
        return count

    def counters(self) -> dict[str, float]:
        rows = self.database.rows("SELECT * FROM counter")
        return {row["name"]: row["value"] for row in rows}


@pytest.fixture
def within(
    tree: dict[str, Any], quick: Any, peers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Within]]:
    """Starts a receiver in this process: keys of NODE.json, or `pace`, may be given."""
    from pynetdicom import _config

    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    for name in ("STORE_RECV_CHUNKED_DATASET", "STORE_SEND_CHUNKED_DATASET", "LOG_HANDLER_LEVEL"):
        monkeypatch.setattr(_config, name, getattr(_config, name))
    started: list[Within] = []

    def start(pace: Any = quick, **changes: Any) -> Within:
        node = Within({**tree, **changes}, pace, peers.stub_synthesis)
        node.receiver.start()
        started.append(node)
        return node

    yield start
    for node in started:
        node.receiver.stop()
        node.database.close()
