"""Child processes that end with their parent, however it ends, and removal of what dead processes left behind."""

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

PR_SET_PDEATHSIG = 1  # prctl(2): the signal sent to a process when its parent dies
SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = 2 * 10**9  # free bytes there, joblib's own limit: with less, arrays for workers are stored on disk
LOOK = 1  # seconds between checks of the parent where no signal reports its death


def end_with(parent: int) -> None:
    """End this process as soon as its parent process `parent` ends.

    On Linux the kernel does this, even while this process holds the GIL; elsewhere a thread checks every second. On
    Windows nothing is done: ipykernel itself waits for its parent there.
    """
    if sys.platform == "win32":
        return
    told = sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0
    if not told:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the signal was set
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def begin_kernel(parent: int) -> None:
    """Set up a notebook's kernel: end with `parent`, and on SIGTERM exit normally, which removes its `scratch`."""
    end_with(parent)
    end_without_search()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def end_kernel_with_server() -> None:
    """`end_with` the server of a notebook's kernel; does nothing outside a kernel, or if the server is unknown."""
    kernels = sys.modules.get("ipykernel.kernelapp")
    if kernels and kernels.IPKernelApp.initialized():
        end_without_search()
        server = kernels.IPKernelApp.instance().parent_handle
        if server == os.getppid():
            end_with(server)


def end_without_search() -> None:
    """Skip Python's last garbage collection at exit, which takes a second once torch is loaded."""
    atexit.register(gc.freeze)


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage inside the block: what imports make lives on, and it takes long to look through it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def workers() -> dict[str, Any]:
    """Options of joblib's `Parallel` for worker processes that end with this one and use its `scratch`."""
    return {"backend": "loky", "initializer": _begin_work, "initargs": (os.getpid(),), "temp_folder": str(scratch())}


def _begin_work(parent: int) -> None:
    end_with(parent)
    end_without_search()
    tqdm.set_lock(threading.RLock())  # the default is a semaphore shared by processes, which a killed worker leaks


@cache
def scratch() -> Path:
    """A folder for this process only, in memory if there is plenty, removed at exit.
    After an abnormal exit, `clear_scratch` of a later process removes it."""
    place = Path(_places()[0])
    place.mkdir(parents=True, exist_ok=True)  # as joblib creates its own
    folder = Path(mkdtemp(prefix=f"tblib-{os.getpid()}-", dir=place))
    lock = FileLock(folder / "lock")
    lock.acquire()
    atexit.register(_remove, folder, lock)
    return folder


def _remove(folder: Path, lock: FileLock) -> None:
    lock.release()  # Windows cannot remove open files
    shutil.rmtree(folder, ignore_errors=True)


def _places() -> list[str]:
    """Possible parent folders of `scratch`, best first."""
    places = [os.environ.get("JOBLIB_TEMP_FOLDER", ""), gettempdir()]
    if os.access(SHARED_MEMORY, os.W_OK):
        places.insert(1 if shutil.disk_usage(SHARED_MEMORY).free >= LEAST_SHARED else 2, str(SHARED_MEMORY))
    return [place for place in places if place]


def clear_scratch() -> None:
    """Remove the `scratch` folders of this user's dead processes, and their workers' semaphores."""
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
    except psutil.AccessDenied:  # of another user
        return True


def _is_own(path: Path) -> bool:
    try:
        return not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
    except FileNotFoundError:  # another process has just removed it
        return False


def _is_locked(path: Path) -> bool:
    """Whether another process holds the lock, perhaps one whose process id is unknown here, as in a container."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def part_name(name: str) -> str:
    """The temporary name of a file that this process is writing."""
    return f".{name}.{platform.node()}.{os.getpid()}.part"


def clear_parts(folder: Path) -> None:
    """Remove partial files (`part_name`) of this machine's dead processes from a folder."""
    ours = re.compile(rf"\..+\.{re.escape(platform.node())}\.(\d+)\.part")
    for path in folder.glob(".*.part") if os.access(folder, os.W_OK) else ():
        found = ours.fullmatch(path.name)
        if found and not _is_alive(int(found[1])):
            path.unlink(missing_ok=True)


@contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Inside the block, turn SIGTERM and a closed terminal's SIGHUP into KeyboardInterrupt with the signal's number."""

    def stop(number: int, _frame: Any) -> None:
        """Raise what Ctrl+C raises."""
        raise KeyboardInterrupt(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    here = threading.current_thread() is threading.main_thread()
    kept = {name: signal.getsignal(getattr(signal, name)) for name in names if here}
    mine = [name for name, handler in kept.items() if handler is signal.SIG_DFL]  # keeps nohup's setting
    for name in mine:
        signal.signal(getattr(signal, name), stop)
    try:
        yield
    finally:
        for name in mine:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
