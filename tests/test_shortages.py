"""A full disk, little memory, few open files: one sentence that names the place and the need; nothing half-written."""

import errno
import re
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import papermill
import pytest
import torch
from papermill.exceptions import PapermillExecutionError

from tblib import __main__
from tblib.__main__ import main
from tblib.classifiers.trained import save_model
from tblib.films.database import open_database
from tblib.mitigation import ModelInput
from tblib.phantoms.demo import write_demo
from tblib.prepare import decode_images
from tblib.report import kernel
from tblib.run import STEPS, StepError, open_run
from tblib.system.files import write_json, write_table
from tblib.system.shortages import ShortageError, shortage, shortage_in


@contextmanager
def files_at_most(size: int):
    """Inside the block a file that grows beyond `size` bytes is refused by the system, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITERS = {
    "facts.json": lambda path, demo: write_json(path, {"text": "x" * 9000}),
    "table.csv": lambda path, demo: write_table(path, pd.DataFrame({"n": range(9000)})),
    "model.safetensors": lambda path, demo: save_model(path, {"w": torch.zeros(9000)}, {}, {}),
    "images.npy": lambda path, demo: decode_images(
        open_database(demo), sorted(open_database(demo).labels), path, ModelInput(32)
    ),
    "demo.zip": lambda path, demo: write_demo(path, 2, 0),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_is_written_is_whole_or_not_there_and_the_sentence_names_it(tmp_path, demo, name):
    with files_at_most(4000), pytest.raises(ShortageError) as told:
        WRITERS[name](tmp_path / name, demo)
    assert str(told.value).startswith(f"{tmp_path / name} would be larger than a file may be here.")
    assert "What is finished is kept" in str(told.value)
    assert list(tmp_path.iterdir()) == []
    WRITERS[name](tmp_path / name, demo)  # when there is room
    assert (tmp_path / name).stat().st_size > 4000


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/a.npy"), "no room left on the disk for /x/a.npy. Make"),
        (FULL, "no room left on the disk for /the/place"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/x/a"), "quota of the disk is used up.* room for /x/a"),
        (OSError(errno.EROFS, "Read-only file system", "/x/a"), "^/x/a lies on a file system that can only be read"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/a"), "^/x/a may not be read or written. Give"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many files are open at once. Raise.*ulimit -n"),
        (RuntimeError("can't start new thread"), "No more processes or threads"),
        (MemoryError("Unable to allocate 8 GiB"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "TMPDIR"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_shortage_is_told_here_and_from_the_text_of_another_process(error, words):
    outer = ValueError("what a library made of it")
    outer.__cause__ = error
    here = shortage(error, "/the/place")
    assert re.search(words, here)
    assert shortage(outer, "/the/place") == here
    assert shortage_in(f"{type(error).__name__}: {error}", "/the/place") == here


@pytest.mark.parametrize(
    "error", [ValueError("28"), FileNotFoundError(errno.ENOENT, "No such file", "/x"), KeyError(28)]
)
def test_other_errors_are_no_shortage(error):
    assert shortage(error) is None
    assert shortage_in(f"{type(error).__name__}: {error}") is None


def test_whatever_a_command_lacks_is_a_sentence_and_other_errors_are_not_hidden(monkeypatch, capsys):
    for error in (FULL, MemoryError()):
        monkeypatch.setattr(__main__, "_run", lambda _, error=error: (_ for _ in ()).throw(error))
        assert main(["run"]) == 1
        told = capsys.readouterr().err
        assert told.startswith("Error: There is no")
        assert told.count("\n") == 1
    monkeypatch.setattr(__main__, "_run", lambda _: {}["key"])
    with pytest.raises(KeyError):
        main(["run"])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("OSError", "[Errno 28] No space left on device: '/x/.lock'", "no room left on the disk for /x/.lock"),
        ("_ArrayMemoryError", "Unable to allocate 8 GiB", "not enough memory"),
        ("ShortageError", "There is no room for /x.", "There is no room for /x."),
        ("CellExecutionError", "", "could not say what stopped it, perhaps for want of memory"),
    ],
)
def test_what_a_notebook_lacks_is_a_sentence_without_its_code(tmp_path, monkeypatch, name, text, words):
    def stop(_source: str, target: str, *_: object, **__: object) -> None:
        (tmp_path / "run" / "notebooks" / target).write_text("{}")
        raise PapermillExecutionError(0, 1, "prepare(study)", name, text, [])

    monkeypatch.setattr(papermill, "execute_notebook", stop)
    with pytest.raises(StepError, match=f"^(The process of s|S)tep eda .*{re.escape(words)}") as told:
        kernel.execute(open_run(str(tmp_path / "run")), STEPS[0], {})
    assert "prepare(study)" not in str(told.value)


def test_no_room_for_a_notebook_names_it_and_leaves_none(tmp_path, monkeypatch):
    def stop(_source: str, target: str, *_: object, **__: object) -> None:
        (tmp_path / "run" / "notebooks" / target).write_text("{")
        raise FULL

    monkeypatch.setattr(papermill, "execute_notebook", stop)
    with pytest.raises(StepError, match=r"no room left on the disk for .*01_eda\.running\.ipynb"):
        kernel.execute(open_run(str(tmp_path / "run")), STEPS[0], {})
    assert list((tmp_path / "run" / "notebooks").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_too_few_files_are_told_before_the_work_and_a_low_default_is_raised():
    code = "import resource as r; from tblib.system.shortages import allow_open_files as allow; "
    code += "r.setrlimit(r.RLIMIT_NOFILE, ({}, {})); allow(); print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    few, low = (
        subprocess.run([sys.executable, "-c", code.format(*limits)], capture_output=True, text=True, check=False)
        for limits in ((64, 64), (64, 1000))
    )
    assert "A process may open 64 files at once here, and a study needs 256. Raise" in few.stderr
    assert low.stdout == "1000\n"
