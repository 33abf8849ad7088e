"""The files in a zip or a folder: what they are called, what is in them, and what is none of a person's files."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from charset_normalizer import from_bytes

from tblib import TblibError
from tblib.dicom import PREAMBLE, PREFIX, said
from tblib.film import FilmError
from tblib.pictures import PNG, TIFF
from tblib.shortages import OTHER, ShortageError, shortage
from tblib.text import printable

MAX_FILE_BYTES = 500_000_000  # a file above this is listed as unusable rather than read into memory
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif"),
    *(".jp2", ".j2k", ".jpx", ".pcx", ".ppm", ".pgm", ".pnm", ".tga"),
    *(".dcm", ".dicom", ".dic", ".ima"),
)
OTHER_ENDINGS = (  # of what is no picture, and need not be opened to know it
    *(".csv", ".tsv", ".txt", ".md", ".json", ".xml", ".html", ".htm", ".xlsx", ".xls", ".pdf", ".doc", ".docx"),
    *(".ini", ".db", ".log", ".py", ".ipynb", ".yml", ".yaml", ".npy", ".npz", ".h5", ".mat", ".tmp", ".part"),
)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
BEGINNINGS = (PNG, *TIFF, b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # of pictures whose name ends oddly
SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r", "ehthumbs.db")
HIDDEN = "hidden, or made by a system or program"
DEAD_LINK, ZIP_LINK = "a link that leads nowhere", "a link inside the zip"
SHUT, READ_ALREADY = "a folder that cannot be read", "a link to a folder that is read already"
KINDS = {  # how files begin that people take for a zip -> what they are
    b"\x1f\x8b": "a tar.gz or other gzip archive; unpack it and give the folder",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and give the folder",
    b"Rar!": "a RAR archive; unpack it and give the folder",
    b"BZh": "a bzip2 archive; unpack it and give the folder",
    b"\xfd7zXZ": "an xz archive; unpack it and give the folder",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive; unpack it and give the folder",
    b"<": "a web page rather than the file behind it; download it again, logged in",
    b"{": "an answer of a server rather than the file; download it again, logged in",
    b"%PDF": "a PDF document; give a zip or a folder of films",
    PNG: "one picture; give a zip or a folder of films, or ask a model: python -m tblib predict",
    b"\xff\xd8\xff": "one picture; give a zip or a folder of films, or ask a model: python -m tblib predict",
}
TAR, TAR_AT = b"ustar", 257
LOCAL, SPANNED = b"PK\3\4", (b"PK00", b"PK\7\x08")  # how an entry of a zip begins, and marks before the first one
IS_LINK, FILE_TYPE = 0o120000, 0o170000  # in the upper half of an entry's attributes, where a Unix wrote it
UTF8, ENCRYPTED = 0x800, 0x1  # flags of an entry whose name is UTF-8, and of one with a password
CODE_PAGES = ["utf_8", "cp866", "cp1251", "cp932", "gbk", "cp949", "big5", "cp850", "cp1252"]  # of old zip programs


class DatabaseError(TblibError):
    """A zip or folder that cannot be used."""


@dataclass(frozen=True)
class Files:
    """What a zip or folder holds. Make it with `files_of`.

    Attributes:
        path: of the zip or folder.
        places: name of a file, in one line and with slashes -> its place: number of the zip's entry, or path within
            the folder. Sorted by name.
        passed_over: name of a file -> why it is not among them.
        notes: sentences on names that were changed.
    """

    path: Path
    places: dict[str, int | str]
    passed_over: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """Over the names."""
        return iter(self.places)

    def only(self, names: Iterable[str]) -> Files:
        """These files alone, to be sent to another process."""
        return replace(self, places={name: self.places[name] for name in names if name in self.places}, passed_over={})

    def read(self, name: str, most: int | None = None) -> bytes:
        """The bytes of one file, or the first `most` of them.

        Raises:
            FilmError: it is not there, above `MAX_FILE_BYTES`, or damaged or encrypted inside the zip.
            ShortageError: the machine lacks memory or may open no more files.
        """
        shown = printable(name)
        try:
            place = self.places[name]
            entry = _archive(self.path).infolist()[place] if isinstance(place, int) else None
            size = entry.file_size if entry else (self.path / str(place)).stat().st_size
            if most is None and size > MAX_FILE_BYTES:
                raise FilmError(f"{shown} has {size:,} bytes, above the limit of {MAX_FILE_BYTES:,}; leave it out.")
            if entry and entry.flag_bits & ENCRYPTED:
                raise FilmError(f"{shown} is encrypted in the zip; unpack it with its password and give the folder.")
            opened = _archive(self.path).open(entry) if entry else (self.path / str(place)).open("rb")
            with opened as file:
                return file.read() if most is None else file.read(most)
        except (KeyError, IndexError, FileNotFoundError) as error:
            raise FilmError(f"{shown} is not in {self.path.name} any more; put it back.") from error
        except NotImplementedError as error:
            raise FilmError(
                f"{shown} is packed in a way that is not read ({said(error)}); unpack the zip and give the folder."
            ) from error
        except (FilmError, MemoryError):
            raise
        except OSError as error:
            if error.errno in OTHER:  # too many open files, say: no fault of the film's
                raise ShortageError(shortage(error)) from error
            raise FilmError(f"{shown} cannot be read ({said(error)}); copy or download the database again.") from error
        except Exception as error:  # damaged zips raise errors of zipfile and of each of its decompressors
            raise FilmError(f"{shown} cannot be read ({said(error)}); copy or download the database again.") from error

    def is_picture(self, name: str) -> bool:
        """Whether a file may be a film: by the end of its name or, where that is unknown, by how the file begins."""
        lower = name.lower()
        if lower.endswith(IMAGE_ENDINGS):
            return True
        if lower.endswith((*OTHER_ENDINGS, *ARCHIVES)):
            return False
        try:
            head = self.read(name, PREAMBLE + len(PREFIX))
        except FilmError:
            return False
        return head.startswith(BEGINNINGS) or (head.endswith(PREFIX) and len(head) == PREAMBLE + len(PREFIX))

    def stamp(self) -> str:
        """What changes when the files do, without reading them: checksums in a zip; sizes and times in a folder."""
        if self.path.is_dir():
            facts = [(name, (self.path / str(place)).stat()) for name, place in self.places.items()]
            return str([(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts])
        return str([(entry.filename, entry.file_size, entry.CRC) for entry in _archive(self.path).infolist()])


def files_of(path: Path, words: Iterable[str] = ()) -> Files:
    """Every file in a zip or folder, without those that systems and programs leave there.

    Links are followed in a folder, not in a zip. Names are those that `unzip` shows: with slashes, and in the code page
    in which they make sense where the zip does not say which.

    Args:
        path: of the zip or folder.
        words: names that are likely to stand there, by which a code page is known.

    Raises:
        DatabaseError: there is nothing at the path, it is no zip or a truncated one, or an entry climbs out of it.
    """
    if not path.exists():
        raise DatabaseError(f"There is no database at {path}. Give a zip or a folder, or see data/README.md.")
    return _folder_files(path) if path.is_dir() else _zip_files(path, words)


def _is_hidden(name: str) -> bool:
    """Whether systems and programs, rather than people, make files of this name, or in folders of it."""
    *folders, last = name.split("/")
    return (
        any(folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS for folder in folders)
        or last.startswith((".", "~$"))
        or last.lower() in SYSTEM_FILES
    )


def _folder_files(path: Path) -> Files:
    found: list[tuple[str, str]] = []
    passed: dict[str, str] = {}
    for folder, file in _walked(path, passed):
        place = os.path.relpath(os.path.join(folder, file), path)
        name = place.replace(os.sep, "/")
        if _is_hidden(name):
            passed[printable(name)] = HIDDEN
        elif not os.path.exists(path / place):
            passed[printable(name)] = DEAD_LINK
        elif os.path.isfile(path / place):
            found.append((name, place))
    return _named(path, found, passed)


def _walked(path: Path, passed: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Folder and name of each file below a folder, links followed, no folder twice by the same way."""

    def shut(error: OSError) -> None:
        """Note a folder that the system does not list."""
        passed[printable(os.path.relpath(str(error.filename), path))] = SHUT

    above = {os.path.realpath(path)}
    for folder, folders, files in os.walk(path, onerror=shut, followlinks=True):
        for inner in list(folders):
            link = Path(folder, inner)
            real = os.path.realpath(link)
            if link.is_symlink() and (real in above or Path(real) in Path(os.path.realpath(folder)).parents):
                folders.remove(inner)
                passed[printable(os.path.relpath(link, path))] = READ_ALREADY
            elif link.is_symlink():
                above.add(real)
        yield from ((folder, file) for file in files)


def _zip_files(path: Path, words: Iterable[str]) -> Files:
    try:
        entries = _archive(path).infolist()
        _need_whole(path, entries)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DatabaseError(_no_zip(path, error)) from error
    decoded = _decoded([entry for entry in entries if not entry.flag_bits & UTF8], words)
    found: list[tuple[str, int]] = []
    passed: dict[str, str] = {}
    for place, entry in enumerate(entries):
        name = _slashed(path, decoded.get(entry.filename, entry.filename))
        if not name or entry.is_dir() or entry.filename.endswith("\\"):
            continue
        if _is_hidden(name):
            passed[printable(name)] = HIDDEN
        elif (entry.external_attr >> 16) & FILE_TYPE == IS_LINK:
            passed[printable(name)] = ZIP_LINK
        else:
            found.append((name, place))
    return _named(path, found, passed)


def _named(path: Path, found: Iterable[tuple[str, int | str]], passed: dict[str, str]) -> Files:
    """The files under names in one line, each of them once."""
    places: dict[str, int | str] = {}
    notes = []
    for name, place in found:
        name = own = printable(unicodedata.normalize("NFC", name))
        count = 2
        while name in places:
            pure = PurePosixPath(own)
            name = str(pure.with_name(f"{pure.stem} ({count}){pure.suffix}"))
            count += 1
        if name != own:
            notes.append(f"{own} stands in {path.name} more than once; another one of that name is called {name} here.")
        places[name] = place
    return Files(path, dict(sorted(places.items())), passed, tuple(notes))


@lru_cache(maxsize=8)
def _opened(path: Path, size: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _archive(path: Path) -> zipfile.ZipFile:
    """The zip at a path, whose contents are listed once a process as long as it stays the same."""
    facts = path.stat()
    return _opened(path, facts.st_size, facts.st_mtime_ns)


def _need_whole(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """See that the list of contents is this zip's own; there may be other bytes in front, as in a self-extracting one.

    A zip cut off behind a zip or xlsx that it holds ends like that inner one, and opens as it.

    Raises:
        zipfile.BadZipFile: it is not.
    """
    if min((entry.header_offset for entry in entries), default=0) > 0:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(LOCAL) or (head.startswith(SPANNED) and head[4:] == LOCAL and entries[0].header_offset > 4):
            raise zipfile.BadZipFile("its list of contents does not begin with its first byte")


def _no_zip(path: Path, error: Exception) -> str:
    """A sentence on a file that does not open as a zip: what it is, where that can be seen."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as unread:
        return f"{path.name} cannot be read ({unread.strerror or unread}); see that it is a file that you may read."
    if head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return f"{path.name} is no zip but a tar archive; unpack it and give the folder."
    kind = next((what for begin, what in KINDS.items() if head.lstrip().startswith(begin)), None)
    if kind:
        return f"{path.name} is no zip but {kind}."
    return f"{path.name} is not a zip file, or a truncated one ({error}); download it again."


def _slashed(path: Path, name: str) -> str:
    """An entry's name with slashes, from the top of the zip.

    Raises:
        DatabaseError: it leads out of the zip.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DatabaseError(
            f"{path.name} holds an entry that climbs out of it ({printable(name)!r}); do not use this file."
        )
    return "/".join(parts)


def _decoded(entries: list[zipfile.ZipInfo], words: Iterable[str]) -> dict[str, str]:
    """Names as zipfile decodes them where a zip tells no code page -> in the one in which they make sense.

    That is one in which the `words` stand among them, else the one that charset-normalizer finds the likeliest.
    """
    raw = {entry.filename: entry.filename.encode("cp437") for entry in entries if not entry.filename.isascii()}
    if not raw:
        return {}
    wanted = [word.casefold() for word in words if not word.isascii()]
    content = b"\n".join(raw.values())
    for page in CODE_PAGES if wanted else ():
        text = content.decode(page, "replace").casefold()
        if any(word in text for word in wanted):
            return {name: own.decode(page, "replace") for name, own in raw.items()}
    likely = from_bytes(content, cp_isolation=CODE_PAGES).best()
    page = likely.encoding if likely else "cp437"
    return {name: own.decode(page, "replace") for name, own in raw.items()}
