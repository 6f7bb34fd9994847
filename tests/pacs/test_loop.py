"""A series in, a PET out, within one process."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from mri2pet.errors import UsageError


@pytest.mark.parametrize("report", ["new", "same"])
def test_series_comes_in_and_its_pet_is_committed(within, peers, tree, report):
    archive = peers.Archive(tree["destination"]["port"], tree["port"], report).start()
    try:
        node = within()
        assert peers.send(node.port, peers.made_series(8)) == [0] * 8
        peers.wait_for(lambda: node.states() == ["ready"], "a complete series")
        assert node.work() == 1
        peers.wait_for(lambda: node.states() in (["committed"], ["purged"]), "a committed PET")
        assert list(peers.series_counts(archive).values()) == [8]
        peers.wait_for(lambda: node.states() == ["purged"], "an empty spool")
        folders = (node.spool.incoming, node.spool.results, node.spool.temporary)
        peers.wait_for(lambda: not any(list(f.iterdir()) for f in folders), "no files")
    finally:
        archive.stop()


def test_worker_loads_the_model_once_and_passes_the_options_on(tree, tmp_path, monkeypatch):
    from mri2pet import checkpoint
    from mri2pet.pacs.settings import NodeSettings
    from mri2pet.pacs.worker import load_synthesis

    calls, loaded = [], object()
    monkeypatch.setattr(checkpoint, "load_model", lambda name, device: (name, device, loaded))
    module = ModuleType("mri2pet.synthesis.dicom_series")
    module.synthesize_series = lambda source, out, **options: calls.append((source, out, options))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = NodeSettings.model_validate({**tree, "synthesize": {"steps": 3, "device": "cpu"}})
    synthesize = load_synthesis(settings)
    synthesize(tmp_path / "in", tmp_path / "out")
    synthesize(tmp_path / "in2", tmp_path / "out2")
    ((source, out, options), (_, _, again)) = calls
    assert (source, out) == (tmp_path / "in", tmp_path / "out")
    assert options["model"] == ("demo", "cpu", loaded)
    assert again["model"] is options["model"]
    assert (options["steps"], options["report"], options["std"]) == (3, "pdf", False)
    wrong = NodeSettings.model_validate({**tree, "synthesize": {"sampler": "none"}})
    with pytest.raises(UsageError, match="sampler"):
        load_synthesis(wrong)
