"""Sentences on what a machine lacks: disk space, memory, open files or permissions."""

import errno
import os
import re
import sys
from pathlib import Path
from tempfile import gettempdir

from tblib.arrays import TblibError

FILE = {  # error number -> problem and advice; {place} is a file or folder
    errno.ENOSPC: "There is no room left on the disk for {place}. Make some there",
    getattr(
        errno, "EDQUOT", -1
    ): "Your quota of the disk is used up, and there is no room for {place}. Make some there",
    errno.EFBIG: "{place} would be larger than a file may be here. Raise that limit, as by: ulimit -f unlimited",
    errno.EROFS: "{place} lies on a file system that can only be read. Let it be written to, or choose another place",
    errno.EACCES: "{place} may not be read or written. Give yourself the right to, or choose another place",
    errno.EPERM: "{place} may not be read or written. Give yourself the right to, or choose another place",
    errno.EIO: "The disk fails at {place}. Look after it, or choose another place",
}
FILES_OPEN = "Too many files are open at once. Raise that limit, as by: ulimit -n 4096"
THREADS = "No more processes or threads may be started. End some, or raise that limit, as by: ulimit -u 4096"
MEMORY = "There is not enough memory. End other programs, lift a limit on it (ulimit -v), or take a larger machine"
TEMPORARY = "No folder for temporary files can be written to. Name one that can, as by: export TMPDIR=/a/folder"
OTHER = {  # the same for errors without a file
    errno.EMFILE: FILES_OPEN,
    errno.ENFILE: FILES_OPEN,
    errno.ENOMEM: MEMORY,
}
WORDS = {  # how libraries report the same
    r"[Tt]oo many open files": FILES_OPEN,
    r"can't start new thread|pthread_create failed|BlockingIOError.*Resource temporarily": THREADS,
    r"MemoryError|[Cc]an(not|'t) allocate memory|OutOfMemoryError|CUDA out of memory|bad_alloc": MEMORY,
    r"TerminatedWorkerError|failed to map segment": MEMORY,
    r"No usable temporary directory": TEMPORARY,
}
LEAST_OPEN, GOOD_OPEN = 256, 4096  # open files that a study needs at least, and the number requested
AGAIN = "; then do the same again. What is finished is kept."


class ShortageError(TblibError):
    """The machine lacks disk space, memory, open files or permissions."""


def allow_open_files() -> None:
    """Raise the limit on open files of this process and its children to what a study needs.

    Raises:
        ShortageError: it cannot be raised; libraries would report this each in its own way, or not at all.
    """
    if sys.platform == "win32":  # has no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = GOOD_OPEN if hard == resource.RLIM_INFINITY else min(GOOD_OPEN, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < LEAST_OPEN:
        told = f"A process may open {hard} files at once here, and a study needs {LEAST_OPEN}"
        raise ShortageError(f"{told}. Raise that limit, as by: ulimit -n {GOOD_OPEN}{AGAIN}")


def shortage(error: BaseException, place: Path | str = "") -> str | None:
    """Return the sentence on a shortage, or None if the error is of another kind.
    Causes of the error are checked, too; `place` is what was being written, if the error does not say so itself."""
    cause: BaseException | None = error
    while cause is not None:
        told = _of_number(cause, place) or shortage_in(f"{type(cause).__name__}: {cause}", place)
        if told:
            return told
        cause = cause.__cause__
    return None


def shortage_in(text: str, place: Path | str = "") -> str | None:
    """`shortage` for an error of which only the text is left, e.g. from another process."""
    for pattern, sentence in WORDS.items():
        if re.search(pattern, text):
            return sentence + AGAIN
    found = re.search(r"\[Errno (\d+)\] [^:'\"\n]*(?:: (['\"])(.+?)\2)?|\(os error (\d+)\)", text)
    return _sentence(int(found[1] or found[4]), found[3] or place) if found else None


def _of_number(error: BaseException, place: Path | str) -> str | None:
    number = getattr(error, "errno", None)  # ZMQ's errors, which are no OSError, also have one
    named = getattr(error, "filename", None)
    place = str(named) if isinstance(named, str | os.PathLike) else place
    return _sentence(number, place) if isinstance(number, int) else None


def _sentence(number: int, place: Path | str) -> str | None:
    if number in OTHER:
        return OTHER[number] + AGAIN
    if number not in FILE:
        return None
    where = str(place) or f"a file (temporary ones go to {gettempdir()})"
    sentence = FILE[number].format(place=where) + AGAIN
    return sentence[0].upper() + sentence[1:]
