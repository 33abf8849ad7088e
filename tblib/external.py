"""Films of other hospitals: read in whatever layout they come, held against the training database, scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from scipy.special import expit
from scipy.stats import ks_2samp

from tblib import TblibError
from tblib.catalogue import THUMBNAIL, CatalogueError, Database, data_path, open_database, shared_depth
from tblib.evaluate import Calibration
from tblib.film import FilmError, Pixels, resized
from tblib.lungs import LungNetwork
from tblib.metrics import Floats, Scored, bootstrap_weights, calibration, proportions, ranking
from tblib.remedies import seen
from tblib.twins import twin_groups, twin_pairs

LEAST = 10  # films of a class below which a set says too little
BINS = 20  # of the score histograms

Read = tuple[Pixels, Pixels, tuple[int, bool]]  # as the model sees it, its thumbnail; its depth, and was that guessed


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
        database: where they come from, with the depth by which they were scaled.
        known: how many films were left out since the training database has them, too (`without_known`).
    """

    name: str
    files: list[str]
    images: Pixels
    thumbnails: Pixels
    target: npt.NDArray[np.int64]
    left_out: list[str]
    database: Database
    known: int = 0

    @cached_property
    def group(self) -> npt.NDArray[np.int64]:
        """Int (N,): twin groups within the set."""
        return twin_groups(len(self.thumbnails), twin_pairs(self.thumbnails))


def paths(external: str) -> list[str]:
    """The databases that a parameter names, separated by commas; none for an empty text."""
    return [path.strip() for path in external.split(",") if path.strip()]


def read_external(path: str, size: int, remedy: str, lungs: LungNetwork | None = None) -> ExternalSet:
    """Read a zip or folder: class folders by their usual names, or labels in the names as NLM gives them.

    Raises:
        ExternalError: no such path, or no films of both classes in it.
    """
    database = find(path)
    files = list(database.labels)
    done = _read_all(database, files, size, remedy, lungs)
    depths = [(8, False) if isinstance(both, str) else both[2] for both in done]
    database = replace(database, bits=shared_depth(depths))
    again = [place for place, (bits, guessed) in enumerate(depths) if guessed and bits < database.bits]
    read_again = _read_all(database, [files[i] for i in again], size, remedy, lungs)
    for place, both in zip(again, read_again, strict=True):
        done[place] = both
    good = [(file, both) for file, both in zip(files, done, strict=True) if not isinstance(both, str)]
    target = np.array([database.labels[file] == database.positive for file, _ in good], np.int64)
    if min((target == 0).sum(), (target == 1).sum()) < LEAST:
        raise ExternalError(
            f"The external database {path} has {(target == 0).sum()} negative and {(target == 1).sum()} positive films "
            f"that decode; each class needs {LEAST} or more."
        )
    images, thumbnails = np.stack([both[0] for _, both in good]), np.stack([both[1] for _, both in good])
    left_out = [text for text in done if isinstance(text, str)]
    return ExternalSet(database.path.stem, [file for file, _ in good], images, thumbnails, target, left_out, database)


def find(path: str) -> Database:
    """The database at `path`: by the usual names of class folders, or by its files' names.

    Raises:
        ExternalError: no such path, or no films of both classes in it.
    """
    try:
        return open_database(data_path(path))
    except CatalogueError as error:
        raise ExternalError(f"The external database {path} cannot be used. {error}") from error


def _read_all(
    database: Database, files: list[str], size: int, remedy: str, lungs: LungNetwork | None
) -> list[Read | str]:
    jobs = (delayed(_read)(database, file, size, remedy, lungs) for file in files)
    return list(Parallel(n_jobs=-1, prefer="threads")(jobs))


def _read(database: Database, file: str, size: int, remedy: str, lungs: LungNetwork | None) -> Read | str:
    try:
        film = database.film(file)
    except FilmError as error:
        return str(error)
    return seen(film.grey, size, remedy, lungs), resized(film.grey, THUMBNAIL), (film.bits, film.guessed)


def thumbnails_of(database: Database, files: list[str]) -> Pixels:
    """Uint8 (N, THUMBNAIL, THUMBNAIL) of films that are known to decode."""

    def read(file: str) -> Pixels:
        """One film, small."""
        return resized(database.film(file).grey, THUMBNAIL)

    return np.stack(Parallel(n_jobs=-1, prefer="threads")(delayed(read)(file) for file in files))


def known_films(inside: Pixels, outside: Pixels) -> npt.NDArray[np.bool_]:
    """Bool (N,): which films of `outside` have a twin in `inside`, both uint8 (…, THUMBNAIL, THUMBNAIL)."""
    pairs = twin_pairs(np.concatenate([inside, outside]))
    across = pairs[(pairs[:, 0] < len(inside)) & (pairs[:, 1] >= len(inside))]
    twin = np.zeros(len(outside), bool)
    twin[across[:, 1] - len(inside)] = True
    return twin


def without_known(found: ExternalSet, inside: Pixels) -> ExternalSet:
    """The set without the films that have a twin among those of the training database.

    Args:
        found: the set as it was read.
        inside: uint8 (M, THUMBNAIL, THUMBNAIL), the training database's films.

    Raises:
        ExternalError: hardly any film of a class is left.
    """
    kept = ~known_films(inside, found.thumbnails)
    left = replace(
        found,
        files=[file for file, keep in zip(found.files, kept, strict=True) if keep],
        images=found.images[kept],
        thumbnails=found.thumbnails[kept],
        target=found.target[kept],
        known=int((~kept).sum()),
    )
    if np.bincount(left.target, minlength=2).min() < LEAST:
        raise ExternalError(
            f"{left.known} of the {len(kept)} films of the external database {found.name} stand in the training "
            f"database, too; what is left has fewer than {LEAST} of a class. Leave it out of the parameter external."
        )
    return left


def measure(
    found: ExternalSet,
    logits: Floats,
    internal: pd.DataFrame,
    points: dict[str, float],
    scaling: Calibration,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """How a model does on an external set.

    Args:
        found: the set, without films of the training database.
        logits: float (N,).
        internal: the test rows of ``predictions.csv``.
        points: thresholds of the probability, carried over from validation.
        scaling: the calibration fitted on validation.
        replicates: bootstrap samples.
        seed: of the bootstrap.
    """
    target = found.target
    scored = Scored(target, expit(logits), found.group)
    weights = bootstrap_weights(scored, replicates, seed)
    area = ranking(scored, weights)
    calibrated = Scored(target, scaling.probability(logits), scored.group)
    return {
        "set": found.name,
        "n": len(target),
        "positives": int(target.sum()),
        "twins_left_out": found.known,
        "not_decoded": len(found.left_out),
        "auroc": area._asdict(),
        "inverted": bool(area.high is not None and area.high < 0.5),
        "points": {name: _point(scored, threshold) for name, threshold in points.items()},
        "calibration": {name: value._asdict() for name, value in calibration(calibrated, weights).items()},
        "shift": {str(label): _shift(logits[target == label], internal, label) for label in (0, 1)},
        "histograms": {str(label): _histogram(scored.score[target == label]) for label in (0, 1)},
        "internal_histograms": {
            str(label): _histogram(internal.loc[internal["target"] == label, "probability"].to_numpy())
            for label in (0, 1)
        },
        "method": f"bootstrap of twin groups within classes, {replicates} samples, seed {seed}; proportions: Wilson; "
        "KS of logits",
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
