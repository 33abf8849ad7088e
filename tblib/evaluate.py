"""Evaluation: scores, operating points, calibration and metrics of the model under audit."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit

from tblib import metrics
from tblib.arrays import Floats, Ints
from tblib.catalogue import catalogued_database, need_same_films
from tblib.classifiers.likeness import write_likeness
from tblib.classifiers.opened import open_model
from tblib.classifiers.protocol import Calibration, Classifier, ClassifierError, file_logits
from tblib.classifiers.trained import TrainedModel
from tblib.metrics import Estimate, Scored, bootstrap_weights, calibration, ranking
from tblib.run import GIVEN, Run, judged
from tblib.system.files import write_json, write_table

SENSITIVITIES = (0.90, 0.95)  # of the operating points chosen on validation
PREVALENCES = (0.01, 0.05, 0.10)  # at which the positive predictive value is given
SHARPEST, BLUNTEST = 0.05, 20.0  # range of temperatures searched


def evaluate(run: Run, replicates: int, seed: int) -> dict[str, Any]:
    """Score films, write ``predictions.csv``, ``metrics.json`` and ``likeness.json``, and return the second's content.

    Films are those of validation and test; of a model that was given to the run, which has seen no part more than
    another, all. Thresholds and temperature come from validation; every metric is measured on the other films scored
    (`tblib.run.judged`) and is an object with value, low and high (95 %): Wilson limits for proportions, percentiles of
    `replicates` bootstrap samples for the others. Both keep duplicate groups whole.

    Raises:
        ModelError: the model was trained on another preparation than the run's.
        ClassifierError: the model fails, or its scores are unusable or all the same.
        DatabaseError: the catalogue describes other films than were prepared.
    """
    given = run.facts(GIVEN) if run.path(GIVEN).is_file() else None
    model = open_model(run)
    predictions = score_films(run, model, ("val", "test") if given is None else ("train", "val", "test"))
    val = predictions[predictions["part"] == "val"]
    # What a stranger's loss weighted is not known.
    weight = 1.0 if given or not isinstance(model, TrainedModel) else model.raised_odds
    scaling = fit_calibration(val["logit"].to_numpy(), val["target"].to_numpy(), weight)
    predictions["calibrated"] = scaling.probability(predictions["logit"].to_numpy())
    points = thresholds(val, given["threshold"] if given else 0.5)
    found = measure(judged(predictions), points, scaling, replicates, seed)
    found["model"] = {name: given[name] for name in ("name", "trained_on", "seen")} if given else None
    write_table(run.path("predictions.csv"), predictions)
    write_json(run.path("metrics.json"), found)
    write_likeness(run)
    return found


def score_films(run: Run, model: Classifier, parts: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of ``split.csv`` that are of `parts` with the model's logit, and probability = sigmoid(logit).

    Raises:
        ClassifierError: the model fails on a film, or gives all films the same score.
        DatabaseError: the catalogue describes other films than were prepared.
    """
    if isinstance(model, TrainedModel):
        model.use_device()
    need_same_films(run)
    rows = run.table("split.csv")
    scored = pd.concat([rows[rows["part"] == part] for part in parts], ignore_index=True)
    found = file_logits(model, catalogued_database(run), scored["file"].tolist())
    if np.ptp(found) == 0 and run.path(GIVEN).is_file():
        raise ClassifierError(
            f"{model.name} gives all {len(found)} films the same score, {expit(found[0]):.6g}, so that there is "
            "nothing to audit. Does its spec describe its input and output (size, scale, mean, sd, output, "
            "positive_index)?"
        )
    return scored.assign(logit=found, probability=expit(found))


def thresholds(val: pd.DataFrame, own: float = 0.5) -> dict[str, float]:
    """Operating points: the model's `own`, and the highest thresholds with 90 % and 95 % sensitivity on validation."""
    positives = np.sort(val.loc[val["target"] == 1, "probability"].to_numpy())[::-1]
    points = {f"{own:g}": own}
    for wanted in SENSITIVITIES:
        points[f"sensitivity_{wanted:.0%}".rstrip("%")] = float(positives[int(np.ceil(wanted * len(positives))) - 1])
    return points


def fit_calibration(logits: Floats, target: Ints, pos_weight: float) -> Calibration:
    """Fit the temperature with the lowest log loss on validation, after removing the shift of `pos_weight`.

    If the scores separate validation perfectly, the loss keeps falling as the temperature approaches 0, which says
    nothing about test: the temperature then stays 1, with a note.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and not needed for predictions

    shift = float(np.log(pos_weight))
    signed = np.where(target == 1, 1.0, -1.0) * (logits - shift)
    found = minimize_scalar(
        lambda log_t: -float(np.mean(log_expit(signed / np.exp(log_t)))),
        bounds=(np.log(SHARPEST), np.log(BLUNTEST)),
        method="bounded",
    )
    temperature = float(np.exp(found.x))
    if SHARPEST * 1.01 < temperature < BLUNTEST * 0.99:
        return Calibration(shift, temperature, "")
    note = "Validation gives no temperature (its films are separated without error, or not at all); it stays at 1."
    return Calibration(shift, 1.0, note)


def measure(
    test: pd.DataFrame, points: dict[str, float], scaling: Calibration, replicates: int, seed: int
) -> dict[str, Any]:
    """Compute the content of ``metrics.json`` from the rows of the predictions that are `judged`.

    The first of `points` is the model's own threshold, on which the metrics at the top rest.
    """
    scored = _scored(test, "probability")
    weights = bootstrap_weights(scored, replicates, seed)
    positives = int(scored.target.sum())
    at = {name: _operating_point(scored, threshold, weights) for name, threshold in points.items()}
    own, area = next(iter(at.values())), ranking(scored, weights)
    return {
        "n": len(test),
        "positives": positives,
        "prevalence": positives / len(test),
        "duplicate_groups": int(test["duplicate_group"].nunique()),
        "majority_accuracy": max(positives, len(test) - positives) / len(test),
        **{name: value for name, value in own.items() if name not in ("threshold", "confusion")},
        "auroc": area._asdict(),
        "inverted": bool(area.high is not None and area.high < 0.5),
        "average_precision": ranking(scored, weights, metrics.average_precision)._asdict(),
        **_objects(calibration(_scored(test, "calibrated"), weights)),
        "thresholds": points,
        "operating_points": at,
        "calibration": asdict(scaling) | {"before": _objects(calibration(scored, weights))},
        "intervals": {
            "level": 0.95,
            "replicates": replicates,
            "seed": seed,
            "method": "proportions: Wilson at Kish's effective number; the rest: percentiles of a bootstrap of "
            "duplicate groups within classes, or, where all replicates are the same, both Wilson limits at once",
        },
    }


def worst(test: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most `most` rows, starting with those whose probability is farthest from the truth."""
    distance = (test["target"] - test["probability"]).abs()
    return test.loc[distance.sort_values(ascending=False, kind="stable").index[:most]]


def _operating_point(scored: Scored, threshold: float, weights: Floats) -> dict[str, Any]:
    shares = metrics.proportions(scored, threshold)
    se, sp = shares["sensitivity"], shares["specificity"]
    return {
        "threshold": threshold,
        "confusion": {name: int(count[0]) for name, count in metrics.confusion(scored, threshold).items()},
        **_objects(shares),
        **_objects(metrics.composites(scored, threshold, weights)),
        "accuracy_at_3500_700": metrics.at_balance(se, sp, *metrics.KAGGLE_FILMS)._asdict(),
        "ppv_at_prevalence": {f"{p:g}": metrics.ppv_at(se, sp, p)._asdict() for p in PREVALENCES},
    }


def _scored(rows: pd.DataFrame, column: str) -> Scored:
    return Scored(rows["target"].to_numpy(), rows[column].to_numpy(), rows["duplicate_group"].to_numpy())


def _objects(estimates: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: estimate._asdict() for name, estimate in estimates.items()}
