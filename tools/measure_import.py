"""How long an import of many images takes, on a made-up download.

    python tools/measure_import.py FOLDER [--images 20000] [--series 200] [--slices 60]
                                          [--empty 20000]

Writes an index of `--images` images and tables for their people into FOLDER, and times reading and
deciding on them in a process of its own; then makes `--series` small DICOM series, and times the
walk through them and their conversion; then the walk through `--empty` empty files, a hundred an
image, in folders of their own, in one zip and in one folder, each in a process of its own: its
memory by file and by image.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
import zipfile
from datetime import date, timedelta
from pathlib import Path

from mri2pet.cohort.importing.archive import Source
from mri2pet.cohort.importing.heads import Head, dicom_dataset
from mri2pet.cohort.importing.images import Wishes
from mri2pet.cohort.importing.index import Copy, Index, build_index, write_index
from mri2pet.cohort.importing.names import Names
from mri2pet.cohort.importing.options import ImportOptions
from mri2pet.cohort.importing.output import Writer
from mri2pet.cohort.importing.run import import_cohort
from mri2pet.cohort.importing.sources import Sources
from mri2pet.cohort.importing.study import ADNI
from mri2pet.cohort.importing.xml_facts import XmlFacts

DESCRIPTIONS = (
    "MPRAGE",
    "MT1; GradWarp; N3m <- MPRAGE",
    "AV45 Coreg, Avg, Std Img and Vox Siz, Uniform 6mm Res",
    "AV45 Co-registered Dynamic",
)


def make_index(folder: Path, images: int) -> None:
    """An index, a list and tables of `images` images, four a visit."""
    (folder / "source").mkdir(parents=True)
    (folder / "tables").mkdir()
    index, listed, visits = Index(), [], []
    for number in range(images):
        visit, kind = divmod(number, len(DESCRIPTIONS))
        person = f"{visit // 4 % 999:03d}_S_{visit // 4:04d}"
        day = date(2012, 1, 1) + timedelta(days=380 * (visit % 4) + visit % 28)
        key, text = str(1000 + number), DESCRIPTIONS[kind]
        place = "".join(c if c.isalnum() or c in "-._" else "_" for c in text)
        path = f"ADNI/{person}/{place}/{day}_10_11_12.0/I{key}"
        head = Head("PT" if kind > 1 else "MR", day.isoformat(), "3", "", "", "", person)
        index.copies[key] = [
            Copy(f"I{key}", 0, "", path, f"ADNI_{person}_1_I{key}.dcm", "dicom", 500, 10**6,
                 person, place, day.isoformat(), "10:11:12", head)
        ]  # fmt: skip
        index.xml[key] = XmlFacts(key, person, text, "PET" if kind > 1 else "MRI", day.isoformat())
        listed.append([f"I{key}", person, "PET" if kind > 1 else "MRI", text, f"{day:%m/%d/%Y}"])
        if kind == 0:
            visits.append([person.rpartition("_")[2], f"{day}", "2", "27"])
    _csv(folder / "list.csv", "Image Data ID,Subject,Modality,Description,Acq Date", listed)
    dx = [[rid, "m00", day, dx] for rid, day, dx, _ in visits]
    _csv(folder / "tables" / "DXSUM.csv", "RID,VISCODE,EXAMDATE,DIAGNOSIS", dx)
    scores = [[rid, "m00", day, score] for rid, day, _, score in visits]
    _csv(folder / "tables" / "MMSE.csv", "RID,VISCODE,VISDATE,MMSCORE", scores)
    write_index(index, folder / "index", Sources([folder / "source"]), [])


def decide(folder: Path) -> dict[str, float]:
    """Seconds and peak memory, MiB, of the index that is kept to the table of decisions."""
    begin = time.perf_counter()
    sources = Sources([folder / "source"])
    source = Source(
        "adni", sources, folder / "tables", [folder / "list.csv"], folder / "index", frozenset(),
        lambda what, done, total: None,
    )  # fmt: skip
    plan = source.decide(Wishes(("6mm",)), {})
    shown = {name: name for name in sources.names}
    Writer(folder, "adni", "derivative", shown, Names(), False).import_table(plan)
    return {
        "images": len(plan.decisions),
        "taken": len(plan.taken),
        "seconds": round(time.perf_counter() - begin, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def convert(folder: Path, series: int, slices: int) -> dict[str, float]:
    """Files a second of the walk, and of the whole import, of real small DICOM series."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cohort"))
    from loni import dicom, phantom

    for number in range(series):
        person, image = f"990_S_{number:04d}", 5000 + number
        path = f"ADNI/{person}/MPRAGE/2012-03-05_10_11_12.0/I{image}"
        row = {"header_modality": "MR", "header_date": "2012-03-05", "frame_seconds": ""}
        row["path"] = f"part1/{path}"
        voxels = phantom(slices, 24, 24, 1, image % 200)
        (folder / "dicom" / path).mkdir(parents=True)
        for k in range(slices):
            name = f"ADNI_{person}_MR_MPRAGE_{k + 1}_I{image}.dcm"
            (folder / "dicom" / path / name).write_bytes(dicom(voxels, k, row, image))
    times = {}
    for what, dry in (("index", True), ("import", False)):
        begin = time.perf_counter()
        out = folder / f"out_{what}"
        done = import_cohort("adni", [folder / "dicom"], out, ImportOptions(dry_run=dry))
        seconds = time.perf_counter() - begin
        times[f"{what}_files_a_second"] = round(series * slices / seconds)
    return {"series": series, "files": series * slices, "taken": len(done.plan.taken), **times}


LAYOUTS = ("folders", "zip", "flat")
FILES_AN_IMAGE = 100


def make_empty(folder: Path, layout: str, count: int) -> None:
    """`count` empty files under names of the archive."""
    folder.mkdir()
    archive = zipfile.ZipFile(folder / "part1.zip", "w") if layout == "zip" else None
    for number in range(count):
        image, k = divmod(number, FILES_AN_IMAGE)
        person = f"{image % 999:03d}_S_{image:04d}"
        place = f"ADNI/{person}/MPRAGE/2012-03-05_10_11_12.0/I{5000 + image}"
        name = f"ADNI_{person}_MR_MPRAGE_br_raw_20120305101112345_{k + 1}_S1_I{5000 + image}.dcm"
        if archive is not None:
            archive.writestr(f"{place}/{name}", b"")
            continue
        inside = folder / (place if layout == "folders" else "all")
        inside.mkdir(parents=True, exist_ok=True)
        (inside / name).touch()
    if archive is not None:
        archive.close()


def walk(folder: Path) -> dict[str, float]:
    """µs of a core a file, and bytes of peak memory a file and an image."""
    sources = Sources([folder])
    dicom_dataset(b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    index = build_index(sources, ADNI.subject, header_person=True, watched=[])
    seconds = time.process_time() - begin
    held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {
        "files": index.files,
        "us_a_file": round(1e6 * seconds / index.files, 1),
        "bytes_a_file": round(held / index.files),
        "bytes_an_image": round(held / len(index.copies)),
    }


def _csv(path: Path, header: str, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--empty", type=int, default=20000)
    parser.add_argument("--walk", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--decide", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decide:
        print(json.dumps(decide(arguments.folder)))
        return
    if arguments.walk:
        print(json.dumps(walk(arguments.folder)))
        return
    make_index(arguments.folder, arguments.images)
    own = [sys.executable, __file__, str(arguments.folder), "--decide"]
    print(subprocess.run(own, capture_output=True, text=True, check=True).stdout.strip())
    print(json.dumps(convert(arguments.folder, arguments.series, arguments.slices)))
    for layout in LAYOUTS:
        folder = arguments.folder / f"empty_{layout}"
        make_empty(folder, layout, arguments.empty)
        own = [sys.executable, __file__, str(folder), "--walk"]
        walked = subprocess.run(own, capture_output=True, text=True, check=True).stdout
        print(json.dumps({"layout": layout, **json.loads(walked)}))


if __name__ == "__main__":
    main()
