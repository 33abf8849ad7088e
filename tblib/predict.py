"""Prediction: one film in, one answer out; `Predictor` is pure, `prediction_panel` puts widgets around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from tblib import RESEARCH_USE, TblibError
from tblib.evaluate import Calibration
from tblib.film import Film, FilmError, Pixels, open_film
from tblib.model import TrainedModel, load_model
from tblib.remedies import seen as as_seen
from tblib.run import Run
from tblib.train import infer

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure

POINTS = {"0.5": "probability 0.5", "sensitivity_90": "90 % sensitivity", "sensitivity_95": "95 % sensitivity"}


class PredictionError(TblibError):
    """A prediction that cannot be made."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one film.

    Attributes:
        film: the decoded picture as given.
        seen: uint8 (size, size): the film as the model sees it.
        probability: sigmoid of the model's logit, 0 … 1; thresholds are in its units.
        calibrated: the calibrated probability, or None where the run has no calibration yet.
        threshold: of the operating point.
        verdict: name of the class that the threshold gives.
    """

    film: Film
    seen: Pixels
    probability: float
    calibrated: float | None
    threshold: float
    verdict: str

    def figure(self) -> Figure:
        """The film as given and as the model sees it, and its score."""
        from tblib.figures import answer_figure  # the command line draws nothing

        return answer_figure(self.film.pixels, self.seen, self.probability, self.threshold, self.verdict)


@dataclass(frozen=True)
class Predictor:
    """A trained model with the operating points and calibration of its run. Make it with `open_predictor`."""

    trained: TrainedModel
    thresholds: dict[str, float]
    calibration: Calibration | None

    def answer(self, content: bytes, name: str, point: str = "0.5") -> Answer:
        """What the model says of the picture file with these bytes; `name` is only used in messages.

        Raises:
            FilmError: the file is no usable picture.
            PredictionError: there is no such operating point.
        """
        if point not in self.thresholds:
            raise PredictionError(f"There is no operating point {point!r}; choose {', '.join(self.thresholds)}.")
        film = open_film(content, name)
        seen = as_seen(film.grey, self.trained.size, self.trained.remedy)
        films = torch.from_numpy(seen.copy())[None, None]  # (1, 1, size, size)
        logit = infer(self.trained.cnn, [films], self.trained.normalisation).double().numpy()
        probability = float(1 / (1 + np.exp(-logit[0])))
        calibrated = float(self.calibration.probability(logit)[0]) if self.calibration else None
        side = "positive" if probability >= self.thresholds[point] else "negative"
        return Answer(film, seen, probability, calibrated, self.thresholds[point], self.trained.preparation[side])


def open_predictor(model: Path) -> Predictor:
    """A predictor from a model file, with the operating points of the ``metrics.json`` beside it where there is one.

    Raises:
        ModelError: the model file cannot be used.
    """
    trained = load_model(model)
    run = Run(model.absolute().parent)
    if not run.path("metrics.json").is_file():
        return Predictor(trained, {"0.5": 0.5}, None)
    metrics = run.facts("metrics.json")
    scaling = metrics["calibration"]
    return Predictor(
        trained, metrics["thresholds"], Calibration(scaling["shift"], scaling["temperature"], scaling["note"])
    )


def predict_files(predictor: Predictor, files: Iterable[Path], point: str = "0.5") -> pd.DataFrame:
    """A row a file: file, probability, calibrated, verdict, problem (empty, or why there is no answer)."""
    rows = []
    for file in files:
        row: dict[str, object] = {
            "file": str(file),
            "probability": None,
            "calibrated": None,
            "verdict": "",
            "problem": "",
        }
        try:
            answer = predictor.answer(file.read_bytes(), file.name, point)
            row |= {"probability": answer.probability, "calibrated": answer.calibrated, "verdict": answer.verdict}
        except FilmError as error:
            row["problem"] = str(error)
        except OSError as error:
            row["problem"] = f"{file} cannot be read ({error.strerror})."
        rows.append(row)
    return pd.DataFrame(rows)


def sample_films(run: Run, each: int = 2) -> pd.DataFrame:
    """Test films to try: of each class the first `each` that the model gets right and wrong at 0.5."""
    test = run.table("predictions.csv").query("part == 'test'")
    right = ((test["probability"] >= 0.5) == (test["target"] == 1)).map({True: "right", False: "wrong"})
    return test.assign(model=right).groupby(["label", "model"], sort=True).head(each).reset_index(drop=True)


def describe(answer: Answer, predictor: Predictor) -> str:
    """The answer in a sentence."""
    calibrated = "" if answer.calibrated is None else f", calibrated {100 * answer.calibrated:.1f} %"
    return (
        f"{answer.verdict}: score {answer.probability:.3f} against the threshold {answer.threshold:.3f}{calibrated} "
        f"(probability of {predictor.trained.preparation['positive']})."
    )


def prediction_panel(run: Run, predictor: Predictor, samples: dict[str, bytes]) -> VBox:
    """Widgets to upload a film or choose a sample, and see the film, the probability and the verdict.

    Args:
        run: where figures learn whether films are synthetic.
        predictor: gives the answers.
        samples: name shown -> bytes of the picture file.
    """
    import ipywidgets as widgets

    from tblib.figures import show

    upload = widgets.FileUpload(accept="image/*", multiple=False, description="Upload a film")
    sample = widgets.Dropdown(options=["", *samples], description="or sample", value="")
    point = widgets.Dropdown(options=[(POINTS[p], p) for p in predictor.thresholds], description="Threshold")
    shown = widgets.Output()
    chosen: dict[str, bytes] = {}

    def answer(_: object = None) -> None:
        """Show what the model says of the film in `chosen`, or why it says nothing."""
        shown.clear_output(wait=True)
        with shown:
            for name, content in chosen.items():
                try:
                    given = predictor.answer(content, name, point.value)
                except TblibError as error:
                    print(error)
                    continue
                print(describe(given, predictor))
                show(run, given.figure())

    def choose(name: str, content: bytes) -> None:
        """Take this film in place of the last one."""
        chosen.clear()
        chosen[name] = content
        answer()

    def uploaded(change: dict[str, tuple[dict[str, Any], ...]]) -> None:
        """Take the uploaded film, and let go of the sample."""
        for file in change["new"]:
            sample.value = ""
            choose(file["name"], bytes(file["content"]))

    upload.observe(uploaded, names="value")
    sample.observe(
        lambda change: choose(change["new"], samples[change["new"]]) if change["new"] else None, names="value"
    )
    point.observe(answer, names="value")
    note = widgets.HTML(f"<strong>{RESEARCH_USE}</strong>")
    return widgets.VBox([note, widgets.HBox([upload, sample, point], layout={"flex_flow": "row wrap"}), shown])
