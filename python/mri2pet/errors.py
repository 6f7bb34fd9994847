"""The errors that a user can meet, each with the exit code of the command that meets it."""

from __future__ import annotations


class Mri2petError(Exception):
    """Base class. The message is one sentence: what is wrong and what to do."""

    exit_code = 1


class InputError(Mri2petError):
    """An image or a cohort that cannot be used."""


class ModelError(Mri2petError):
    """A model that is unknown, corrupted or of another format version."""


class UsageError(Mri2petError):
    """An option or a configuration value that makes no sense."""

    exit_code = 2


class ProcessLost(Mri2petError):
    """A process that worked for this one was ended from outside.

    A worker that meets it ends as if it had met the worker itself, so that its task is begun again.
    """


def portable(error: Exception) -> Exception:
    """The error itself where it survives a pipe, else one of the same words."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
