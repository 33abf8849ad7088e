"""The files in a zip or a folder: names, contents, and the exclusion of files made by operating systems."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from charset_normalizer import from_bytes

from tblib.arrays import TblibError
from tblib.films.dicom import PREAMBLE, PREFIX, said
from tblib.films.film import FilmError
from tblib.films.pictures import PNG, TIFF
from tblib.system.shortages import OTHER, ShortageError, shortage
from tblib.system.text import printable


class ArchiveError(TblibError):
    """A zip or folder that cannot be used."""


MAX_FILE_BYTES = 500_000_000  # larger files are listed as unusable instead of read into memory
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif"),
    *(".jp2", ".j2k", ".jpx", ".pcx", ".ppm", ".pgm", ".pnm", ".tga"),
    *(".dcm", ".dicom", ".dic", ".ima"),
)
OTHER_ENDINGS = (  # of files that are known to be no pictures without opening them
    *(".csv", ".tsv", ".txt", ".md", ".json", ".xml", ".html", ".htm", ".xlsx", ".xls", ".pdf", ".doc", ".docx"),
    *(".ini", ".db", ".log", ".py", ".ipynb", ".yml", ".yaml", ".npy", ".npz", ".h5", ".mat", ".tmp", ".part"),
)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz")
BEGINNINGS = (PNG, *TIFF, b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # of pictures with odd extensions
SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "icon\r", "ehthumbs.db")
HIDDEN = "hidden, or made by a system or program"
DEAD_LINK, ZIP_LINK = "a link that leads nowhere", "a link inside the zip"
SHUT, READ_ALREADY = "a folder that cannot be read", "a link to a folder that is read already"
KINDS = {  # first bytes of files mistaken for a zip -> what they are
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
LOCAL, SPANNED = b"PK\3\4", (b"PK00", b"PK\7\x08")  # first bytes of a zip's entry, and marks before the first one
IS_LINK, FILE_TYPE = 0o120000, 0o170000  # in the upper half of an entry's attributes, if written on Unix
UTF8, ENCRYPTED = 0x800, 0x1  # flags of entries with a UTF-8 name, and of encrypted ones
CODE_PAGES = ["utf_8", "cp866", "cp1251", "cp932", "gbk", "cp949", "big5", "cp850", "cp1252"]  # of old zip programs


@dataclass(frozen=True)
class Files:
    """The files in a zip or folder, as returned by `files_of`.

    Attributes:
        places: printable name with slashes -> index of the zip's entry, or path within the folder. Sorted by name.
        passed_over: name of a file -> why it was left out.
        notes: sentences on names that were changed.
    """

    path: Path
    places: dict[str, int | str]
    passed_over: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.places)

    def only(self, names: Iterable[str]) -> Files:
        """A copy with these files only, to be sent to another process."""
        return replace(self, places={name: self.places[name] for name in names if name in self.places}, passed_over={})

    def read(self, name: str, most: int | None = None) -> bytes:
        """Read one file, or its first `most` bytes.

        Raises:
            FilmError: it does not exist, is larger than `MAX_FILE_BYTES`, or is damaged or encrypted inside the zip.
            ShortageError: not enough memory or open files.
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
            if error.errno in OTHER:  # e.g. too many open files, which is not the film's fault
                raise ShortageError(shortage(error)) from error
            raise FilmError(f"{shown} cannot be read ({said(error)}); copy or download the database again.") from error
        except Exception as error:  # damaged zips raise errors of zipfile and of each of its decompressors
            raise FilmError(f"{shown} cannot be read ({said(error)}); copy or download the database again.") from error

    def is_picture(self, name: str) -> bool:
        """Whether a file may be a film: by its extension or, if that is unknown, by its first bytes."""
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
        """A fingerprint of the files without reading them: checksums in a zip; sizes and times in a folder."""
        if self.path.is_dir():
            facts = [(name, (self.path / str(place)).stat()) for name, place in self.places.items()]
            return str([(name, fact.st_size, fact.st_mtime_ns) for name, fact in facts])
        return str([(entry.filename, entry.file_size, entry.CRC) for entry in _archive(self.path).infolist()])


def files_of(path: Path, words: Iterable[str] = ()) -> Files:
    """List the files in a zip or folder, without those that operating systems and programs leave there.

    Links are followed in folders, but not in zips. Names have slashes, as in `unzip`; if a zip states no code page, the
    one in which the names make sense is used, recognised by `words` that are likely to occur.

    Raises:
        ArchiveError: the path does not exist, is not a zip or a truncated one, or an entry leads out of the zip.
    """
    if not path.exists():
        raise ArchiveError(f"There is no database at {path}. Give a zip or a folder, or see data/README.md.")
    return _folder_files(path) if path.is_dir() else _zip_files(path, words)


def _is_hidden(name: str) -> bool:
    """Whether the file, or a folder above it, has a name used by operating systems and programs."""
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
    """Folder and name of each file below a folder; links are followed, but no folder twice on the same path."""

    def shut(error: OSError) -> None:
        """Note a folder that may not be read."""
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
        raise ArchiveError(_no_zip(path, error)) from error
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
    """The zip at a path; its contents are listed once per process as long as it does not change."""
    facts = path.stat()
    return _opened(path, facts.st_size, facts.st_mtime_ns)


def _need_whole(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Raise zipfile.BadZipFile if the list of contents belongs to another zip inside this one.

    A zip cut off after a zip or xlsx that it holds ends like the inner one, and opens as it. Other bytes in front of
    the zip are allowed, as in self-extracting ones.
    """
    if min((entry.header_offset for entry in entries), default=0) > 0:
        with path.open("rb") as file:
            head = file.read(8)
        if head.startswith(LOCAL) or (head.startswith(SPANNED) and head[4:] == LOCAL and entries[0].header_offset > 4):
            raise zipfile.BadZipFile("its list of contents does not begin with its first byte")


def _no_zip(path: Path, error: Exception) -> str:
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
    """An entry's name with slashes, from the top of the zip; raises DatabaseError if it leads out of the zip."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveError(
            f"{path.name} holds an entry that leads out of it ({printable(name)!r}); do not use this file."
        )
    return "/".join(parts)


def _decoded(entries: list[zipfile.ZipInfo], words: Iterable[str]) -> dict[str, str]:
    """Names as decoded by zipfile where the code page is unknown -> names in the code page in which they make sense.
    It is one in which some of `words` occur, else the most likely one according to charset-normalizer."""
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
