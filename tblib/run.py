"""One run: a folder under ``reports/`` through which the steps of the study pass files to each other."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tblib import TblibError
from tblib.processes import part_name
from tblib.schemas import SchemaError, check_facts, check_table, parsed
from tblib.shortages import ShortageError, shortage
from tblib.text import as_cell, from_cell

ROOT = Path(__file__).resolve().parent.parent  # the checkout: notebooks/, data/, reports/

TEXTS = (  # columns of the run's tables that are no numbers, even where every cell is empty
    "file", "label", "part", "cues", "problem", "mode", "sha256", "pixels_sha256",
    "white_rectangles", "black_boxes", "markers", "border", "claimed_source", "why",
)  # fmt: skip


NUMERIC = (  # packages on whose version numbers depend
    "captum", "imagecodecs", "numpy", "pandas", "pillow", "pydicom", "scikit-image", "scikit-learn", "scipy", "torch",
)  # fmt: skip


class MissingInputError(TblibError):
    """A file that an earlier step makes is not there yet."""


class DamagedError(TblibError):
    """A file of a run that does not hold what the step which made it wrote."""


class RunError(TblibError):
    """A run folder that cannot be used."""


class StepError(TblibError):
    """A notebook that stopped, or a step that cannot be run."""


@dataclass(frozen=True)
class Step:
    """One notebook of the study and the files of the run folder that it reads and writes."""

    name: str
    notebook: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


STEPS = (
    Step("eda", "01_eda.ipynb", (), ("catalogue.csv", "passed_over.csv", "catalogue.json")),
    Step(
        "preparation",
        "02_preparation.ipynb",
        ("catalogue.csv", "catalogue.json"),
        ("images.npy", "split.csv", "preparation.json"),
    ),
    Step(
        "training",
        "03_training.ipynb",
        ("images.npy", "split.csv", "preparation.json"),
        ("model.safetensors", "history.csv", "training.json"),
    ),
    Step(
        "evaluation",
        "04_evaluation.ipynb",
        ("model.safetensors", "images.npy", "split.csv", "preparation.json"),
        ("predictions.csv", "metrics.json"),
    ),
    Step(
        "shortcuts",
        "05_shortcuts.ipynb",
        (
            "catalogue.csv",
            "catalogue.json",
            "images.npy",
            "split.csv",
            "model.safetensors",
            "predictions.csv",
            "metrics.json",
        ),
        ("shortcuts.json",),
    ),
    Step(
        "prediction",
        "06_prediction.ipynb",
        (
            "catalogue.csv",
            "catalogue.json",
            "images.npy",
            "split.csv",
            "preparation.json",
            "model.safetensors",
            "predictions.csv",
            "metrics.json",
            "shortcuts.json",
        ),
        (),
    ),
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it onto `path` when the block ends well, else remove it.

    A reader therefore finds the old file or the whole new one, never a half-written one.

    Raises:
        ShortageError: there is no room, no memory or no right to write it.
    """
    part = path.with_name(part_name(path.name))
    try:
        yield part
        os.replace(part, path)
    except (OSError, MemoryError) as error:
        told = shortage(error, path)
        if told is None:
            raise
        raise ShortageError(told.replace(str(part), str(path))) from error
    finally:
        if part.exists():  # asked first: where nothing may be written, even removing what is not there fails
            part.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON, whole or not at all; not-a-number is refused rather than written."""
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index, whole or not at all; no cell is a formula to a spreadsheet."""
    with replacing(path) as part:
        table.map(as_cell).to_csv(part, index=False, encoding="utf-8", lineterminator="\n")


@cache
def versions() -> dict[str, str]:
    """Package -> its version, of all that numbers depend on."""
    return {package: importlib.metadata.version(package) for package in NUMERIC}


def code_digest(modules: Iterable[str]) -> str:
    """SHA-256 of the source of some tblib modules and of the versions of the packages under them."""
    sources = [(ROOT / "tblib" / f"{module}.py").read_bytes() for module in sorted(modules)]
    return hashlib.sha256(b"".join(sources) + json.dumps(versions(), sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _digest_at(path: Path, size: int, changed: int) -> str:
    """`file_digest`, taken once of a file that stays as it is."""
    return file_digest(path)


def run_folder(name: str) -> Path:
    """The folder of a run: `name` inside the checkout's ``reports/``, or `name` itself where it is a path.

    Raises:
        RunError: it is no name, as "." or an empty text.
    """
    path = Path(name).expanduser()
    if path.name in ("", ".."):
        raise RunError(f"A run cannot be called {name!r}; give it a name of its own.")
    return path.absolute() if path.is_absolute() or len(path.parts) > 1 else ROOT / "reports" / name


@dataclass(frozen=True)
class Run:
    """One run folder. Make it with `open_run`."""

    folder: Path

    @property
    def name(self) -> str:
        """What ``--name`` and the parameter `run` call it: the folder's name in ``reports/``, elsewhere its path."""
        return self.folder.name if self.folder.parent == ROOT / "reports" else str(self.folder)

    def command(self, *arguments: str) -> str:
        """The command line that works on this run, for messages: ``python -m tblib run --name …``."""
        return shlex.join(["python", "-m", "tblib", "run", "--name", self.name, *arguments])

    def path(self, file: str) -> Path:
        """Where `file` of this run is or will be."""
        return self.folder / file

    def need(self, file: str) -> Path:
        """The path of `file`, which an earlier step made.

        Raises:
            MissingInputError: it is not there; the message names the step to run and the command.
        """
        path = self.path(file)
        if path.is_file():
            return path
        step = next((s for s in STEPS if file in s.writes), None)
        if step is None:
            raise MissingInputError(f"{file} is not in the run folder {self.folder}.")
        raise MissingInputError(
            f"{file} is not in the run folder {self.folder} yet. Run notebooks/{step.notebook} first, or: "
            f"{self.command('--only', step.name)}"
        )

    def table(self, file: str) -> pd.DataFrame:
        """The CSV `file` of this run; columns in `TEXTS` are read as they stand, be it empty or "NA".

        Raises:
            MissingInputError: it is not there.
            DamagedError: it does not hold what it must (`tblib.schemas`), or not what its step left.
        """
        kinds = dict.fromkeys(TEXTS, str)
        with self._read(file) as path:
            with path.open("rb") as binary:
                binary.seek(-1, os.SEEK_END)  # there is no last byte in an empty file
                if binary.read() != b"\n":
                    raise SchemaError("it ends within a row")
            table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
            texts = [name for name in TEXTS if name in table]
            table[texts] = table[texts].fillna("").map(from_cell)
            check_table(file, table)
            self._check_same_films(file, table)
        return table

    def facts(self, file: str) -> dict[str, Any]:
        """The JSON `file` of this run.

        Raises:
            MissingInputError: it is not there.
            DamagedError: it does not hold what it must (`tblib.schemas`), or not what its step left.
        """
        with self._read(file) as path:
            content: dict[str, Any] = parsed(path.read_bytes())
            check_facts(file, content)
        return content

    def images(self) -> npt.NDArray[np.uint8]:
        """The run's ``images.npy``, uint8 (N, size, size), mapped from disk rather than read, and safe from writes.

        Raises:
            MissingInputError: it is not there.
            DamagedError: it holds something else, less or more, or not what its step left.
        """
        with self._read("images.npy") as path:
            images: np.memmap[Any, np.dtype[np.uint8]] = np.lib.format.open_memmap(path, mode="r")
            side = images.shape[-1] if images.ndim == 3 else 0
            if images.dtype != np.uint8 or images.shape[1:] != (side, side) or not images.flags.c_contiguous:
                raise SchemaError(f"it holds {images.dtype} {images.shape}, not a square film of bytes in each row")
            if images.offset + images.nbytes != path.stat().st_size:
                raise SchemaError(f"it holds {path.stat().st_size:,} bytes, and its head tells of other films")
        return images

    def check_as_left(self, file: str) -> None:
        """See that `file` is, byte for byte, what its step left, where ``run.json`` tells of it.

        Raises:
            DamagedError: it is not, or ``run.json`` is damaged.
        """
        if not self.path("run.json").is_file():
            return
        known: dict[str, str] = {}
        for step in self.facts("run.json")["steps"].values():
            known |= step["files"]
        facts = self.path(file).stat()
        if file in known and known[file] != _digest_at(self.path(file), facts.st_size, facts.st_mtime_ns):
            raise DamagedError(self._damage(file, "it is not as its step left it: damaged, changed or of another run"))

    @contextmanager
    def _read(self, file: str) -> Iterator[Path]:
        """The path of a file that the block reads and checks: what it stumbles over becomes a sentence."""
        path = self.need(file)
        try:
            yield path
        except (SchemaError, OSError, ValueError, EOFError, OverflowError) as error:  # what pandas and NumPy raise
            what = " ".join(str(error).split()) or "it is empty"
            raise DamagedError(self._damage(file, what)) from error
        if file != "run.json":
            self.check_as_left(file)

    def _check_same_films(self, file: str, table: pd.DataFrame) -> None:
        """See that a table is of the films of those files which it goes with.

        Raises:
            SchemaError: it is of more, fewer or others.
        """
        if file == "split.csv" and self.path("images.npy").is_file():
            films, side = self.images().shape[:2]
            if films != len(table):
                raise SchemaError(f"it has {len(table)} rows, and images.npy {films} films")
            if self.path("preparation.json").is_file() and (size := self.facts("preparation.json")["size"]) != side:
                raise SchemaError(f"images.npy has films of {side} px, and preparation.json tells of {size} px")
        if file == "predictions.csv" and self.path("split.csv").is_file():
            same, split = ["image", "file", "label", "target", "part"], self.table("split.csv")
            held = split.loc[split["part"] != "train", same].reset_index(drop=True)
            if not held.equals(table[same].sort_values("image", ignore_index=True)):
                raise SchemaError("its films are others than those of validation and test in split.csv")

    def _damage(self, file: str, what: str) -> str:
        """The sentence on a file that cannot be used, and what to do."""
        told = f"{self.path(file)} cannot be used: {what.rstrip('.')}."
        if file == "run.json":
            return f"{told} Take it away, and make the run anew, with its own --params: {self.command('--data')} …"
        step = next((step.name for step in STEPS if file in step.writes), None)
        if step is None:
            return told
        if self.path("run.json").is_file():
            return f"{told} Make it anew: {self.command('--only', step)}"
        return f"{told} Take it away, and make the run anew: {self.command('--from', 'eda', '--data')} …"

    @cached_property
    def synthetic(self) -> bool:
        """Whether the films of this run are the demo's, and every picture must say so."""
        return bool(self.facts("catalogue.json")["synthetic"])


def open_run(name: str) -> Run:
    """The run called `name` (or at the path `name`), its folder made where it is not there.

    Raises:
        RunError: the folder cannot be made or written to.
    """
    folder = run_folder(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(
            shortage(error, folder)
            or f"The run folder {folder} cannot be written to ({error.strerror or error}); "
            "choose another with --name, or make it writable."
        ) from error
    return Run(folder)
