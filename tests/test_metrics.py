"""Numbers and their intervals, held against SciPy's and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact, mannwhitneyu
from sklearn import metrics as sk
from sklearn.metrics import roc_auc_score

from tblib.metrics import (
    Estimate,
    Scored,
    at_balance,
    auroc,
    average_precision,
    best_sensitivity,
    bootstrap_weights,
    brier,
    calibration,
    clustered_wilson,
    composites,
    confusion,
    ece,
    label_p,
    label_ps_within,
    lost_sensitivity,
    net_share,
    odds_ratio,
    ppv_at,
    proportions,
    ranking,
    sensitivity_at,
    wilson,
)


def scored(seed: int = 0, films: int = 80, duplicates: int = 0, signal: float = 1.0) -> Scored:
    rng = np.random.default_rng(seed)
    target = (np.arange(films) % 4 == 0).astype(np.int64)
    score = 1 / (1 + np.exp(-(rng.normal(0, 1, films) + signal * (2 * target - 1))))
    group = np.arange(films)
    group[1 : 1 + duplicates] = group[0]
    return Scored(target, np.round(score, 2), group)  # rounded, so that there are ties


@given(st.integers(1, 500), st.data())
def test_wilson_is_scipys(n, data):
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((hits / n, expected.low, expected.high), abs=1e-9)


def test_a_proportion_of_nothing_is_not_defined():
    assert wilson(0, 0) == Estimate(None, None, None)
    assert wilson(0, 0).text() == "not defined"


def test_duplicates_count_as_one_film():
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
    data = scored(seed, films=40, duplicates=3, signal=signal)
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


def test_bootstrap_draws_duplicate_groups_whole_and_keeps_the_classes():
    data = scored(duplicates=3)
    weights = bootstrap_weights(data, 200, seed=1)
    assert weights.shape == (200, 80)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 0] == weights[:, 3]).all()
    own = weights[:, 4:]  # films without duplicates
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


# --- the best threshold


def tied(seed: int) -> Scored:
    """Sixty films with few distinct scores, of which a third are positive."""
    rng, target = np.random.default_rng(seed), (np.arange(60) % 3 == 0).astype(np.int64)
    return Scored(target, np.round(rng.normal(target, 1.0), 1), np.arange(60))


def best_by_hand(films: Scored, specificity: float) -> float:
    """As `best_sensitivity`, by trying each threshold."""
    thresholds = [*np.unique(films.score), np.inf]
    cells = [confusion(films, threshold) for threshold in thresholds]
    rates = [(each["tp"] / (each["tp"] + each["fn"]), each["tn"] / (each["tn"] + each["fp"])) for each in cells]
    return max(float(se[0]) for se, sp in rates if sp[0] >= specificity)


@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.7, 0.95, 1.0])
def test_the_best_sensitivity_is_that_of_the_best_of_all_thresholds(specificity):
    for seed in range(5):
        films = tied(seed)
        weights = bootstrap_weights(films, 20, seed)
        found = best_sensitivity(films, specificity, weights)
        assert found.shape == (20,)
        for row, value in zip(weights.astype(int), found, strict=True):
            drawn = Scored(*(np.repeat(part, row) for part in (films.target, films.score, films.group)))
            assert value == pytest.approx(best_by_hand(drawn, specificity))


def test_a_specificity_is_reached_by_the_films_that_it_takes_and_by_no_fewer():
    target = np.r_[np.zeros(10, np.int64), np.ones(4, np.int64)]
    score = np.r_[np.arange(10.0), 5.5, 6.5, 7.5, 9.5]  # above 6.5 three of ten negatives are called positive
    films, ones = Scored(target, score, np.arange(14)), np.ones((1, 14))
    assert best_sensitivity(films, 0.7, ones)[0] == 0.75
    assert best_sensitivity(films, 0.71, ones)[0] == 0.5
    assert best_sensitivity(films, 1.0, ones)[0] == 0.25
    assert best_sensitivity(Scored(target, -score, films.group), 1.0, ones)[0] == 0


@pytest.mark.parametrize(("separated", "value"), [(1.0, 1.0), (-1.0, 0.0)])
def test_where_no_replicate_differs_the_interval_still_has_a_width_that_narrows_with_films(separated, value):
    widths = []
    for films in (20, 200):
        target = np.arange(films) % 2
        data = Scored(target, separated * target, np.arange(films))
        found = sensitivity_at(data, 0.7, bootstrap_weights(data, 50, 0))
        assert found.value == value
        widths.append(found.high - found.low)
    assert widths[0] > 0.2
    assert 0 < widths[1] < 0.5 * widths[0]
    copied = Scored(*(np.repeat(part, 10) for part in (data.target, data.score, data.group)))
    assert sensitivity_at(copied, 0.7, bootstrap_weights(copied, 50, 0)) == pytest.approx(found)


def test_the_interval_of_the_best_sensitivity_covers_the_truth_about_as_often_as_it_says():
    truth, hits = sensitivity_at(scored(99, films=100_000), 0.7, np.ones((1, 100_000))).value, 0
    for seed in range(60):
        data = scored(seed, films=160)
        found = sensitivity_at(data, 0.7, bootstrap_weights(data, 100, seed))
        hits += found.low <= truth <= found.high
    assert hits >= 50  # 57 wanted; 50 is four standard errors below


def test_a_threshold_loses_what_it_lacks_of_the_best_on_the_same_films():
    films = scored(2, films=160)
    weights = bootstrap_weights(films, 200, 0)
    best = sensitivity_at(films, 0.7, weights)
    for threshold in (0.2, 0.8):
        own = proportions(films, threshold)
        found = lost_sensitivity(films, threshold, 0.7, weights)
        assert found.value == pytest.approx(best.value - own["sensitivity"].value)
        assert found.low < found.high
        assert (found.value < 0) == (own["specificity"].value < 0.7)
    negatives = np.sort(films.score[films.target == 0])
    there = float(np.nextafter(negatives[int(0.7 * len(negatives)) - 1], np.inf))  # clears 70 % and no film more
    assert lost_sensitivity(films, there, 0.7, weights).value == pytest.approx(0)
    every = Scored(films.target, films.target * 0.8 + 0.1, films.group)
    nothing = lost_sensitivity(every, 0.5, 0.7, weights)
    assert nothing.value == 0
    assert -0.2 < nothing.low < 0 < nothing.high < 0.2


# --- does a score go with the label?


def carried(positives_with: int, positives: int, negatives_with: int, negatives: int) -> Scored:
    """A cue that so many films of each class carry."""
    target = np.r_[np.ones(positives, np.int64), np.zeros(negatives, np.int64)]
    cue = np.r_[np.arange(positives) < positives_with, np.arange(negatives) < negatives_with].astype(float)
    return Scored(target, cue, np.arange(len(target)))


@pytest.mark.parametrize(("table", "p"), [
    ((0, 150, 10, 750), 0.384),  # a bootstrap said 0.0005: it never draws a carrier into a class that has none
    ((0, 258, 8, 680), 0.115),
    ((5, 100, 5, 100), 1.0),
    ((30, 100, 5, 100), 0.0000036),
])  # fmt: skip
def test_a_rare_cue_is_judged_as_fisher_does(table, p):
    found = label_p(carried(*table), 0)
    (a, n, b, m) = table
    assert found == pytest.approx(fisher_exact([[a, n - a], [b, m - b]]).pvalue)
    assert found == pytest.approx(p, rel=0.02)


@pytest.mark.parametrize("table", [(0, 150, 10, 750), (0, 258, 8, 680), (2, 150, 14, 750)])
def test_the_interval_of_a_rare_cue_does_not_deny_what_its_test_leaves_open(table):
    films = carried(*table)
    area = ranking(films, bootstrap_weights(films, 200, 0))
    assert area.low < 0.5 < area.high
    assert area.value == pytest.approx(roc_auc_score(films.target, films.score))


@pytest.mark.parametrize("kind", ["carried by 1 %", "of many values, rarely above nothing", "of many values"])
def test_without_an_association_p_is_small_as_rarely_as_it_says(kind, monkeypatch):
    monkeypatch.setattr("tblib.metrics.DRAWS", 399)
    rng = np.random.default_rng(0)
    small = 0
    for seed in range(150):
        target, score = (np.arange(600) % 6 == 0).astype(np.int64), rng.normal(size=600)
        if kind != "of many values":
            score = np.where(rng.random(600) < 0.01, 1.0 if "carried" in kind else score, 0.0)
        small += label_p(Scored(target, score, np.arange(600)), seed) <= 0.05
    assert small <= 16  # 7.5 are expected at most; 17 or more come once in five hundred times


def test_a_score_of_many_values_is_judged_as_mann_and_whitney_do():
    films = scored(3, films=120, signal=0.3)
    theirs = mannwhitneyu(films.score[films.target == 1], films.score[films.target == 0]).pvalue
    assert label_p(films, 0) == pytest.approx(theirs, abs=0.01)
    assert label_p(films, 0, one_sided=True) == pytest.approx(theirs / 2, abs=0.01)
    away = Scored(films.target, -films.score, films.group)
    assert label_p(away, 0) == pytest.approx(theirs, abs=0.01)
    assert label_p(away, 0, one_sided=True) > 0.9


def test_copies_of_a_film_prove_nothing_more():
    films = carried(4, 20, 1, 40)
    copied = Scored(*(np.repeat(part, 5) for part in (films.target, films.score, films.group)))
    assert label_p(copied, 0) == label_p(films, 0)
    many = scored(1, films=60, signal=0.4)
    again = Scored(*(np.repeat(part, 5) for part in (many.target, many.score, many.group)))
    assert label_p(again, 0) == label_p(many, 0)


def test_what_cannot_go_with_a_label_has_a_p_of_1():
    assert label_p(Scored(np.array([0, 1, 0, 1]), np.ones(4), np.arange(4)), 0) == 1
    assert label_p(Scored(np.ones(4, np.int64), np.arange(4.0), np.arange(4)), 0) == 1


# --- association given another cue


def two_cues(seed: int, own: float) -> tuple[Scored, np.ndarray]:
    """300 films with a cue of which half goes with another cue that tells the label; `own` is its own association."""
    rng, target = np.random.default_rng(seed), np.arange(300) % 2
    other = rng.random(300) < np.where(target == 1, 0.8, 0.2)
    cue = np.where(other, rng.random(300) < 0.7, rng.random(300) < 0.2 + own * target)
    return Scored(target, cue.astype(float), np.arange(300)), other.astype(np.int64)


def test_an_association_that_is_another_cues_is_not_left_among_films_alike_in_it():
    borrowed, other = two_cues(0, own=0.0)
    assert label_p(borrowed, 0) < 0.001
    assert label_ps_within([borrowed], other, 0)[0] > 0.05
    own, other = two_cues(0, own=0.6)
    assert label_ps_within([own], other, 0)[0] < 0.001
    together = label_ps_within([own, borrowed], other, 0)
    assert together == [label_ps_within([each], other, 0)[0] for each in (own, borrowed)]
    same = Scored(own.target, other.astype(float), own.group)
    assert label_ps_within([same], other, 0)[0] == 1


def test_false_alarms_given_another_cue_are_at_the_level(monkeypatch):
    monkeypatch.setattr("tblib.metrics.DRAWS", 199)
    both = (two_cues(seed, own=0.0) for seed in range(300))
    ps = [label_ps_within([found], other, seed)[0] for seed, (found, other) in enumerate(both)]
    assert 0.02 < np.mean(np.array(ps) <= 0.05) < 0.09


def test_duplicates_count_once_given_another_cue():
    found, other = two_cues(1, own=0.3)
    again = Scored(*(np.repeat(part, 3) for part in (found.target, found.score, found.group)))
    assert label_ps_within([again], np.repeat(other, 3), 0)[0] == label_ps_within([found], other, 0)[0]


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=5, max_size=60))
def test_the_net_share_lies_in_its_interval_which_never_has_no_width(turned):
    values = np.array(turned)
    found = net_share(values, np.arange(len(values)))
    assert found.value == pytest.approx(values.mean())
    assert -1.0001 <= found.low <= found.value <= found.high <= 1.0001
    assert found.high - found.low > 0.01


def test_the_net_share_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        turned = rng.choice([-1.0, 0.0, 1.0], 80, p=[0.02, 0.9, 0.08])
        found = net_share(turned, np.arange(80))
        covered += found.low <= 0.06 <= found.high
    assert 0.92 <= covered / 400 <= 0.995
