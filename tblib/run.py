"""One run: a folder under ``reports/`` through which the steps of the study exchange files."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd

from tblib.arrays import Pixels, TblibError
from tblib.system.files import ROOT, digest_at
from tblib.system.schemas import SchemaError, check_facts, check_table, parsed
from tblib.system.shortages import shortage
from tblib.system.text import from_cell

TEXTS = (  # text columns of the run's tables, even if every cell is empty
    "file", "label", "part", "cues", "problem", "mode", "sha256", "pixels_sha256",
    "set", "white_rectangles", "black_boxes", "markers", "border", "claimed_source", "why",
)  # fmt: skip


class MissingInputError(TblibError):
    """A file that an earlier step writes does not exist yet."""


class DamagedError(TblibError):
    """A file of a run whose content differs from what its step wrote."""


class RunError(TblibError):
    """A run folder that cannot be used."""


class StepError(TblibError):
    """A notebook failed, or a step cannot be run."""


@dataclass(frozen=True)
class Step:
    """One notebook of the study and the files of the run folder that it reads and writes."""

    name: str
    notebook: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


CATALOGUE = ("catalogue.csv", "catalogue.json")
IMAGES, SPLIT, MODEL = "images.npy", "split.csv", "model.safetensors"
GIVEN = "model.json"  # of a run whose model was given to it, in place of one that it trained
PREPARED = (IMAGES, SPLIT, "preparation.json")
EVALUATED = ("predictions.csv", "metrics.json")
LIKENESS = "likeness.json"  # not in runs of earlier versions
STEPS = (
    Step("eda", "01_eda.ipynb", (), ("catalogue.csv", "passed_over.csv", "catalogue.json")),
    Step("preparation", "02_preparation.ipynb", CATALOGUE, PREPARED),
    Step("training", "03_training.ipynb", PREPARED, (MODEL, "history.csv", "training.json")),
    Step("evaluation", "04_evaluation.ipynb", (*CATALOGUE, MODEL, *PREPARED), (*EVALUATED, LIKENESS)),
    Step(
        "shortcuts",
        "05_shortcuts.ipynb",
        (*CATALOGUE, IMAGES, SPLIT, MODEL, *EVALUATED),
        ("shortcuts.json", "external.csv"),
    ),
    Step("prediction", "06_prediction.ipynb", (*CATALOGUE, *PREPARED, MODEL, *EVALUATED, "shortcuts.json"), ()),
)
_GIVEN = {MODEL: GIVEN, "history.csv": "", "training.json": ""}
GIVEN_STEPS = tuple(  # the same notebooks for a model that is given: nothing is trained
    Step(
        step.name,
        step.notebook,
        tuple(_GIVEN.get(file, file) for file in step.reads),
        tuple(name for file in step.writes if (name := _GIVEN.get(file, file))),
    )
    for step in STEPS
)


def run_folder(name: str) -> Path:
    """The folder of a run: `name` inside the checkout's ``reports/``, or `name` itself if it is a path.

    Raises:
        RunError: `name` is not a valid name, such as "." or an empty string.
    """
    path = Path(name).expanduser()
    if path.name in ("", ".."):
        raise RunError(f"A run cannot be called {name!r}; give it a name of its own.")
    return path.absolute() if path.is_absolute() or len(path.parts) > 1 else ROOT / "reports" / name


@dataclass(frozen=True)
class Run:
    """One run folder, created by `open_run`.
    With `shown_anew` notebooks are executed only for their figures and text, as their results already exist."""

    folder: Path
    shown_anew: bool = False

    @property
    def name(self) -> str:
        """Value of ``--name`` and of the parameter `run`: the folder's name in ``reports/``, elsewhere its path."""
        return self.folder.name if self.folder.parent == ROOT / "reports" else str(self.folder)

    def command(self, *arguments: str) -> str:
        """The command line for this run, for messages: ``python -m tblib run --name …``."""
        return shlex.join(["python", "-m", "tblib", "run", "--name", self.name, *arguments])

    def path(self, file: str) -> Path:
        """Path of `file` of this run, which may not exist yet."""
        return self.folder / file

    def need(self, file: str) -> Path:
        """Path of `file`, written by an earlier step.

        Raises:
            MissingInputError: it does not exist; the message names the step and the command to run.
        """
        path = self.path(file)
        if path.is_file():
            return path
        step = next((s for s in (*STEPS, *GIVEN_STEPS) if file in s.writes), None)
        if step is None:
            raise MissingInputError(f"{file} is not in the run folder {self.folder}.")
        raise MissingInputError(
            f"{file} is not in the run folder {self.folder} yet. Run notebooks/{step.notebook} first, or: "
            f"{self.command('--only', step.name)}"
        )

    def table(self, file: str) -> pd.DataFrame:
        """Read the CSV `file` of this run; columns in `TEXTS` are read verbatim, including empty cells and "NA".

        Raises:
            MissingInputError: it does not exist.
            DamagedError: it violates its schema (`tblib.system.schemas`), or changed since its step.
        """
        kinds = dict.fromkeys(TEXTS, str)
        with self._read(file) as path:
            with path.open("rb") as binary:
                binary.seek(-1, os.SEEK_END)  # fails on an empty file
                if binary.read() != b"\n":
                    raise SchemaError("it ends within a row")
            table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
            texts = [name for name in TEXTS if name in table]
            table[texts] = table[texts].fillna("").map(from_cell)
            check_table(file, table)
            self._check_same_films(file, table)
        return table

    def facts(self, file: str) -> dict[str, Any]:
        """Read the JSON `file` of this run.

        Raises:
            MissingInputError: it does not exist.
            DamagedError: it violates its schema (`tblib.system.schemas`), or changed since its step.
        """
        with self._read(file) as path:
            content: dict[str, Any] = parsed(path.read_bytes())
            check_facts(file, content)
        return content

    def images(self) -> Pixels:
        """The run's ``images.npy``, uint8 (N, size, size) or (N, size, size, 3), memory-mapped and read-only.

        Raises:
            MissingInputError: it does not exist.
            DamagedError: its type or size is wrong, or it changed since its step.
        """
        with self._read("images.npy") as path:
            images: np.memmap[Any, np.dtype[np.uint8]] = np.lib.format.open_memmap(path, mode="r")
            side = images.shape[1] if images.ndim in (3, 4) else 0
            known = images.shape[1:] in ((side, side), (side, side, 3))
            if images.dtype != np.uint8 or not known or not images.flags.c_contiguous:
                raise SchemaError(f"it holds {images.dtype} {images.shape}, not a square film of bytes in each row")
            if images.offset + images.nbytes != path.stat().st_size:
                raise SchemaError(f"it holds {path.stat().st_size:,} bytes, and its head tells of other films")
        return images

    def check_as_left(self, file: str) -> None:
        """Check that `file` is byte for byte what its step wrote, if ``run.json`` lists it.

        Raises:
            DamagedError: it is not, or ``run.json`` is damaged.
        """
        if not self.path("run.json").is_file():
            return
        known: dict[str, str] = {}
        for step in self.facts("run.json")["steps"].values():
            known |= step["files"]
        facts = self.path(file).stat()
        if file in known and known[file] != digest_at(self.path(file), facts.st_size, facts.st_mtime_ns):
            raise DamagedError(self._damage(file, "it is not as its step left it: damaged, changed or of another run"))

    @contextmanager
    def _read(self, file: str) -> Iterator[Path]:
        """The path of a file that the block reads and checks; errors in the block become sentences."""
        path = self.need(file)
        try:
            yield path
        except (SchemaError, OSError, ValueError, EOFError, OverflowError) as error:  # raised by pandas and NumPy
            what = " ".join(str(error).split()) or "it is empty"
            raise DamagedError(self._damage(file, what)) from error
        if file != "run.json":
            self.check_as_left(file)

    def _check_same_films(self, file: str, table: pd.DataFrame) -> None:
        """Raise SchemaError if a table has more, fewer or other films than the files it belongs to."""
        if file == "split.csv" and self.path("images.npy").is_file():
            films, side = self.images().shape[:2]
            if films != len(table):
                raise SchemaError(f"it has {len(table)} rows, and images.npy {films} films")
            if self.path("preparation.json").is_file() and (size := self.facts("preparation.json")["size"]) != side:
                raise SchemaError(f"images.npy has films of {side} px, and preparation.json tells of {size} px")
        if file == "predictions.csv" and self.path("split.csv").is_file():
            same, split = ["image", "file", "label", "target", "part"], self.table("split.csv")
            scored = slice(None) if self.path(GIVEN).is_file() else split["part"] != "train"
            held = split.loc[scored, same].reset_index(drop=True)
            if not held.equals(table[same].sort_values("image", ignore_index=True)):
                raise SchemaError("its films are others than those of validation and test in split.csv")

    def _damage(self, file: str, what: str) -> str:
        told = f"{self.path(file)} cannot be used: {what.rstrip('.')}."
        if file == "run.json":
            return f"{told} Take it away, and make the run anew, with its own --params: {self.command('--data')} …"
        step = next((step.name for step in self.steps if file in step.writes), None)
        if step is None:
            return told
        if self.path("run.json").is_file():
            return f"{told} Make it anew: {self.command('--only', step)}"
        return f"{told} Take it away, and make the run anew: {self.command('--from', 'eda', '--data')} …"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of this run: `STEPS`, or `GIVEN_STEPS` if its model was given to it."""
        return GIVEN_STEPS if self.path(GIVEN).is_file() else STEPS

    @cached_property
    def synthetic(self) -> bool:
        """Whether the films are the demo's; every picture must then say so."""
        return bool(self.facts("catalogue.json")["synthetic"])


def open_run(name: str) -> Run:
    """Open the run called `name` (or at the path `name`); its folder is created if missing.

    Raises:
        RunError: the folder cannot be created or written to.
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


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a catalogue whose film decodes, renumbered from 0; row i is image i of ``images.npy``.
    Columns regain the types that they lost to the empty cells of unusable films."""
    return table[table["problem"] == ""].reset_index(drop=True).infer_objects()


def judged(predictions: pd.DataFrame) -> pd.DataFrame:
    """The films on which metrics are measured: all scored ones but those of validation, where thresholds are from."""
    return predictions[predictions["part"] != "val"]
