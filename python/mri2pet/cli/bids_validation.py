"""The BIDS validator, where it is installed (`pip install bids-validator-deno`)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from mri2pet.cohort.passed_over import counted
from mri2pet.errors import InputError

VALIDATOR = "bids-validator-deno"


def validate(data: Path) -> None:
    """Nothing where the validator is missing, or finds no error.

    Raises:
        InputError: the dataset has errors; with their number and the first one.
    """
    beside = Path(sys.executable).with_name(VALIDATOR)
    program = str(beside) if beside.is_file() else shutil.which(VALIDATOR)
    if program is None or not data.is_dir():
        return
    done = subprocess.run([program, "--json", str(data)], capture_output=True, text=True)
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError):
        return  # it could not run, which says nothing of the dataset
    errors = [issue for issue in issues if issue.get("severity") == "error"]
    if errors:
        first = errors[0]
        where = str(first.get("location", "")).lstrip("/")
        raise InputError(
            f"{data}: the BIDS validator finds {counted(len(errors), 'error')}, the first "
            f"{first['code']} in {where or 'the dataset'}; correct them, or give "
            "--skip-bids-validation"
        )
