"""Evaluation: scores on validation and test, operating points, calibration and metrics."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, log_expit

from tblib import metrics
from tblib.arrays import Floats, Ints
from tblib.metrics import Estimate, Scored, bootstrap_weights, calibration, ranking
from tblib.model import AGAIN, ModelError, films_of, logits_of
from tblib.prepare import load_part
from tblib.run import Run
from tblib.system.files import write_json, write_table
from tblib.trained import TrainedModel, load_model

SENSITIVITIES = (0.90, 0.95)  # of the operating points chosen on validation
PREVALENCES = (0.01, 0.05, 0.10)  # at which the positive predictive value is given
SHARPEST, BLUNTEST = 0.05, 20.0  # range of temperatures searched


@dataclass(frozen=True)
class Calibration:
    """Calibrated probabilities: sigmoid((logit − shift) / temperature).

    Attributes:
        shift: ln(pos_weight), by which a weighted loss raises the logits (Elkan 2001).
        temperature: fitted on validation (Guo 2017).
        note: empty, or why no temperature could be fitted.
    """

    shift: float
    temperature: float
    note: str

    def probability(self, logits: Floats) -> Floats:
        """Calibrated probabilities float (N,) of logits float (N,)."""
        probability: Floats = expit((logits - self.shift) / self.temperature)
        return probability


def evaluate(run: Run, replicates: int, seed: int) -> dict[str, Any]:
    """Score validation and test, write ``predictions.csv`` and ``metrics.json``, and return the content of the latter.

    Thresholds and temperature come from validation; every metric is measured on test and is an object with value, low
    and high (95 %): Wilson limits for proportions, percentiles of `replicates` bootstrap samples for the others. Both
    keep duplicate groups whole.

    Raises:
        ModelError: the model was trained on another preparation than the run's.
    """
    trained = load_model(run.need("model.safetensors"))
    predictions = score_parts(run, trained)
    val, test = (predictions[predictions["part"] == part] for part in ("val", "test"))
    scaling = fit_calibration(val["logit"].to_numpy(), val["target"].to_numpy(), trained.training["pos_weight"])
    predictions["calibrated"] = scaling.probability(predictions["logit"].to_numpy())
    test = predictions.loc[test.index]
    found = measure(test, thresholds(val), scaling, replicates, seed)
    write_table(run.path("predictions.csv"), predictions)
    write_json(run.path("metrics.json"), found)
    return found


def score_parts(run: Run, trained: TrainedModel) -> pd.DataFrame:
    """Return the validation and test rows of ``split.csv`` with the model's logit and probability = sigmoid(logit).

    Raises:
        ModelError: the model was trained on another preparation than the run's, lacks its training parameters, or gives
            a film no finite score.
    """
    preparation = run.facts("preparation.json")
    lacking = [name for name in ("threads", "pos_weight") if name not in trained.training]
    if lacking:
        raise ModelError(f"The model in {run.folder} does not tell the {lacking[0]} of its training. {AGAIN}")
    if trained.preparation != preparation:
        raise ModelError(
            f"The model in {run.folder} was trained on another preparation (input {trained.size} px; the run's images "
            f"have {preparation['size']} px). Train again: {run.command('--from', 'training')}"
        )
    torch.set_num_threads(trained.training["threads"])  # the last bits of sums depend on it
    rows = run.table("split.csv")
    parts = []
    for part in ("val", "test"):
        data = load_part(run, part)
        logits = logits_of(trained.cnn.to(data.device), films_of(data), trained.normalisation).cpu().double().numpy()
        parts.append(rows[rows["part"] == part].assign(logit=logits, probability=expit(logits)))
    return pd.concat(parts, ignore_index=True)


def thresholds(val: pd.DataFrame) -> dict[str, float]:
    """Operating points: 0.5, and the highest thresholds with 90 % and 95 % sensitivity on validation."""
    positives = np.sort(val.loc[val["target"] == 1, "probability"].to_numpy())[::-1]
    points = {"0.5": 0.5}
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
    """Compute the content of ``metrics.json`` from the test rows of the predictions."""
    scored = _scored(test, "probability")
    weights = bootstrap_weights(scored, replicates, seed)
    positives = int(scored.target.sum())
    at = {name: _operating_point(scored, threshold, weights) for name, threshold in points.items()}
    return {
        "n": len(test),
        "positives": positives,
        "prevalence": positives / len(test),
        "duplicate_groups": int(test["duplicate_group"].nunique()),
        "majority_accuracy": max(positives, len(test) - positives) / len(test),
        **{name: value for name, value in at["0.5"].items() if name not in ("threshold", "confusion")},
        "auroc": ranking(scored, weights)._asdict(),
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
    """Return at most `most` test rows, starting with those whose probability is farthest from the truth."""
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
