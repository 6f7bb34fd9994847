"""The other side of the node in tests: series, senders, an archive, a network of their own."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt

from mri2pet.pacs.archive import keep_answers

MR = "1.2.840.10008.5.1.4.1.1.4"
PET = "1.2.840.10008.5.1.4.1.1.128"
COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
STUB = Path(__file__).with_name("stub_node.py")
SLICES = 28
NEWNET = 0x40000000


def made_series(slices: int = SLICES, *, study: str | None = None, **header: str) -> list[Dataset]:
    """An MR series of 16 x 16 pixels; `header` adds or replaces elements."""
    study, series, rng = study or generate_uid(), generate_uid(), np.random.default_rng(slices)
    made = []
    for k in range(slices):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = MR, generate_uid()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.PatientName, ds.PatientID, ds.Modality = "Doe^Jane", "P1", "MR"
        ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "T1", "3", str(k + 1)
        ds.ImagePositionPatient = [0, 0, k]
        ds.Rows = ds.Columns = 16
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 0
        ds.PixelData = rng.integers(0, 4096, (16, 16), np.uint16).tobytes()
        for name, value in header.items():
            setattr(ds, name, value)
        made.append(ds)
    return made


def stub_synthesis(source: Path, out: Path) -> None:
    """A PET instance for each slice, with UIDs made of the slices'; what ImageComments asks for."""
    import pydicom

    from mri2pet.errors import InputError, ProcessLost

    for path in sorted(source.iterdir()):
        ds = pydicom.dcmread(path)
        wish = ds.get("ImageComments", "")
        if wish == "refuse":
            told = f"{source}: series {ds.SeriesDescription} of {ds.PatientName} is no T1"
            raise InputError(told)
        if wish == "fail":
            raise ValueError(f"{ds.PatientName} is too much")
        if wish == "lost":
            raise ProcessLost("ANTs' process ended without an answer")
        if wish == "die":
            os.kill(os.getpid(), 9)
        number = int(hashlib.sha256(ds.SOPInstanceUID.encode()).hexdigest()[:30], 16)
        series = int(hashlib.sha256(ds.SeriesInstanceUID.encode()).hexdigest()[:30], 16)
        ds.SOPClassUID, ds.SOPInstanceUID = PET, f"2.25.{number}"
        ds.SeriesInstanceUID, ds.Modality = f"2.25.{series}", "PT"
        ds.file_meta.MediaStorageSOPClassUID = PET
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(out / path.name, enforce_file_format=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The condition's first true value; fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.02)


class Sender:
    """A scanner or archive that sends; statuses are those of C-STORE, None: no answer."""

    def __init__(self, port: int, *, aet: str = "SENDER", called: str = "MRI2PET", **more: Any):
        ae = AE(aet)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        contexts = more.pop("contexts", None) or [build_context(MR, ExplicitVRLittleEndian)]
        self.association = ae.associate(
            "127.0.0.1", port, contexts=contexts, ae_title=called, **more
        )
        keep_answers(self.association)

    @property
    def accepted(self) -> bool:
        return bool(self.association.is_established)

    def store(self, series: list[Dataset]) -> list[int | None]:
        statuses: list[int | None] = []
        for ds in series:
            try:
                answer = self.association.send_c_store(ds)
            except (RuntimeError, ValueError):
                return [*statuses, None]
            statuses.append(answer.Status if "Status" in answer else None)
            if statuses[-1] is None:
                break
        return statuses

    def release(self) -> bool:
        self.association.release()
        return bool(self.association.is_released)


def heard(port: int) -> Sender | None:
    """A sender whose association was accepted, None if it was not."""
    sender = Sender(port)
    return sender if sender.accepted else None


def send(port: int, series: list[Dataset], **more: Any) -> list[int | None]:
    """Statuses of a series sent on an association of its own."""
    sender = Sender(port, **more)
    assert sender.accepted
    statuses = sender.store(series)
    sender.release()
    return statuses


class Archive:
    """Stores in memory; reports commitment on a `new` or the `same` association, or `never`.

    `status` is its answer to C-STORE, `losing` says so many times that it has nothing.
    """

    def __init__(self, port: int, node_port: int = 0, report: str = "new") -> None:
        self.port, self.node_port, self.report = port, node_port, report
        self.status, self.losing, self.reports = 0, 0, 0
        self.stored: dict[str, str] = {}
        self.committed: set[str] = set()
        self.answers: list[int] = []
        self._server: Any = None

    def start(self, tls: ssl.SSLContext | None = None) -> Archive:
        ae = AE("ARCHIVE")
        ae.add_supported_context(PET)
        ae.add_supported_context("1.2.840.10008.1.1")
        ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _: 0),
            (evt.EVT_N_ACTION, self._asked),
        ]
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=tls
        )
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def _store(self, event: Any) -> int:
        ds = event.dataset
        if self.status == 0:
            self.stored[str(ds.SOPInstanceUID)] = str(ds.SeriesInstanceUID)
        return self.status

    def _asked(self, event: Any) -> tuple[int, None]:
        asked = event.action_information
        thread = threading.Thread(target=self._report, args=(event.assoc, asked), daemon=True)
        if self.report != "never":
            thread.start()
        return 0, None

    def _report(self, association: Any, asked: Dataset) -> None:
        lost = self.losing > 0
        self.losing -= lost
        told = Dataset()
        told.TransactionUID = asked.TransactionUID
        name = "FailedSOPSequence" if lost else "ReferencedSOPSequence"
        setattr(told, name, asked.ReferencedSOPSequence)
        if lost:
            for item in told.FailedSOPSequence:
                item.FailureReason = 0x0112
        if self.report == "same":
            wait_for(lambda: not association._is_paused or True, "an answer", 5)
            self._tell(association, told, lost)
            return
        ae = AE("ARCHIVE")
        role = build_role(COMMITMENT, scp_role=True)
        opened = ae.associate(
            "127.0.0.1",
            self.node_port,
            contexts=[build_context(COMMITMENT)],
            ae_title="MRI2PET",
            ext_neg=[role],
        )
        if opened.is_established:
            self._tell(opened, told, lost)
            opened.release()

    def _tell(self, association: Any, told: Dataset, lost: bool) -> None:
        keep_answers(association)
        with contextlib.suppress(RuntimeError, ValueError):
            answer, _ = association.send_n_event_report(
                told, 2 if lost else 1, COMMITMENT, COMMITMENT_INSTANCE
            )
            self.reports += 1
            if "Status" in answer:
                self.answers.append(answer.Status)
            if not lost and "Status" in answer:
                items = told.ReferencedSOPSequence
                self.committed.update(str(item.ReferencedSOPInstanceUID) for item in items)


def made_pets(folder: Path, slices: int) -> Path:
    """A folder below `folder` with so many PET instances."""
    (folder / "mr").mkdir()
    (folder / "out").mkdir()
    for k, ds in enumerate(made_series(slices)):
        ds.save_as(folder / "mr" / f"{k}.dcm", enforce_file_format=True)
    stub_synthesis(folder / "mr", folder / "out")
    return folder / "out"


def series_counts(archive: Archive) -> dict[str, int]:
    counts: dict[str, int] = {}
    for series in list(archive.stored.values()):
        counts[series] = counts.get(series, 0) + 1
    return counts


@contextmanager
def private_network() -> Iterator[str | None]:
    """This thread and what it starts see a loopback of their own; the reason where that cannot
    be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(NEWNET) != 0:
            yield f"no network namespace ({os.strerror(ctypes.get_errno())})"
            return
        try:
            up = subprocess.run(["ip", "link", "set", "lo", "up"], capture_output=True, text=True)
            yield None if up.returncode == 0 else f"no loopback ({up.stderr.strip()})"
        finally:
            libc.setns(before, NEWNET)
    finally:
        os.close(before)


class NodeProcess:
    """A node with the stub's synthesis, in processes of its own; its log is in `log`."""

    def __init__(self, folder: Path, tree: dict[str, Any], *options: str) -> None:
        self.file = folder / "NODE.json"
        self.file.write_text(json.dumps(tree))
        self.tree, self.spool, self.log = tree, Path(tree["spool"]), folder / "node.log"
        self._options = options
        self.process: Any = None

    def __enter__(self) -> NodeProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(STUB), "node", str(self.file), *self._options],
                stdout=log,
                stderr=log,
                cwd=self.file.parent,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.tree['health_port']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def wait_ready(self, seconds: float = 60) -> None:
        wait_for(self.ready, "a ready node: " + str(self.get("/readyz")), seconds)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def pids(self) -> dict[str, int]:
        """Process name → id of the node's children."""
        found = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    words = (status.parent / "cmdline").read_bytes().split(b"\0")
                    for name in ("receiver", "worker"):
                        if name.encode() in words:
                            found[name] = int(status.parent.name)
        return found


def resident_mb(pid: int) -> float:
    """Memory that a process has held at most, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024
