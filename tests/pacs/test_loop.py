"""A series in, a PET out, within one process."""

from __future__ import annotations

import pytest


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
