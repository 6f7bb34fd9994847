"""`mri2pet dicom listen`, `send` and `jobs`: the PACS node."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mri2pet.errors import UsageError

NodeFile = Annotated[Path, typer.Argument(metavar="NODE.json", help="See docs/pacs.md.")]


def _needs_the_extra() -> None:
    for library in ("pydicom", "pynetdicom"):
        if find_spec(library) is None:
            raise UsageError(f"{library} is not installed; run pip install 'mri2pet[dicom]'")


def listen(
    node: NodeFile,
    debug_identifiers: Annotated[
        bool,
        typer.Option(
            "--debug-identifiers",
            help="Write UIDs beside job names to identifiers.log in the spool.",
        ),
    ] = False,
) -> None:
    """Receive T1 series, make PETs, and send them to an archive, until it is stopped."""
    _needs_the_extra()
    from mri2pet.pacs.node import run_node

    run_node(node, debug_identifiers=debug_identifiers)


def send(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="A folder of .dcm files.")],
    to: Annotated[str, typer.Option("--to", metavar="AET@HOST:PORT", help="The archive.")],
    aet: Annotated[str, typer.Option(help="Our own AE title.")] = "MRI2PET",
    cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Send by TLS: our certificate.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its key.")] = None,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="The authorities whose certificates we accept."),
    ] = None,
) -> None:
    """Send results to an archive, and ask it to keep them."""
    _needs_the_extra()
    from mri2pet.pacs.sending import parse_target, send_folder, tls_files

    sent = send_folder(folder, parse_target(to), aet=aet, tls=tls_files(cert, key, ca))
    told = f"{sent.committed} confirmed" if sent.committed else "no confirmation came"
    typer.echo(f"{sent.stored} instances stored, {told}")


def jobs(
    node: NodeFile,
    retry: Annotated[
        str | None, typer.Option(metavar="JOB", help="Begin a refused or failed job again.")
    ] = None,
    forget: Annotated[
        str | None, typer.Option(metavar="JOB", help="Remove a job with its files.")
    ] = None,
) -> None:
    """List a node's jobs. They have no names of patients; a reason may be for the sender."""
    _needs_the_extra()
    from mri2pet.pacs import jobs as queue
    from mri2pet.pacs.database import Database
    from mri2pet.pacs.settings import read_settings
    from mri2pet.pacs.spool import Spool

    spool = Spool(read_settings(node).spool)
    spool.open()
    database = Database(spool.database)
    if retry is not None:
        typer.echo(f"{retry}: {queue.retry(database, retry)}")
    if forget is not None:
        queue.forget(database, spool, forget)
        typer.echo(f"{forget}: forgotten")
    if retry is None and forget is None:
        typer.echo(f"{'job':12} {'state':10} {'slices':>6} {'tries':>5} {'since':19} reason")
        for row in queue.listed(database):
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["entered"]))
            line = (
                f"{row['name']:12} {row['state']:10} {row['instances']:6} {row['tries']:5} "
                f"{since} {row['reason'] or ''}"
            )
            typer.echo(line.rstrip())
    database.close()
