"""Processes that end with the one that started them, however that ends, and what dead ones have left lying about."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import platform
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any

import psutil
from filelock import FileLock, Timeout
from tqdm import tqdm

PR_SET_PDEATHSIG = 1  # prctl(2): the signal that a process gets when its parent dies
SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = 2 * 10**9  # bytes free there, as joblib asks for: below that arrays for workers go to the disk
LOOK = 1  # seconds between looks at the parent where no signal tells of its death


def end_with(parent: int) -> None:
    """End this process at once when process `parent`, which started it, ends.

    On Linux the system sees to it, even while this process computes and holds the interpreter's lock; elsewhere a
    thread looks every second. On Windows nothing is done: there ipykernel waits for its parent by itself.
    """
    if sys.platform == "win32":
        return
    told = sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0
    if not told:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before it could be watched
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def begin_kernel(parent: int) -> None:
    """What a notebook's kernel does first: it ends with `parent`, and in order, its `scratch` removed, by SIGTERM."""
    end_with(parent)
    end_without_search()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def end_kernel_with_server() -> None:
    """`end_with` for the kernel of a notebook; nothing where this process is none, or its server does not say so."""
    kernels = sys.modules.get("ipykernel.kernelapp")
    if kernels and kernels.IPKernelApp.initialized():
        end_without_search()
        server = kernels.IPKernelApp.instance().parent_handle
        if server == os.getppid():
            end_with(server)


def end_without_search() -> None:
    """Have this process end without Python's last search for garbage, which takes a second once torch is loaded."""
    atexit.register(gc.freeze)


def workers() -> dict[str, Any]:
    """Options with which joblib's `Parallel` starts processes that end with this one and write in its `scratch`."""
    return {"backend": "loky", "initializer": _begin_work, "initargs": (os.getpid(),), "temp_folder": str(scratch())}


def _begin_work(parent: int) -> None:
    """What each worker does first."""
    end_with(parent)
    end_without_search()
    tqdm.set_lock(threading.RLock())  # its own is one for many processes: a semaphore, which a killed worker leaves


@cache
def scratch() -> Path:
    """A folder of this process alone, in memory where there is plenty, removed when it ends.

    Where it could not end orderly, `clear_scratch` of a later process removes it.
    """
    place = Path(_places()[0])
    place.mkdir(parents=True, exist_ok=True)  # as joblib makes its own
    folder = Path(mkdtemp(prefix=f"tblib-{os.getpid()}-", dir=place))
    lock = FileLock(folder / "lock")
    lock.acquire()
    atexit.register(_remove, folder, lock)
    return folder


def _remove(folder: Path, lock: FileLock) -> None:
    lock.release()  # Windows removes no open file
    shutil.rmtree(folder, ignore_errors=True)


def _places() -> list[str]:
    """Where `scratch` may lie; the first is best."""
    places = [os.environ.get("JOBLIB_TEMP_FOLDER", ""), gettempdir()]
    if os.access(SHARED_MEMORY, os.W_OK):
        places.insert(1 if shutil.disk_usage(SHARED_MEMORY).free >= LEAST_SHARED else 2, str(SHARED_MEMORY))
    return [place for place in places if place]


def clear_scratch() -> None:
    """Remove what `scratch` gave to processes of this user that are dead, and the semaphores of their workers."""
    for place in _places():
        for folder in Path(place).glob("tblib-*-*"):
            pid = int(re.match(r"tblib-(\d+)-|", folder.name)[1] or 0)  # type: ignore[index]  # "" always matches
            if pid and not _is_alive(pid) and _is_own(folder) and not _is_locked(folder / "lock"):
                shutil.rmtree(folder, ignore_errors=True)
                for semaphore in filter(_is_own, SHARED_MEMORY.glob(f"sem.loky-{pid}-*")):
                    semaphore.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True


def _is_own(path: Path) -> bool:
    try:
        return not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
    except FileNotFoundError:  # another command has just cleared it
        return False


def _is_locked(path: Path) -> bool:
    """Whether another process holds the lock, perhaps one whose number means nothing here, as in a container."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def part_name(name: str) -> str:
    """What a file called `name` is called while this process writes it."""
    return f".{name}.{platform.node()}.{os.getpid()}.part"


def clear_parts(folder: Path) -> None:
    """Remove from a folder the files that dead processes of this machine were writing (`part_name`)."""
    ours = re.compile(rf"\..+\.{re.escape(platform.node())}\.(\d+)\.part")
    for path in folder.glob(".*.part") if os.access(folder, os.W_OK) else ():
        found = ours.fullmatch(path.name)
        if found and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


@contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Make a KeyboardInterrupt with its number of SIGTERM, and of a closed terminal's SIGHUP, inside the block."""

    def stop(number: int, _frame: Any) -> None:
        """What Ctrl-C does, with the number of the signal."""
        raise KeyboardInterrupt(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    here = threading.current_thread() is threading.main_thread()
    kept = {name: signal.getsignal(getattr(signal, name)) for name in names if here}
    mine = [name for name, handler in kept.items() if handler is signal.SIG_DFL]  # nohup's choice stands
    for name in mine:
        signal.signal(getattr(signal, name), stop)
    try:
        yield
    finally:
        for name in mine:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
