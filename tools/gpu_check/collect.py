"""Puts the results of all stages that are there into one file.

usage: collect.py FOLDER FILE
"""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any


def tests_of(file: Path) -> dict[str, Any]:
    """Counts, and the failed tests with their messages, from a JUnit report."""
    suite = next(ElementTree.parse(file).getroot().iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = {
        f"{case.get('classname')}::{case.get('name')}": (problem.get("message") or "")[:500]
        for case in suite.iter("testcase")
        for problem in (*case.findall("failure"), *case.findall("error"))
    }
    return {**counts, "seconds": float(suite.get("time", 0)), "failed": failed}


def main(folder: str, file: str) -> None:
    work = Path(folder)
    results: dict[str, Any] = {}
    for path in sorted(work.glob("*.json")):
        try:
            results[path.stem] = json.loads(path.read_text())
        except ValueError as error:
            results[path.stem] = {"unreadable": str(error)}
    if (work / "tests.xml").exists():
        results["tests"] = tests_of(work / "tests.xml")
    results["stages"] = (work / "summary.txt").read_text().splitlines()
    target = Path(file)
    part = target.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
