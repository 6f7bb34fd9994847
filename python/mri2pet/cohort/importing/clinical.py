"""Clinical tables of ADNI: visits with diagnosis and MMSE, births, baselines, quality."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from mri2pet.cohort.importing.days import day_first, month_and_year, read_day
from mri2pet.cohort.importing.loni import ImageId
from mri2pet.cohort.labels import is_missing, read_diagnosis, read_mmse
from mri2pet.cohort.passed_over import counted
from mri2pet.tables import number, read_table

Row = dict[str, str]
TABLES = ("DXSUM", "ADNIMERGE", "MMSE", "PTDEMOG", "REGISTRY", "AV45QC", "AMYQC", "MRIQUALITY")
_MAYO = "MAYOADIRL_MRI_IMAGEQC"
_SAME = {"DXSUM_PDXCONV_ADNIALL": "DXSUM", "DXSUM_PDXCONV": "DXSUM"}
_NAME = re.compile(r"(?:All_Subjects_)?(.+?)(?:_\d\d[A-Za-z]{3}\d{4}|_\d\d_\d\d_\d\d)?$", re.I)
_DAYS = ("examdate", "visdate", "scandate", "userdate", "userdate2", "update_stamp", "examdate_bl")
_CODES = {"1": "CN", "2": "MCI", "3": "AD"}
_CHANGES = {**_CODES, "7": "CN", "9": "CN", "4": "MCI", "8": "MCI", "5": "AD", "6": "AD"}
_NO_VISIT = frozenset({"f", "nv"})


@dataclass(frozen=True, slots=True)
class Visit:
    """A value at a day, from one table."""

    day: date
    value: str
    table: str


@dataclass
class Person:
    """What the tables say of one person. `born` is the middle of the month."""

    sex: str = ""
    born: date | None = None
    baseline: date | None = None
    age_at: tuple[date, float] | None = None
    diagnosis: list[Visit] = field(default_factory=list)
    mmse: list[Visit] = field(default_factory=list)
    phases: list[tuple[date, str]] = field(default_factory=list)


@dataclass
class Clinical:
    """All people by RID, what was said of images' quality, and what is doubtful.

    Attributes:
        pet_quality: key of an original image → good.
        pet_quality_by_day: RID → days and whether the scan was good.
        series_quality: number of a series → good.
        mri_quality: key of an image → (selected, quality 1 to 4, None unrated).
    """

    people: dict[int, Person] = field(default_factory=lambda: defaultdict(Person))
    pet_quality: dict[str, bool] = field(default_factory=dict)
    pet_quality_by_day: dict[int, list[tuple[date, bool]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    series_quality: dict[int, bool] = field(default_factory=dict)
    mri_quality: dict[str, tuple[bool, int | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)


def table_name(path: Path) -> str:
    """`DXSUM` of `All_Subjects_DXSUM_02Nov2025.csv`; '' for a table that is not used."""
    if path.suffix.lower() != ".csv":
        return ""
    found = _NAME.match(path.stem)
    name = found.group(1).upper() if found else ""
    if name.startswith(_MAYO):
        return _MAYO
    name = _SAME.get(name, name)
    return name if name in TABLES else ""


def read_clinical(paths: Iterable[Path]) -> Clinical:
    """Every table that is used, whatever its generation and the order of its columns.

    Raises:
        InputError: a table cannot be read.
    """
    found = Clinical()
    tables: dict[str, list[Row]] = defaultdict(list)
    for path in sorted(paths, key=lambda p: (p.name, str(p))):
        if name := table_name(path):
            tables[name].extend(_rows(path, found.notes))
            found.read.append(path)
    registered = _registered(tables["REGISTRY"])
    for name in ("DXSUM", "MMSE", "ADNIMERGE"):
        for row in tables[name]:
            row["_day"] = row["_day"] or _joined(row, registered)
    unknown: Counter[str] = Counter()
    differ: list[Row] = []
    merged = ("DXSUM", "ADNIMERGE")
    _add_visits(found, "diagnosis", tables, merged, lambda row: _dx(row, unknown, differ))
    _add_visits(found, "mmse", tables, ("MMSE", "ADNIMERGE"), _mmse)
    if differ:
        text = "whose columns differ; DIAGNOSIS goes before DXCHANGE before DXCURREN"
        found.notes.append(f"diagnosis: {counted(len(differ), 'row')} {text}")
    for word, times in sorted(unknown.items()):
        found.notes.append(f"diagnosis: {word!r} is not understood and missing ({times} times)")
    _add_births(found, tables["PTDEMOG"], tables["ADNIMERGE"])
    _add_baselines(found, tables)
    _add_quality(found, tables)
    return found


def _rows(path: Path, notes: list[str]) -> list[Row]:
    """Rows with column names in lower case, `_rid`, `_day` (ISO or '') and `_stamp` to sort by."""
    rows = [{k.strip().lower(): v for k, v in row.items()} for row in read_table(path)]
    european = day_format(rows)
    if european:
        notes.append(f"{path.name}: its dates are read as day/month/year")

    def day(row: Row, *columns: str) -> str:
        read = (read_day(row.get(c, ""), day_first=european) for c in columns)
        return next((d.isoformat() for d in read if d is not None), "")

    kept = []
    for row in rows:
        rid = rid_of_row(row)
        if rid is not None:
            row["_rid"] = str(rid)
            row["_day"] = day(row, "examdate", "visdate", "scandate")
            row["_baseline"] = day(row, "examdate_bl")
            stamps = ("update_stamp", "userdate2", "userdate")
            row["_stamp"] = "|".join(f"{day(row, s)} {row.get(s, '')}" for s in stamps)
            kept.append(row)
    return kept


def day_format(rows: Iterable[Row]) -> bool:
    """Whether a table whose columns are in lower case writes D/M/YYYY."""
    return day_first(row[c] for row in rows for c in _DAYS if c in row)


def rid_of_row(row: Row) -> int | None:
    """The person's number by `rid`, else by `ptid`."""
    value = number(row.get("rid"))
    if value is not None and value >= 0:
        return int(value)
    found = re.search(r"_S_(\d+)$", row.get("ptid", ""))
    return int(found.group(1)) if found else None


def _code(row: Row) -> str:
    """The visit's code: months since the first baseline where the table has it."""
    code = row.get("viscode2", "")
    return (row.get("viscode", "") if is_missing(code) else code).strip().lower()


def _registered(rows: Iterable[Row]) -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for row in rows:
        for column in ("viscode", "viscode2"):
            if row["_day"] and not is_missing(row.get(column, "")):
                found.setdefault((row["_rid"], column, row[column].lower()), row["_day"])
    return found


def _joined(row: Row, registered: Mapping[tuple[str, str, str], str]) -> str:
    keys = ((row["_rid"], c, row.get(c, "").lower()) for c in ("viscode", "viscode2"))
    return next((registered[key] for key in keys if key in registered), "")


def _add_visits(
    found: Clinical,
    label: str,
    tables: Mapping[str, list[Row]],
    order: tuple[str, ...],
    value_of: Callable[[Row], str | None],
) -> None:
    """One value a person and day; the earlier table of `order` wins, then the latest row."""
    same: dict[tuple[int, str], dict[str, list[tuple[str, str]]]] = defaultdict(dict)
    for name in order:
        for row in tables[name]:
            codes = {row.get("viscode", "").lower(), row.get("viscode2", "").lower()}
            if not row["_day"] or codes & _NO_VISIT:
                continue
            if (value := value_of(row)) is not None:
                key = (int(row["_rid"]), row["_day"])
                same[key].setdefault(name, []).append((row["_stamp"], value))
    doubtful = 0
    for (rid, day), by_table in sorted(same.items()):
        name = next(table for table in order if table in by_table)
        latest = max(stamp for stamp, _ in by_table[name])
        values = {value for stamp, value in by_table[name] if stamp == latest}
        if len(values) > 1:
            doubtful += 1
            continue
        visit = Visit(date.fromisoformat(day), values.pop(), name)
        getattr(found.people[rid], label).append(visit)
    if doubtful:
        found.notes.append(
            f"{label}: {doubtful} visits have two values in rows of one age, taken as missing"
        )


def _dx(row: Row, unknown: Counter[str], differ: list[Row]) -> str | None:
    """DIAGNOSIS, else DXCHANGE, else DXCURREN, else ADNIMERGE's DX; at its baseline also DX_bl."""
    columns = [("diagnosis", _CODES), ("dxchange", _CHANGES), ("dxcurren", _CODES), ("dx", _CODES)]
    if _code(row) == "bl":
        columns.append(("dx_bl", _CODES))
    values = []
    for column, codes in columns:
        text = row.get(column, "")
        if is_missing(text):
            continue
        value = codes.get(re.sub(r"\.0+$", "", text)) or read_diagnosis(text)
        if value is None:
            unknown[text] += 1
        else:
            values.append(value)
    if not values:
        return None
    if any(value != values[0] for value in values):
        differ.append(row)
    return values[0]


def _mmse(row: Row) -> str | None:
    text = row.get("mmscore", "") or row.get("mmse", "")
    return None if is_missing(text) else read_mmse(text)


def _add_births(found: Clinical, demographics: Iterable[Row], merged: Iterable[Row]) -> None:
    for row in demographics:
        person = found.people[int(row["_rid"])]
        person.sex = person.sex or _sex(row.get("ptgender", ""))
        person.born = person.born or _born(row)
    for row in merged:
        person = found.people[int(row["_rid"])]
        person.sex = person.sex or _sex(row.get("ptgender", ""))
        age = number(row.get("age"))
        if person.age_at is None and age is not None and age > 0 and row["_baseline"]:
            person.age_at = (date.fromisoformat(row["_baseline"]), age)


def _sex(text: str) -> str:
    return {"1": "M", "1.0": "M", "2": "F", "2.0": "F"}.get(text, sex_of(text))


def sex_of(text: str) -> str:
    """M or F of a word, '' for everything else."""
    return {"male": "M", "m": "M", "female": "F", "f": "F"}.get(text.strip().lower(), "")


def _born(row: Row) -> date | None:
    found = month_and_year(row.get("ptdob", ""))
    if found is None:
        month, year = number(row.get("ptdobmm")), number(row.get("ptdobyy"))
        if month is None or year is None or not (1 <= month <= 12 and 1850 < year < 2200):
            return None
        found = int(year), int(month)
    return date(*found, 15)


def _add_baselines(found: Clinical, tables: Mapping[str, list[Row]]) -> None:
    for code in ("bl", "sc"):
        for name in ("REGISTRY", "DXSUM", "MMSE", "ADNIMERGE"):
            days: dict[int, date] = {}
            for row in tables[name]:
                if row["_day"] and _code(row) == code:
                    day, rid = date.fromisoformat(row["_day"]), int(row["_rid"])
                    days[rid] = min(day, days.get(rid, day))
            for rid, day in days.items():
                person = found.people[rid]
                person.baseline = person.baseline or day
    for name in ("REGISTRY", "DXSUM", "MMSE", "ADNIMERGE"):
        for row in tables[name]:
            phase = row.get("phase") or row.get("colprot") or ""
            if row["_day"] and phase:
                day = date.fromisoformat(row["_day"])
                found.people[int(row["_rid"])].phases.append((day, phase.upper()))


def _add_quality(found: Clinical, tables: Mapping[str, list[Row]]) -> None:
    for name, column in (("AV45QC", "pass"), ("AMYQC", "scanqlty")):
        for row in tables[name]:
            value = number(row.get(column))
            if value not in (0.0, 1.0):
                continue
            good = value == 1.0
            if (image := ImageId.of(row.get("loniuid", ""))) is not None:
                found.pet_quality[image.key] = good and found.pet_quality.get(image.key, True)
            if row["_day"]:
                day = date.fromisoformat(row["_day"])
                found.pet_quality_by_day[int(row["_rid"])].append((day, good))
    for row in tables["MRIQUALITY"]:
        series = re.search(r"(\d+)$", row.get("loniuid") or row.get("series_id") or "")
        if series and not is_missing(row.get("pass", "")):
            good = number(row["pass"]) == 1.0
            key = int(series.group(1))
            found.series_quality[key] = good and found.series_quality.get(key, True)
    for row in tables[_MAYO]:
        image = ImageId.of(row.get("loni_image", ""))
        if image is None or row.get("series_type", "T1").strip().upper() not in ("T1", ""):
            continue
        quality = number(row.get("series_quality"))
        rated = int(quality) if quality is not None and 1 <= quality <= 4 else None
        found.mri_quality[image.key] = (number(row.get("series_selected")) == 1.0, rated)


def pet_is_bad(clinical: Clinical, keys: Iterable[str], rid: int | None, day: date | None) -> bool:
    """Whether a PET failed: by the id of it or of what it was made from, else by its day ± 1."""
    by_id = [clinical.pet_quality[key] for key in keys if key in clinical.pet_quality]
    if by_id:
        return not all(by_id)
    if rid is None or day is None:
        return False
    near = [
        good
        for when, good in clinical.pet_quality_by_day.get(rid, ())
        if abs(when - day) <= timedelta(days=1)
    ]
    return bool(near) and not any(near)


def phase_at(person: Person, day: date) -> str:
    """The study's phase at the visit nearest to a day, '' if none is known."""
    if not person.phases:
        return ""
    return min(person.phases, key=lambda item: (abs(item[0] - day), item[0], item[1]))[1]


def age_at(person: Person, day: date) -> float | None:
    """Years at a day by the month of birth, else by ADNIMERGE's age at baseline."""
    if person.born is not None:
        return (day - person.born).days / 365.25
    if person.age_at is not None:
        return person.age_at[1] + (day - person.age_at[0]).days / 365.25
    return None
