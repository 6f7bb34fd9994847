"""An import from its sources to the last table: index, decide, convert, write."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mri2pet.cohort.importing import archive, bids_trees, ukb
from mri2pet.cohort.importing.convert import Done, Task, convert, dcm2niix_program
from mri2pet.cohort.importing.decision import FAULTS, Decision, Plan, counts
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.names import Names
from mri2pet.cohort.importing.options import (
    ImportOptions,
    check,
    check_places,
    kept,
    wishes,
)
from mri2pet.cohort.importing.output import Writer, summary
from mri2pet.cohort.importing.provenance import write_provenance
from mri2pet.cohort.importing.record import Record, check_options, keep_options, state_of
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.strangers import strangers
from mri2pet.cohort.importing.words import FWHM_MM
from mri2pet.cohort.parallel import single_threaded_map
from mri2pet.files import is_leftover, write_atomically

ROUNDS = 5  # how often a person is decided again after an image proved unusable
PROTOCOL = (4, 300.0)  # frames, and s of each, of an AV45 PET as acquired
Source = archive.Source | bids_trees.Source | ukb.Source
Progress = Callable[[str, int, int], None]
_RADIONUCLIDE = {"TracerName": "AV45", "TracerRadionuclide": "F18"}


@dataclass(frozen=True)
class Imported:
    """What an import did. `lines`: counts for the screen."""

    plan: Plan
    lines: list[str] = field(default_factory=list)
    written: int = 0

    @property
    def exit_code(self) -> int:
        """0 done, 1 nothing could be imported, 3 some images have a fault."""
        if not self.plan.taken:
            return 1
        return 3 if FAULTS & counts(self.plan.decisions).keys() else 0


def import_cohort(
    study: str,
    paths: Sequence[Path | str],
    out: Path | str,
    options: ImportOptions | None = None,
    *,
    progress: Progress = lambda what, done, total: None,
) -> Imported:
    """Makes a BIDS tree of the downloads of a study, and goes on where it was killed.

    Args:
        study: one of `options.STUDIES`.
        progress: called with what is done ("index", "convert"), how many of it, of how many
            (0: unknown).

    Raises:
        UsageError: an option or a source makes no sense, or AV45 PETs are of several steps.
        InputError: a source or a table cannot be read.
    """
    options = options or ImportOptions()
    check(study, options)
    root, sources = Path(out), Sources(paths)
    check_places(root, sources.paths)
    run = _Run(study, sources, root, options, Names.read(options.pseudonyms, root), progress)
    check_options(run.meta / "import.json", kept(study, options), run.kept_sources)
    if not options.dry_run:
        _clean(root)
    if options.private:
        _forget_open(run.meta, all_of_it=not options.dry_run)
    wanted = wishes(study, options)
    source = _open(run, wanted)
    if isinstance(source, bids_trees.Source):
        run.names = replace(run.names, plain=source.plain)
    record = Record(run.meta / "converted.jsonl", run.names)
    if options.dry_run:
        plan, written = source.decide(wanted, record.faults()), 0
    else:
        record.forget_foreign()
        plan, written = _convert_all(run, source, wanted, record)
    _tell_frames(plan, record)
    missing, notes = strangers(source.people(), wanted, hidden=run.names.hidden)
    plan.notes += notes
    run.name(plan, record)
    days = options.days or (isinstance(source, bids_trees.Source) and source.relative)
    writer = Writer(root, study, source.dataset_type, run.shown_sources, run.names, days)
    writer.import_table(plan)
    if not options.dry_run:
        writer.write(plan)
        _remove_others(root, plan, writer)
        record.finish({d.image for d in plan.decisions if d.reason != "withdrawn"})
        write_provenance(
            run.meta / "import.json", study, options, sources, run.kept_sources, plan, source.read,
            missing,
        )  # fmt: skip
    lines = [*summary(plan, missing), *(f"note: {note}" for note in plan.notes)]
    write_atomically(run.meta / "import.log", "\n".join(lines).encode() + b"\n")
    return Imported(plan, lines, written)


@dataclass
class _Run:
    """What all parts of an import need. `names` grow with the plan."""

    study: str
    sources: Sources
    root: Path
    options: ImportOptions
    names: Names
    progress: Progress

    @property
    def meta(self) -> Path:
        return self.root / "sourcedata"

    @property
    def kept_sources(self) -> list[str]:
        """What tells the sources apart in the next run."""
        return [self.names.source(name) for name in self.sources.names]

    @property
    def shown_sources(self) -> dict[str, str]:
        """Name of a source → how tables name it."""
        shown = enumerate(self.sources.names, start=1)
        return {name: f"source-{n}" if self.names.hidden else name for n, name in shown}

    def name(self, plan: Plan, record: Record) -> None:
        """Pseudonyms for everybody in a plan, in the key before they stand anywhere else."""
        path = self.options.pseudonyms
        if path is None:
            return
        people = sorted({d.participant for d in plan.decisions if d.reason != "withdrawn"})
        self.names = self.names.with_all(people, [d.image for d in plan.decisions])
        if not self.options.dry_run:
            self.names = self.names.write(path)
        record.name_by(self.names)


def _open(run: _Run, wanted: Wishes) -> Source:
    options = run.options
    if run.study == "bids":
        return bids_trees.Source(run.sources, days=options.days)
    if run.study == "ukb":
        return ukb.Source(run.sources, options.tables)
    keep = None if options.private else run.meta
    return archive.Source(
        run.study, run.sources, options.tables, options.collection, keep, wanted.withdrawn,
        run.progress,
    )  # fmt: skip


def _convert_all(run: _Run, source: Source, wanted: Wishes, record: Record) -> tuple[Plan, int]:
    """The plan when all that it takes is there, and how many images were made for it."""
    written = 0
    for _ in range(ROUNDS + 1):
        plan = source.decide(wanted, record.faults())
        run.name(plan, record)
        keep_options(run.meta / "import.json", kept(run.study, run.options), run.kept_sources)
        tasks = {}
        for decision in plan.taken:
            file = run.names.file(decision.file, decision.participant)
            if not _is_done(record, decision, file, run.root):
                tasks[decision.image] = (decision, file)
        if any(d.copy is not None and d.copy.form == "dicom" for d, _ in tasks.values()):
            dcm2niix_program()
        with _workshops(run) as places:
            work = [
                (decision.image, _task(run, decision, file, *places))
                for decision, file in sorted(tasks.values(), key=_where)
            ]
            run.progress("convert", 0, len(work))
            failed = False
            results = single_threaded_map(_convert_one, work, run.options.jobs)
            for number, ((image, _), done) in enumerate(results, start=1):
                decision, file = tasks[image]
                record.add(image, state_of(decision), file, done)
                failed |= bool(done.reason)
                written += not done.reason
                run.progress("convert", number, len(work))
        if not failed:
            return plan, written
    return source.decide(wanted, record.faults()), written


@contextmanager
def _workshops(run: _Run) -> Iterator[tuple[Path, Path]]:
    """A folder in the output for what may stand there, and one outside of it for all else."""
    scratch, workshop = run.meta / ".part-scratch", _beside(run.root)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        workshop.mkdir(mode=0o700, exist_ok=True)
    except OSError:  # the output alone can be written to
        workshop = Path(tempfile.mkdtemp(prefix="mri2pet-"))
    try:
        yield scratch, workshop
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(workshop, ignore_errors=True)


def _beside(root: Path) -> Path:
    return root.resolve().parent / f".part-{root.resolve().name}"


def _where(item: tuple[Decision, str]) -> tuple[int, str, str, str]:
    """By zip and folder, so that a process reads the directory of few zips, each once."""
    copy = item[0].copy
    assert copy is not None
    return copy.source, copy.archive, copy.folder, item[1]


def _convert_one(item: tuple[str, Task]) -> Done:
    return convert(item[1])


def _is_done(record: Record, decision: Decision, file: str, root: Path) -> bool:
    entry = record.of(decision.image)
    sidecar = root / file.replace(".nii.gz", ".json")
    return (
        entry is not None
        and (entry.state, entry.file, entry.done.reason) == (state_of(decision), file, "")
        and (root / file).exists()
        and sidecar.exists()
    )


def _task(run: _Run, decision: Decision, file: str, scratch: Path, workshop: Path) -> Task:
    assert decision.copy is not None
    own = {key: value for key, value in decision.sidecar.items() if key != "Sources"}
    if not run.names.hidden and _are_relative(told := decision.sidecar.get("Sources")):
        own["Sources"] = told
    sidecar: dict[str, Any] = {
        **own,
        "Description": decision.description,
        "SourceImageID": run.names.of(decision.image),
        "SkullStripped": decision.sidecar.get("SkullStripped", False),
    }
    if decision.kind == "pet":
        sidecar |= _RADIONUCLIDE
        if decision.step in FWHM_MM:
            sidecar["ResolutionFWHM"] = FWHM_MM[decision.step]
    return Task(
        decision.copy,
        tuple(str(path) for path in run.sources.paths),
        str(run.root / file),
        str(scratch),
        str(workshop),
        decision.kind,
        sidecar,
        run.options.link,
        run.options.private,
    )


def _are_relative(sources: Any) -> bool:
    """Whether a sidecar's `Sources` are BIDS URIs or paths in the tree."""
    return isinstance(sources, list) and all(
        isinstance(s, str)
        and not s.startswith(("/", "file:", "\\\\"))
        and s[1:3] not in (":\\", ":/")
        for s in sources
    )


def _tell_frames(plan: Plan, record: Record) -> None:
    """Notes the frames of a dynamic PET that are not those of the protocol."""
    for decision in plan.taken:
        if decision.kind != "pet":
            continue
        entry = record.of(decision.image)
        seconds = entry.done.seconds if entry else ()
        frames = entry.done.frames if entry else int(float(decision.frames or 1))
        if not seconds and decision.copy and decision.copy.head.frame_seconds:
            seconds = (float(decision.copy.head.frame_seconds),) * frames
        each = sorted({round(s, 3) for s in seconds})
        if frames > 1 and (frames != PROTOCOL[0] or (each and each != [PROTOCOL[1]])):
            told = "+".join(f"{s:g}" for s in each) or "unknown"
            decision.note(f"frames {frames}x{told}")


def _clean(root: Path) -> None:
    """Removes what a killed import left half-made."""
    shutil.rmtree(root / "sourcedata" / ".part-scratch", ignore_errors=True)
    shutil.rmtree(_beside(root), ignore_errors=True)
    for path in root.rglob(".part-*"):
        if is_leftover(path):
            path.unlink(missing_ok=True)


def _forget_open(meta: Path, *, all_of_it: bool) -> None:
    """Removes what a run without pseudonyms and days left that had written no image yet."""
    gone = ["index*.tsv"]
    if all_of_it and not (meta / "import.json").exists():
        gone += ["import.tsv", "import.log"]
    for path in (path for pattern in gone for path in meta.glob(pattern)):
        path.unlink()


def _remove_others(root: Path, plan: Plan, writer: Writer) -> None:
    """Removes images, sidecars and tables that the plan does not hold: people who withdrew …"""
    wanted = {root / writer.file(decision) for decision in plan.taken}
    wanted |= {path.with_name(path.name.replace(".nii.gz", ".json")) for path in wanted}
    folders = {path.parents[1] for path in wanted} | {path.parents[2] for path in wanted}
    for path in sorted(root.glob("sub-*/**/*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in wanted and not (path.name.endswith(".tsv") and path.parent in folders):
            path.unlink()
    for path in root.glob("sub-*"):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
