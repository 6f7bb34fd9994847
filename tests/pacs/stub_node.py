"""The node as `mri2pet dicom listen` runs it, with the stub's synthesis and little patience."""

import importlib.util
import sys
from pathlib import Path

from mri2pet.pacs.deliveries import Patience
from mri2pet.pacs.receiver import Pace
from mri2pet.pacs.reception import Timeouts

PACE = Pace(
    patience=Patience(first_s=0.1, longest_s=3, ask_s=5, ask_again_s=5),
    timeouts=Timeouts(greet_s=5, idle_s=30),
    echo_s=0.2,
    purge_s=0.1,
    count_again_s=0.2,
)


def stub(_: object) -> object:
    spec = importlib.util.spec_from_file_location("peers", Path(__file__).with_name("peers.py"))
    peers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peers)
    return peers.stub_synthesis


if __name__ == "__main__":
    if sys.argv[1] == "node":
        from mri2pet.cli.main import guarded
        from mri2pet.pacs.node import run_node

        program = [sys.executable, __file__]
        debug = "--debug-identifiers" in sys.argv
        sys.exit(
            guarded(
                lambda: run_node(Path(sys.argv[2]), debug_identifiers=debug, program=program),
                "mri2pet",
            )
        )
    from mri2pet.pacs.process import main

    sys.exit(main(sys.argv[1:], load=stub, pace=PACE))
