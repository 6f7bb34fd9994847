"""What may be told: nothing of the person, on any way out."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mri2pet.pacs.privacy import Identifiers, job_name, redact, where


def test_job_name_needs_the_key():
    name = job_name(bytes(32), "1.2.3")
    assert len(name) == 8
    assert set(name) <= set("0123456789abcdef")
    assert name == job_name(bytes(32), "1.2.3")
    assert name != job_name(bytes(31) + b"1", "1.2.3")


def test_redact_takes_every_text_of_a_header_and_the_folder(peers):
    (ds,) = peers.made_series(1, PatientName="Müller^Änne", SeriesDescription="T1 head")
    text = f"/spool/in/ab: Müller, Änne Müller^Änne ({ds.StudyInstanceUID}) T1 head, 12 slices"
    assert redact(text, [ds], [Path("/spool/in/ab")]) == "the series: …, … … (…) …, 12 slices"


def test_where_names_a_line_and_quotes_nothing():
    with pytest.raises(ValueError, match="Doe") as caught:
        int("Doe^Jane")
    assert where(caught.value).startswith("ValueError at test_privacy.py:")


def test_hardened_process_prints_its_log_and_nothing_else(tmp_path):
    code = (
        "import logging, os, resource, sys, threading, warnings\n"
        "from mri2pet.pacs.privacy import harden, log\n"
        "harden('receiver')\n"
        "print('Doe'); print('Doe', file=sys.stderr); os.write(2, b'Doe'); warnings.warn('Doe')\n"
        "logging.getLogger('pynetdicom.dul').error('Doe')\n"
        "logging.getLogger('pydicom').warning('Doe')\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "open('made', 'w').close()\n"
        "thread = threading.Thread(target=lambda: int('Doe')); thread.start(); thread.join()\n"
        "log('end', job='ab')\n"
        "int('Doe')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.stderr == ""
    events = [json.loads(line) for line in run.stdout.splitlines()]
    assert [event["event"] for event in events] == ["library", "died", "end", "died"]
    assert "Doe" not in run.stdout
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600


def test_identifiers_are_written_only_when_asked_for(tmp_path, capsys):
    Identifiers(None).note("receiving", series="1.2.3")
    file = tmp_path / "identifiers.log"
    Identifiers(file).note("receiving", job="ab", series="1.2.3")
    assert json.loads(file.read_text())["series"] == "1.2.3"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "UIDs are written" in capsys.readouterr().out


def test_receiver_imports_no_torch():
    code = (
        "import sys\n"
        "import mri2pet.pacs.process, mri2pet.pacs.receiver, mri2pet.pacs.node\n"
        "heavy = {'torch', 'nibabel', 'ants', 'scipy', 'highdicom'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_command_line_imports_no_dicom():
    code = (
        "import sys, mri2pet.cli.main\n"
        "assert not {'pydicom', 'pynetdicom', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
