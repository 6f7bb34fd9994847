"""An import from its sources to the last table: index, decide, convert, write."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mri2pet import __version__
from mri2pet.cohort.filters import Filters
from mri2pet.cohort.importing import archive, bids_trees, ukb
from mri2pet.cohort.importing.convert import Done, Task, convert, dcm2niix_program
from mri2pet.cohort.importing.decision import FAULTS, Decision, Plan, counts
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.names import Names, pseudonyms
from mri2pet.cohort.importing.output import Writer, summary
from mri2pet.cohort.importing.record import Entry, Record, check_options, keep_options, state_of
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.words import FWHM_MM, STEPS
from mri2pet.cohort.parallel import single_threaded_map
from mri2pet.errors import InputError, UsageError
from mri2pet.files import is_leftover, write_atomically

STUDIES = ("adni", "ppmi", "ukb", "bids")
ROUNDS = 5  # how often a person is decided again after an image proved unusable
PROTOCOL = (4, 300.0)  # frames, and s of each, of an AV45 PET as acquired
Source = archive.Source | bids_trees.Source | ukb.Source
Progress = Callable[[str, int, int], None]
_RADIONUCLIDE = {"TracerName": "AV45", "TracerRadionuclide": "F18"}


@dataclass(frozen=True)
class ImportOptions:
    """The options of `mri2pet cohort import`; see docs/adni.md."""

    tables: Path | None = None
    collection: tuple[Path, ...] = ()
    pet_steps: tuple[str, ...] = ()
    t1: str = "processed"
    link: bool = False
    days: bool = False
    withdrawn: Path | None = None
    no_withdrawn: bool = False
    subjects: Path | None = None
    pseudonyms: Path | None = None
    filters: tuple[str, ...] = ()
    use_contrast: bool = False
    jobs: int = 1
    dry_run: bool = False


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
        study: one of `STUDIES`.
        progress: called with what is done ("index", "convert"), how many of it, of how many
            (0: unknown).

    Raises:
        UsageError: an option or a source makes no sense, or AV45 PETs are of several steps.
        InputError: a source or a table cannot be read.
    """
    options = options or ImportOptions()
    _check(study, options)
    root, sources = Path(out), Sources(paths)
    meta = root / "sourcedata"
    check_options(meta / "import.json", _kept(study, options), sources.names)
    if not options.dry_run:
        _clean(root)
    wishes = _wishes(options)
    source = _open(study, sources, options, wishes, meta, progress)
    record = Record(meta / "converted.jsonl")
    if options.dry_run:
        plan, written = source.decide(wishes, _faults(record, {})), 0
    else:
        plan, written = _convert_all(
            study, source, wishes, sources, root, options, record, progress
        )
    _tell_frames(plan, record)
    names = _names(options, plan, root)
    days = options.days or (isinstance(source, bids_trees.Source) and source.relative)
    writer = Writer(root, study, source.dataset_type, sources.names, names, days)
    writer.import_table(plan)
    if not options.dry_run:
        writer.write(plan)
        _remove_others(root, plan, writer)
        keep = {d.image for d in plan.decisions if d.reason != "withdrawn"}
        if names.hidden:  # its lines name the study's images; they go, and the images are made anew
            keep = set()
        record.finish(keep)
        _write_record(meta, study, options, sources, plan, source.read)
    lines = [*summary(plan), *(f"note: {note}" for note in plan.notes)]
    write_atomically(meta / "import.log", "\n".join(lines).encode() + b"\n")
    return Imported(plan, lines, written)


def _check(study: str, options: ImportOptions) -> None:
    if study not in STUDIES:
        raise UsageError(f"{study!r} is none of {', '.join(STUDIES)}")
    for step in options.pet_steps:
        if step not in STEPS:
            raise UsageError(f"--pet-step {step!r} is none of {', '.join(STEPS)}")
    if options.t1 not in ("processed", "original"):
        raise UsageError(f"--t1 {options.t1!r} is none of processed, original")
    if study != "bids" and (options.filters or options.use_contrast):
        raise UsageError("--filter and --use-contrast are for BIDS trees; see --pet-step and --t1")
    if options.pet_steps and Filters.of(options.filters).names("pet", "rec"):
        raise UsageError("--pet-step and --filter pet:rec=… both name the steps; give one of them")
    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs} must be at least 1")
    if study == "ukb" and options.withdrawn is None and not options.no_withdrawn:
        raise UsageError(
            "UK Biobank asks that withdrawn people are not used; give their list with "
            "--withdrawn FILE, or --withdrawn none if there is none"
        )


def _kept(study: str, options: ImportOptions) -> dict[str, Any]:
    """The options that an output keeps; no path of them."""
    return {
        "study": study,
        "pet_step": list(options.pet_steps),
        "t1": options.t1,
        "link": options.link,
        "dates": "days" if options.days else "real",
        "pseudonyms": options.pseudonyms is not None,
        "filter": sorted(options.filters),
        "use_contrast": options.use_contrast,
        "subjects": _sha256(options.subjects) if options.subjects else None,
    }


def _wishes(options: ImportOptions) -> Wishes:
    withdrawn = _ids(options.withdrawn) if options.withdrawn else frozenset()
    subjects = _ids(options.subjects) if options.subjects else None
    filters = Filters.of(options.filters)
    wanted = (options.pet_steps, options.t1, withdrawn, subjects)
    return Wishes(*wanted, filters, options.use_contrast)


def _ids(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{path}: cannot be read; it must hold one id a line") from None
    cells = (line.strip().strip('",').removeprefix("sub-") for line in lines)
    return frozenset(cell for cell in cells if cell)


def _open(
    study: str,
    sources: Sources,
    options: ImportOptions,
    wishes: Wishes,
    meta: Path,
    progress: Progress,
) -> Source:
    private = options.days or options.pseudonyms is not None
    if study == "bids":
        return bids_trees.Source(sources)
    if study == "ukb":
        return ukb.Source(sources, options.tables)
    keep = None if private else meta
    return archive.Source(
        study, sources, options.tables, options.collection, keep, wishes.withdrawn, progress
    )


def _convert_all(
    study: str,
    source: Source,
    wishes: Wishes,
    sources: Sources,
    root: Path,
    options: ImportOptions,
    record: Record,
    progress: Progress,
) -> tuple[Plan, int]:
    """The plan when all that it takes is there, and how many images were made for it."""
    meta = root / "sourcedata"
    scratch = meta / ".part-scratch"
    known: dict[str, Entry] = dict(record.entries)
    written = 0
    for _ in range(ROUNDS + 1):
        plan = source.decide(wishes, _faults(record, known))
        names = _names(options, plan, root)
        keep_options(meta / "import.json", _kept(study, options), sources.names)
        tasks = {}
        for decision in plan.taken:
            file = names.file(decision.file, decision.participant)
            if not _is_done(record, decision, file, root):
                tasks[decision.image] = (decision, file)
        if any(d.copy is not None and d.copy.form == "dicom" for d, _ in tasks.values()):
            dcm2niix_program()
        scratch.mkdir(parents=True, exist_ok=True)
        work = [
            (decision.image, _task(study, decision, file, sources, root, scratch, options, names))
            for decision, file in sorted(tasks.values(), key=_where)
        ]
        progress("convert", 0, len(work))
        failed = False
        results = single_threaded_map(_convert_one, work, options.jobs)
        for number, ((image, _), done) in enumerate(results, start=1):
            decision, file = tasks[image]
            record.add(Entry(image, state_of(decision), file, done))
            failed |= bool(done.reason)
            written += not done.reason
            progress("convert", number, len(work))
        shutil.rmtree(scratch, ignore_errors=True)
        known = record.entries
        if not failed:
            return plan, written
    return source.decide(wishes, _faults(record, known)), written


def _where(item: tuple[Decision, str]) -> tuple[int, str, str, str]:
    """By zip and folder, so that a process reads the directory of few zips, each once."""
    copy = item[0].copy
    assert copy is not None
    return copy.source, copy.archive, copy.folder, item[1]


def _convert_one(item: tuple[str, Task]) -> Done:
    return convert(item[1])


def _faults(record: Record, known: dict[str, Entry]) -> dict[str, tuple[str, str, str]]:
    """Image → state of its source, reason and note of those that could not be used."""
    return {
        image: (entry.state, entry.done.reason, entry.done.note)
        for image, entry in (known or record.entries).items()
        if entry.done.reason
    }


def _is_done(record: Record, decision: Decision, file: str, root: Path) -> bool:
    entry = record.entries.get(decision.image)
    sidecar = root / file.replace(".nii.gz", ".json")
    return (
        entry is not None
        and (entry.state, entry.file, entry.done.reason) == (state_of(decision), file, "")
        and (root / file).exists()
        and sidecar.exists()
    )


def _task(
    study: str,
    decision: Decision,
    file: str,
    sources: Sources,
    root: Path,
    scratch: Path,
    options: ImportOptions,
    names: Names,
) -> Task:
    assert decision.copy is not None
    own = {key: value for key, value in decision.sidecar.items() if key != "Sources"}
    if not names.hidden and _are_relative(told := decision.sidecar.get("Sources")):
        own["Sources"] = told
    sidecar: dict[str, Any] = {
        **own,
        "Description": decision.description,
        "SourceImageID": names.of(decision.image),
        "SkullStripped": decision.sidecar.get("SkullStripped", False),
    }
    if decision.kind == "pet":
        sidecar |= _RADIONUCLIDE
        if decision.step in FWHM_MM:
            sidecar["ResolutionFWHM"] = FWHM_MM[decision.step]
    return Task(
        decision.copy,
        tuple(str(path) for path in sources.paths),
        str(root / file),
        str(scratch),
        decision.kind,
        sidecar,
        options.link,
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
        entry = record.entries.get(decision.image)
        seconds = entry.done.seconds if entry else ()
        frames = entry.done.frames if entry else int(float(decision.frames or 1))
        if not seconds and decision.copy and decision.copy.head.frame_seconds:
            seconds = (float(decision.copy.head.frame_seconds),) * frames
        each = sorted({round(s, 3) for s in seconds})
        if frames > 1 and (frames != PROTOCOL[0] or (each and each != [PROTOCOL[1]])):
            told = "+".join(f"{s:g}" for s in each) or "unknown"
            decision.note(f"frames {frames}x{told}")


def _names(options: ImportOptions, plan: Plan, root: Path) -> Names:
    if options.pseudonyms is None:
        return Names()
    people = sorted({d.participant for d in plan.decisions if d.reason != "withdrawn"})
    images = [d.image for d in plan.decisions]
    return pseudonyms(options.pseudonyms, people, images, root, dry=options.dry_run)


def _clean(root: Path) -> None:
    """Removes what a killed import left half-made."""
    shutil.rmtree(root / "sourcedata" / ".part-scratch", ignore_errors=True)
    for path in root.rglob(".part-*"):
        if is_leftover(path):
            path.unlink(missing_ok=True)


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


def _write_record(
    meta: Path,
    study: str,
    options: ImportOptions,
    sources: Sources,
    plan: Plan,
    tables: Iterable[Path],
) -> None:
    import nibabel

    tree = {
        "options": _kept(study, options),
        "sources": sources.names,
        "counts": counts(plan.decisions),
        "people": len({decision.subject for decision in plan.taken}),
        "withdrawn_people": plan.withdrawn
        or len({d.subject for d in plan.decisions if d.reason == "withdrawn"}),
        "notes": plan.notes,
        "versions": {"mri2pet": __version__, "nibabel": nibabel.__version__},
        "tables": {path.name: _sha256(path) for path in sorted(tables)},
    }
    text = json.dumps(tree, indent=2, sort_keys=True)
    write_atomically(meta / "import.json", text.encode() + b"\n")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file.") from None
