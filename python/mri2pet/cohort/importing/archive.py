"""ADNI and PPMI as a source of an import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mri2pet.cohort.importing.clinical import Clinical, read_clinical, table_name
from mri2pet.cohort.importing.decide import decide
from mri2pet.cohort.importing.decision import Plan
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.index import Index, build_index, read_index, write_index
from mri2pet.cohort.importing.lists import is_image_list, read_lists
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.study import ADNI, PPMI, Study
from mri2pet.errors import UsageError

_STUDIES = {"adni": ADNI, "ppmi": PPMI}


class Source:
    """The index of a download, its lists and its tables.

    Args:
        keep: where the index is kept, None for nowhere.
        withdrawn: nobody of these may stand in an index that is kept.

    Attributes:
        read: every table that was read.

    Raises:
        UsageError: a table or folder is missing, or DICOM cannot be read here.
        InputError: a source or table cannot be read.
    """

    def __init__(
        self,
        study: str,
        sources: Sources,
        tables: Path | None,
        collection: Sequence[Path],
        keep: Path | None,
        withdrawn: frozenset[str],
        progress: Callable[[str, int, int], None],
    ) -> None:
        self.study: Study = _STUDIES[study]
        self.dataset_type = self.study.dataset_type
        self._sources = sources
        self._notes: list[str] = []
        near = csv_files([tables] if tables else [])
        for path in collection:
            if not path.is_file():
                raise UsageError(f"{path}: there is no such list of images; check --collection")
        self.index = self._index(keep, withdrawn, progress)
        lists = list(collection)
        if not lists:
            inside = [sources.paths[source] / file for source, file in self.index.tables]
            lists = [path for path in [*sorted(inside), *near] if is_image_list(path)]
        self._lists = read_lists(lists, self._notes)
        clinical = [path for path in near if table_name(path) and path not in lists]
        adni = self.study is ADNI
        self._clinical = read_clinical(clinical) if adni else Clinical()
        self.read = [*lists, *self._clinical.read]

    def decide(self, wishes: Wishes, faults: dict[str, tuple[str, str, str]]) -> Plan:
        """The plan, after some images proved unusable in the state that they still have."""
        known = {}
        for key, copies in self.index.copies.items():
            copy = copies[0]
            for name in {copy.image, self._lists[key].image if key in self._lists else ""}:
                state, reason, note = faults.get(name, ("", "", ""))
                if state == f"{copy.form} {copy.count} {copy.bytes}":
                    known[key] = (reason, note)
        plan = decide(
            self.study, self._sources, self.index, self._lists, self._clinical, wishes, known
        )
        plan.notes[:0] = self._notes
        return plan

    def people(self) -> set[str]:
        """Everybody of whom an image is listed or found, in each way that lists may name them."""
        found = {name for listed in self._lists.values() for name in listed.people}
        found |= {copy.subject for copies in self.index.copies.values() for copy in copies}
        found |= {facts.subject for facts in self.index.xml.values()}
        return found | {self.study.participant(name)[4:] for name in found}

    def _index(
        self,
        keep: Path | None,
        withdrawn: frozenset[str],
        progress: Callable[[str, int, int], None],
    ) -> Index:
        known = read_index(keep, self._sources) if keep is not None else None
        if known is not None and not self._names_any(known, withdrawn):
            return known
        watched: list[tuple[str, int, int]] = []
        index = build_index(
            self._sources,
            self.study.subject,
            header_person=self.study.header_person,
            watched=watched,
            report=lambda what, count: progress(what, count, 0),
        )
        if keep is not None and index.settled and not self._names_any(index, withdrawn):
            write_index(index, keep, self._sources, watched)
        elif keep is not None:
            for path in keep.glob("index*.tsv"):
                path.unlink()
        return index

    def _names_any(self, index: Index, people: frozenset[str]) -> bool:
        found = {copy.subject for copies in index.copies.values() for copy in copies}
        found |= {facts.subject for facts in index.xml.values()}
        return bool(people & (found | {self.study.participant(p)[4:] for p in found}))


def csv_files(folders: Sequence[Path]) -> list[Path]:
    """Every CSV at any depth below some folders, sorted.

    Raises:
        UsageError: a folder is missing.
    """
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder; check --tables")
        found += [p for p in folder.rglob("*") if p.suffix.lower() == ".csv" and p.is_file()]
    return sorted(found)
