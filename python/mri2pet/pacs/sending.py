"""`mri2pet dicom send`: a folder of instances to an archive, with storage commitment."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mri2pet.errors import InputError, Mri2petError, UsageError
from mri2pet.pacs.gate import client_context
from mri2pet.pacs.settings import TLS, Remote

REPORT_S = 10.0


@dataclass(frozen=True)
class Sent:
    """Numbers of instances: taken by the archive, and confirmed by its report."""

    stored: int
    committed: int


def parse_target(text: str) -> Remote:
    """AET@HOST:PORT.

    Raises:
        UsageError: it has another form.
    """
    match = re.fullmatch(r"([^@]{1,16})@\[?([^@\[\]]+)\]?:(\d{1,5})", text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise UsageError(f"--to {text}: must be AET@HOST:PORT, as ARCHIVE@192.168.1.5:104")
    return Remote(aet=match[1].strip(), host=match[2], port=int(match[3]))


def tls_files(cert: Path | None, key: Path | None, ca: Path | None) -> TLS | None:
    """The three files of TLS, or None without any.

    Raises:
        UsageError: one or two of them are missing.
    """
    if cert is None and key is None and ca is None:
        return None
    if cert is None or key is None or ca is None:
        raise UsageError("--cert, --key and --ca: TLS needs all three")
    for file in (cert, key, ca):
        if not file.is_file():
            raise UsageError(f"{file}: is not there")
    return TLS(cert=cert, key=key, ca=ca)


def send_folder(
    folder: Path,
    to: Remote,
    *,
    aet: str = "MRI2PET",
    tls: TLS | None = None,
    report_s: float = REPORT_S,
) -> Sent:
    """Sends every `.dcm` of a folder, asks the archive to keep them, and waits `report_s` for its
    report on the same association. An archive that reports on one of its own (as Orthanc does)
    needs the node: here `committed` is then 0. With `tls` the archive's certificate must name its
    host.

    Raises:
        UsageError: a file of `tls` holds not what it should.
        InputError: nothing to send, or a file that is no DICOM.
        Mri2petError: the archive did not take them; the sentence says why.
    """
    from pydicom.uid import generate_uid

    from mri2pet.pacs import archive

    instances = _read(folder)
    contexts = {(sop_class, syntax) for _, sop_class, _, syntax in instances}
    kept: set[str] = set()
    came = threading.Event()

    def report(event: Any) -> tuple[int, None]:
        information = event.event_information
        items = information.get("ReferencedSOPSequence") or ()
        kept.update(str(item.ReferencedSOPInstanceUID) for item in items)
        came.set()
        return 0, None

    context = None if tls is None else client_context(tls)
    target = archive.Archive(aet, to, tls=context, report=report)
    try:
        association = target.associate(contexts, commitment=True)
        try:
            archive.takes(association, contexts, commitment=False)
            for path, *_ in instances:
                archive.store(association, path)
            try:
                archive.takes(association, contexts, commitment=True)
                asked = [(sop_class, sop) for _, sop_class, sop, _ in instances]
                archive.ask(association, str(generate_uid()), asked)
                came.wait(report_s)
            except archive.Undelivered:
                pass  # stored; that is all such an archive does
        finally:
            if association.is_established:
                association.release()
    except archive.Undelivered as error:
        raise Mri2petError(f"{to.aet}@{to.host}:{to.port}: {error.sentence}") from None
    return Sent(len(instances), len(kept & {sop for _, _, sop, _ in instances}))


def _read(folder: Path) -> list[tuple[Path, str, str, str]]:
    """(file, SOP class, SOP instance, transfer syntax) of all instances."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder of DICOM files")
    found = []
    for path in sorted(folder.glob("*.dcm")):
        try:
            meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
            sop_class, sop = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
            found.append((path, str(sop_class), str(sop), str(meta.TransferSyntaxUID)))
        except (InvalidDicomError, AttributeError, OSError):
            raise InputError(f"{path}: is no DICOM file; remove it from the folder") from None
    if not found:
        raise InputError(f"{folder}: holds no .dcm file")
    return found
