"""Thresholds from validation, a calibration that finds a known temperature, metrics that fit the predictions."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from tblib.classifiers.protocol import Calibration
from tblib.classifiers.trained import TrainedModel, load_model, save_model
from tblib.evaluate import evaluate, fit_calibration, measure, score_films, thresholds, worst
from tblib.model import CNN, ModelError
from tblib.run import CATALOGUE, PREPARED, Run
from tblib.system.files import write_json


def predictions(films: int = 400, seed: int = 0, signal: float = 1.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    target = (rng.random(films) < 0.25).astype(int)
    logit = rng.normal(0, 1.5, films) + signal * (2 * target - 1)
    return pd.DataFrame({
        "target": target, "label": np.where(target == 1, "T", "N"), "logit": logit, "probability": expit(logit),
        "calibrated": expit(logit), "duplicate_group": np.arange(films),
    })  # fmt: skip


@given(st.integers(0, 1000), st.integers(20, 200))
def test_thresholds_are_the_highest_that_reach_the_sensitivity(seed, films):
    val = predictions(films, seed)
    if not val["target"].any():
        val.loc[0, "target"] = 1
    positives = val.loc[val["target"] == 1, "probability"]
    for name, threshold in thresholds(val).items():
        if name != "0.5":
            wanted = int(name.split("_")[1]) / 100
            assert (positives >= threshold).mean() >= wanted
            assert (positives > threshold).mean() < wanted


def test_drawn_lesions_raise_the_odds_as_a_weight_does():
    """A weight that makes both classes count alike shifts logits by the imbalance of the films as they are."""
    told = {"positive": "T", "parts": {"train": {"N": 60, "T": 20}}}
    for drawn, weight in ((0, 60 / 20), (60, 60 / 80), (30, 60 / 50)):
        preparation = told | ({"drawn": {"films": drawn}} if drawn else {})
        model = TrainedModel(CNN(32, 0, 2), preparation, {"pos_weight": weight})
        assert model.raised_odds == pytest.approx(3)


def test_the_temperature_of_overconfident_scores_is_found():
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 20_000)
    target = (rng.random(20_000) < expit(honest)).astype(int)
    found = fit_calibration(3 * honest + np.log(5), target, pos_weight=5)
    assert found.shift == pytest.approx(np.log(5))
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert found.note == ""
    np.testing.assert_allclose(found.probability(3 * honest + np.log(5)), expit(honest), atol=0.02)


@pytest.mark.parametrize("logits", [[-5.0, -4.0, 4.0, 5.0], [5.0, 4.0, -4.0, -5.0]])
def test_a_validation_that_gives_no_temperature_leaves_it_at_1_with_a_note(logits):
    found = fit_calibration(np.array(logits), np.array([0, 0, 1, 1]), pos_weight=1)
    assert found.temperature == 1
    assert "no temperature" in found.note


def test_metrics_agree_with_the_predictions_and_hold_what_readers_of_the_file_expect():
    test = predictions()
    metrics = measure(test, {"0.5": 0.5, "sensitivity_90": 0.3}, Calibration(0, 1, ""), replicates=100, seed=0)
    assert metrics["n"] == 400
    assert metrics["prevalence"] == test["target"].mean()
    assert metrics["majority_accuracy"] == 1 - test["target"].mean()
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(test["target"], test["logit"]))
    assert metrics["accuracy"]["value"] == pytest.approx(((test["probability"] >= 0.5) == test["target"]).mean())
    names = ["accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy", "mcc"]
    names += ["auroc", "average_precision", "brier", "ece"]
    for name in names:
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"], name
    assert set(metrics["ppv_at_prevalence"]) == {"0.01", "0.05", "0.1"}
    counts = metrics["operating_points"]["sensitivity_90"]["confusion"]
    assert sum(counts.values()) == 400
    assert counts["tp"] == int(((test["probability"] >= 0.3) & (test["target"] == 1)).sum())


def test_the_worst_mistakes_come_first():
    test = pd.DataFrame({"target": [0, 1, 0, 1], "probability": [0.2, 0.1, 0.95, 0.6]})
    assert worst(test, 3).index.tolist() == [2, 1, 3]


def test_a_model_of_another_preparation_is_refused(smoke, tmp_path):
    other = Run(tmp_path)
    for file in ("model.safetensors", "images.npy", "split.csv"):
        other.path(file).symlink_to(smoke.path(file))
    write_json(other.path("preparation.json"), smoke.facts("preparation.json") | {"size": 64})
    with pytest.raises(ModelError, match=r"input 32 px; the run's images have 64 px.*--from training"):
        evaluate(other, replicates=10, seed=0)


def copied(smoke: Run, folder) -> Run:
    """A run with the smoke run's films and no model."""
    other = Run(folder)
    for file in (*CATALOGUE, *PREPARED):
        other.path(file).symlink_to(smoke.path(file))
    return other


def test_a_model_that_gives_no_number_is_not_evaluated(smoke, tmp_path):
    """Its weights are finite, and their sums are not."""
    run, preparation = copied(smoke, tmp_path), smoke.facts("preparation.json")
    weights = CNN(preparation["size"]).state_dict()
    for name in ("head.1.weight", "head.4.weight", "head.7.weight", "head.10.weight"):
        weights[name].fill_(3e38)
    save_model(run.path("model.safetensors"), weights, preparation, {"dropout": 0.0, "threads": 1, "pos_weight": 2.0})
    with pytest.raises(ModelError, match=r"gives \d+ of \d+ films a score that is no finite number"):
        evaluate(run, replicates=10, seed=0)
    assert not run.path("metrics.json").exists()


@pytest.mark.parametrize("key", ["threads", "pos_weight"])
def test_a_model_that_does_not_tell_how_it_was_trained_is_a_sentence(key, smoke, tmp_path):
    run, trained = copied(smoke, tmp_path), load_model(smoke.path("model.safetensors"))
    training = {name: value for name, value in trained.training.items() if name != key}
    plain = CNN(trained.size, 0.0, training["width"]).state_dict()
    save_model(run.path("model.safetensors"), plain, trained.preparation, training)
    with pytest.raises(ModelError, match=f"does not tell the {key} of its training"):
        evaluate(run, replicates=50, seed=0)


class OnMps:
    """Logits on a device that has no float64."""

    def __init__(self, count: int) -> None:
        self.count = count

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return torch.zeros(self.count)


def test_logits_leave_the_device_before_they_become_float64(smoke, monkeypatch):
    monkeypatch.setattr("tblib.model.logits_of", lambda cnn, films, by: OnMps(sum(len(batch) for batch in films)))
    scored = score_films(smoke, load_model(smoke.path("model.safetensors")), ("val", "test"))
    assert (scored["logit"] == 0).all()
