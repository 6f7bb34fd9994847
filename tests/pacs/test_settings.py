"""NODE.json and the spool: what is refused, in which words."""

from __future__ import annotations

import json
import stat

import pytest

from mri2pet.errors import UsageError


@pytest.fixture
def write(tmp_path, tree):
    def write(**changes):
        file = tmp_path / "NODE.json"
        file.write_text(json.dumps({**tree, **changes}))
        return file

    return write


def test_defaults_are_those_of_the_docs(tmp_path, repository):
    from mri2pet.pacs.settings import read_settings

    file = tmp_path / "NODE.json"
    to = {"aet": "ARCHIVE", "host": "pacs", "port": 104}
    file.write_text(json.dumps({"aet": "MRI2PET", "destination": to, "spool": "spool"}))
    settings = read_settings(file)
    assert settings.spool == tmp_path / "spool"
    page = (repository / "docs" / "pacs.md").read_text()
    for name, value in settings.model_dump(mode="json").items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        if isinstance(value, int | float | str) and name not in ("aet", "spool"):
            assert f"| {value:g} |" in row if not isinstance(value, str) else value in row, row


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stable": 3}, "stable: there is no such key; the nearest is stable_s"),
        ({"peers": [{"aet": "A", "ip": 1, "addresses": ["::1"]}]}, "peers.0.ip: there is no such"),
        ({"bind": "0.0.0.0", "peers": []}, "peers must say who may connect"),
        ({"bind": "::", "peers": []}, "peers must say who may connect"),
        ({"bind": "localhost"}, "an IP address is needed"),
        ({"aet": "A" * 17}, "1 to 16 printable"),
        ({"peers": [{"aet": "A", "addresses": ["pacs"]}]}, "peers.0.addresses.0: an IP address"),
        ({"port": 70000}, "port: Input should be less than or equal to 65535 (70000 was given)"),
        ({"port": 5, "health_port": 5}, "port and health_port are both 5"),
        ({"max_pdu": 100}, "max_pdu"),
        ({"tls": {"cert": "c", "key": "k", "ca": "a"}}, "tls.cert"),
        ({"destination": {"aet": "A", "host": "h", "port": 1, "tls": True}}, "destination.tls"),
        ({"query": {"aet": "A", "host": "h", "port": 1, "tls": True}}, "query.tls needs tls"),
        ({"query": {"aet": "A", "host": "h", "port": 1, "commitment": True}}, "query.commitment"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_named(write, changes, words):
    from mri2pet.pacs.settings import read_settings

    with pytest.raises(UsageError) as caught:
        read_settings(write(**changes))
    assert words in str(caught.value)
    assert "NODE.json" in str(caught.value) or "tls." in str(caught.value)


def test_file_that_is_no_object_is_refused(tmp_path):
    from mri2pet.pacs.settings import read_settings

    file = tmp_path / "NODE.json"
    with pytest.raises(UsageError, match="cannot be read"):
        read_settings(file)
    for text, words in (("{", "is no JSON"), ("[]", "one JSON object")):
        file.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_settings(file)


def test_spool_is_private_and_for_one_node(tmp_path):
    from mri2pet.pacs.spool import Spool

    spool = Spool(tmp_path / "spool")
    spool.open()
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    key = spool.key()
    assert spool.key() == key
    assert stat.S_IMODE((spool.folder / "key").stat().st_mode) == 0o600
    with spool.held(), pytest.raises(UsageError, match="another node"), spool.held():
        pass
    spool.folder.chmod(0o750)
    with pytest.raises(UsageError, match="chmod 700"):
        spool.open()


def test_sweep_keeps_what_the_queue_knows(tmp_path):
    from mri2pet.pacs.spool import Spool

    spool = Spool(tmp_path / "spool")
    spool.open()
    for folder, name in (("in", "a.dcm"), ("in", "b.dcm"), ("tmp", "x"), ("work", "y")):
        (spool.folder / folder / name).write_text("")
    (spool.results / "job").mkdir()
    (spool.results / "gone").mkdir()
    assert spool.sweep({"a.dcm"}, {"job"}) == 4
    left = sorted(p.name for p in spool.folder.rglob("*") if p.parent != spool.folder)
    assert left == ["a.dcm", "job"]
