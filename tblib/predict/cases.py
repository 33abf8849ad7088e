"""Files given to the panel, each with its answer or why there is none."""

from dataclasses import dataclass, replace
from pathlib import Path

from tblib.arrays import TblibError
from tblib.films.archive import IMAGE_ENDINGS
from tblib.predict.answers import Answer, Source, row
from tblib.predict.files import read_file
from tblib.predict.predictor import PredictionError, Predictor
from tblib.predict.warnings import FilmWarning
from tblib.predict.what_if import working_copy

MOST_FILES = 500  # open at once: a copy of up to 0.8 MB is kept of each


@dataclass(frozen=True)
class Case:
    """One input file: its answer on a working copy with warnings, or the problem; and what answered."""

    name: str
    source: Source
    answer: Answer | None = None
    warnings: tuple[FilmWarning, ...] = ()
    problem: str = ""

    def row(self) -> dict[str, object]:
        """Its row of the table."""
        return row(self.name, self.answer, list(self.warnings), self.source, self.problem)

    def at(self, predictor: Predictor, point: str) -> "Case":
        """The same at another operating point; raises `PredictionError` if there is no such point."""
        source = self.source._replace(operating_point=predictor.point_name(point))
        return replace(self, source=source, answer=self.answer and predictor.at(self.answer, point))


def open_case(predictor: Predictor, name: str, given: bytes | str | Path, point: str) -> Case:
    """The case of a file by its bytes, its path, or a sentence that says why it cannot be read.

    Whatever goes wrong is the file's problem, so that no file is lost.
    """
    source = predictor.source(point)
    if isinstance(given, str):
        return Case(name, source, problem=given)
    try:
        answer = predictor.answer(read_file(given) if isinstance(given, Path) else given, name, point)
        small = replace(answer, film=working_copy(answer.film))  # a full-size film takes up to 200 MB
        return Case(name, source, small, tuple(predictor.warnings(small)))
    except TblibError as error:
        return Case(name, source, problem=str(error))
    except Exception as error:  # a bug in tblib: the other files still get their answers
        return Case(name, source, problem=fault(error))


def fault(error: Exception) -> str:
    """A sentence for an error that is a bug of this package."""
    return f"This failed inside tblib ({type(error).__name__}: {error}). Please report it."


def pictures_in(folder: Path, listed: int) -> list[Path]:
    """Picture files in a folder, sorted by name, for a panel with `listed` files.

    Raises:
        PredictionError: the folder cannot be read, has no picture, or more than the panel holds.
    """
    try:
        files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(IMAGE_ENDINGS))
    except OSError as error:
        raise PredictionError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    if not files:
        raise PredictionError(f"There is no picture file in {folder}.")
    if listed + len(files) > MOST_FILES:
        raise PredictionError(f"{folder} was not read: {too_many(listed + len(files))}")
    return files


def too_many(files: int) -> str:
    """Why a panel does not take so many files, and what does."""
    return (
        f"{files:,} films are more than the {MOST_FILES} that this panel holds: clear the list, or give them to "
        "python -m tblib predict, which takes any number."
    )
