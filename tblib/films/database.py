"""Databases: the films in a zip or folder, and their classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from posixpath import commonpath, dirname

from tblib.arrays import TblibError
from tblib.films.archive import ARCHIVES, DEAD_LINK, ArchiveError, Files, files_of
from tblib.films.film import Film, open_film
from tblib.system.files import ROOT

DEFAULTS = ("Normal", "Tuberculosis")  # default names of the classes
NEGATIVE = (  # usual names of their folders, `_folded`
    *("normal", "normals", "healthy", "control", "controls"),
    *("negative", "tb-negative", "non-tb", "no-tb", "not-tb", "nontb"),
)
POSITIVE = ("tuberculosis", "tb", "positive", "tb-positive")
NUMBERS = ("0", "1")  # folder names without words
SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")  # parts with both classes
ENDINGS = ("_0", "_1")  # of file names, in the convention of the National Library of Medicine
MASK, OUTSIDE, ARCHIVE, OTHER = "a mask", "in no class's folder", "an archive within", "no picture"  # why left out
LUNGS = "lungs"  # a folder that may contain films or masks
MANY = 10  # a folder with at least so many films is not a single patient's
MOSTLY = 0.9  # of the pictures in `LUNGS`: if so many share a film's name, they are masks
ASK = (
    "Put the films of each class into a folder of their own, or name the class folders with "
    "-p negative … -p positive …."
)
CHUNK = 32  # films per parallel task
Folder = tuple[str, ...]  # its names from the top of the database


class DatabaseError(TblibError):
    """A database that cannot be catalogued."""


@dataclass(frozen=True)
class Database:
    """A database of films in two classes, as returned by `open_database`.

    Attributes:
        path: a zip file or a folder.
        negative, positive: names of the classes; `positive` is the disease.
        labels: path inside the database -> class name, sorted by path.
        others: the remaining files (metadata and the like), sorted.
        bits: the least depth for films of more than eight bits that do not state their own; determined by
            `build_catalogue` and restored by `catalogued_database`.
        files: their places in the zip or folder.
        passed_over: file -> why it is not a film; includes `others`.
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
        """A copy with these films only, to be sent to another process."""
        labels = {file: self.labels[file] for file in files}
        return replace(self, labels=labels, others=(), files=self.files.only(files), passed_over={})

    def read(self, file: str) -> bytes:
        """Read the bytes of one file.

        Raises:
            FilmError: it does not exist, is too large, or is damaged or encrypted inside the zip.
        """
        return self.files.read(file)

    def film(self, file: str) -> Film:
        """Decode one film, scaled like the others of its database.

        Raises:
            FilmError: it cannot be read, or is not a usable picture.
        """
        return open_film(self.read(file), file, self.bits)


def data_path(data: str) -> Path:
    """Path of the zip or folder `data`, relative to the working folder, else to the checkout."""
    path = Path(data).expanduser()
    return path.absolute() if path.exists() else ROOT / path


def open_database(path: Path | str, negative: str = DEFAULTS[0], positive: str = DEFAULTS[1]) -> Database:
    """List the films in a zip or folder; the nearest folder named after a class determines a film's class.

    Folder names are compared with `negative` and `positive`, ignoring case; a class left at its default also matches
    its usual names (`NEGATIVE`, `POSITIVE`, `NUMBERS`). If no folder names a class, file names as of the National
    Library of Medicine determine it: ``…_0`` is negative, ``…_1`` positive. Masks are left out. Labels are `negative`
    and `positive` as passed, however the folders are spelled.

    Raises:
        DatabaseError: the path does not exist, is not a zip or a truncated one, an entry leads out of the zip, a class
            has no image, or the class of some films is ambiguous.
    """
    path = Path(path).absolute()
    words = _words(negative, positive)
    try:
        files = files_of(path, (negative, positive))
    except ArchiveError as error:
        raise DatabaseError(str(error)) from error
    pictures = [file for file in files if files.is_picture(file)]
    labels, masks = _labels(path, pictures, words, (negative, positive))
    _require_classes(path, files, labels, negative, positive)
    others = tuple(file for file in files if file not in labels)
    seen, known = set(pictures), set(masks)
    passed = {file: MASK if file in known else OUTSIDE if file in seen else _no_picture(file) for file in others}
    return Database(path, negative, positive, labels, others, 8, files, files.passed_over | passed)


def _no_picture(file: str) -> str:
    return ARCHIVE if file.lower().endswith(ARCHIVES) else OTHER


@lru_cache(maxsize=4096)
def _folded(name: str) -> str:
    """Normalise a folder's name for comparison: lower case, hyphens for spaces and underscores."""
    return unicodedata.normalize("NFC", name).strip().casefold().replace(" ", "-").replace("_", "-")


def _words(negative: str, positive: str) -> dict[str, str]:
    """Folder name, `_folded` -> class; requested names take precedence over usual ones."""
    if _folded(negative) == _folded(positive):
        raise DatabaseError(
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
    """File -> class, by folders or, if none names a class, by the endings of file names; and the masks left out."""
    folders = _class_folders(pictures, words)
    if not folders and classes == DEFAULTS:
        folders = _numbered(pictures, classes)
    nearest = {file: _nearest(file, folders) for file in pictures}
    films = _films(nearest, folders)
    masks = sorted(set(pictures) - set(films))
    if folders:
        _require_certain(path, {file: nearest[file] for file in films if nearest[file]}, folders)
        return {file: folders[nearest[file]] for file in films if nearest[file]}, masks
    usual = _class_folders(pictures, _words(*DEFAULTS))  # the requested names may be mistaken
    return {} if len(set(usual.values())) == 2 else _labels_in_names(path, films, classes), masks


def _above(file: str) -> Iterator[Folder]:
    folders = PurePosixPath(file).parts[:-1]
    return (folders[:depth] for depth in range(len(folders), 0, -1))


def _nearest(file: str, folders: dict[Folder, str]) -> Folder:
    """The class folder nearest to the file, or ()."""
    return next((folder for folder in _above(file) if folder in folders), ())


def _class_folders(pictures: Iterable[str], words: dict[str, str]) -> dict[Folder, str]:
    """Class folder -> class. A folder that contains folders of both classes belongs to the whole database."""
    found = {
        folder: words[_folded(folder[-1])]
        for file in pictures
        for folder in _above(file)
        if _folded(folder[-1]) in words
    }
    held = _held(found)
    return {folder: label for folder, label in found.items() if len(held[folder]) < 2}


def _held(folders: dict[Folder, str]) -> dict[Folder, dict[str, Folder]]:
    """Class folder -> classes of the class folders inside it, each with one example."""
    held: dict[Folder, dict[str, Folder]] = {folder: {} for folder in folders}
    for folder, label in folders.items():
        for depth in range(1, len(folder)):
            if folder[:depth] in folders:
                held[folder[:depth]][label] = folder
    return held


def _numbered(pictures: Iterable[str], classes: tuple[str, str]) -> dict[Folder, str]:
    """Folder -> class of folders called 0 and 1, if they are classes: siblings, without a sibling of another number.

    Patients and views of a patient are numbered, too. Several such pairs (as of two views per patient) are classes only
    if they lie in parts of a split or contain many films each.
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
    """The pictures that are not masks of others, sorted, from picture -> class folder or () and class folder -> class.

    Masks lie in a folder with "mask" in its name, inside a class's folder or where no folder names a class. In such a
    folder above the classes' (which may mean films that have masks), and in `LUNGS`, they are recognised by sharing
    names with films of the same class. A folder that contains all pictures is no evidence.
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
    """Raise an error on films in a class's folder that also contains the other class's, unless directly in it."""
    held = _held(folders)
    for file, folder in nearest.items():
        other = next((inner for label, inner in held[folder].items() if label != folders[folder]), None)
        if other and PurePosixPath(file).parts[:-1] != folder:
            raise DatabaseError(
                f"{path.name} is not clear about {file}: its folder {'/'.join(folder)} names the class "
                f"{folders[folder]} and holds films of the other class, too ({'/'.join(other)}). {ASK}"
            )


def _labels_in_names(path: Path, films: Iterable[str], classes: tuple[str, str]) -> dict[str, str]:
    """File -> class of the films whose name ends in _0 or _1, if both occur; else empty.
    Raises DatabaseError if the endings number a patient's views, or anything but classes."""
    found = [(file, *_ending(file)) for file in films]
    labels = dict(zip(ENDINGS, classes, strict=True))
    if not labels.keys() <= {ending for _, _, ending in found}:
        return {}
    begun: dict[str, tuple[str, str]] = {}  # a name without its ending -> the first film with it, and its ending
    for file, name, ending in found:
        other, its_ending = begun.setdefault(name, (file, ending))
        if ending and (its_ending != ending or ending not in labels):
            raise DatabaseError(
                f"{path.name} has no folder that names a class, and the figures at the end of its films' names look "
                f"like numbers of views rather than classes ({' and '.join(sorted({other, file}))}). {ASK}"
            )
    return {file: labels[ending] for file, _, ending in found if ending}


def _ending(file: str) -> tuple[str, str]:
    """A file name up to its last digit, in lower case, and that digit with its underscore, or ""."""
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
    raise DatabaseError(
        f"{path.name} has no image in a folder called {' or '.join(missing)}; its folders are: "
        f"{', '.join(folders[:8]) or 'none'}. {ASK}{hint}"
    )
