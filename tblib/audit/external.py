"""External films: read in any supported layout, compared with the training database, and scored."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.special import expit

from tblib.arrays import Floats, Ints, Mask, Pixels, TblibError
from tblib.classifiers.choice import HOLDS
from tblib.classifiers.protocol import Calibration
from tblib.films.database import Database, DatabaseError, data_path, open_database
from tblib.films.depth import shared_depth
from tblib.films.duplicates import THUMBNAIL, duplicate_groups, duplicate_pairs
from tblib.films.film import FilmError, resized
from tblib.metrics import Scored, bootstrap_weights, calibration, lost_sensitivity, proportions, ranking, sensitivity_at
from tblib.mitigation import ModelInput

LEAST = 10  # minimum films per class of a usable set
BINS = 20  # bins of the score histograms
# What a triage test for tuberculosis must reach at least, by the WHO's target product profile (2014): 90 % sensitivity
# at 70 % specificity. The threshold for the one is carried over from validation; thresholds for the other are compared.
FROZEN, LEAST_SPECIFICITY = "sensitivity_90", 0.70
Read = tuple[Pixels, Pixels, tuple[int, bool]]  # as the model sees it, thumbnail, (bit depth, whether guessed)


class ExternalError(TblibError):
    """An external database that cannot be used."""


@dataclass(frozen=True)
class ExternalSet:
    """Films of one external database.

    Attributes:
        name: name of its file or folder, without extension.
        files: files that decode.
        images: uint8 (N, S, S) or (N, S, S, 3), as small networks see them.
        thumbnails: uint8 (N, THUMBNAIL, THUMBNAIL), of the unprepared films.
        target: int (N,), 1 for the positive class.
        left_out: sentences on the files that do not decode.
        database: source of the films, with the bit depth by which they were scaled.
        known: number of films left out because the training database contains them (`without_known`).
    """

    name: str
    files: list[str]
    images: Pixels
    thumbnails: Pixels
    target: Ints
    left_out: list[str]
    database: Database
    known: int = 0

    @cached_property
    def group(self) -> Ints:
        """Int (N,): duplicate groups within the set."""
        return duplicate_groups(len(self.thumbnails), duplicate_pairs(self.thumbnails))


def paths(external: str | None) -> list[str]:
    """The databases in a comma-separated parameter."""
    return [path.strip() for path in (external or "").split(",") if path.strip()]


def read_external(path: str, model_input: ModelInput) -> ExternalSet:
    """Read a zip or folder, with labels from class folders with the usual names or from file names as used by NLM.

    Raises:
        ExternalError: the path does not exist, or does not hold films of both classes.
    """
    database = find(path)
    files = list(database.labels)
    done = _read_all(database, files, model_input)
    depths = [(8, False) if isinstance(both, str) else both[2] for both in done]
    database = replace(database, bits=shared_depth(depths))
    again = [place for place, (bits, guessed) in enumerate(depths) if guessed and bits < database.bits]
    read_again = _read_all(database, [files[i] for i in again], model_input)
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
    """The database at `path`, with labels from class folders with the usual names or from file names.

    Raises:
        ExternalError: the path does not exist, or does not hold films of both classes.
    """
    try:
        return open_database(data_path(path))
    except DatabaseError as error:
        raise ExternalError(f"The external database {path} cannot be used. {error}") from error


def _read_all(database: Database, files: list[str], model_input: ModelInput) -> list[Read | str]:
    jobs = (delayed(_read)(database, file, model_input) for file in files)
    return list(Parallel(n_jobs=-1, prefer="threads")(jobs))


def _read(database: Database, file: str, model_input: ModelInput) -> Read | str:
    try:
        film = database.film(file)
    except FilmError as error:
        return str(error)
    return model_input.of(film.pixels), resized(film.grey, THUMBNAIL), (film.bits, film.guessed)


def thumbnails_of(database: Database, files: list[str]) -> Pixels:
    """Uint8 (N, THUMBNAIL, THUMBNAIL) of films that are known to decode."""

    def read(file: str) -> Pixels:
        """Thumbnail uint8 (THUMBNAIL, THUMBNAIL) of one film."""
        return resized(database.film(file).grey, THUMBNAIL)

    return np.stack(Parallel(n_jobs=-1, prefer="threads")(delayed(read)(file) for file in files))


def known_films(inside: Pixels, outside: Pixels) -> Mask:
    """Bool (N,): films of `outside` with a near-duplicate in `inside`, both uint8 (…, THUMBNAIL, THUMBNAIL)."""
    pairs = duplicate_pairs(np.concatenate([inside, outside]))
    across = pairs[(pairs[:, 0] < len(inside)) & (pairs[:, 1] >= len(inside))]
    duplicate = np.zeros(len(outside), bool)
    duplicate[across[:, 1] - len(inside)] = True
    return duplicate


def without_known(found: ExternalSet, inside: Pixels) -> ExternalSet:
    """`found` without the near-duplicates of the training films `inside`, uint8 (M, THUMBNAIL, THUMBNAIL).

    Raises:
        ExternalError: fewer than `LEAST` films of a class are left.
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


def refuse_chosen(reported: ExternalSet, selection: ExternalSet) -> None:
    """Refuse to report on films by which mitigations are chosen, under whatever name.

    Raises:
        ExternalError: films of the selection set are among those of the set that is to be reported on.
    """
    known = known_films(selection.thumbnails, reported.thumbnails)
    if known.mean() >= HOLDS:
        raise ExternalError(
            f"{known.sum()} of the {len(known)} films of the external database {reported.name} are in the selection "
            f"set, {selection.name}. A mitigation that was chosen on films cannot be validated on them: leave "
            f"{reported.name} out of the parameter external, or choose on another set (selection)."
        )


def measure(
    found: ExternalSet,
    logits: Floats,
    internal: pd.DataFrame,
    points: dict[str, float],
    scaling: Calibration,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Metrics of a model on an external set that contains no films of the training database.

    `logits` are float (N,); `internal` are the test rows of ``predictions.csv``. The probability thresholds `points`
    and the calibration `scaling` were fitted on validation. `replicates` is the number of bootstrap samples.
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
        "duplicates_left_out": found.known,
        "not_decoded": len(found.left_out),
        "auroc": area._asdict(),
        "inverted": bool(area.high is not None and area.high < 0.5),
        "points": {name: _point(scored, threshold) for name, threshold in points.items()},
        "recalibrated": _recalibrated(scored, points[FROZEN], weights),
        "calibration": {name: value._asdict() for name, value in calibration(calibrated, weights).items()},
        "shift": {str(label): _shift(logits[target == label], internal, label) for label in (0, 1)},
        "histograms": {str(label): _histogram(scored.score[target == label]) for label in (0, 1)},
        "internal_histograms": {
            str(label): _histogram(internal.loc[internal["target"] == label, "probability"].to_numpy())
            for label in (0, 1)
        },
        "method": f"bootstrap of duplicate groups within classes, {replicates} samples, seed {seed}; proportions: "
        "Wilson; KS of logits; recalibrated: the best threshold of each sample",
    }


def _point(scored: Scored, threshold: float) -> dict[str, Any]:
    shares = proportions(scored, threshold)
    return {"threshold": threshold} | {name: shares[name]._asdict() for name in ("sensitivity", "specificity")}


def _recalibrated(scored: Scored, threshold: float, weights: Floats) -> dict[str, Any]:
    """The best sensitivity of any threshold at `LEAST_SPECIFICITY`, and how much of it the one from validation lacks
    (``gap``; below 0 only if its specificity is lower)."""
    return {
        "specificity": LEAST_SPECIFICITY,
        "sensitivity": sensitivity_at(scored, LEAST_SPECIFICITY, weights)._asdict(),
        "gap": lost_sensitivity(scored, threshold, LEAST_SPECIFICITY, weights)._asdict(),
    }


def _shift(logits: Floats, internal: pd.DataFrame, label: int) -> dict[str, float]:
    """Shift of the scores of a class from the internal ones: Kolmogorov–Smirnov distance and difference of medians."""
    from scipy.stats import ks_2samp  # takes 0.4 s to import, and only external sets need it

    own = internal.loc[internal["target"] == label, "logit"].to_numpy()
    found = ks_2samp(logits, own)
    return {"ks": float(found.statistic), "p": float(found.pvalue), "median": float(np.median(logits) - np.median(own))}


def _histogram(probability: Floats) -> list[int]:
    return [int(count) for count in np.histogram(probability, BINS, (0, 1))[0]]
