"""The process that makes PETs: the model is loaded once, one job at a time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mri2pet.errors import InputError, ProcessLost
from mri2pet.pacs import jobs
from mri2pet.pacs.database import Database
from mri2pet.pacs.jobs import Job, Result
from mri2pet.pacs.privacy import log, redact, where
from mri2pet.pacs.settings import NodeSettings
from mri2pet.pacs.spool import Spool, remove, sync

Synthesize = Callable[[Path, Path], None]
"""Reads the files of one series in the first folder, writes instances (`.dcm`) into the second.
`InputError` refuses the series; every other exception is a failure of ours."""
Load = Callable[[NodeSettings], Synthesize]
POLL_S = 0.2
LONGEST_REASON = 500
CHECKED = ("samples", "sampler", "steps", "seed", "device")


def load_synthesis(settings: NodeSettings) -> Synthesize:
    """The real one, its model in memory."""
    from mri2pet.allocator import keep_freed_memory
    from mri2pet.checkpoint import bundled_models, load_model
    from mri2pet.devices import choose_device
    from mri2pet.engines.exported import is_export
    from mri2pet.openmp import suit_the_load
    from mri2pet.quiet import quiet_libraries
    from mri2pet.synthesis.dicom_series import synthesize_series
    from mri2pet.synthesis.options import SynthesisOptions

    keep_freed_memory()
    suit_the_load()
    quiet_libraries()
    choices = settings.synthesize.model_dump()
    model: Any = choices.pop("model")
    SynthesisOptions(**{name: choices[name] for name in CHECKED})
    if model in bundled_models() or not is_export(model):
        model = load_model(model, choose_device(choices["device"]))

    def synthesize(source: Path, out: Path) -> None:
        synthesize_series(source, out, model=model, **choices)

    return synthesize


def run(settings: NodeSettings, load: Load = load_synthesis) -> None:
    """The process's work, until SIGTERM.

    Raises:
        Mri2petError: the model cannot be loaded, or an option makes no sense.
    """

    def stop(*_: Any) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    spool = Spool(settings.spool)
    database = Database(spool.database)
    synthesize = load(settings)
    database.note("worker", os.getpid())
    log("loaded", process="worker")
    while True:
        job = jobs.take(database)
        if job is None:
            time.sleep(POLL_S)
        else:
            work(job, spool, database, synthesize)


def work(job: Job, spool: Spool, database: Database, synthesize: Synthesize) -> None:
    """One job to its end: its results are to be sent, or it is refused, or failed."""
    folder = spool.work / job.name
    remove(folder)
    began = time.monotonic()
    log("running", job=job.name, instances=len(job.files))
    try:
        given, made = folder / "in", folder / "out"
        given.mkdir(parents=True)
        made.mkdir()
        for name in job.files:
            os.link(spool.incoming / name, given / name)
        synthesize(given, made)
        results = _results(made)
        _keep(made, spool.results / job.name)
    except InputError as error:
        reason = redact(str(error), _headers(spool, job), [folder / "in", folder])[:LONGEST_REASON]
        log("refused", job=job.name, code="input")
        jobs.end(database, job.id, "refused", "input", reason)
    except ProcessLost:
        raise  # the worker ends, and the job is given back
    except (Exception, RecursionError) as error:
        log("failed", job=job.name, code="error", where=where(error))
        jobs.end(database, job.id, "failed", "error", f"The synthesis failed ({where(error)}).")
    else:
        seconds = round(time.monotonic() - began, 3)
        jobs.finished(database, job.id, results, seconds)
        log("made", job=job.name, instances=len(results), seconds=seconds)
    finally:
        remove(folder)


def _results(folder: Path) -> list[Result]:
    import pydicom

    results = []
    for path in sorted(folder.glob("*.dcm")):
        header = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"]
        )
        results.append(
            Result(
                str(header.SOPInstanceUID),
                str(header.SOPClassUID),
                str(header.file_meta.TransferSyntaxUID),
                path.name,
            )
        )
    if not results:
        raise RuntimeError("no results")
    return results


def _keep(made: Path, final: Path) -> None:
    """To the disk, and then to its place; a former try's results there go."""
    for path in made.iterdir():
        if path.suffix == ".dcm":
            sync(path)
        else:
            remove(path)
    sync(made)
    remove(final)
    made.rename(final)
    sync(final.parent)


def _headers(spool: Spool, job: Job) -> list[Any]:
    """Headers of all files of a job, as far as they can be read."""
    import pydicom

    headers = []
    for name in job.files:
        try:
            headers.append(pydicom.dcmread(spool.incoming / name, stop_before_pixels=True))
        except (Exception, RecursionError):  # refused for that, perhaps
            continue
    return headers
