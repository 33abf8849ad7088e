"""The catalogue: a zip or a folder of films becomes one table, one row an image."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from tblib import TblibError
from tblib.artefacts import artefacts, facts
from tblib.box import boxes_text, widths_text
from tblib.film import IMAGE_ENDINGS, FilmError, Pixels, open_film, resized
from tblib.phantom import PRESETS, demo_is_current, demo_name, read_preset, write_demo
from tblib.run import ROOT, Run, write_json, write_table
from tblib.twins import twin_groups, twin_pairs

KAGGLE_DATASET = "tawsifurrahman/tuberculosis-tb-chest-xray-dataset"
MAX_FILE_BYTES = 500_000_000  # an image file above this is listed as unusable rather than read into memory
THUMBNAIL = 64  # pixels a side at which twins are confirmed
CHUNK = 32  # films a parallel task


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
    """

    path: Path
    negative: str
    positive: str
    labels: dict[str, str]
    others: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, str]:
        """Both class names, negative first."""
        return self.negative, self.positive

    @cached_property
    def _zip(self) -> zipfile.ZipFile | None:
        return zipfile.ZipFile(self.path) if self.path.is_file() else None

    def read(self, file: str) -> bytes:
        """The bytes of one file, straight from the zip or the folder.

        Raises:
            FilmError: it is above `MAX_FILE_BYTES`, or damaged or encrypted inside the zip.
        """
        size = self._zip.getinfo(file).file_size if self._zip else (self.path / file).stat().st_size
        if size > MAX_FILE_BYTES:
            raise FilmError(f"{file} has {size:,} bytes, above the limit of {MAX_FILE_BYTES:,}; leave it out.")
        try:
            return self._zip.read(file) if self._zip else (self.path / file).read_bytes()
        except (zipfile.BadZipFile, RuntimeError, OSError, NotImplementedError, EOFError) as error:
            raise FilmError(f"{file} cannot be read ({error}); copy or download the database again.") from error


@dataclass(frozen=True)
class Catalogue:
    """A database's table (one row an image, sorted by file) and what holds for the database as a whole."""

    table: pd.DataFrame
    summary: dict[str, Any]


def find_data(data: str, films: int, seed: int, preset: str = "kaggle") -> Path:
    """The zip or folder that `data` means: ``demo`` (made where needed), ``kaggle`` (downloaded) or a path.

    Args:
        data: ``demo``, ``kaggle``, or a zip or folder (`data_path`).
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
        return _download_kaggle()
    return data_path(data)


def data_path(data: str) -> Path:
    """Where the zip or folder `data` is: seen from the working folder, else from the checkout."""
    path = Path(data).expanduser()
    return path.absolute() if path.exists() else ROOT / path


def open_database(path: Path, negative: str = "Normal", positive: str = "Tuberculosis") -> Database:
    """List the films in a zip or folder; a film's class is the name of the nearest folder called after one.

    Where no folder is called so, names as the National Library of Medicine gives them tell the class: ``…_0`` is
    negative, ``…_1`` positive; folders of masks are passed over.

    Raises:
        CatalogueError: there is no such path, it is no zip or a truncated one, an entry climbs out
            of the zip, or one of the two classes has no image.
    """
    if not path.exists():
        raise CatalogueError(f"There is no database at {path}. Give a zip or a folder, or see data/README.md.")
    files = files_of(path)
    labels: dict[str, str] = {}
    for file in files:
        label = _label(file, negative, positive)
        if label and file.lower().endswith(IMAGE_ENDINGS):
            labels[file] = label
    if not labels:
        labels = _labels_in_names(files, negative, positive)
    _require_classes(path, files, labels, negative, positive)
    return Database(path.absolute(), negative, positive, labels, tuple(f for f in files if f not in labels))


def build_catalogue(database: Database) -> Catalogue:
    """Decode every film once, in parallel, and tabulate what its file tells.

    The table has the columns file, label, problem (empty, or why the film is left out), mode, width,
    height, bytes, sha256 (of the file), pixels_sha256, the columns of `tblib.artefacts.facts`, the
    boxes as text, claimed_source (a URL from the database's xlsx) and twin_group.

    Raises:
        CatalogueError: no film of a class decodes.
    """
    files = list(database.labels)
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    jobs = (delayed(_describe_all)(database, chunk) for chunk in chunks)
    done = Parallel(n_jobs=-1, return_as="generator")(jobs)
    rows: list[dict[str, Any]] = []
    thumbnails: list[Pixels | None] = []
    for part in tqdm(done, total=len(chunks), desc="catalogue", unit=f"×{CHUNK} films"):
        rows.extend(row for row, _ in part)
        thumbnails.extend(thumbnail for _, thumbnail in part)
    table = pd.DataFrame(rows)
    table["twin_group"] = _twin_column(thumbnails)
    claims, notes = _claimed_sources(database)
    table["claimed_source"] = [claims.get(PurePosixPath(file).stem.lower(), "") for file in table["file"]]
    for name in database.classes:
        if not ((table["label"] == name) & (table["problem"] == "")).any():
            first = table.loc[table["label"] == name, "problem"].iloc[0]
            raise CatalogueError(f"No image of class {name} can be used; the first one: {first}")
    return Catalogue(table, _summary(database, table, notes))


def save_catalogue(run: Run, catalogue: Catalogue) -> None:
    """Write ``catalogue.csv`` and ``catalogue.json`` into the run folder."""
    write_table(run.path("catalogue.csv"), catalogue.table)
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
            f"The database of this run is no longer at {path}; put it back, or catalogue it where it is now: "
            f"python -m tblib run --name {run.folder.name} --from eda --data …"
        )
    return open_database(path, summary["negative"], summary["positive"])


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a catalogue whose film decodes, renumbered from 0; row i is image i of ``images.npy``.

    Columns get the types back that the empty cells of unusable films took from them.
    """
    return table[table["problem"] == ""].reset_index(drop=True).infer_objects()


def _download_kaggle() -> Path:
    by_hand = (
        "Get it by hand: download the zip from kaggle.com/datasets/" + KAGGLE_DATASET + ", put it into data/, "
        "and run again with --data data/<file>.zip."
    )
    try:
        import kagglehub
    except ImportError:
        raise CatalogueError(f"--data kaggle needs the package kagglehub: pip install kagglehub. {by_hand}") from None
    try:
        return Path(kagglehub.dataset_download(KAGGLE_DATASET))
    except Exception as error:  # kagglehub raises what its HTTP library raises: no network, no rights, no space
        raise CatalogueError(f"Kaggle did not hand over the database ({error}). {by_hand}") from error


def files_of(path: Path) -> list[str]:
    """Every file in a zip or folder, sorted.

    Raises:
        CatalogueError: it is no zip or a truncated one, or an entry climbs out of it.
    """
    return _folder_files(path) if path.is_dir() else _zip_files(path)


def _folder_files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def _zip_files(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            if min((info.header_offset for info in archive.infolist()), default=0) > 0:
                # A zip cut off behind a zip or xlsx that it holds ends like that inner one, and opens as it.
                raise zipfile.BadZipFile("its list of contents does not begin with its first byte")
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise CatalogueError(
            f"{path.name} is not a zip file, or a truncated one ({error}); download it again."
        ) from error
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
            raise CatalogueError(f"{path.name} holds an entry that climbs out of it ({name!r}); do not use this file.")
    return sorted(set(names))


def _label(file: str, negative: str, positive: str) -> str:
    """The class whose folder is nearest to the file, or empty text; hidden and macOS side files have none."""
    *folders, name = PurePosixPath(file).parts
    if name.startswith(".") or "__MACOSX" in folders:
        return ""
    return next((folder for folder in reversed(folders) if folder in (negative, positive)), "")


def _labels_in_names(files: Iterable[str], negative: str, positive: str) -> dict[str, str]:
    """File -> class of the pictures whose name ends in _0 or _1, where both are there; else nothing."""
    labels = {}
    for file in files:
        path = PurePosixPath(file)
        hidden = path.name.startswith(".") or any("mask" in folder.lower() for folder in path.parts[:-1])
        if not hidden and "__MACOSX" not in path.parts and path.name.lower().endswith(IMAGE_ENDINGS):
            for ending, label in (("_0", negative), ("_1", positive)):
                if path.stem.endswith(ending):
                    labels[file] = label
    return labels if len(set(labels.values())) == 2 else {}


def _require_classes(path: Path, files: Iterable[str], labels: dict[str, str], negative: str, positive: str) -> None:
    missing = [name for name in (negative, positive) if name not in labels.values()]
    if not missing:
        return
    folders = sorted({folder for file in files for folder in PurePosixPath(file).parts[:-1]})
    inner = next((file for file in files if file.lower().endswith(".zip")), None)
    hint = f" It does hold {inner}: did you mean that?" if inner else ""
    raise CatalogueError(
        f"{path.name} has no image in a folder called {' or '.join(missing)}; its folders are: "
        f"{', '.join(folders[:8]) or 'none'}. Name the class folders with -p negative … -p positive ….{hint}"
    )


def _describe_all(database: Database, files: list[str]) -> list[tuple[dict[str, Any], Pixels | None]]:
    return [_describe(database, file) for file in files]


def _describe(database: Database, file: str) -> tuple[dict[str, Any], Pixels | None]:
    """One row of the table and the film's thumbnail; where the film cannot be used the row says why."""
    row: dict[str, Any] = {"file": file, "label": database.labels[file], "problem": ""}
    try:
        content = database.read(file)
        row |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        film = open_film(content, file)
    except FilmError as error:
        return row | {"problem": str(error)}, None
    height, width = film.pixels.shape[:2]
    found = artefacts(film, len(content))
    row |= {"mode": film.mode, "width": width, "height": height}
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
            sheet = pd.read_excel(io.BytesIO(database.read(file)), usecols=["FILE NAME", "URL"], dtype=str)
        except (ValueError, KeyError, zipfile.BadZipFile, FilmError) as error:
            notes.append(f"{file} could not be read ({error}); its claimed sources are missing.")
            continue
        claims |= {str(n).strip().lower(): str(u) for n, u in sheet.dropna().itertuples(index=False)}
    return claims, notes


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
        "films": {name: int((good["label"] == name).sum()) for name in database.classes},
        "left_out": table.loc[table["problem"] != "", ["file", "problem"]].to_dict("records"),
        "notes": notes,
    }
