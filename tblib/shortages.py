"""What a machine may lack (room on a disk, memory, open files, a right to write) and the sentence that says so."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from tempfile import gettempdir

from tblib import TblibError

FILE = {  # error number -> what is wrong, and what to do; {place} is a file or folder
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
OTHER = {  # error number -> the same where no file is to blame
    errno.EMFILE: FILES_OPEN,
    errno.ENFILE: FILES_OPEN,
    errno.ENOMEM: MEMORY,
}
WORDS = {  # how libraries tell the same
    r"[Tt]oo many open files": FILES_OPEN,
    r"can't start new thread|pthread_create failed|BlockingIOError.*Resource temporarily": THREADS,
    r"MemoryError|[Cc]an(not|'t) allocate memory|OutOfMemoryError|CUDA out of memory|bad_alloc": MEMORY,
    r"TerminatedWorkerError|failed to map segment": MEMORY,
    r"No usable temporary directory": TEMPORARY,
}
LEAST_OPEN, GOOD_OPEN = 256, 4096  # files that a study must be able to open at once, and those that it asks for
AGAIN = "; then do the same again. What is finished is kept."


class ShortageError(TblibError):
    """The machine lacks what is needed: room, memory, open files, a right to write."""


def allow_open_files() -> None:
    """Let this process, and those that it starts, open as many files at once as a study needs.

    Raises:
        ShortageError: it may not; what libraries then run into is told by each in another way, or not at all.
    """
    if sys.platform == "win32":  # there is no such limit
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
    """The sentence that tells of a shortage, or None where the error is of another kind.

    Args:
        error: as it was raised; that from which it was raised is looked at, too.
        place: what was being written, where the error does not say so itself.
    """
    cause: BaseException | None = error
    while cause is not None:
        told = _of_number(cause, place) or shortage_in(f"{type(cause).__name__}: {cause}", place)
        if told:
            return told
        cause = cause.__cause__
    return None


def shortage_in(text: str, place: Path | str = "") -> str | None:
    """The same for an error of which only the text is left, as of one in another process."""
    for pattern, sentence in WORDS.items():
        if re.search(pattern, text):
            return sentence + AGAIN
    found = re.search(r"\[Errno (\d+)\] [^:'\"\n]*(?:: (['\"])(.+?)\2)?|\(os error (\d+)\)", text)
    return _sentence(int(found[1] or found[4]), found[3] or place) if found else None


def _of_number(error: BaseException, place: Path | str) -> str | None:
    number = getattr(error, "errno", None)  # also ZMQ's errors, which are no OSError, have one
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
