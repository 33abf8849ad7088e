"""What an audit needs to know of a model: films in, probabilities out, whoever made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from joblib import Parallel, delayed

from tblib.arrays import Floats, Pixels, TblibError
from tblib.films.database import Database

BATCH = 64  # films given to a classifier at a time
FINEST = 1e-12  # probabilities nearer to 0 or 1 count as this, for their logits to be finite


class ClassifierError(TblibError):
    """A classifier that gives films no usable score, or cannot be used at all."""


class Classifier(Protocol):
    """Anything that scores films.

    tblib's own CNN is one (`tblib.classifiers.trained.TrainedModel`), an ONNX file becomes one
    (`tblib.classifiers.onnx_file`), and so is any object with these three members.

    A classifier that sees no colour may say so with an attribute ``channels`` of 1; without it colour films reach it in
    colour, and edits are made in colour.
    """

    @property
    def name(self) -> str:
        """What the model is called in reports."""

    @property
    def digest(self) -> str:
        """Text that changes whenever the scores would, such as the SHA-256 of the weights."""

    def scores(self, films: Sequence[Pixels]) -> Floats:
        """Float (N,): probability of the positive class, 0 … 1, for each film.

        Films are uint8 (H, W) if their file has one channel, uint8 (H, W, 3) red-green-blue otherwise; 0 is black. They
        come at their own size, in any number, and must not be changed.
        """


def channels_of(classifier: Classifier) -> int:
    """1 if the classifier says that it sees no colour, else 3."""
    return 1 if getattr(classifier, "channels", 3) == 1 else 3


def probabilities(classifier: Classifier, films: Sequence[Pixels], names: Sequence[str]) -> Floats:
    """Float (N,): scores of films called `names`, checked.

    Raises:
        ClassifierError: the classifier fails on a film, or does not return one number within 0 … 1 for each.
    """
    parts = [
        _checked(classifier, films[start : start + BATCH], names[start : start + BATCH])
        for start in range(0, len(films), BATCH)
    ]
    return np.concatenate([np.empty(0), *parts])


def logits(classifier: Classifier, films: Sequence[Pixels], names: Sequence[str]) -> Floats:
    """`probabilities` as logits, within ± ln(1 / `FINEST`); raises `ClassifierError` likewise."""
    return logits_of(probabilities(classifier, films, names))


def file_logits(classifier: Classifier, database: Database, files: Sequence[str]) -> Floats:
    """Float (N,): `logits` of films of a database as they are in their files; a batch is in memory at a time.

    Raises:
        ClassifierError: see `probabilities`.
        FilmError: a file is not a usable film.
    """
    parts = [np.empty(0)]
    with Parallel(n_jobs=-1, prefer="threads") as threads:
        for start in range(0, len(files), BATCH):
            names = list(files[start : start + BATCH])
            films = threads(delayed(database.film)(file) for file in names)
            parts.append(logits(classifier, [film.pixels for film in films], names))
    return np.concatenate(parts)


def logits_of(probability: Floats) -> Floats:
    """Float (N,): finite logits of probabilities within 0 … 1."""
    from scipy.special import logit  # takes 0.1 s to import

    return np.asarray(logit(probability.clip(FINEST, 1 - FINEST)))


@dataclass(frozen=True)
class Calibration:
    """Calibrated probabilities: sigmoid((logit − shift) / temperature).

    Attributes:
        shift: ln of the factor by which training raised the odds, as a weighted loss does (Elkan 2001).
        temperature: fitted on validation (Guo 2017).
        note: empty, or why no temperature could be fitted.
    """

    shift: float
    temperature: float
    note: str

    @classmethod
    def of(cls, metrics: dict[str, Any]) -> "Calibration":
        """The one that ``metrics.json`` keeps."""
        return cls(*(metrics["calibration"][name] for name in ("shift", "temperature", "note")))

    def probability(self, logits: Floats) -> Floats:
        """Calibrated probabilities float (N,) of logits float (N,)."""
        from scipy.special import expit  # as above

        probability: Floats = expit((logits - self.shift) / self.temperature)
        return probability


def _checked(classifier: Classifier, films: Sequence[Pixels], names: Sequence[str]) -> Floats:
    try:
        returned = classifier.scores(films)
    except TblibError:
        raise
    except Exception as error:  # a stranger's code raises anything
        raise ClassifierError(_failed(classifier, films, names, error)) from error
    try:
        scores = np.asarray(returned, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ClassifierError(
            f"{classifier.name} returned what is no array of numbers ({error}); scores(films) must return one "
            "probability per film."
        ) from error
    if scores.shape != (len(films),):
        raise ClassifierError(
            f"{classifier.name} returned an array of shape {scores.shape} for {len(films)} films; scores(films) must "
            "return one probability per film."
        )
    wrong = ~(np.isfinite(scores) & (scores >= 0) & (scores <= 1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ClassifierError(
            f"{classifier.name} gives {names[first]} the score {scores[first]:.6g}, and a probability lies between 0 "
            "and 1. If it puts out logits, say so in its spec (output: logit or logits), or return probabilities."
        )
    return scores


def _failed(classifier: Classifier, films: Sequence[Pixels], names: Sequence[str], error: Exception) -> str:
    """A sentence that names the first film on which the classifier fails when it is given alone."""
    for film, name in zip(films, names, strict=True):
        try:
            classifier.scores([film])
        except Exception as own:
            told = f"{type(own).__name__}: {own}"
            return (
                f"{classifier.name} fails on {name} ({' × '.join(map(str, film.shape))} pixels): {told}. Mend the "
                "model, or take the film out of the database."
            )
    return f"{classifier.name} fails on {len(films)} films at once, and on none alone: {type(error).__name__}: {error}."
