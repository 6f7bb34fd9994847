"""Whether a quiet series is whole: another system is asked how many instances it has of it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from mri2pet.pacs import arrivals
from mri2pet.pacs.archive import Archive, Undelivered
from mri2pet.pacs.contexts import STUDY_ROOT_FIND, UNCOMPRESSED
from mri2pet.pacs.database import Database
from mri2pet.pacs.privacy import log

ASK_AGAIN_S = 60.0
"""So long a peer that did not answer is left alone."""


class Counter:
    """Asks `archive` by C-FIND before a series may become ready. One thread uses it."""

    def __init__(
        self,
        archive: Archive,
        database: Database,
        *,
        stable_s: float,
        incomplete_s: float,
        ask_again_s: float = ASK_AGAIN_S,
    ) -> None:
        self._archive, self._database = archive, database
        self._stable_s, self._incomplete_s = stable_s, incomplete_s
        self._ask_again_s = ask_again_s
        self._due = float("-inf")

    def whole(self) -> set[int]:
        """The jobs of quiet series that may become ready now.

        These are the ones of which the peer has no more instances than came, or does not tell a
        number. A series of which it has more is doubtful from now on. While it does not answer,
        series wait, at most `incomplete_s`.
        """
        quiet = arrivals.quiet(self._database, stable_s=self._stable_s)
        waited = {row["id"] for row in quiet if row["touched"] <= time.time() - self._incomplete_s}
        if not quiet or time.monotonic() < self._due:
            return waited
        whole: set[int] = set()
        failure: Undelivered | None = None
        try:
            association = self._archive.associate(
                {(STUDY_ROOT_FIND, syntax) for syntax in UNCOMPRESSED[:2]}, commitment=False
            )
            try:
                for row in quiet:
                    try:
                        count = instances_of(association, row["study"], row["series"])
                    except Undelivered as error:
                        failure = error
                        if association.is_established:
                            continue  # one series that it stumbles over stops no other
                        break
                    if count is not None and count > row["instances"]:
                        log("short", job=row["name"], instances=row["instances"], of=count)
                        arrivals.fall_short(self._database, row["id"], row["touched"], count)
                    else:
                        whole.add(row["id"])
            finally:
                if association.is_established:
                    association.release()
        except Undelivered as error:
            failure = error
        if failure is not None:
            self._due = time.monotonic() + self._ask_again_s
            log("uncounted", code=failure.code)
            whole |= waited
        return whole


def instances_of(association: Any, study: str, series: str) -> int | None:
    """What the other side has of a series; None: nothing, or it does not tell the number.

    Raises:
        Undelivered: it did not answer, or with a failure.
    """
    from pydicom.dataset import Dataset

    asked = Dataset()
    asked.QueryRetrieveLevel = "SERIES"
    asked.StudyInstanceUID, asked.SeriesInstanceUID = study, series
    asked.NumberOfSeriesRelatedInstances = None
    found: int | None = None
    try:
        for answer, match in association.send_c_find(asked, STUDY_ROOT_FIND):
            status = int(answer.Status) if "Status" in answer else None
            if status in (0xFF00, 0xFF01):
                with contextlib.suppress(ValueError, TypeError, AttributeError):
                    if str(match.SeriesInstanceUID) == series:
                        count = int(match.NumberOfSeriesRelatedInstances)
                        found = count if found is None else max(found, count)
            elif status != 0:
                code = "lost" if status is None else f"status_{status:04X}"
                raise Undelivered(code, "The query peer did not answer.", permanent=False)
    except (ValueError, RuntimeError):  # it takes no queries, or the association is gone
        raise Undelivered("lost", "The query peer did not answer.", permanent=False) from None
    return found
