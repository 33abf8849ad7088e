"""Film files that a user names, and the table of answers on them."""

from collections.abc import Iterable
from glob import glob
from pathlib import Path
from tempfile import TemporaryFile

import pandas as pd
from joblib import Parallel, delayed

from tblib.films.archive import MAX_FILE_BYTES, files_of
from tblib.films.film import FilmError
from tblib.predict.answers import Look, row
from tblib.predict.predictor import PredictionError, Predictor
from tblib.predict.warnings import FilmWarning, of_answer
from tblib.predict.what_if import working_copy
from tblib.system.text import printable

TOGETHER = 32  # files whose films are scored at a time


def need_new_file(path: Path) -> None:
    """Check that a table can be written to a path, before there are results to lose.

    Raises:
        PredictionError: the file exists, its folder does not exist, or permission is missing.
    """
    if path.exists() or path.is_symlink():
        raise PredictionError(f"{path} is there already; name another file.")
    try:
        with TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise PredictionError(
            f"{path} cannot be written ({error.strerror or error}); name a file in a folder that is there."
        ) from error


def films_named(names: Iterable[str]) -> list[Path]:
    """Files meant by names: a file itself, the pictures in a folder at any depth, or the matches of a pattern.

    A name that matches nothing is kept, so that its row can say so.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files = files_of(path)
            inside = [path / str(files.places[file]) for file in files if files.is_picture(file)]
            found += inside or [path]
        elif not path.exists() and (fitting := sorted(glob(name, recursive=True))):
            found += [Path(one) for one in fitting if not Path(one).is_dir()]
        else:
            found.append(path)
    return found


def predict_files(
    predictor: Predictor, files: Iterable[Path], point: str | None = None, warn: bool = False
) -> pd.DataFrame:
    """One row per file, with the columns of `tblib.predict.answers.row`.

    Warnings are only those that need no search for cues (`tblib.predict.warnings.of_answer`), or all with `warn`. A
    film unlike the training films has no verdict. Threads decode the files, and a CNN scores `TOGETHER` of them at a
    time; other models get one film after the other, at its own size.
    """
    paths, rows = list(files), []
    step = TOGETHER if predictor.network else 1
    predictor.background  # noqa: B018  (loaded once, before threads ask for it)
    with Parallel(n_jobs=-1 if predictor.network and len(paths) > 1 else 1, prefer="threads") as threads:
        for start in range(0, len(paths), step):
            looked = threads(delayed(_looked)(predictor, path, warn) for path in paths[start : start + step])
            rows += _rows(predictor, paths[start : start + step], looked, point or predictor.own_point)
    return pd.DataFrame(rows)


def _looked(predictor: Predictor, file: Path, warn: bool) -> tuple[Look, list[FilmWarning]] | FilmError:
    """What is known of a file before it is scored, and its warnings; or why it is no film."""
    try:
        look = predictor.look(read_file(file), file.name)
    except FilmError as error:
        return error
    found = predictor.warnings(look) if warn else of_answer(look.film, look.unlike)
    # A CNN is given what it sees of a film; the film at its own size would only take memory.
    return (look._replace(film=working_copy(look.film)) if predictor.network else look), found


def _rows(
    predictor: Predictor, files: list[Path], looked: list[tuple[Look, list[FilmWarning]] | FilmError], point: str
) -> list[dict[str, object]]:
    """Rows of files that were looked at."""
    films = [(file, each) for file, each in zip(files, looked, strict=True) if not isinstance(each, FilmError)]
    looks, names = [look for _, (look, _) in films], [file.name for file, _ in films]
    answers = iter(predictor.answers(looks, names, point) if films else ())
    rows, source = [], predictor.source(point)
    for file, each in zip(files, looked, strict=True):
        name = printable(str(file))
        if isinstance(each, FilmError):
            rows.append(row(name, None, [], source, str(each)))
        else:
            rows.append(row(name, next(answers), each[1], source))
    return rows


def read_file(file: Path) -> bytes:
    """The bytes of a file named by a user.

    Raises:
        FilmError: it cannot be read, is not a file, or exceeds `MAX_FILE_BYTES`.
    """
    name = printable(str(file))
    try:
        size = file.stat().st_size
        if file.is_dir():
            raise FilmError(f"{name} is a folder without a picture; give picture files, or folders of them.")
        if not file.is_file():
            raise FilmError(f"{name} is no file; give a picture file.")
        if size > MAX_FILE_BYTES:
            raise FilmError(f"{name} has {size:,} bytes, above the limit of {MAX_FILE_BYTES:,}; leave it out.")
        return file.read_bytes()
    except (OSError, ValueError) as error:  # the path may contain characters that no path can contain
        raise FilmError(f"{name} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
