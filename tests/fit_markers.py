"""Fit the weights of `tblib.films.markers` on the real films that were read for tuning, and print them.

    TBLIB_FILMS=folder with TB_database.zip  python tests/fit_markers.py

A reading says in which zone of a film a marker lies, not which stroke it is: the stroke of that zone that scores
highest is taken for it, the weights are fitted, and so on until the choice settles. All strokes of films without a
marker, and those outside the zone on films without further words, are no markers. At the end the fit is repeated with a
tenth of the films left out in turn, and how often the left-out films were called right is printed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tblib.eda import detectors
from tblib.films import markers, shapes
from tblib.films.database import open_database

ROUNDS, FOLDS = 8, 10
NO_MARKER = 0.25  # weight of a stroke that is none: a film has many, but they are alike


class Strokes(NamedTuple):
    """The strokes of one film.

    Attributes:
        features: float (n, features).
        in_zone: bool (n,), True where a marker lies by eye.
        marked: whether the film has a marker.
        ignored: bool (n,), True where a stroke may belong to a marker that has no zone.
    """

    features: np.ndarray
    in_zone: np.ndarray
    marked: bool
    ignored: np.ndarray


def strokes_of(grey: np.ndarray, row: pd.Series) -> Strokes:
    candidates = markers.candidates_of(grey, shapes.film_area(grey))
    features = [markers.features(*read, grey.shape) for read in candidates]
    zones = [detectors.zone(name) for name in row["place"].split("+") if name]
    in_zone = [any(detectors.inside(candidate.box, zone, grey.shape) for zone in zones) for candidate, _ in candidates]
    inside = np.array(in_zone, bool)
    return Strokes(
        np.array(features, float).reshape(len(features), -1),
        inside,
        row["marker"] == "yes",
        ~inside & (row["words"] != ""),
    )


def fit(films: list[Strokes]) -> Pipeline:
    model, scores = None, [film.features[:, 1] + 2 * film.features[:, 3] + film.features[:, 2] for film in films]
    for _ in range(ROUNDS):
        rows, is_marker = [], []
        for film, score in zip(films, scores, strict=True):
            if film.in_zone.any():
                rows.append(film.features[np.where(film.in_zone, score, -np.inf).argmax()][None])
                is_marker.append(np.ones(1, bool))
            others = film.features[~film.in_zone & ~film.ignored]
            rows.append(others)
            is_marker.append(np.zeros(len(others), bool))
        truth = np.concatenate(is_marker)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
        model.fit(np.concatenate(rows), truth, logisticregression__sample_weight=np.where(truth, 1, NO_MARKER))
        scores = [model.decision_function(film.features) if len(film.features) else np.zeros(0) for film in films]
    assert model is not None
    return model


def left_out(films: list[Strokes]) -> str:
    right = found = 0
    for fold in range(FOLDS):
        model = fit([film for number, film in enumerate(films) if number % FOLDS != fold])
        for film in films[fold::FOLDS]:
            called = model.decision_function(film.features) > 0 if len(film.features) else np.zeros(0, bool)
            right += bool((called & film.in_zone).any())
            found += bool(called.any())
    marked = sum(film.marked for film in films)
    return f"left out: precision {right / found:.2f}, recall {right / marked:.2f} of {marked} marked films"


def main() -> None:
    database = open_database(Path(os.environ["TBLIB_FILMS"]) / "TB_database.zip")
    table = pd.read_csv(Path(__file__).with_name("real_films.csv"), dtype=str, keep_default_na=False)
    names = {"/".join(file.split("/")[-2:]): file for file in database.labels}
    films = []
    for _, row in table[table["half"] == "tuning"].iterrows():
        grey = database.film(names[row["file"]]).grey
        films.append(strokes_of(grey, row))
    model = fit(films)
    scaler, regression = model[0], model[1]
    weights = regression.coef_[0] / scaler.scale_
    print("WEIGHTS =", tuple(weights.round(3).tolist()))
    print("INTERCEPT =", round(float(regression.intercept_[0] - weights @ scaler.mean_), 3))
    print(left_out(films))


if __name__ == "__main__":
    main()
