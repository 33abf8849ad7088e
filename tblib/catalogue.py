"""The catalogue: a zip or a folder of films becomes one table, one row an image."""

from __future__ import annotations

import hashlib
import io
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from posixpath import commonpath, dirname
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from tblib import TblibError
from tblib.artefacts import artefacts, facts
from tblib.box import boxes_text, widths_text
from tblib.database import ARCHIVES, DEAD_LINK, DatabaseError, Files, files_of
from tblib.depth import DEPTHS, Pixels
from tblib.dicom import said
from tblib.film import Film, FilmError, open_film, resized
from tblib.phantom import PRESETS, demo_is_current, demo_name, read_preset, write_demo
from tblib.processes import workers
from tblib.run import ROOT, Run, write_json, write_table
from tblib.twins import twin_groups, twin_pairs

KAGGLE_DATASET = "tawsifurrahman/tuberculosis-tb-chest-xray-dataset"
KAGGLE_FOLDER = "TB_Chest_Radiography_Database"  # in it, with the films
KAGGLE_INPUT = Path("/kaggle/input")  # where a notebook on Kaggle finds what was added to it
KAGGLE_ABOVE = 3  # folders between that and a database, at most: datasets/<owner>/, and one of any other name
THUMBNAIL = 64  # pixels a side at which twins are confirmed
CHUNK = 32  # films a parallel task
FEW = 20  # films of unknown depth below which each of them counts

DEFAULTS = ("Normal", "Tuberculosis")  # what the classes are called where nobody says otherwise
NEGATIVE = (  # the usual names of their folders, `_folded`
    *("normal", "normals", "healthy", "control", "controls"),
    *("negative", "tb-negative", "non-tb", "no-tb", "not-tb", "nontb"),
)
POSITIVE = ("tuberculosis", "tb", "positive", "tb-positive")
NUMBERS = ("0", "1")  # and where folders have no names
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")  # parts that hold both classes
ENDINGS = ("_0", "_1")  # of a film's name, as the National Library of Medicine gives them
MASK, OUTSIDE, ARCHIVE, OTHER = "a mask", "in no class's folder", "an archive within", "no picture"  # why no film
MAX_SHEET = 100_000_000  # bytes that the tables of an xlsx file may have unpacked
LUNGS = "lungs"  # a folder that may hold films as well as masks
MANY = 10  # films from which a folder is no single patient's
MOSTLY = 0.9  # of the pictures in `LUNGS`: if so many share a film's name, they are masks
ASK = (
    "Put the films of each class into a folder of their own, or name the class folders with "
    "-p negative … -p positive …."
)

Folder = tuple[str, ...]  # its names from the top of the database on


class CatalogueError(TblibError):
    """A database that cannot be catalogued."""


@dataclass(frozen=True)
class Database:
    """Where the films are. Make it with `open_database`.

    Attributes:
        path: a zip file or a folder.
        negative, positive: the class folders' names; `positive` is the disease.
        labels: path inside the database -> class name, sorted by path.
        others: the remaining files (metadata and the like), sorted.
        bits: the least depth of its films of more than eight bits that do not tell their own; `build_catalogue` finds
            it, and `catalogued_database` knows it.
        files: where they lie in the zip or folder.
        passed_over: file -> why it is no film; `others` are among them.
    """

    path: Path
    negative: str
    positive: str
    labels: dict[str, str]
    others: tuple[str, ...]
    bits: int = 8
    files: Files = field(default_factory=lambda: Files(Path(), {}), repr=False)
    passed_over: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def classes(self) -> tuple[str, str]:
        """Both class names, negative first."""
        return self.negative, self.positive

    def only(self, files: list[str]) -> Database:
        """The same database with these films alone, to be sent to another process."""
        labels = {file: self.labels[file] for file in files}
        return replace(self, labels=labels, others=(), files=self.files.only(files), passed_over={})

    def read(self, file: str) -> bytes:
        """The bytes of one file, straight from the zip or the folder.

        Raises:
            FilmError: it is not there, too large, or damaged or encrypted inside the zip.
        """
        return self.files.read(file)

    def film(self, file: str) -> Film:
        """One film, scaled as those of its database are.

        Raises:
            FilmError: it cannot be read, or is no usable picture.
        """
        return open_film(self.read(file), file, self.bits)


@dataclass(frozen=True)
class Catalogue:
    """A database's table (one row an image, sorted by file) and what holds for the database as a whole.

    With them come the files that are no films, with the reason: columns file and why, sorted by file.
    """

    table: pd.DataFrame
    summary: dict[str, Any]
    passed_over: pd.DataFrame


def find_data(data: str, films: int, seed: int, preset: str = "kaggle") -> Path:
    """The zip or folder that `data` means: ``demo`` (made where needed), ``kaggle`` or a path.

    Args:
        data: ``demo``; ``kaggle``, taken from the inputs of a notebook on Kaggle, else downloaded; or a zip or folder
            (`data_path`).
        films: number of films of the demo.
        seed: seed of the demo.
        preset: how often films of the demo carry what: a preset's name, or a CSV file (`tblib.phantom.read_preset`).

    Raises:
        DemoError: there is no such preset, or the demo cannot be written.
        CatalogueError: Kaggle did not hand over the database.
    """
    if data == "demo":
        table = read_preset(preset if preset in PRESETS else str(data_path(preset)))
        path = ROOT / "data" / demo_name(films, seed, table)
        return path if demo_is_current(path, films, seed, table) else write_demo(path, films, seed, table)
    if data == "kaggle":
        return _mounted_kaggle() or _download_kaggle()
    return data_path(data)


def data_path(data: str) -> Path:
    """Where the zip or folder `data` is: seen from the working folder, else from the checkout."""
    path = Path(data).expanduser()
    return path.absolute() if path.exists() else ROOT / path


def open_database(path: Path, negative: str = DEFAULTS[0], positive: str = DEFAULTS[1]) -> Database:
    """List the films in a zip or folder; a film's class is the one that the nearest folder with a class's name tells.

    Folders are called as `negative` and `positive` in any case; a class that is left at its default may also be called
    by its usual names (`NEGATIVE`, `POSITIVE`, `NUMBERS`). Where no folder names any class, names as the National
    Library of Medicine gives them tell it: ``…_0`` is negative, ``…_1`` positive. Masks are no films. Labels are
    `negative` and `positive` as they are written here, however the folders are.

    Raises:
        CatalogueError: there is no such path, it is no zip or a truncated one, an entry climbs out
            of the zip, one of the two classes has no image, or it is not certain which class films are of.
    """
    words = _words(negative, positive)
    try:
        files = files_of(path.absolute(), (negative, positive))
    except DatabaseError as error:
        raise CatalogueError(str(error)) from error
    pictures = [file for file in files if files.is_picture(file)]
    labels, masks = _labels(path, pictures, words, (negative, positive))
    _require_classes(path, files, labels, negative, positive)
    others = tuple(file for file in files if file not in labels)
    seen, known = set(pictures), set(masks)
    passed = {file: MASK if file in known else OUTSIDE if file in seen else _no_picture(file) for file in others}
    return Database(path.absolute(), negative, positive, labels, others, 8, files, files.passed_over | passed)


def _no_picture(file: str) -> str:
    return ARCHIVE if file.lower().endswith(ARCHIVES) else OTHER


def build_catalogue(database: Database) -> Catalogue:
    """Decode every film once, in parallel, and tabulate what its file tells.

    The table has the columns file, label, problem (empty, or why the film is left out), mode, width,
    height, bytes, sha256 (of the file), bits (by which it was scaled, `tblib.film.Film`), pixels_sha256, the columns
    of `tblib.artefacts.facts`, the boxes as text, claimed_source (a URL from the database's xlsx) and twin_group.

    How deep films of more than eight bits are hangs on all of them (`shared_depth`), so those that were
    scaled by less than the database's depth are decoded once more.

    Raises:
        CatalogueError: no film of a class decodes.
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
    table["twin_group"] = _twin_column([thumbnail for _, thumbnail in found])
    claims, notes = _claimed_sources(database)
    notes += [*database.files.notes, *_notes_on_archives(database), *_note_on_depth(depths, database.bits)]
    table["claimed_source"] = [claims.get(PurePosixPath(file).stem.lower(), "") for file in table["file"]]
    for name in database.classes:
        if not ((table["label"] == name) & (table["problem"] == "")).any():
            first = table.loc[table["label"] == name, "problem"].iloc[0]
            raise CatalogueError(f"No image of class {name} can be used; the first one: {first}")
    passed = pd.DataFrame(sorted(database.passed_over.items()), columns=["file", "why"])
    return Catalogue(table, _summary(database, table, notes), passed)


def save_catalogue(run: Run, catalogue: Catalogue) -> None:
    """Write ``catalogue.csv``, ``passed_over.csv`` and ``catalogue.json`` into the run folder."""
    write_table(run.path("catalogue.csv"), catalogue.table)
    write_table(run.path("passed_over.csv"), catalogue.passed_over)
    write_json(run.path("catalogue.json"), catalogue.summary)


def catalogued_database(run: Run) -> Database:
    """The database that the run's catalogue was made of.

    Raises:
        CatalogueError: it is no longer where it was.
    """
    summary = run.facts("catalogue.json")
    path = Path(summary["path"])
    if not path.exists():
        raise CatalogueError(
            f"The database of this run is no longer at {path}; put it back, or make the run anew with the films where "
            f"they are now: {run.command('--from', 'eda', '--overwrite', '--data')} …"
        )
    found = open_database(path, summary["negative"], summary["positive"])
    return replace(found, bits=summary.get("bits", 8))


def shared_depth(films: Iterable[tuple[int, bool]]) -> int:
    """The depth of a database's films that do not tell their own, in bits: the least that holds most of these films.

    It holds all but a twentieth, so that one film with a burnt-in white does not turn all the others black, and of
    fewer than 20 films all. Where those are fewer than 20, films that do tell their depth count with them.

    Args:
        films: `bits` and `guessed` of each film (`tblib.film.Film`) as opened without a least depth.
    """
    films = list(films)
    guesses = [bits for bits, guessed in films if guessed]
    if not guesses:
        return 8
    if len(guesses) < FEW:
        guesses += [bits for bits, guessed in films if not guessed and bits > 8]
    return next((depth for depth in DEPTHS if sum(bits > depth for bits in guesses) <= len(guesses) // FEW), DEPTHS[-1])


def need_same_films(run: Run) -> None:
    """See that the films that were prepared are those of the catalogue.

    Raises:
        CatalogueError: the catalogue was made anew, of other films.
        DamagedError: a file of the run is damaged.
    """
    prepared, catalogued = run.facts("preparation.json"), run.facts("catalogue.json")
    files, same = usable(run.table("catalogue.csv"))["file"], run.table("split.csv")["file"]
    if prepared.get("database", catalogued["digest"]) != catalogued["digest"] or files.tolist() != same.tolist():
        raise CatalogueError(
            f"The films of the run {run.name} were catalogued anew ({catalogued['database']}) after they had been "
            f"prepared, and are others. Prepare them again: {run.command('--from', 'preparation')}"
        )


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a catalogue whose film decodes, renumbered from 0; row i is image i of ``images.npy``.

    Columns get the types back that the empty cells of unusable films took from them.
    """
    return table[table["problem"] == ""].reset_index(drop=True).infer_objects()


def _mounted_kaggle() -> Path | None:
    """The database's folder or zip among the inputs of a notebook on Kaggle; None elsewhere, or if it is not added."""
    names = [name + ending for name in (KAGGLE_DATASET.split("/")[1], KAGGLE_FOLDER) for ending in ("", ".zip")]
    patterns = ("*/" * above + name for above in range(KAGGLE_ABOVE + 1) for name in names)
    return next((path for pattern in patterns for path in sorted(KAGGLE_INPUT.glob(pattern))), None)


def _download_kaggle() -> Path:
    by_hand = (
        "Get it by hand: download the zip from kaggle.com/datasets/" + KAGGLE_DATASET + ", put it into data/, "
        "and run again with --data data/<file>.zip. In a notebook on Kaggle, add it to the notebook's inputs instead."
    )
    try:
        import kagglehub
    except ImportError:
        raise CatalogueError(f"--data kaggle needs the package kagglehub: pip install kagglehub. {by_hand}") from None
    try:
        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except Exception as error:  # kagglehub raises what its HTTP library raises: no network, no rights, no space
        raise CatalogueError(f"Kaggle did not hand over the database ({error}). {by_hand}") from error


@lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    """A folder's name as it is compared: without case, spaces and underscores as hyphens."""
    return unicodedata.normalize("NFC", name).strip().casefold().replace(" ", "-").replace("_", "-")


def _words(negative: str, positive: str) -> dict[str, str]:
    """Name of a folder, `_folded` -> class; what was asked for outweighs what is usual."""
    if _folded(negative) == _folded(positive):
        raise CatalogueError(
            f"Both classes are called {negative}, as case does not count; give them two names with "
            "-p negative … -p positive …."
        )
    words: dict[str, str] = {}
    for asked, default, usual in zip((negative, positive), DEFAULTS, (NEGATIVE, POSITIVE), strict=True):
        if asked == default:
            words |= dict.fromkeys(usual, asked)
    return words | {_folded(negative): negative, _folded(positive): positive}


def _labels(
    path: Path, pictures: list[str], words: dict[str, str], classes: tuple[str, str]
) -> tuple[dict[str, str], list[str]]:
    """File -> class of the films, by their folders or, where no folder names a class, by the endings of their names.

    With them come the pictures that are masks of others.
    """
    folders = _class_folders(pictures, words)
    if not folders and classes == DEFAULTS:
        folders = _numbered(pictures, classes)
    nearest = {file: _nearest(file, folders) for file in pictures}
    films = _films(nearest, folders)
    masks = sorted(set(pictures) - set(films))
    if folders:
        _require_certain(path, {file: nearest[file] for file in films if nearest[file]}, folders)
        return {file: folders[nearest[file]] for file in films if nearest[file]}, masks
    usual = _class_folders(pictures, _words(*DEFAULTS))  # those that asked for other names may have erred
    return {} if len(set(usual.values())) == 2 else _labels_in_names(path, films, classes), masks


def _above(file: str) -> Iterator[Folder]:
    """The folders that a file lies in, the nearest first."""
    folders = PurePosixPath(file).parts[:-1]
    return (folders[:depth] for depth in range(len(folders), 0, -1))


def _nearest(file: str, folders: dict[Folder, str]) -> Folder:
    """Of the class folders the one nearest to the file, or ()."""
    return next((folder for folder in _above(file) if folder in folders), ())


def _class_folders(pictures: Iterable[str], words: dict[str, str]) -> dict[Folder, str]:
    """Folder -> class that its name tells. One that holds folders of both classes is the whole database's."""
    found = {
        folder: words[_folded(folder[-1])]
        for file in pictures
        for folder in _above(file)
        if _folded(folder[-1]) in words
    }
    held = _held(found)
    return {folder: label for folder, label in found.items() if len(held[folder]) < 2}


def _held(folders: dict[Folder, str]) -> dict[Folder, dict[str, Folder]]:
    """Class folder -> classes of the class folders within it, each with one of these."""
    held: dict[Folder, dict[str, Folder]] = {folder: {} for folder in folders}
    for folder, label in folders.items():
        for depth in range(1, len(folder)):
            if folder[:depth] in folders:
                held[folder[:depth]][label] = folder
    return held


def _numbered(pictures: Iterable[str], classes: tuple[str, str]) -> dict[Folder, str]:
    """Folder -> class of the folders 0 and 1, where those are classes: side by side, and no other number beside them.

    Patients and views of one patient are numbered, too. Where there are several such pairs, as two views of each
    patient would be, they lie in parts of a split or hold many films each.
    """
    counts: dict[Folder, dict[str, int]] = {}  # folder -> number within it -> pictures
    for file in pictures:
        for folder in _above(file):
            if folder[-1].isdecimal():
                beside = counts.setdefault(folder[:-1], {})
                beside[folder[-1]] = beside.get(folder[-1], 0) + 1
    pairs = {above: beside for above, beside in counts.items() if not beside.keys().isdisjoint(NUMBERS)}
    for above, beside in pairs.items():
        may_repeat = sum(beside.values()) >= MANY or _folded("".join(above[-1:])) in SPLITS
        if sorted(beside) != list(NUMBERS) or not (may_repeat or len(pairs) == 1):
            return {}
    return {(*above, number): label for above in pairs for number, label in zip(NUMBERS, classes, strict=True)}


def _films(nearest: dict[str, Folder], folders: dict[Folder, str]) -> list[str]:
    """The pictures that are no masks of others, sorted.

    Masks lie in a folder with "mask" in its name, within a class's folder or where no folder names a class. In such
    a folder above the classes' (which may mean films that have masks), and in `LUNGS`, they are known by their names:
    films of the same class have the same ones. A folder that holds all pictures tells nothing.

    Args:
        nearest: of all pictures, each with its class folder or ().
        folders: class folder -> class.
    """
    top = len(PurePosixPath(commonpath([dirname(file) for file in nearest] or [""])).parts)
    films: list[str] = []
    doubtful: dict[Folder, list[str]] = {}
    for file, own in nearest.items():
        inside = [folder for folder in _above(file) if len(folder) > top and folder != own]
        masks = [folder for folder in inside if "mask" in folder[-1].lower()]
        lungs = [folder for folder in inside if folder[-1].lower() == LUNGS]
        if not (masks or lungs):
            films.append(file)
        elif not masks or len(masks[0]) < len(own):
            doubtful.setdefault((masks or lungs)[0], []).append(file)
    named = {(folders.get(nearest[file]), PurePosixPath(file).stem) for file in films}
    for folder, members in doubtful.items():
        shared = sum((folders.get(nearest[file]), PurePosixPath(file).stem) in named for file in members)
        if shared < (MOSTLY * len(members) if folder[-1].lower() == LUNGS else 1):
            films.extend(members)
    return sorted(films)


def _require_certain(path: Path, nearest: dict[str, Folder], folders: dict[Folder, str]) -> None:
    """Refuse films in a class's folder that holds the other class's, unless they lie right in it."""
    held = _held(folders)
    for file, folder in nearest.items():
        other = next((inner for label, inner in held[folder].items() if label != folders[folder]), None)
        if other and PurePosixPath(file).parts[:-1] != folder:
            raise CatalogueError(
                f"{path.name} is not clear about {file}: its folder {'/'.join(folder)} names the class "
                f"{folders[folder]} and holds films of the other class, too ({'/'.join(other)}). {ASK}"
            )


def _labels_in_names(path: Path, films: Iterable[str], classes: tuple[str, str]) -> dict[str, str]:
    """File -> class of the films whose name ends in _0 or _1, where both are there; else nothing.

    Raises:
        CatalogueError: the endings number views of a patient, or something else than classes.
    """
    found = [(file, *_ending(file)) for file in films]
    labels = dict(zip(ENDINGS, classes, strict=True))
    if not labels.keys() <= {ending for _, _, ending in found}:
        return {}
    begun: dict[str, tuple[str, str]] = {}  # a name before its ending -> the first film called so, and its ending
    for file, name, ending in found:
        other, its_ending = begun.setdefault(name, (file, ending))
        if ending and (its_ending != ending or ending not in labels):
            raise CatalogueError(
                f"{path.name} has no folder that names a class, and the figures at the end of its films' names look "
                f"like numbers of views rather than classes ({' and '.join(sorted({other, file}))}). {ASK}"
            )
    return {file: labels[ending] for file, _, ending in found if ending}


def _ending(file: str) -> tuple[str, str]:
    """A film's name as far as its last figure, without case, and that figure with its underscore, or ""."""
    stem = PurePosixPath(file).stem
    numbered = stem[-2:-1] == "_" and stem[-1:].isdecimal()
    return (stem[:-2].casefold(), stem[-2:]) if numbered else (f"{stem}/", "")


def _require_classes(path: Path, files: Files, labels: dict[str, str], negative: str, positive: str) -> None:
    missing = [name for name in (negative, positive) if name not in labels.values()]
    if not missing:
        return
    folders = sorted({folder for file in files for folder in PurePosixPath(file).parts[:-1]})
    inner = next((file for file in files if file.lower().endswith(".zip")), None)
    ended = next((file for file in files if _ending(file)[1] in ENDINGS and files.is_picture(file)), None)
    hint = f" It does hold {inner}: did you mean that?" if inner else ""
    dead = next((file for file, why in files.passed_over.items() if why == DEAD_LINK), None)
    hint += f" {dead} is {DEAD_LINK}." if dead else ""
    if ended and labels:
        hint += f" Names that end in _0 or _1 ({ended}) are not taken for labels where a folder names a class."
    raise CatalogueError(
        f"{path.name} has no image in a folder called {' or '.join(missing)}; its folders are: "
        f"{', '.join(folders[:8]) or 'none'}. {ASK}{hint}"
    )


def _described(database: Database, files: list[str]) -> list[tuple[dict[str, Any], Pixels | None]]:
    """What `_describe` says of each of the files, in parallel."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    jobs = (delayed(_describe_all)(database.only(chunk), chunk) for chunk in chunks)
    done = Parallel(n_jobs=-1, return_as="generator", **workers())(jobs) if chunks else []
    shown = tqdm(done, total=len(chunks), desc="catalogue", unit=f"×{CHUNK} films", disable=not chunks)
    return [described for part in shown for described in part]


def _describe_all(database: Database, files: list[str]) -> list[tuple[dict[str, Any], Pixels | None]]:
    return [_describe(database, file) for file in files]


def _describe(database: Database, file: str) -> tuple[dict[str, Any], Pixels | None]:
    """One row of the table and the film's thumbnail; where the film cannot be used the row says why."""
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


def _twin_column(thumbnails: list[Pixels | None]) -> pd.Series:
    """Int64: the twin group of each film, -1 for a film that did not decode."""
    column = np.full(len(thumbnails), -1, dtype=np.int64)
    decoded = [i for i, thumbnail in enumerate(thumbnails) if thumbnail is not None]
    if decoded:
        stack = np.stack([t for t in thumbnails if t is not None])
        column[decoded] = twin_groups(len(stack), twin_pairs(stack))
    return pd.Series(column)


def _claimed_sources(database: Database) -> tuple[dict[str, str], list[str]]:
    """File stem in lower case -> URL claimed in the database's xlsx files, and a note on each that is unreadable."""
    claims: dict[str, str] = {}
    notes: list[str] = []
    for file in (f for f in database.others if f.lower().endswith(".metadata.xlsx")):
        try:
            sheet = _sheet(database.read(file))
        except Exception as error:  # openpyxl raises errors of many kinds on damaged files
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
    """A sentence on archives in the database, whose films are not read, if there are any."""
    inner = [file for file, why in database.passed_over.items() if why == ARCHIVE]
    return [
        f"Archives within, whose films are not read: {', '.join(inner[:3])}. Unpack them if they belong to it."
    ] * bool(inner)


def _note_on_depth(depths: list[tuple[int, bool]], bits: int) -> list[str]:
    """A sentence on films whose depth was guessed, if there are any."""
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
