"""Prediction: one film in, one answer out, and the effect of changes to the film. Needs no widgets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from tblib.arrays import Floats, Pixels, TblibError
from tblib.catalogue import catalogued_database
from tblib.classifiers.opened import Given, input_of, lungs_of, open_given, open_model, seen_by
from tblib.classifiers.protocol import Calibration, Classifier, channels_of, logits_of, probabilities
from tblib.classifiers.trained import TrainedModel, load_model
from tblib.films.database import DEFAULTS, DatabaseError
from tblib.films.film import Film, FilmError, grey_of, open_film
from tblib.mitigation import ModelInput
from tblib.predict.answers import Answer, Look, Score, Source, compared, now
from tblib.predict.warnings import READS, Background, FilmWarning, open_background, warnings
from tblib.predict.what_if import EXAMPLES, Changed, Changes, changed, working_copy
from tblib.run import GIVEN, MODEL, Run, judged, run_folder
from tblib.show.text import own_point, point_text
from tblib.system.text import printable

ALONE = 128  # px: side to which films are shrunk for comparisons where there is no run
DIGITS = 12  # of a model's digest


class PredictionError(TblibError):
    """A prediction that cannot be made."""


class WhatIf(NamedTuple):
    """A film after changes and after their placebos (`tblib.predict.what_if.changed`), with the scores.

    Attributes:
        films: uint8 (H, W) or (H, W, 3) each.
        as_is, edited, placebo: scores of the unchanged film, after the changes, and after the placebos.
    """

    films: Changed
    as_is: Score
    edited: Score
    placebo: Score


class Attribution(NamedTuple):
    """Saliency map, float (size, size) with sum 1, or None if a gate is closed; and a sentence on it."""

    found: Floats | None
    sentence: str


@dataclass(frozen=True)
class Predictor:
    """A model with the operating points and calibration of its run. Create it with `open_predictor`.

    Attributes:
        model: tblib's CNN, or any other classifier.
        preparation: class names (``negative``, ``positive``) and least bit depth (``bits``) of the films at hand.
        input: how small networks of the run see films.
        thresholds: operating point -> threshold of the uncalibrated score; the model's own comes first.
        calibration: of the run, or None.
        run: run of the model, which provides a film's background, or None for a model file on its own.
    """

    model: Classifier
    preparation: dict[str, Any]
    input: ModelInput
    thresholds: dict[str, float]
    calibration: Calibration | None
    run: Run | None = None

    @property
    def network(self) -> TrainedModel | None:
        """The model if it is a CNN of tblib, whose gradients are known."""
        return self.model if isinstance(self.model, TrainedModel) else None

    @property
    def own_point(self) -> str:
        """Name of the model's own operating point."""
        return own_point(self.thresholds)

    @cached_property
    def background(self) -> Background | None:
        """What the run knows about films and cues; loaded on first use."""
        return open_background(self.run) if self.run else None

    @property
    def probability_name(self) -> str:
        """What the probability shown is called."""
        return "probability" if self.calibration is None else "calibrated probability"

    def point_name(self, point: str) -> str:
        """What an operating point is called."""
        return "the model's own threshold" if point == self.own_point else point_text(point)

    @cached_property
    def others(self) -> dict[str, Floats]:
        """Class name -> float (n,), logits of the probabilities of the run's test films; empty without a run."""
        known = self.background.logits if self.background else {}
        return {name: np.array([self.score(raw).logit for raw in expit(found)]) for name, found in known.items()}

    def source(self, point: str) -> Source:
        """Where an answer given now comes from."""
        return Source(
            self.point_name(point),
            printable(self.run.folder.name) if self.run else "",
            str(self.model.digest)[:DIGITS],
            now(),
        )

    def score(self, raw: float) -> Score:
        """The score of a film, or a threshold as such, by the uncalibrated score: both are put on one scale."""
        (logit,) = logits_of(np.array([raw]))
        probability = raw
        if self.calibration is not None:
            (probability,) = self.calibration.probability(np.array([logit]))
            (logit,) = logits_of(np.array([probability]))
        return Score(float(probability), float(logit), raw)

    def scores(self, films: list[Pixels], names: Sequence[str] | None = None) -> list[Score]:
        """Scores of films, or versions of a film, uint8 (H, W) or (H, W, 3); `names` are for messages.

        Raises:
            ModelError, ClassifierError: a score is not finite, or the model fails on a film.
            PredictionError: a calibrated probability is not finite.
        """
        return self._checked(probabilities(self.model, films, names or ["the film"] * len(films)))

    def _checked(self, raw: Floats) -> list[Score]:
        """Scores by the model's probabilities (n,)."""
        found = [self.score(float(probability)) for probability in expit(logits_of(raw))]
        if not np.isfinite([score.probability for score in found]).all():
            raise PredictionError("The calibration beside the model gives no finite probability; evaluate it again.")
        return found

    def film(self, content: bytes, name: str) -> Film:
        """Decode a picture file and scale it as the training films were; `name` is only used in messages.

        Raises:
            FilmError: the file is not a usable picture.
        """
        return open_film(content, name, self.preparation.get("bits", 8))

    def answer(self, content: bytes, name: str, point: str | None = None) -> Answer:
        """Predict the film in a picture file with these bytes, by default at the model's own operating point; `name` is
        only used in messages.

        Raises:
            FilmError: the file is not a usable picture.
            ModelError, ClassifierError: the score is not finite, or the model fails on the film.
            PredictionError: there is no such operating point, or the calibrated probability is not finite.
        """
        return self.answers([self.look(content, name)], [name], point)[0]

    def look(self, content: bytes, name: str) -> Look:
        """What is known of a film before it is scored; raises `FilmError` if the file is not a usable picture."""
        film = self.film(content, name)
        seen = seen_by(self.model, film.pixels)
        same = self.network is not None and self.network.input == self.input
        small = grey_of(seen if same else self.input.of(film.pixels))
        return Look(film, seen, small, self.background.likeness.unlike(small) if self.background else "")

    def answers(self, looks: Sequence[Look], names: Sequence[str], point: str | None = None) -> list[Answer]:
        """Answers on films that were looked at, scored together; otherwise as `answer`. The last digits of a CNN's
        score, from the eighth on, depend on how many there are."""
        if self.network is not None:
            scores = self._checked(self.network.scores_of(np.stack([look.seen for look in looks])))
        else:
            scores = self.scores([look.film.pixels for look in looks], names)
        answers = [Answer(*look[:3], score, 0.5, "", look.unlike) for look, score in zip(looks, scores, strict=True)]
        return [self.at(answer, point or self.own_point) for answer in answers]

    def at(self, answer: Answer, point: str) -> Answer:
        """The same answer at another operating point; raises `PredictionError` if there is no such point."""
        verdict = "" if answer.unlike else self.verdict(answer.score, point)
        return replace(answer, threshold=self.threshold(point).probability, verdict=verdict)

    def threshold(self, point: str) -> Score:
        """The threshold of an operating point as a score; raises `PredictionError` if there is no such point."""
        if point not in self.thresholds:
            raise PredictionError(f"There is no operating point {point!r}; choose {', '.join(self.thresholds)}.")
        return self.score(self.thresholds[point])

    def verdict(self, score: Score, point: str) -> str:
        """Class name of a score at an operating point: the positive one if its probability reaches the threshold.

        Where both probabilities are the same number, as may be very near 1, the uncalibrated scores decide.

        Raises:
            PredictionError: there is no such operating point.
        """
        threshold = self.threshold(point)
        reached = (score.probability, score.raw) >= (threshold.probability, threshold.raw)
        return str(self.preparation["positive" if reached else "negative"])

    def warnings(self, of: Answer | Look) -> list[FilmWarning]:
        """What to know about the film before trusting the answer."""
        return warnings(working_copy(of.film), of.unlike, max(of.seen.shape[:2]), self.background)

    def what_if(self, film: Film, changes: Changes) -> WhatIf:
        """Scores of a film, for speed a `tblib.predict.what_if.working_copy`, after changes and after their placebos.

        Raises:
            EditError: a change does not fit on a film as small as this.
        """
        colour = channels_of(self.model) == 3
        as_is = film.pixels if colour else film.grey
        films = changed(film, changes, lambda: lungs_of(self.input), colour)
        # Not in a batch, where the last digits depend on the other films: an unchanged film would seem to change.
        one_by_one = [self.scores([pixels])[0] for pixels in (as_is, *films)]
        return WhatIf(films, *one_by_one)

    def attribution(self, answer: Answer) -> Attribution:
        """Saliency map of the film as the model sees it (`tblib.audit.saliency`), if both gates are open.

        These are the audit's gate for the model, if the run has one, and the same test on this film alone.
        """
        from tblib.audit.saliency import NO_GRADIENTS, gate, maps  # with matplotlib, which a verdict does without

        network = self.network
        if network is None:
            return Attribution(None, NO_GRADIENTS)
        audited: dict[str, Any] = {"open": True}
        if self.run and self.run.path("shortcuts.json").is_file():
            audited = self.run.facts("shortcuts.json")["saliency"]["gate"] or audited
        own = gate(network, answer.seen[None], seed=0)
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
        return Attribution(maps(network.cnn, answer.seen[None], network.normalisation, 0)[0], sentence)


def open_predictor(model: Path, spec: str | None = None) -> Predictor:
    """Load a predictor from a run's ``model.safetensors`` or ``model.json``, with the operating points of the
    ``metrics.json`` beside it, if there is one; or from another model with its `spec`.

    Raises:
        ModelError, ClassifierError, SpecError: the model cannot be used.
        DamagedError: ``metrics.json`` or the model has changed since the run wrote it.
    """
    run = Run(model.absolute().parent)
    if model.name != GIVEN and (spec or model.suffix == ".onnx"):
        return _alone(open_given(str(model), spec))
    if model.name == GIVEN:
        classifier, preparation = open_model(run), run.facts("preparation.json")
        own = run.facts(GIVEN)["threshold"]
    else:
        classifier = load_model(model)
        preparation, own = classifier.preparation, 0.5
    seen = classifier.input if isinstance(classifier, TrainedModel) else input_of(run, classifier)
    if not run.path("metrics.json").is_file():
        return Predictor(classifier, preparation, seen, {f"{own:g}": own}, None)
    metrics = run.facts("metrics.json")
    calibration = Calibration.of(metrics)
    whole = all(run.path(file).is_file() for file in READS)
    return Predictor(classifier, preparation, seen, metrics["thresholds"], calibration, run if whole else None)


def _alone(given: Given) -> Predictor:
    """A predictor of a model without a run: no calibration, no other films to compare with."""
    names = dict(zip(("negative", "positive"), DEFAULTS, strict=True))
    own = given.spec.threshold
    return Predictor(given.classifier, names, ModelInput(ALONE), {f"{own:g}": own}, None)


def export_run(name: str, overwrite: bool = False) -> tuple[Path, Path]:
    """Write the CNN of the run called `name` as an ONNX file with its spec (`tblib.classifiers.export`)."""
    from tblib.classifiers.export import export  # only this needs it

    return export(Run(run_folder(name)), overwrite)


def model_file(run: Run) -> Path:
    """The file of a run that tells of its model.

    Raises:
        MissingInputError: the run has none yet.
    """
    return run.path(GIVEN) if run.path(GIVEN).is_file() else run.need(MODEL)


def sample_films(run: Run, each: int = 1) -> pd.DataFrame:
    """Example films: of each class the first `each` that the model gets right, and wrong, at its own threshold."""
    test, own = judged(run.table("predictions.csv")), next(iter(run.facts("metrics.json")["thresholds"].values()))
    right = ((test["probability"] >= own) == (test["target"] == 1)).map({True: "right", False: "wrong"})
    return test.assign(model=right).groupby(["label", "model"], sort=True).head(each).reset_index(drop=True)


def sample_contents(run: Run, samples: pd.DataFrame) -> dict[str, bytes]:
    """Name with class and outcome -> bytes, of films chosen by `sample_films`.

    Empty, with a printed explanation, if the run's database is no longer available.
    """
    try:
        database = catalogued_database(run)
        return {
            f"{film.label}, called {film.model}: {PurePosixPath(film.file).name}": database.read(film.file)
            for film in samples.itertuples()
        }
    except (DatabaseError, FilmError) as error:
        print(f"There are no sample films. {error}")
        return {}


def examples(predictor: Predictor, samples: dict[str, bytes]) -> pd.DataFrame:
    """Effect of each change of `tblib.predict.what_if.EXAMPLES`, alone, on the first sample film.

    One row per change: change, as_is, changed, placebo (probabilities, calibrated if possible), moved and placebo_moved
    (changes of their logits). Empty if there is no sample. A film reduced to its lungs is among them for models that
    bring a lung network: to train one here takes a minute, too long for one row; the panel does so when asked.
    """
    rows = []
    shown = {name: changes for name, changes in EXAMPLES.items() if predictor.input.lungs or not changes.lungs_only}
    for name, content in list(samples.items())[:1]:
        film = working_copy(predictor.film(content, name))
        for change, changes in shown.items():
            found = predictor.what_if(film, changes)
            shares = (found.as_is.probability, found.edited.probability, found.placebo.probability)
            moved = (found.edited.logit - found.as_is.logit, found.placebo.logit - found.as_is.logit)
            rows.append((name, change, *shares, *moved))
    columns = ["film", "change", "as_is", "changed", "placebo", "moved", "placebo_moved"]
    return pd.DataFrame(rows, columns=columns)


def describe(answer: Answer, predictor: Predictor) -> str:
    """The answer in a sentence; for a film unlike the training films, why it gets no verdict."""
    if answer.unlike:
        return f"No verdict. {answer.unlike}"
    texts = compared(answer.score.probability, answer.threshold)
    return (
        f"{answer.verdict}: {probability_of(answer, predictor)} {texts.probability}, {texts.place} this operating "
        f"point's threshold of {texts.threshold}."
    )


def probability_of(answer: Answer, predictor: Predictor) -> str:
    """What the probability is called behind a verdict: that it is of the positive class, if the verdict is not."""
    positive = predictor.preparation["positive"]
    return predictor.probability_name + ("" if answer.verdict == positive else f" of {positive}")
