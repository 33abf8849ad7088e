"""Nothing outlives a command that is killed; what it left half-written is cleared, and nothing of anybody else's."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import grey_film, png, write_zip
from filelock import FileLock
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from tblib.report import notebook
from tblib.report.notebook import NOTEBOOK, working_alone
from tblib.run import Run, StepError
from tblib.system import processes
from tblib.system.files import ROOT
from tblib.system.processes import clear_parts, clear_scratch, part_name

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by their environment in /proc")


def started_with(mark: str) -> list[psutil.Process]:
    """Living processes with this mark in their environment, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TBLIB_TEST") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # it ended, or is not ours
    return found


def until(holds, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not holds():
        time.sleep(0.1)
    return holds()


def busy(folder: Path, start: str) -> subprocess.Popen:
    """`busy_command`, once its kernel and its workers compute."""
    write_zip(folder / "films.zip", {f"{label}/1.png": png(grey_film(1)) for label in ("Normal", "Tuberculosis")})
    (folder / "busy").unlink(missing_ok=True)
    command = [sys.executable, str(ROOT / "tests" / "busy_command.py"), str(folder), start]
    log = (folder / "log.txt").open("wb")
    environment = os.environ | {"TBLIB_TEST": str(folder)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    assert until((folder / "busy").exists, 60), (folder / "log.txt").read_text()
    assert until(lambda: len(started_with(str(folder))) >= 4, 10)  # two workers among them
    return process


@linux
@pytest.mark.parametrize("start", ["workflow", "hand"])
def test_kernels_and_workers_that_hold_their_lock_end_with_a_killed_command(tmp_path, start):
    process = busy(tmp_path, start)
    process.kill()
    assert until(lambda: not started_with(str(tmp_path)), 5), started_with(str(tmp_path))
    if start == "workflow":  # the next command has the run at once, and clears what lies about
        left = [str(path) for kind in "-_" for path in processes.SHARED_MEMORY.glob(f"*{kind}{process.pid}{kind}*")]
        assert left
        process = busy(tmp_path, start)
        assert [path for path in left if Path(path).exists()] == []
        assert len(list((tmp_path / "notebooks").iterdir())) == 1
        process.terminate()
        assert process.wait(5) == 128 + signal.SIGTERM
        assert until(lambda: not started_with(str(tmp_path)), 2), started_with(str(tmp_path))
        assert "Interrupted by SIGTERM. What is finished is kept" in (tmp_path / "log.txt").read_text()
        assert list((tmp_path / "notebooks").iterdir()) == []


def test_a_run_is_refused_while_a_notebook_of_a_killed_command_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook, "PATIENCE", 0.1)
    with (
        FileLock(tmp_path / NOTEBOOK),
        pytest.raises(StepError, match=r"Another process is working.*or stop"),
        working_alone(Run(tmp_path), "stop"),
    ):
        pass
    with working_alone(Run(tmp_path), "stop"):
        pass


DIE = """
import os, sys
from pathlib import Path
from tblib.system.processes import scratch
from tblib.system.files import replacing
print(scratch(), flush=True)
with replacing(Path(sys.argv[1]) / "film.zip") as part:
    part.write_text("half")
    sys.stdin.read() if sys.argv[2] == "wait" else os._exit(1)
"""


def test_what_dead_processes_left_is_cleared_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    command = [sys.executable, "-c", DIE, str(tmp_path)]
    dead = subprocess.run([*command, "die"], capture_output=True, text=True, check=False).stdout.strip()
    names = ["tblib-notes-1", f".film.zip.elsewhere.{2**22 + 1}.part", ".film.zip.part"]
    others = [tmp_path / name for name in names]
    for other in others:
        other.touch()
    with subprocess.Popen([*command, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        folder = Path(living.stdout.readline().strip())
        part = tmp_path / f".film.zip.{platform.node()}.{living.pid}.part"
        assert until(part.exists, 5)
        assert len(list(tmp_path.glob(".film.zip.*.part"))) == 3
        clear_parts(tmp_path)
        clear_scratch()
        assert not Path(dead).exists()
        assert sorted(tmp_path.iterdir()) == sorted([*others, part, folder])
        living.communicate("")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "film.zip"])  # an orderly end leaves nothing


def test_a_folder_that_is_locked_is_anothers_though_its_process_is_not_seen(tmp_path, monkeypatch):
    """As one in another container that shares the disk."""
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    folder = tmp_path / f"tblib-{2**22 + 1}-x"  # above the largest number that Linux gives
    folder.mkdir()
    with FileLock(folder / "lock"):
        clear_scratch()
        assert folder.exists()
    clear_scratch()
    assert not folder.exists()


@linux
def test_a_worker_makes_no_semaphore_that_nobody_would_clear():
    def left() -> list[str]:
        """Semaphores of this process beside a bar; a function of the module would cost workers all its imports."""
        with tqdm(disable=True):
            return [path.name for path in processes.SHARED_MEMORY.glob(f"sem.*{os.getpid()}*")]

    with parallel_config(**processes.workers()):
        assert Parallel(n_jobs=2)(delayed(left)() for _ in range(4)) == [[]] * 4


def test_a_part_is_named_by_file_machine_and_process():
    assert part_name("a.json") == f".a.json.{platform.node()}.{os.getpid()}.part"
