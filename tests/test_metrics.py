"""Numbers and their intervals, held against SciPy's and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk
from sklearn.metrics import roc_auc_score

from tblib.metrics import (
    Estimate,
    Scored,
    at_balance,
    auroc,
    average_precision,
    bootstrap_weights,
    brier,
    calibration,
    clustered_wilson,
    composites,
    confusion,
    ece,
    odds_ratio,
    ppv_at,
    proportions,
    ranking,
    wilson,
)


def scored(seed: int = 0, films: int = 80, twins: int = 0, signal: float = 1.0) -> Scored:
    rng = np.random.default_rng(seed)
    target = (np.arange(films) % 4 == 0).astype(np.int64)
    score = 1 / (1 + np.exp(-(rng.normal(0, 1, films) + signal * (2 * target - 1))))
    group = np.arange(films)
    group[1 : 1 + twins] = group[0]
    return Scored(target, np.round(score, 2), group)  # rounded, so that there are ties


@given(st.integers(1, 500), st.data())
def test_wilson_is_scipys(n, data):
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((hits / n, expected.low, expected.high), abs=1e-9)


def test_a_proportion_of_nothing_is_not_defined():
    assert wilson(0, 0) == Estimate(None, None, None)
    assert wilson(0, 0).text() == "not defined"


def test_twins_count_as_one_film():
    hit = np.array([True] * 9 + [False])
    doubled, group = np.repeat(hit, 2), np.repeat(np.arange(10), 2)
    assert clustered_wilson(doubled, group) == pytest.approx(clustered_wilson(hit, np.arange(10)))
    alone = clustered_wilson(doubled, np.arange(20))
    assert alone.high - alone.low < clustered_wilson(doubled, group).high - clustered_wilson(doubled, group).low


def test_odds_ratio_of_a_known_table_and_of_an_empty_cell():
    found = odds_ratio(20, 100, 10, 100)
    assert found.value == pytest.approx(20.5 * 90.5 / (80.5 * 10.5))
    assert found.low < 1.05 < found.value < found.high
    empty = odds_ratio(44, 100, 0, 500)
    assert np.isfinite(empty).all()
    assert empty.low > 1


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(-2, 3))
def test_scores_agree_with_scikit_learn_weights_and_ties_included(seed, signal):
    data = scored(seed, signal=signal)
    weights = np.vstack([np.ones(len(data.target)), bootstrap_weights(data, 3, seed)])
    for row, area, precision in zip(weights, auroc(data, weights), average_precision(data, weights), strict=True):
        assert area == pytest.approx(roc_auc_score(data.target, data.score, sample_weight=row))
        assert precision == pytest.approx(sk.average_precision_score(data.target, data.score, sample_weight=row))
    called = data.score >= 0.5
    shares, whole = proportions(data, 0.5), composites(data, 0.5, weights)
    assert shares["accuracy"].value == pytest.approx(sk.accuracy_score(data.target, called))
    assert shares["sensitivity"].value == pytest.approx(sk.recall_score(data.target, called))
    assert shares["specificity"].value == pytest.approx(sk.recall_score(data.target, called, pos_label=0))
    assert whole["f1"].value == pytest.approx(sk.f1_score(data.target, called, zero_division=0))
    assert whole["balanced_accuracy"].value == pytest.approx(sk.balanced_accuracy_score(data.target, called))
    assert whole["mcc"].value == pytest.approx(sk.matthews_corrcoef(data.target, called))
    assert brier(data.target, data.score, weights[0]) == pytest.approx(sk.brier_score_loss(data.target, data.score))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(-3, 6), st.floats(0.05, 0.95))
def test_every_interval_holds_its_value(seed, signal, threshold):
    data = scored(seed, films=40, twins=3, signal=signal)
    assume(len(set(data.score)) > 1)
    weights = bootstrap_weights(data, 60, seed)
    found = proportions(data, threshold) | composites(data, threshold, weights) | calibration(data, weights)
    found |= {"auroc": ranking(data, weights), "ap": ranking(data, weights, average_precision)}
    for name, estimate in found.items():
        if estimate.value is not None:
            assert estimate.low <= estimate.value <= estimate.high, name
            assert np.isfinite(estimate).all(), name


def test_a_faultless_sample_still_has_a_wide_interval_that_narrows_with_films():
    lows = []
    for films in (20, 200, 2000):
        target = (np.arange(films) % 4 == 0).astype(np.int64)
        data = Scored(target, target * 0.8 + 0.1, np.arange(films))
        weights = bootstrap_weights(data, 50, 0)
        found = {"auroc": ranking(data, weights), **composites(data, 0.5, weights)}
        for estimate in found.values():
            assert estimate.value == estimate.high == 1
            assert estimate.low < 1
        lows.append(found["f1"].low)
    assert lows == sorted(lows)
    assert lows[0] < 0.75
    assert lows[-1] > 0.99


def test_bootstrap_draws_twin_groups_whole_and_keeps_the_classes():
    data = scored(twins=3)
    weights = bootstrap_weights(data, 200, seed=1)
    assert weights.shape == (200, 80)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 0] == weights[:, 3]).all()
    own = weights[:, 4:]  # films without twins
    assert (own[:, data.target[4:] == 1].sum(axis=1) + weights[:, 0] == 20).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(data, 200, seed=1))
    assert (weights != bootstrap_weights(data, 200, seed=2)).any()


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    truth = roc_auc_score(*(getattr(scored(99, films=200_000), name) for name in ("target", "score")))
    hits = 0
    for seed in range(100):
        data = scored(seed, films=160)
        estimate = ranking(data, bootstrap_weights(data, 200, seed))
        hits += estimate.low <= truth <= estimate.high
    assert 86 <= hits <= 100  # 95 wanted; 86 is four standard errors below


def test_ece_of_known_cases():
    target = np.array([0, 1, 0, 1])
    ones = np.ones(4)
    assert ece(target, np.array([0.0, 1.0, 0.0, 1.0]), ones) == 0
    assert ece(target, np.full(4, 0.5), ones) == 0
    assert ece(target, np.full(4, 0.9), ones) == pytest.approx(0.4)


def test_a_score_on_the_threshold_counts_as_positive():
    data = Scored(np.array([1, 0]), np.array([0.5, 0.499]), np.arange(2))
    assert {name: int(count[0]) for name, count in confusion(data, 0.5).items()} == {"tp": 1, "fp": 0, "fn": 0, "tn": 1}


def test_values_at_other_balances():
    se, sp = Estimate(0.9, 0.8, 0.95), Estimate(0.8, 0.7, 0.9)
    assert at_balance(se, sp, 3500, 700).value == pytest.approx((0.9 * 700 + 0.8 * 3500) / 4200)
    found = ppv_at(se, sp, 0.05)
    assert found.value == pytest.approx(0.9 * 0.05 / (0.9 * 0.05 + 0.2 * 0.95))
    assert found.low < found.value < found.high
    assert ppv_at(Estimate(0, 0, 0), Estimate(1, 1, 1), 0.1).value is None
