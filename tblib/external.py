"""Films of other hospitals: read in whatever layout they come, held against the training database, scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from scipy.special import expit
from scipy.stats import ks_2samp

from tblib import TblibError
from tblib.catalogue import THUMBNAIL, CatalogueError, Database, data_path, files_of, open_database
from tblib.evaluate import Calibration
from tblib.film import FilmError, Pixels, open_film, resized
from tblib.metrics import Floats, Scored, bootstrap_weights, calibration, proportions, ranking
from tblib.remedies import seen
from tblib.twins import twin_pairs

NEGATIVE = ("normal", "healthy", "negative", "non-tb", "no tb", "0")  # names of class folders, in small letters
POSITIVE = ("tuberculosis", "tb", "positive", "tb-positive", "1")
LEAST = 10  # films of a class below which a set says too little
BINS = 20  # of the score histograms


class ExternalError(TblibError):
    """An external database that cannot be used."""


@dataclass(frozen=True)
class ExternalSet:
    """Films of one other database.

    Attributes:
        name: of its file or folder, without ending.
        files: of the films that decode.
        images: uint8 (N, S, S), as the model sees them.
        thumbnails: uint8 (N, THUMBNAIL, THUMBNAIL), as they are.
        target: int (N,), 1 for the positive class.
        left_out: sentences on the files that do not decode.
        database: where they come from.
    """

    name: str
    files: list[str]
    images: Pixels
    thumbnails: Pixels
    target: npt.NDArray[np.int64]
    left_out: list[str]
    database: Database


def paths(external: str) -> list[str]:
    """The databases that a parameter names, separated by commas; none for an empty text."""
    return [path.strip() for path in external.split(",") if path.strip()]


def read_external(path: str, size: int, remedy: str) -> ExternalSet:
    """Read a zip or folder: class folders by their usual names, or labels in the names as NLM gives them.

    Raises:
        ExternalError: no such path, or no films of both classes in it.
    """
    database = find(path)
    files = list(database.labels)
    done = Parallel(n_jobs=-1, prefer="threads")(delayed(_read)(database, file, size, remedy) for file in files)
    good = [(file, both) for file, both in zip(files, done, strict=True) if not isinstance(both, str)]
    target = np.array([database.labels[file] == database.positive for file, _ in good], np.int64)
    if min((target == 0).sum(), (target == 1).sum()) < LEAST:
        raise ExternalError(
            f"The external database {path} has {(target == 0).sum()} negative and {(target == 1).sum()} positive films "
            f"that decode; each class needs {LEAST} or more."
        )
    images, thumbnails = (np.stack([both[i] for _, both in good]) for i in (0, 1))
    left_out = [text for text in done if isinstance(text, str)]
    return ExternalSet(database.path.stem, [file for file, _ in good], images, thumbnails, target, left_out, database)


def find(path: str) -> Database:
    """The database at `path`: by the usual names of class folders, or by its files' names.

    Raises:
        ExternalError: no such path, or no films of both classes in it.
    """
    where = data_path(path)
    try:
        folders = _class_folders(where) if where.exists() else None
        return open_database(where, *folders) if folders else open_database(where)
    except CatalogueError as error:
        raise ExternalError(f"The external database {path} cannot be used. {error}") from error


def _class_folders(path: Path) -> tuple[str, str] | None:
    """The folders of a database that are called like a class, negative first."""
    folders = {folder for file in files_of(path) for folder in PurePosixPath(file).parts[:-1]}
    known = [[folder for folder in sorted(folders) if folder.lower() in names] for names in (NEGATIVE, POSITIVE)]
    return (known[0][0], known[1][0]) if all(known) else None


def _read(database: Database, file: str, size: int, remedy: str) -> tuple[Pixels, Pixels] | str:
    try:
        grey = open_film(database.read(file), file).grey
    except FilmError as error:
        return str(error)
    return seen(grey, size, remedy), resized(grey, THUMBNAIL)


def thumbnails_of(database: Database, files: list[str]) -> Pixels:
    """Uint8 (N, THUMBNAIL, THUMBNAIL) of films that are known to decode."""

    def read(file: str) -> Pixels:
        """One film, small."""
        return resized(open_film(database.read(file), file).grey, THUMBNAIL)

    return np.stack(Parallel(n_jobs=-1, prefer="threads")(delayed(read)(file) for file in files))


def known_films(inside: Pixels, outside: Pixels) -> npt.NDArray[np.bool_]:
    """Bool (N,): which films of `outside` have a twin in `inside`, both uint8 (…, THUMBNAIL, THUMBNAIL)."""
    pairs = twin_pairs(np.concatenate([inside, outside]))
    across = pairs[(pairs[:, 0] < len(inside)) & (pairs[:, 1] >= len(inside))]
    twin = np.zeros(len(outside), bool)
    twin[across[:, 1] - len(inside)] = True
    return twin


def measure(
    found: ExternalSet,
    twin: npt.NDArray[np.bool_],
    logits: Floats,
    internal: pd.DataFrame,
    points: dict[str, float],
    scaling: Calibration,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """How a model does on an external set, twins of the training database left out.

    Args:
        found: the set.
        twin: bool (N,), films that stand in the training database, too.
        logits: float (N,).
        internal: the test rows of ``predictions.csv``.
        points: thresholds of the probability, carried over from validation.
        scaling: the calibration fitted on validation.
        replicates: bootstrap samples.
        seed: of the bootstrap.
    """
    target, logit = found.target[~twin], logits[~twin]
    scored = Scored(target, expit(logit), np.arange(len(target)))
    weights = bootstrap_weights(scored, replicates, seed)
    area = ranking(scored, weights)
    calibrated = Scored(target, scaling.probability(logit), scored.group)
    return {
        "set": found.name,
        "n": len(target),
        "positives": int(target.sum()),
        "twins_left_out": int(twin.sum()),
        "not_decoded": len(found.left_out),
        "auroc": area._asdict(),
        "inverted": bool(area.high is not None and area.high < 0.5),
        "points": {name: _point(scored, threshold) for name, threshold in points.items()},
        "calibration": {name: value._asdict() for name, value in calibration(calibrated, weights).items()},
        "shift": {str(label): _shift(logit[target == label], internal, label) for label in (0, 1)},
        "histograms": {str(label): _histogram(scored.score[target == label]) for label in (0, 1)},
        "internal_histograms": {
            str(label): _histogram(internal.loc[internal["target"] == label, "probability"].to_numpy())
            for label in (0, 1)
        },
        "method": f"bootstrap, {replicates} samples within classes, seed {seed}; Wilson for proportions; KS of logits",
    }


def _point(scored: Scored, threshold: float) -> dict[str, Any]:
    shares = proportions(scored, threshold)
    return {"threshold": threshold} | {name: shares[name]._asdict() for name in ("sensitivity", "specificity")}


def _shift(logits: Floats, internal: pd.DataFrame, label: int) -> dict[str, float]:
    """How far the scores of a class lie from the internal ones: Kolmogorov and Smirnov's distance, medians apart."""
    own = internal.loc[internal["target"] == label, "logit"].to_numpy()
    found = ks_2samp(logits, own)
    return {"ks": float(found.statistic), "p": float(found.pvalue), "median": float(np.median(logits) - np.median(own))}


def _histogram(probability: Floats) -> list[int]:
    return [int(count) for count in np.histogram(probability, BINS, (0, 1))[0]]
