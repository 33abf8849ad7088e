"""Prediction: one film in, one answer out, and what would become of it under changes. No widget is needed for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from glob import glob
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from tblib import TblibError
from tblib.catalogue import CatalogueError, catalogued_database
from tblib.cautions import READS, Background, Caution, cautions, of_file, open_background
from tblib.database import MAX_FILE_BYTES, files_of
from tblib.evaluate import Calibration
from tblib.film import Film, FilmError, Pixels, open_film
from tblib.metrics import Floats
from tblib.model import TrainedModel, load_model
from tblib.remedies import seen as as_seen
from tblib.run import Run
from tblib.saliency import gate, maps
from tblib.text import printable
from tblib.train import infer
from tblib.what_if import EXAMPLES, Changed, Changes, changed, working_copy

POINTS = {"0.5": "score 0.5", "sensitivity_90": "90 % sensitivity", "sensitivity_95": "95 % sensitivity"}


class PredictionError(TblibError):
    """A prediction that cannot be made."""


class Score(NamedTuple):
    """What the model gives a film.

    Attributes:
        logit: of the CNN.
        probability: its sigmoid, 0 … 1; thresholds are in its units. Called the score where people read it.
        calibrated: the calibrated probability, or None where the run has no calibration yet.
    """

    logit: float
    probability: float
    calibrated: float | None

    @property
    def best(self) -> float:
        """The calibrated probability where there is one."""
        return self.probability if self.calibrated is None else self.calibrated


@dataclass(frozen=True)
class Answer:
    """What the model says of one film.

    Attributes:
        film: the decoded picture as given, or a working copy of it (`tblib.what_if.working_copy`).
        seen: uint8 (size, size): the film as the model sees it.
        score: the model's.
        threshold: of the operating point.
        verdict: name of the class that the threshold gives.
    """

    film: Film
    seen: Pixels
    score: Score
    threshold: float
    verdict: str


class WhatIf(NamedTuple):
    """A film after changes and after their placebos (`tblib.what_if.changed`), with the scores.

    Attributes:
        films: uint8 (H, W) each.
        as_is: score of the unchanged film.
        edited: score after the changes.
        placebo: score after the placebos.
    """

    films: Changed
    as_is: Score
    edited: Score
    placebo: Score


class Attribution(NamedTuple):
    """Which pixels move the logit: float (size, size) with sum 1, or None behind a shut gate; and a sentence on it."""

    found: Floats | None
    sentence: str


@dataclass(frozen=True)
class Predictor:
    """A trained model with the operating points and calibration of its run. Make it with `open_predictor`.

    Attributes:
        trained: the model.
        thresholds: operating point -> threshold of the probability.
        calibration: of the run, or None.
        run: the run whose model it is, for a film's background, or None where the model file stands alone.
    """

    trained: TrainedModel
    thresholds: dict[str, float]
    calibration: Calibration | None
    run: Run | None = None

    @cached_property
    def background(self) -> Background | None:
        """What the run knows of films and cues; read when first asked for."""
        return open_background(self.run) if self.run else None

    def scores(self, seen: Pixels) -> list[Score]:
        """The scores of films as the model sees them, uint8 (N, size, size).

        Raises:
            ModelError: a logit is no finite number.
            PredictionError: a calibrated probability is none.
        """
        films = torch.from_numpy(seen.copy())[:, None]  # (N, 1, size, size)
        logits = infer(self.trained.cnn, [films], self.trained.normalisation).double().numpy()
        known = self.calibration.probability(logits) if self.calibration else None
        if known is not None and not np.isfinite(known).all():
            raise PredictionError("The calibration beside the model gives no finite probability; evaluate it again.")
        return [
            Score(float(logit), float(1 / (1 + np.exp(-logit))), None if share is None else float(share))
            for logit, share in zip(logits, [None] * len(logits) if known is None else known, strict=True)
        ]

    def film(self, content: bytes, name: str) -> Film:
        """The picture file with these bytes, scaled as the training films were; `name` is only used in messages.

        Raises:
            FilmError: the file is no usable picture.
        """
        return open_film(content, name, self.trained.preparation.get("bits", 8))

    def answer(self, content: bytes, name: str, point: str = "0.5") -> Answer:
        """What the model says of the picture file with these bytes; `name` is only used in messages.

        Raises:
            FilmError: the file is no usable picture.
            ModelError: the model gives it no finite score.
            PredictionError: there is no such operating point, or no finite calibrated probability.
        """
        film = self.film(content, name)
        seen = self._seen(film.grey)
        return self.at(Answer(film, seen, self.scores(seen[None])[0], 0.5, ""), point)

    def at(self, answer: Answer, point: str) -> Answer:
        """The same answer judged at another operating point.

        Raises:
            PredictionError: there is no such operating point.
        """
        return replace(answer, threshold=self.threshold(point), verdict=self.verdict(answer.score, point))

    def threshold(self, point: str) -> float:
        """Of the probability, at an operating point.

        Raises:
            PredictionError: there is no such operating point.
        """
        if point not in self.thresholds:
            raise PredictionError(f"There is no operating point {point!r}; choose {', '.join(self.thresholds)}.")
        return self.thresholds[point]

    def verdict(self, score: Score, point: str) -> str:
        """Name of the class that an operating point gives a score.

        Raises:
            PredictionError: there is no such operating point.
        """
        side = "positive" if score.probability >= self.threshold(point) else "negative"
        return str(self.trained.preparation[side])

    def cautions(self, answer: Answer) -> list[Caution]:
        """What a person should know of the film before believing the answer."""
        return cautions(working_copy(answer.film), answer.seen, self.background)

    def what_if(self, film: Film, changes: Changes) -> WhatIf:
        """What the model says of a film after changes and after their placebos.

        Args:
            film: a working copy (`tblib.what_if.working_copy`), so that it takes no time.
            changes: what is done to it.

        Raises:
            EditError: a change does not fit on a film as small as this.
        """
        films = changed(film, changes, self.trained.lungs)
        one_by_one = [self.scores(self._seen(grey)[None])[0] for grey in (film.grey, *films)]  # in a batch, a score's
        return WhatIf(films, *one_by_one)  # last digits hang on its neighbours: a film as it is would seem to change

    def attribution(self, answer: Answer) -> Attribution:
        """Which pixels of the film as the model sees it move its logit (`tblib.saliency`), if the gates are open.

        There are two: the audit's for the model, where the run has one, and the same test on this film alone.
        """
        audited = {"open": True}
        if self.run and self.run.path("shortcuts.json").is_file():
            audited = self.run.facts("shortcuts.json")["saliency"]["gate"]
        own = gate(self.trained, answer.seen[None], seed=0)
        shut = next((one for one in (audited, own) if not one["open"]), None)
        if shut:
            where = "this film" if shut is own else "test films"
            return Attribution(
                None,
                f"No map is shown: on {where} maps of this model are too much like those of random weights (rank "
                f"correlation {shut['correlation']:.2f}, limit {shut['limit']}).",
            )
        sentence = (
            f"Brighter pixels move the score more. The map's rank correlation with that of random weights is "
            f"{own['correlation']:.2f} (shown below {own['limit']}). It tells where the model looks, not why."
        )
        return Attribution(maps(self.trained.cnn, answer.seen[None], self.trained.normalisation, 0)[0], sentence)

    def _seen(self, grey: Pixels) -> Pixels:
        return as_seen(grey, self.trained.size, self.trained.remedy, self.trained.lungs)


def open_predictor(model: Path) -> Predictor:
    """A predictor from a model file, with the operating points of the ``metrics.json`` beside it where there is one.

    Raises:
        ModelError: the model file cannot be used.
        DamagedError: ``metrics.json`` or the model is not what the run left there.
    """
    trained = load_model(model)
    run = Run(model.absolute().parent)
    if not run.path("metrics.json").is_file():
        return Predictor(trained, {"0.5": 0.5}, None)
    metrics = run.facts("metrics.json")
    calibration = Calibration(*(metrics["calibration"][name] for name in ("shift", "temperature", "note")))
    whole = all(run.path(file).is_file() for file in READS)
    return Predictor(trained, metrics["thresholds"], calibration, run if whole else None)


def need_new_file(path: Path) -> None:
    """See that a table can be written to a path, before there is work to lose.

    Raises:
        PredictionError: there is a file already, no folder to write it into, or no leave to do so.
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
    """The files that names mean: a file itself, the pictures in a folder at any depth, or what fits a pattern.

    A name that means nothing stays as it is, so that its line can say so.
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


def predict_files(predictor: Predictor, files: Iterable[Path], point: str = "0.5", warn: bool = False) -> pd.DataFrame:
    """A row a file: file, probability, calibrated, verdict, warnings, problem (or why no answer).

    Warnings are those of the files themselves (`tblib.cautions.of_file`), or all if they are asked for.
    """
    return pd.DataFrame([_row(predictor, file, point, warn) for file in files])


def _row(predictor: Predictor, file: Path, point: str, warn: bool) -> dict[str, object]:
    try:
        answer = predictor.answer(read_file(file), file.name, point)
        return row(printable(str(file)), answer, predictor.cautions(answer) if warn else of_file(answer.film))
    except FilmError as error:
        return problem_row(printable(str(file)), str(error))


def read_file(file: Path) -> bytes:
    """The bytes of a file that a person named.

    Raises:
        FilmError: it cannot be read, is no file, or is above `MAX_FILE_BYTES`.
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
    except (OSError, ValueError) as error:  # a path may hold what no path can
        raise FilmError(f"{name} cannot be read ({getattr(error, 'strerror', None) or error}).") from error


def row(name: str, answer: Answer, found: list[Caution]) -> dict[str, object]:
    """A film's line in a table of answers."""
    scores = {"probability": answer.score.probability, "calibrated": answer.score.calibrated}
    warnings = ", ".join(caution.about for caution in found)
    return {"file": name, **scores, "verdict": answer.verdict, "warnings": warnings, "problem": ""}


def problem_row(name: str, problem: str) -> dict[str, object]:
    """The line of a file that gets no answer."""
    return {"file": name, "probability": None, "calibrated": None, "verdict": "", "warnings": "", "problem": problem}


def sample_films(run: Run, each: int = 1) -> pd.DataFrame:
    """Test films to try: of each class the first `each` that the model gets right and wrong at 0.5."""
    test = run.table("predictions.csv").query("part == 'test'")
    right = ((test["probability"] >= 0.5) == (test["target"] == 1)).map({True: "right", False: "wrong"})
    return test.assign(model=right).groupby(["label", "model"], sort=True).head(each).reset_index(drop=True)


def sample_contents(run: Run, samples: pd.DataFrame) -> dict[str, bytes]:
    """A name that tells class and outcome -> bytes, of films that `sample_films` chose.

    Where the run's database is no longer at hand there are none, and a sentence says so.
    """
    try:
        database = catalogued_database(run)
        return {
            f"{film.label}, called {film.model}: {PurePosixPath(film.file).name}": database.read(film.file)
            for film in samples.itertuples()
        }
    except (CatalogueError, FilmError) as error:
        print(f"There are no sample films. {error}")
        return {}


def examples(predictor: Predictor, samples: dict[str, bytes]) -> pd.DataFrame:
    """What each change of `tblib.what_if.EXAMPLES`, alone, makes of the first sample film.

    One row a change: change, as_is, changed, placebo (probabilities, calibrated where that is known), and moved and
    placebo_moved (of the logit). No row where there is no sample.
    """
    rows = []
    for name, content in list(samples.items())[:1]:
        film = working_copy(predictor.film(content, name))
        for change, changes in EXAMPLES.items():
            found = predictor.what_if(film, changes)
            shares = (found.as_is.best, found.edited.best, found.placebo.best)
            moved = (found.edited.logit - found.as_is.logit, found.placebo.logit - found.as_is.logit)
            rows.append((name, change, *shares, *moved))
    columns = ["film", "change", "as_is", "changed", "placebo", "moved", "placebo_moved"]
    return pd.DataFrame(rows, columns=columns)


def describe(answer: Answer, predictor: Predictor) -> str:
    """The answer in a sentence."""
    of = predictor.trained.preparation["positive"]
    calibrated = answer.score.calibrated
    share = "" if calibrated is None else f"; calibrated probability of {of} {100 * calibrated:.1f} %"
    return (
        f"The model calls it {answer.verdict}: score {answer.score.probability:.3f} against the threshold "
        f"{answer.threshold:.3f}{share}."
    )
