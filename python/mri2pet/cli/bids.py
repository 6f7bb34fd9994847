"""`mri2pet-bids`: the command as other BIDS apps spell it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mri2pet import WARNING, __version__
from mri2pet.errors import InputError, UsageError

PROGRAM = "mri2pet-bids"
SOME_FAILED = 3
WORKING_MIB = 1600
"""The most that a process held for a 0.7 mm head, with libraries and report: measured 1,561."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {PROGRAM} --help)")


def parser() -> argparse.ArgumentParser:
    """The command line; each long option may also be written with underscores."""
    made = _Parser(
        prog=PROGRAM,
        description="Synthetic AV45 PETs of a BIDS dataset, as a BIDS derivative. " + WARNING,
        epilog="Exit codes: 0 done, 1 failed, 2 misuse, 3 some sessions failed.",
        allow_abbrev=False,
    )

    def option(name: str, *others: str, **settings: Any) -> None:
        spellings = dict.fromkeys([name, "--" + name[2:].replace("-", "_"), *others])
        made.add_argument(*spellings, **settings)

    made.add_argument("bids_dir", type=Path, help="the dataset; it is only read")
    made.add_argument("output_dir", type=Path, help="the derivative")
    made.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="draw PETs, or bring all results into one table and page",
    )
    option("--participant-label", nargs="+", default=[], metavar="LABEL", help="only these people")
    option("--session-label", nargs="+", default=[], metavar="LABEL", help="only these sessions")
    option("--bids-filter-file", type=Path, metavar="FILE", help='JSON, {"t1w": {"run": 1}}')
    option("--model", default="demo", metavar="demo|PATH", help="as of mri2pet synthesize")
    option("--samples", type=int, default=4, help="volumes to draw; their mean is the PET")
    option("--sampler", default="dpmpp", metavar="dpmpp|ddim|ddpm")
    option("--steps", type=int, default=25, help="network evaluations a sample")
    option("--seed", type=int, default=0)
    option("--device", default="auto", metavar="auto|cpu|cuda")
    option("--nprocs", type=int, metavar="N", help="cores to use; default: all")
    option("--mem-mb", type=int, metavar="N", help="refuse to start where more will be needed")
    option("--work-dir", "-w", type=Path, metavar="DIR", help="for temporary files")
    option("--skip-bids-validation", "--skip_bids_validator", action="store_true")
    option("--quiet", action="store_true", help="errors only")
    made.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return made


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Raises:
        Mri2petError: what cannot be done, in one sentence.
    """
    given = parser().parse_args(arguments)
    _settle(given)
    if given.analysis_level == "group":
        return _group(given)
    return _participant(given)


def _settle(given: argparse.Namespace) -> None:
    """Cores and temporary files, which libraries look up when they are loaded."""
    for name, value in (("--nprocs", given.nprocs), ("--mem-mb", given.mem_mb)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value} must be at least 1")
    if given.nprocs is not None:
        os.environ["OMP_NUM_THREADS"] = str(given.nprocs)
    if given.work_dir is not None:
        import tempfile

        try:
            given.work_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{given.work_dir}: cannot be made ({error.strerror})") from None
        os.environ["TMPDIR"] = tempfile.tempdir = str(given.work_dir)


def _participant(given: argparse.Namespace) -> int:
    from mri2pet.cli.bids_validation import validate
    from mri2pet.cli.progress import watch
    from mri2pet.synthesis.options import SynthesisOptions
    from mri2pet.synthesis.participants import read_filters, synthesize_participants

    filters = None if given.bids_filter_file is None else read_filters(given.bids_filter_file)
    names = ("model", "samples", "sampler", "steps", "seed", "device")
    options = SynthesisOptions(**{name: getattr(given, name) for name in names})
    if given.mem_mb is not None:
        _refuse_too_little(given)
    with watch(quiet=given.quiet) as observer:
        results = synthesize_participants(
            given.bids_dir,
            given.output_dir,
            options,
            participants=given.participant_label,
            sessions=given.session_label,
            filters=filters,
            check=None if given.skip_bids_validation else validate,
            observer=observer,
        )
    failed = [result for result in results if result.status == "failed"]
    if failed:
        print(
            f"{PROGRAM}: error: {len(failed)} of {len(results)} sessions failed; see "
            f"{given.output_dir / 'logs'}",
            file=sys.stderr,
        )
        return 1 if len(failed) == len(results) else SOME_FAILED
    return 0


def _refuse_too_little(given: argparse.Namespace) -> None:
    from mri2pet.devices import choose_device
    from mri2pet.engines import load_engine
    from mri2pet.engines.ensemble import memory_plan

    place = choose_device(given.device)
    network = memory_plan(load_engine(given.model, device=place)).peaks[1] >> 20
    needed = WORKING_MIB + (network if place == "cpu" else 0)
    if given.mem_mb < needed:
        raise UsageError(f"--mem-mb {given.mem_mb}: about {needed} MB will be needed")


def _group(given: argparse.Namespace) -> int:
    from mri2pet.cohort.filters import Filters
    from mri2pet.cohort.passed_over import counted
    from mri2pet.synthesis.group import PAGE, write_group
    from mri2pet.synthesis.participants import find_people, inputs_of

    people, passed_over = find_people(given.bids_dir, given.participant_label)
    try:
        wanted = inputs_of(given.bids_dir, people, given.session_label, Filters(), passed_over)
    except InputError:
        wanted = []
    found = write_group(given.output_dir, [subject.stem for subject in wanted])
    if not given.quiet:
        told = f"{counted(len(found.rows), 'result')}, {len(found.missing)} missing"
        print(f"{told}: {given.output_dir / PAGE}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The process's own command line, or `arguments`; errors go to stderr in one line."""
    from mri2pet.cli.main import guarded, prepare_process

    if arguments is None:
        prepare_process()
    return guarded(lambda: run(arguments), PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
