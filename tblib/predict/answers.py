"""An answer for one film: its numbers, in words, and as a row of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd

from tblib.arrays import Pixels
from tblib.films.film import Film
from tblib.predict.warnings import FilmWarning
from tblib.show.text import NONE

UNLIKE = "not like the training films"  # topic of a warning, and of an answer without a verdict
MOST_DIGITS = 15  # of a percentage: numbers that are equal in them are shown as they are


class Score(NamedTuple):
    """Output of the model for one film; operating points are put on the same scale (`Predictor.score`).

    Attributes:
        probability: of the positive class, 0 … 1: calibrated if the run has a calibration, else the same as `raw`.
        logit: of this probability.
        raw: the sigmoid of the model's logit, 0 … 1, as in ``predictions.csv`` and in the thresholds of
            ``metrics.json``; called the uncalibrated score in texts for users.
    """

    probability: float
    logit: float
    raw: float


class Look(NamedTuple):
    """What is known of a film before it is scored; the same as in `Answer`."""

    film: Film
    seen: Pixels
    small: Pixels
    unlike: str


@dataclass(frozen=True)
class Answer:
    """Prediction for one film.

    Attributes:
        film: the decoded picture as given, or a working copy of it (`tblib.predict.what_if.working_copy`).
        seen: uint8 (rows, columns) or (rows, columns, 3), the film as the model sees it.
        small: uint8 (size, size), as small networks of its run see it, in grey; by it the film is compared with others.
        threshold: of the operating point, on the scale of the score's probability.
        verdict: name of the class predicted at the threshold; empty for a film that is `unlike`.
        unlike: why the film is unlike those that the model was trained on, in sentences, or empty.
    """

    film: Film
    seen: Pixels
    small: Pixels
    score: Score
    threshold: float
    verdict: str
    unlike: str = ""


class Source(NamedTuple):
    """Where an answer comes from.

    Attributes:
        operating_point: what it is called.
        run: name of the run, or empty for a model without one.
        model: first digits of the SHA-256 of its file, or of what it says of itself.
        date: of the answer, UTC, as in ``2026-01-31 12:00:00Z``.
    """

    operating_point: str
    run: str
    model: str
    date: str


SHOWN = ("file", "probability", "threshold", "verdict", "warnings", "problem")  # columns of the table; the CSV has all


def row(
    name: str, answer: Answer | None, found: list[FilmWarning], source: Source, problem: str = ""
) -> dict[str, object]:
    """Row of a file in a table of answers; without an answer, `problem` says why there is none.

    Its columns: file; probability of the positive class, calibrated if the run has a calibration, and the threshold of
    the operating point on the same scale, 0 … 1; verdict, the positive class where the probability reaches the
    threshold, and empty for a film unlike the training films; warnings, their topics; problem; score, the model's
    uncalibrated output, as the column probability of ``predictions.csv``; and the `Source`.
    """
    numbers: dict[str, object] = {"probability": None, "threshold": None, "verdict": "", "warnings": ""}
    if answer:
        topics = [warning.about for warning in found]
        topics = [UNLIKE, *topics] if answer.unlike and UNLIKE not in topics else topics
        numbers = {
            "probability": answer.score.probability,
            "threshold": answer.threshold,
            "verdict": answer.verdict,
            "warnings": ", ".join(topics),
        }
    raw = answer.score.raw if answer else None
    return {"file": name, **numbers, "problem": problem, "score": raw, **source._asdict()}


def texts(cells: Mapping[Any, Any]) -> dict[str, str]:
    """The columns `SHOWN` of a `row` as people read them.

    Probability and threshold are in per cent and told apart; those of a film without a verdict are left to the CSV.
    """
    numbers = {"probability": NONE, "threshold": NONE}
    if cells["verdict"]:
        both = compared(cells["probability"], cells["threshold"])
        numbers = {"probability": both.probability, "threshold": both.threshold}
    return {name: numbers.get(name, str(cells[name])) for name in SHOWN}


def told(table: pd.DataFrame) -> str:
    """A table with these rows as lines of text, for a terminal."""
    return pd.DataFrame([texts(cells) for cells in table.to_dict("records")]).to_string(index=False)


def now() -> str:
    """The time, UTC, as text."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z"


class Compared(NamedTuple):
    """A probability and a threshold as texts that differ unless the numbers are the same, and how they compare.

    Attributes:
        probability, threshold: such as ``40.5 %`` or ``< 0.1 %``.
        place: ``above``, ``below`` or ``exactly at``.
    """

    probability: str
    threshold: str
    place: str


def compared(probability: float, threshold: float) -> Compared:
    """Both in per cent, with one decimal digit or as many as it takes to tell them apart."""
    if probability == threshold:
        return Compared(percents(probability), percents(threshold), "exactly at")
    place = "above" if probability > threshold else "below"
    for digits in range(1, MOST_DIGITS):
        texts = percents(probability, digits), percents(threshold, digits)
        if texts[0] != texts[1]:
            return Compared(*texts, place)
    return Compared(repr(probability), repr(threshold), place)


class Track(NamedTuple):
    """A version of a film in What if: its kind and name there, its score, that as text, and the verdict or nothing."""

    kind: str
    label: str
    score: Score
    text: str
    verdict: str


def percents(share: float, digits: int = 1) -> str:
    """A share as text that says 0 or 100 only of these: ``40.5 %``, ``< 0.1 %``, ``> 99.9 %``."""
    least = 10**-digits
    if 0 < 100 * share < least:
        return f"< {least:.{digits}f} %"
    if 100 - least < 100 * share < 100:
        return f"> {100 - least:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"
