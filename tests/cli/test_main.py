"""The command itself: fast, quiet about its insides, clear about misuse."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from mri2pet import WARNING, __version__
from mri2pet.cli import main as cli
from mri2pet.errors import InputError, UsageError

HEAVY = ("torch", "numpy", "nibabel", "scipy", "ants", "nilearn", "matplotlib")
HELP_SECONDS = 0.5


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mri2pet", *arguments], capture_output=True, text=True, check=False
    )


def test_help_answers_at_once() -> None:
    """In processor time, so that a busy machine changes nothing."""
    seconds = []
    for _ in range(3):
        before = os.times()
        finished = run("--help")
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    assert finished.returncode == 0
    assert min(seconds) < HELP_SECONDS
    text = " ".join(finished.stdout.split())
    assert WARNING in text
    assert all(name in text for name in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command_loads_no_heavy_library(command: str) -> None:
    code = (
        "import sys; from mri2pet.cli.main import main; "
        f"code = main([{command!r}, '--help']); "
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules]; "
        "sys.exit(code or ' '.join(loaded) or 0)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert f"mri2pet {command}" in finished.stdout


def test_synthesize_help_warns(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["synthesize", "--help"]) == 0
    assert WARNING in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mri2pet {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["synthesize"],
        ["synthesize", "a.nii"],
        ["synthesize", "a.nii", "-o", "out", "--steps", "many"],
        ["synthesize", "a.nii", "-o", "out", "--colour"],
    ],
)
def test_misuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mri2pet: error: ")
    assert "--help" in lines[0]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "synthesize" in capsys.readouterr().out


def raising(error: BaseException) -> Callable[..., None]:
    def app(**_: object) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.nii: it is\nempty"), 1, "a.nii: it is empty"),
        (UsageError("--steps 0"), 2, "--steps 0"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "the disk is full"),
    ],
)
def test_errors_are_one_line_and_a_code(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "app", raising(error))
    assert cli.main([]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"mri2pet: error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("code", [130, 3])
def test_ctrl_c_as_typer_hands_it_on_is_told(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", lambda **_: code)
    assert cli.main([]) == code
    told = "mri2pet: error: interrupted; nothing is half-written" if code == 130 else ""
    assert capsys.readouterr().err.startswith(told)


def test_ctrl_c_in_a_command_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mri2pet.stages.load_config", interrupted)
    assert cli.main(["preprocess", "t1.nii", "-o", "out"]) == 130
    assert capsys.readouterr().err.count("interrupted; nothing is half-written") == 1


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main([])
