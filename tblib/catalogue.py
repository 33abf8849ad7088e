"""The catalogue: a table of a zip or a folder of films, one row per image."""

import hashlib
import io
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from tblib.films.artefacts import artefacts, facts
from tblib.films.boxes import boxes_text, widths_text
from tblib.films.database import ARCHIVE, CHUNK, Database, DatabaseError, data_path, open_database
from tblib.films.depth import shared_depth
from tblib.films.dicom import said
from tblib.films.duplicates import THUMBNAIL, Thumbnail, duplicate_groups, duplicate_pairs
from tblib.films.film import FilmError, open_film, resized
from tblib.films.kaggle import download, mounted
from tblib.phantoms.presets import PRESETS, read_preset
from tblib.run import Run, usable
from tblib.system.files import ROOT, write_json, write_table
from tblib.system.processes import workers

MAX_SHEET = 100_000_000  # bytes; limit for the unpacked tables of an xlsx file
WORDS = {"data": ("demo", "kaggle"), "demo_preset": tuple(PRESETS)}  # values accepted by `find_data` besides paths


@dataclass(frozen=True)
class Catalogue:
    """A database's table (one row per image, sorted by file), facts about the whole database, and the rejected files.
    The table of rejected files has the columns file and why, sorted by file."""

    table: pd.DataFrame
    summary: dict[str, Any]
    passed_over: pd.DataFrame


def find_data(data: str, films: int, seed: int, preset: str = "kaggle") -> Path:
    """Return the zip or folder that `data` refers to.

    Args:
        data: ``demo`` (generated if missing); ``kaggle`` (from the inputs of a Kaggle notebook, else downloaded); or
            the path of a zip or folder (`data_path`).
        films, seed: number of films in the demo, and its seed.
        preset: prevalence of artefacts in the demo: a preset's name or a CSV file (`read_preset`).

    Raises:
        DemoError: the preset does not exist, or the demo cannot be written.
        DatabaseError: the download from Kaggle failed.
    """
    if data == "demo":
        from tblib.phantoms.demo import demo_is_current, demo_name, write_demo  # only who draws films waits for it

        table = read_preset(preset if preset in PRESETS else str(data_path(preset)))
        path = ROOT / "data" / demo_name(films, seed, table)
        return path if demo_is_current(path, films, seed, table) else write_demo(path, films, seed, table)
    if data == "kaggle":
        return mounted() or download()
    return data_path(data)


def build_catalogue(database: Database) -> Catalogue:
    """Decode every film once, in parallel, and tabulate its properties.

    The columns are file, label, problem (empty, or why the film is left out), mode, width, height, bytes, sha256 (of
    the file), bits (depth used for scaling, see `Film`), pixels_sha256, the columns of `tblib.films.artefacts.facts`,
    the boxes as text, claimed_source (a URL from the database's xlsx), duplicate_group.

    The depth of films of more than eight bits depends on all of them (`shared_depth`), so films scaled with less than
    the database's depth are decoded a second time.

    Raises:
        DatabaseError: no film of a class decodes.
    """
    files = list(database.labels)
    found = _described(database, files)
    depths = [(row.get("bits", 8), row.pop("guessed", False)) for row, _ in found]
    database = replace(database, bits=shared_depth(depths))
    again = [place for place, (bits, guessed) in enumerate(depths) if guessed and bits < database.bits]
    for place, described in zip(again, _described(database, [files[place] for place in again]), strict=True):
        described[0].pop("guessed")
        found[place] = described
    table = pd.DataFrame([row for row, _ in found])
    table["duplicate_group"] = _duplicate_column([thumbnail for _, thumbnail in found])
    claims, notes = _claimed_sources(database)
    notes += [*database.files.notes, *_notes_on_archives(database), *_note_on_depth(depths, database.bits)]
    table["claimed_source"] = [claims.get(PurePosixPath(file).stem.lower(), "") for file in table["file"]]
    for name in database.classes:
        if not ((table["label"] == name) & (table["problem"] == "")).any():
            first = table.loc[table["label"] == name, "problem"].iloc[0]
            raise DatabaseError(f"No image of class {name} can be used; the first one: {first}")
    passed = pd.DataFrame(sorted(database.passed_over.items()), columns=["file", "why"])
    return Catalogue(table, _summary(database, table, notes), passed)


def save_catalogue(run: Run, catalogue: Catalogue) -> None:
    """Write ``catalogue.csv``, ``passed_over.csv`` and ``catalogue.json`` into the run folder."""
    write_table(run.path("catalogue.csv"), catalogue.table)
    write_table(run.path("passed_over.csv"), catalogue.passed_over)
    write_json(run.path("catalogue.json"), catalogue.summary)


def catalogued_database(run: Run) -> Database:
    """Return the database that the run's catalogue was built from.

    Raises:
        DatabaseError: the database has been moved or deleted.
    """
    summary = run.facts("catalogue.json")
    path = Path(summary["path"])
    if not path.exists():
        raise DatabaseError(
            f"The database of this run is no longer at {path}; put it back, or make the run anew with the films where "
            f"they are now: {run.command('--from', 'eda', '--overwrite', '--data')} …"
        )
    found = open_database(path, summary["negative"], summary["positive"])
    return replace(found, bits=summary.get("bits", 8))


def need_same_films(run: Run) -> None:
    """Check that the prepared films are those of the catalogue.

    Raises:
        DatabaseError: the catalogue was rebuilt from other films.
        DamagedError: a file of the run is damaged.
    """
    prepared, catalogued = run.facts("preparation.json"), run.facts("catalogue.json")
    files, same = usable(run.table("catalogue.csv"))["file"], run.table("split.csv")["file"]
    if prepared.get("database", catalogued["digest"]) != catalogued["digest"] or files.tolist() != same.tolist():
        raise DatabaseError(
            f"The films of the run {run.name} were catalogued anew ({catalogued['database']}) after they had been "
            f"prepared, and are others. Prepare them again: {run.command('--from', 'preparation')}"
        )


def _described(database: Database, files: list[str]) -> list[tuple[dict[str, Any], Thumbnail | None]]:
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    jobs = (delayed(_describe_all)(database.only(chunk), chunk) for chunk in chunks)
    done = Parallel(n_jobs=-1, return_as="generator", **workers())(jobs) if chunks else []
    shown = tqdm(done, total=len(chunks), desc="catalogue", unit=f"×{CHUNK} films", disable=not chunks)
    return [described for part in shown for described in part]


def _describe_all(database: Database, files: list[str]) -> list[tuple[dict[str, Any], Thumbnail | None]]:
    return [_describe(database, file) for file in files]


def _describe(database: Database, file: str) -> tuple[dict[str, Any], Thumbnail | None]:
    """Return the film's row of the table and its thumbnail; for an unusable film the row gives the reason."""
    row: dict[str, Any] = {"file": file, "label": database.labels[file], "problem": "", "bytes": 0, "sha256": ""}
    try:
        content = database.read(file)
        row |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        film = open_film(content, file, database.bits)
    except FilmError as error:
        return row | {"problem": str(error)}, None
    height, width = film.pixels.shape[:2]
    found = artefacts(film, len(content))
    row |= {"mode": film.mode, "width": width, "height": height, "bits": film.bits, "guessed": film.guessed}
    row["pixels_sha256"] = hashlib.sha256(f"{film.pixels.shape}".encode() + film.pixels.tobytes()).hexdigest()
    row |= facts(found)
    for name in ("white_rectangles", "black_boxes", "markers"):
        row[name] = boxes_text(thing.box for thing in getattr(found, name))
    row["border"] = widths_text(found.border.widths)
    return row, resized(film.grey, THUMBNAIL)


def _duplicate_column(thumbnails: list[Thumbnail | None]) -> pd.Series:
    """Int64: duplicate group of each film, -1 for films that did not decode."""
    column = np.full(len(thumbnails), -1, dtype=np.int64)
    decoded = [i for i, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    if decoded:
        stack = np.stack([t for t in thumbnails if t is not None])
        column[decoded] = duplicate_groups(len(stack), duplicate_pairs(stack))
    return pd.Series(column)


def _claimed_sources(database: Database) -> tuple[dict[str, str], list[str]]:
    """Return file stem in lower case -> URL claimed in the database's xlsx files, and a note on each unreadable one."""
    claims: dict[str, str] = {}
    notes: list[str] = []
    for file in (f for f in database.others if f.lower().endswith(".metadata.xlsx")):
        try:
            sheet = _sheet(database.read(file))
        except Exception as error:  # openpyxl raises many kinds of errors on damaged files
            notes.append(f"{file} could not be read ({said(error)}); its claimed sources are missing.")
            continue
        claims |= {str(n).strip().lower(): str(u) for n, u in sheet.dropna().itertuples(index=False)}
    return claims, notes


def _sheet(content: bytes) -> pd.DataFrame:
    with zipfile.ZipFile(io.BytesIO(content)) as unpacked:
        if sum(entry.file_size for entry in unpacked.infolist()) > MAX_SHEET:
            raise ValueError(f"it unpacks to more than {MAX_SHEET:,} bytes")
    return pd.read_excel(io.BytesIO(content), usecols=["FILE NAME", "URL"], dtype=str)


def _notes_on_archives(database: Database) -> list[str]:
    """Return a sentence on archives inside the database, whose films are not read, if there are any."""
    inner = [file for file, why in database.passed_over.items() if why == ARCHIVE]
    return [
        f"Archives within, whose films are not read: {', '.join(inner[:3])}. Unpack them if they belong to it."
    ] * bool(inner)


def _note_on_depth(depths: list[tuple[int, bool]], bits: int) -> list[str]:
    guesses = [guess for guess, guessed in depths if guessed]
    if not guesses:
        return []
    told = (
        f"Films in files of more than eight bits that do not tell their depth: {len(guesses)}. They were scaled as "
        f"films of {bits} bits, the least depth that holds "
    )
    more = sum(guess > bits for guess in guesses)
    if more:
        return [f"{told}nearly all of them; {more} with brighter pixels were scaled by more, and come out darker."]
    return [f"{told}all of them."]


def _summary(database: Database, table: pd.DataFrame, notes: list[str]) -> dict[str, Any]:
    good = table[table["problem"] == ""]
    lines = "\n".join(f"{row.file} {row.sha256}" for row in table.itertuples())
    return {
        "database": database.path.name,
        "path": str(database.path),
        "digest": hashlib.sha256(lines.encode()).hexdigest(),
        "synthetic": any(PurePosixPath(file).name == "SYNTHETIC.json" for file in database.others),
        "negative": database.negative,
        "positive": database.positive,
        "bits": database.bits,
        "films": {name: int((good["label"] == name).sum()) for name in database.classes},
        "passed_over": dict(Counter(database.passed_over.values()).most_common()),
        "left_out": table.loc[table["problem"] != "", ["file", "problem"]].to_dict("records"),
        "notes": notes,
    }
