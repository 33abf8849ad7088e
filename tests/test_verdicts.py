"""Each branch of the rules, and the numbers that they rest on."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tblib.audit.effects import Effect, effect, holm, is_used
from tblib.audit.matched import matched_auroc, matched_pairs, worst_groups
from tblib.audit.verdicts import AVAILABLE, DECISIVE, NOT_SHOWN, UNDECIDED, USED, Evidence, judge, judge_all
from tblib.metrics import Estimate

HIGH, CHANCE = Estimate(0.8, 0.7, 0.9), Estimate(0.5, 0.4, 0.6)
MOVES = Effect(50, Estimate(1.0, 0.8, 1.2), 0.001, Estimate(0.1, 0.05, 0.2))
STILL = Effect(50, Estimate(0.0, -0.1, 0.1), 0.9, Estimate(0.0, 0.0, 0.0))
AWAY = Effect(50, Estimate(-1.0, -1.2, -0.8), 0.001, Estimate(-0.1, -0.2, -0.05))
FEW_FLIPS = Effect(50, Estimate(1.0, 0.8, 1.2), 0.001, Estimate(0.01, 0.0, 0.03))
UNSURE_FLIPS = Effect(50, Estimate(1.0, 0.8, 1.2), 0.001, Estimate(0.04, 0.019, 0.1))
STRONG, WEAK = Estimate(0.9, 0.6, 1.0), Estimate(0.4, 0.2, 0.7)


def evidence(**changes) -> Evidence:
    plain = {"exists": HIGH, "exists_p": 0.001, "baseline": CHANCE, "sufficiency": STILL, "power": STRONG}
    return Evidence(**(plain | changes))


def verdict(one: Evidence) -> str:
    return judge(one, one.exists_p, *(found.p if found else None for found in (one.sufficiency, one.necessity)))[0]


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, NOT_SHOWN),
    ({"power": WEAK}, UNDECIDED),
    ({"power": None}, UNDECIDED),
    ({"baseline": HIGH}, AVAILABLE),
    ({"baseline": HIGH, "power": None}, AVAILABLE),
    ({"baseline": Estimate(0.7, 0.6, 0.8)}, NOT_SHOWN),  # its interval must lie above 0.6
    ({"sufficiency": MOVES}, USED),
    ({"sufficiency": None, "necessity": MOVES}, USED),
    ({"sufficiency": MOVES, "power": None}, USED),
    ({"sufficiency": FEW_FLIPS}, NOT_SHOWN),
    ({"sufficiency": UNSURE_FLIPS}, NOT_SHOWN),
    ({"sufficiency": AWAY}, NOT_SHOWN),
    ({"sufficiency": MOVES, "exists_p": 0.2}, NOT_SHOWN),  # moved by a cue that tells nothing: no shortcut
    ({"sufficiency": MOVES, "share": 0.5}, DECISIVE),
    ({"sufficiency": MOVES, "share": 0.49}, USED),
    ({"sufficiency": MOVES, "fall": Estimate(0.05, 0.01, 0.1)}, DECISIVE),
    ({"sufficiency": MOVES, "fall": Estimate(0.05, -0.01, 0.1)}, USED),
    ({"sufficiency": MOVES, "fall": Estimate(0.04, 0.01, 0.1)}, USED),
    ({"share": 0.9, "fall": Estimate(0.3, 0.2, 0.4)}, NOT_SHOWN),  # decisive needs to be used
    ({"sufficiency": MOVES, "unusable": "no trace", "baseline": HIGH}, AVAILABLE),
    ({"sufficiency": None, "unusable": "no trace", "power": None}, NOT_SHOWN),
])  # fmt: skip
def test_each_branch(changes, expected):
    assert verdict(evidence(**changes)) == expected


def test_every_verdict_has_a_reason():
    choices = itertools.product((CHANCE, HIGH), (None, STILL, MOVES), (None, MOVES), (0.1, 0.9), (None, WEAK, STRONG))
    for baseline, put, taken, share, power in choices:
        one = evidence(baseline=baseline, sufficiency=put, necessity=taken, share=share, power=power)
        assert len(judge(one, 0.001, put and put.p, taken and taken.p)[1]) > 20


def test_holm_goes_over_suspects_and_directions():
    borderline = Effect(50, Estimate(1.0, 0.1, 1.2), 0.02, Estimate(0.1, 0.05, 0.2))
    alone = judge_all({"a": evidence(sufficiency=borderline)})
    assert alone["a"][0] == USED
    crowd = {f"b{i}": evidence() for i in range(5)} | {"a": evidence(sufficiency=borderline)}
    assert judge_all(crowd)["a"][0] == NOT_SHOWN


@given(st.dictionaries(st.text(min_size=1), st.floats(0.0001, 1), min_size=1, max_size=12))
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(ps):
    adjusted = holm(ps)
    assert all(p <= adjusted[name] <= min(1, p * len(ps)) + 1e-12 for name, p in ps.items())
    ordered = sorted(ps, key=lambda name: ps[name])
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(ordered))


def test_an_effect_is_found_where_it_is_and_not_where_it_is_not():
    rng = np.random.default_rng(0)
    moved = rng.normal(1, 1, 60)
    found = effect(moved, (moved > 1).astype(float), np.arange(60), 500, 0)
    assert found.mean.low > 0.5
    assert found.p == pytest.approx(1e-4)
    noise = effect(rng.normal(0, 1, 60), np.zeros(60), np.arange(60), 500, 0)
    assert noise.p > 0.05
    assert noise.mean.low < 0 < noise.mean.high
    assert effect(np.ones(8), np.ones(8), np.arange(8) % 4, 100, 0) is None  # four duplicate groups


def test_duplicates_count_once_in_an_effect():
    rng = np.random.default_rng(1)
    moved = rng.normal(0.3, 1, 20)
    once = effect(moved, moved, np.arange(20), 2000, 0)
    copied = effect(np.repeat(moved, 5), np.repeat(moved, 5), np.repeat(np.arange(20), 5), 2000, 0)
    for end in ("low", "high"):
        assert getattr(copied.mean, end) == pytest.approx(getattr(once.mean, end), abs=1e-9)


def test_false_alarms_of_the_paired_test_are_at_the_level(monkeypatch):
    monkeypatch.setattr("tblib.metrics.DRAWS", 399)
    rng = np.random.default_rng(2)
    alarms = 0
    for seed in range(400):
        moved = rng.normal(0, 1, 80)
        found = effect(moved, np.full(80, 0.1), np.arange(80), 400, seed)
        alarms += is_used(0.0, found, found.p)
    assert alarms / 400 < 0.05  # one side of a two-sided 5 %


def test_use_does_not_depend_on_how_many_replicates_an_interval_has():
    """With 50 replicates no bootstrap p passes Holm over twelve effects; the test has permutations of its own."""
    rng = np.random.default_rng(3)
    moved, flipped = rng.normal(1, 0.5, 80), (np.arange(80) % 3 == 0).astype(float)
    few, many = (effect(moved, flipped, np.arange(80), replicates, 0) for replicates in (50, 2000))
    assert few.p == many.p == 1e-4
    crowd = {f"b{i}": evidence() for i in range(11)}
    for found in (few, many):
        assert judge_all(crowd | {"a": evidence(sufficiency=found)})["a"][0] == USED


def test_one_call_of_42_is_no_use():
    """One film is 2.4 % of 42, above the 2 % that use takes; its interval is not."""
    moved = np.random.default_rng(0).normal(2, 0.5, 42)
    for turned, used in ((1, False), (4, False), (12, True)):
        found = effect(moved, (np.arange(42) < turned).astype(float), np.arange(42), 200, 0)
        assert found.flips.value == pytest.approx(turned / 42)
        assert is_used(0.0, found, found.p) is used


def test_a_handful_of_pairs_proves_nothing():
    found = effect(np.ones(5), np.ones(5), np.arange(5), 500, 0)
    assert found.p > 0.05  # of five pairs that all move one way: 2 / 32


def test_pairs_are_alike_and_each_film_is_in_one():
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=(80, 2)), (np.arange(80) % 3 == 0).astype(int)
    pairs = matched_pairs(scores, target)
    assert len(pairs) > 5
    assert len(np.unique(pairs)) == pairs.size
    assert (target[pairs[:, 0]] == 1).all()
    assert (target[pairs[:, 1]] == 0).all()
    scaled = scores / scores.std(0)
    assert (np.abs(scaled[pairs[:, 0]] - scaled[pairs[:, 1]]) <= 0.2).all()


def test_a_score_that_is_only_the_cue_is_worth_nothing_among_matched_films():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 400)
    cue = (rng.random(400) < np.where(target == 1, 0.8, 0.2)).astype(float)
    logits = 4 * cue + rng.normal(size=400)
    pairs = matched_pairs(cue[:, None], target)
    assert matched_auroc(logits, pairs).low < 0.5 < matched_auroc(logits, pairs).high
    assert matched_auroc(logits, pairs[:0]).value is None


def test_the_worst_group_comes_first():
    import pandas as pd

    cues = pd.Series(["a"] * 4 + ["b"] * 4)
    target, called = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 1, 1, 0, 0, 0, 1], bool)
    rows = worst_groups(cues, target, called)
    assert rows["group"].tolist() == ["b", "a"]
    assert rows["value"].tolist() == [0.75, 1.0]
