"""The command `mri2pet`: its subcommands, and errors as one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from mri2pet import WARNING, __version__
from mri2pet.allocator import keep_freed_memory
from mri2pet.errors import Mri2petError
from mri2pet.openmp import suit_the_load
from mri2pet.quiet import quiet_libraries

COMMANDS = (
    "synthesize",
    "dicom",
    "info",
    "preprocess",
    "cohort",
    "stylize",
    "train",
    "runs",
    "phantom",
    "evaluate",
    "compare",
    "figures",
    "quantify",
    "calibrate",
    "downstream",
    "convert",
    "experiment",
    "export",
)
PROGRAM = "mri2pet"
FAILED, MISUSED, INTERRUPTED = 1, 2, 130
GOES_ON = "interrupted; nothing is half-written, and the same command goes on where it stopped"

# The base of all that the parser raises; which library defines it differs between versions.
ParserError: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)

app = typer.Typer(
    name="mri2pet",
    help=f"A synthetic AV45 (amyloid) PET volume from a T1-weighted brain MRI.\n\n{WARNING}",
    epilog="Exit codes: 0 done, 1 failed, 2 misuse, 3 some subjects failed.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mri2pet {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(MISUSED)


for _name in COMMANDS:
    _command = getattr(importlib.import_module(f"mri2pet.cli.{_name}"), _name)
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors go to stderr in one line.

    Without `arguments` it is the process's own command line; allocator, OpenMP and logging are set.
    """
    if arguments is None:
        prepare_process()
    code = guarded(lambda: app(args=arguments, prog_name=PROGRAM, standalone_mode=False), PROGRAM)
    if arguments is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from mri2pet.training.distributed import leave

        leave(code)
    return code


def prepare_process() -> None:
    """Sets allocator, OpenMP and the libraries' remarks for a process of our own."""
    keep_freed_memory()
    suit_the_load()
    quiet_libraries()


def guarded(call: Callable[[], Any], program: str) -> int:
    """The exit code of a call: what it returns, or that of its error, told in one line."""
    try:
        code = call()
    except Mri2petError as error:
        return _refuse(program, str(error), error.exit_code)
    except ParserError as error:
        return _refuse(program, _parser_message(error), MISUSED)
    except (KeyboardInterrupt, typer.Abort):
        return _refuse(program, GOES_ON, INTERRUPTED)
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        text = "the disk is full; make room and run the same command again"
        return _refuse(program, text, FAILED)
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        return _refuse(program, GOES_ON, INTERRUPTED)
    return code if isinstance(code, int) else 0


def _parser_message(error: Any) -> str:
    return f"{error.format_message().rstrip('.')} (see mri2pet --help)"


def _refuse(program: str, message: str, code: int) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
