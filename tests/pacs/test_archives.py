"""The node against Orthanc and DCMTK, in a network of its own."""

from __future__ import annotations

import io
import json
import re
import subprocess
import urllib.request
import zipfile
from shutil import which

import pytest

# Each starts programs; what the node does with an archive is in `test_delivery.py`.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(which("Orthanc") is None, reason="Orthanc is not installed"),
]
DICOM, HTTP = 14242, 18042


def dcmtk(name):
    """The path of one of DCMTK's programs; pynetdicom installs others of the same names."""
    listed = subprocess.run(["dpkg", "-L", "dcmtk"], capture_output=True, text=True)
    found = [line for line in listed.stdout.splitlines() if line.endswith(f"/bin/{name}")]
    if not found:
        pytest.skip("DCMTK is not installed as a Debian package")
    return found[0]


@pytest.fixture(scope="module")
def network(peers):
    with peers.private_network() as reason:
        if reason:
            pytest.skip(reason)
        yield


def documented_script(repository):
    """The Lua script that docs/pacs.md shows."""
    page = (repository / "docs" / "pacs.md").read_text()
    found = re.search(r"^    function OnStableSeries.*?^    end$", page, re.MULTILINE | re.DOTALL)
    return found[0]


@pytest.fixture(scope="module")
def orthanc(network, peers, repository, tmp_path_factory):
    """Asks Orthanc's REST interface: path → JSON, or bytes."""
    folder = tmp_path_factory.mktemp("orthanc")
    modalities = {
        "mri2pet": {
            "AET": "MRI2PET", "Host": "127.0.0.1", "Port": 11212, "AllowStorageCommitment": True,
        }
    }  # fmt: skip
    (folder / "route.lua").write_text(documented_script(repository))
    listed = subprocess.run(["dpkg", "-L", "orthanc-dicomweb"], capture_output=True, text=True)
    plugins = [f for f in listed.stdout.splitlines() if "/plugins/" in f and f.endswith(".so")]
    config = {
        "LuaScripts": [str(folder / "route.lua")], "Plugins": plugins,
        "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "index"),
        "DicomPort": DICOM, "HttpPort": HTTP, "DicomAet": "ORTHANC", "DicomModalities": modalities,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "OverwriteInstances": False,
        "StableAge": 2, "DicomCheckModalityHost": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [which("Orthanc"), str(folder / "config.json")], stdout=log, stderr=log
    )

    def ask(path, raw=False):
        with urllib.request.urlopen(f"http://127.0.0.1:{HTTP}{path}", timeout=10) as answer:
            return answer.read() if raw else json.load(answer)

    def up():
        try:
            return ask("/system")
        except OSError:
            return None

    try:
        peers.wait_for(up, "an Orthanc that answers", 150)
        yield ask
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture(scope="module")
def node(orthanc, peers, node_json, tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    tree = node_json(folder)
    tree["port"] = 11212
    tree["peers"].append({"aet": "ORTHANC", "addresses": ["127.0.0.1"]})
    tree["destination"] = {"aet": "ORTHANC", "host": "127.0.0.1", "port": DICOM}
    tree["query"] = tree["destination"]
    with peers.NodeProcess(folder, tree) as made:
        made.wait_ready()
        yield made


def ended(node):
    import sqlite3

    with sqlite3.connect(node.spool / "queue.db") as database:
        return [row[0] for row in database.execute("SELECT state FROM job ORDER BY id")]


def test_dcmtk_sends_and_orthanc_keeps_the_pet(node, orthanc, peers, tmp_path):
    for k, ds in enumerate(peers.made_series(peers.SLICES)):
        ds.save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    echo = [dcmtk("echoscu"), "-aet", "SENDER", "-aec", "MRI2PET", "127.0.0.1", "11212"]
    subprocess.run(echo, check=True)
    store = [dcmtk("storescu"), "-aet", "SENDER", "-aec", "MRI2PET", "+sd", "127.0.0.1", "11212"]
    subprocess.run([*store, str(tmp_path)], check=True)
    peers.wait_for(lambda: ended(node) in (["committed"], ["purged"]), "a committed PET", 150)
    (series,) = orthanc("/series?expand")
    assert series["MainDicomTags"]["Modality"] == "PT"
    assert len(series["Instances"]) == peers.SLICES
    reported = [event for event in node.events() if event["event"] == "reported"]
    assert reported[-1]["state"] == "committed"


def test_orthanc_sends_on_what_comes_and_gives_the_pet_out(node, orthanc, peers, tmp_path):
    """With the script of the docs."""
    before = len(ended(node))
    for k, ds in enumerate(peers.made_series(5, PatientID="routed")):
        ds.save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    store = [dcmtk("storescu"), "-aec", "ORTHANC", "+sd", "127.0.0.1", str(DICOM), str(tmp_path)]
    subprocess.run(store, check=True)
    peers.wait_for(lambda: ended(node)[before:] in (["committed"], ["purged"]), "a PET", 150)
    assert "uncounted" not in {event["event"] for event in node.events()}
    found = [
        series
        for series in orthanc("/series?expand")
        if series["MainDicomTags"]["Modality"] == "PT"
        and orthanc(f"/series/{series['ID']}/patient")["MainDicomTags"]["PatientID"] == "routed"
    ]
    (series,) = found
    archive = orthanc(f"/series/{series['ID']}/archive", raw=True)
    assert len(zipfile.ZipFile(io.BytesIO(archive)).namelist()) == 5
    if not any(plugin["ID"] == "dicom-web" for plugin in plugins(orthanc)):
        return
    (found,) = orthanc("/dicom-web/series?Modality=PT&PatientID=routed")
    assert found["0020000E"]["Value"] == [series["MainDicomTags"]["SeriesInstanceUID"]]


def plugins(orthanc):
    return [orthanc(f"/plugins/{name}") for name in orthanc("/plugins") if name != "explorer.js"]


def test_orthanc_tells_how_many_instances_a_series_has(node, orthanc, peers):
    from mri2pet.pacs.archive import Archive
    from mri2pet.pacs.contexts import STUDY_ROOT_FIND, UNCOMPRESSED
    from mri2pet.pacs.counting import instances_of
    from mri2pet.pacs.settings import Remote

    series = orthanc("/series?expand")[0]
    study = orthanc(f"/series/{series['ID']}/study")["MainDicomTags"]["StudyInstanceUID"]
    peer = Archive("MRI2PET", Remote(aet="ORTHANC", host="127.0.0.1", port=DICOM))
    association = peer.associate({(STUDY_ROOT_FIND, UNCOMPRESSED[0])}, commitment=False)
    uid = series["MainDicomTags"]["SeriesInstanceUID"]
    assert instances_of(association, study, uid) == len(series["Instances"])
    assert instances_of(association, study, "1.2.3") is None
    association.release()


def test_dcmtk_speaks_tls(network, peers, node_json, tmp_path, certificates):
    tree = node_json(tmp_path)
    tree["tls"] = {n: str(certificates / f) for n, f in
                   (("cert", "node.pem"), ("key", "node.key"), ("ca", "ca.pem"))}  # fmt: skip
    tls = ["+tls", str(certificates / "client.key"), str(certificates / "client.pem"),
           "+cf", str(certificates / "ca.pem")]  # fmt: skip
    to = ["-aet", "SENDER", "-aec", "MRI2PET", "127.0.0.1", str(tree["port"])]
    with peers.NodeProcess(tmp_path, tree) as node:
        peers.wait_for(lambda: "listening" in node.log.read_text(), "a node that listens", 150)
        assert subprocess.run([dcmtk("echoscu"), *tls, *to]).returncode == 0
        assert subprocess.run([dcmtk("echoscu"), *to]).returncode != 0
        anonymous = ["+tla", "+cf", str(certificates / "ca.pem")]
        assert subprocess.run([dcmtk("echoscu"), *anonymous, *to]).returncode != 0


def test_dcmtk_archive_without_commitment_is_told_of(network, peers, node_json, tmp_path):
    """DCMTK's storescp offers no storage commitment."""
    tree = node_json(tmp_path)
    port = tree["destination"]["port"]
    folder = tmp_path / "received"
    folder.mkdir()
    scp = subprocess.Popen([dcmtk("storescp"), "-od", str(folder), str(port)])
    try:
        with peers.NodeProcess(tmp_path, tree) as node:
            node.wait_ready()
            assert peers.send(tree["port"], peers.made_series(3)) == [0, 0, 0]
            peers.wait_for(lambda: ended(node) == ["failed"], "a failed job", 150)
        listed = node.log.read_text()
        assert '"code": "commitment"' in listed
    finally:
        scp.terminate()
        scp.wait(10)


def test_send_sends_to_orthanc(orthanc, peers, tmp_path):
    """Orthanc reports on an association of its own, which nobody takes here."""
    from mri2pet.pacs.sending import Sent, parse_target, send_folder

    out = peers.made_pets(tmp_path, 3)
    before = len(orthanc("/series"))
    to = parse_target(f"ORTHANC@127.0.0.1:{DICOM}")
    assert send_folder(out, to, report_s=0.1) == Sent(3, 0)
    assert len(orthanc("/series")) == before + 1
