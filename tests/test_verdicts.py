"""Each branch of the rules, and the numbers that they rest on."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tblib.audit import matched
from tblib.audit.baselines import _share
from tblib.audit.effects import THRESHOLDS, Effect, above, effect, holm, is_used
from tblib.audit.matched import matched_auroc, matched_pairs, worst_groups
from tblib.audit.verdicts import AVAILABLE, DECISIVE, NOT_SHOWN, UNDECIDED, USED, Evidence, Verdict, judge, judge_all
from tblib.metrics import Estimate, Scored

HIGH, CHANCE = Estimate(0.8, 0.7, 0.9), Estimate(0.5, 0.4, 0.6)
REFERENCES = tuple(np.random.default_rng(0).normal(0, 0.02, 20))
FLIPS = Estimate(0.1, 0.05, 0.2)
MOVES = Effect(50, Estimate(1.0, 0.8, 1.2), 0.2, REFERENCES, FLIPS)
AS_REFERENCES = replace(MOVES, shift=0.02)
STILL = replace(MOVES, shift=0.0, flips=Estimate(0.0, 0.0, 0.0))
AWAY = replace(MOVES, shift=-0.2, flips=Estimate(-0.1, -0.2, -0.05))
UNSURE_FLIPS = replace(MOVES, flips=Estimate(0.04, 0.0, 0.1))  # the lower limit must be above 0
UNTESTED = replace(MOVES, references=())
STRONG, WEAK = Estimate(0.9, 0.6, 1.0), Estimate(0.9, 0.59, 1.0)


def evidence(**changes) -> Evidence:
    plain = {"exists": HIGH, "exists_p": 0.001, "baseline": CHANCE, "sufficiency": STILL, "use": STILL, "power": STRONG}
    return Evidence(**(plain | changes))


def using(found: Effect | None, **changes) -> Evidence:
    return evidence(sufficiency=found, use=found, **changes)


def verdict(one: Evidence) -> str:
    return judge(one, one.exists_p, one.use.p if one.use else None).name


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, NOT_SHOWN),
    ({"power": WEAK}, UNDECIDED),
    ({"power": None}, UNDECIDED),
    ({"baseline": HIGH}, AVAILABLE),
    ({"baseline": HIGH, "power": None}, AVAILABLE),
    ({"baseline": Estimate(0.7, 0.6, 0.8)}, NOT_SHOWN),  # its interval must lie above 0.6
    ({"use": MOVES}, USED),
    ({"sufficiency": None, "necessity": MOVES, "use": MOVES}, USED),
    ({"use": MOVES, "power": None}, USED),
    ({"use": AS_REFERENCES}, NOT_SHOWN),  # reference networks, which cannot have learnt it, move as far
    ({"use": UNTESTED}, UNDECIDED),
    ({"use": UNTESTED, "exists_p": 0.051}, NOT_SHOWN),
    ({"use": None}, UNDECIDED),
    ({"use": UNSURE_FLIPS}, NOT_SHOWN),
    ({"use": replace(UNSURE_FLIPS, flips=Estimate(0.04, 0.001, 0.1))}, USED),
    ({"use": AWAY}, NOT_SHOWN),
    ({"use": MOVES, "exists_p": 0.051}, NOT_SHOWN),  # moved by a cue that tells nothing: no shortcut
    ({"use": MOVES, "exists_p": 0.05}, USED),
    ({"use": MOVES, "share": Estimate(0.7, 0.5, 0.9)}, DECISIVE),
    ({"use": MOVES, "share": Estimate(0.7, 0.49, 0.9)}, USED),
    ({"use": MOVES, "fall": Estimate(0.05, 0.01, 0.1)}, DECISIVE),
    ({"use": MOVES, "fall": Estimate(0.05, -0.01, 0.1)}, USED),
    ({"use": MOVES, "fall": Estimate(0.04, 0.01, 0.1)}, USED),
    ({"share": Estimate(0.9, 0.8, 1.0), "fall": Estimate(0.3, 0.2, 0.4)}, NOT_SHOWN),  # decisive needs to be used
    ({"use": MOVES, "unusable": "no trace", "baseline": HIGH}, AVAILABLE),
    ({"use": None, "unusable": "no trace", "power": None}, NOT_SHOWN),
])  # fmt: skip
def test_each_branch(changes, expected):
    assert verdict(evidence(**changes)) == expected


@pytest.mark.parametrize(("power", "told"), [
    (STRONG, "the audit finds such a cue in "),
    (WEAK, "the audit finds such a cue in only "),
    (None, "the audit's power for this cue is not known"),
])  # fmt: skip
@pytest.mark.parametrize("baseline", [CHANCE, HIGH])
def test_where_no_use_is_shown_the_power_says_what_that_means(baseline, power, told):
    found = judge(evidence(baseline=baseline, power=power), 0.001, STILL.p)
    assert found.name != USED
    assert told in found.reason
    assert ("only" in found.reason) == (power is WEAK)


@pytest.mark.parametrize("changes", [{}, {"baseline": HIGH}, {"power": None}])
def test_a_model_that_a_cue_moves_the_other_way_is_told(changes):
    """As one that was trained where the cue went with the other class: that is no use here, and worth knowing."""
    away, still = (using(found, **changes) for found in (AWAY, STILL))
    told = judge(away, 0.001, away.use.p)
    assert told.name in (NOT_SHOWN, AVAILABLE, UNDECIDED)
    assert "moves the other way" in told.reason
    assert "moves the other way" not in judge(still, 0.001, still.use.p).reason


def test_every_verdict_has_a_reason():
    shares = (Estimate(0.1, 0.0, 0.2), Estimate(0.9, 0.8, 1.0), None)
    effects = (None, STILL, MOVES, UNTESTED)
    for baseline, put, taken, share, power in itertools.product(
        (CHANCE, HIGH), effects, (None, MOVES), shares, (None, WEAK, STRONG)
    ):
        one = evidence(baseline=baseline, sufficiency=put, necessity=taken, use=put or taken, share=share, power=power)
        for explained in ("", "tint"):
            assert len(judge(one, 0.001, one.use and one.use.p, explained).reason) > 20


def at_p(p: float) -> Effect:
    """An effect with this p-value among its references."""
    spread = np.std(REFERENCES, ddof=1) * np.sqrt(1 + 1 / len(REFERENCES))
    found = replace(MOVES, shift=float(max(np.mean(REFERENCES), 0) + stats.t.isf(p, len(REFERENCES) - 1) * spread))
    assert found.p == pytest.approx(p)
    return found


@pytest.mark.parametrize(("p", "expected"), [(0.024, USED), (0.026, NOT_SHOWN)])
def test_use_is_tested_one_sided_at_a_fortieth(p, expected):
    assert judge_all({"a": using(at_p(p))})["a"].name == expected


def test_holm_goes_over_the_cues_that_exist():
    borderline = at_p(0.02)
    alone = judge_all({"a": using(borderline)})
    assert alone["a"].name == USED
    crowd = {f"b{i}": evidence() for i in range(5)} | {"a": using(borderline)}
    assert judge_all(crowd)["a"].name == NOT_SHOWN
    absent = {f"b{i}": evidence(exists_p=0.5) for i in range(5)} | {"a": using(borderline)}
    assert judge_all(absent)["a"].name == USED


@pytest.mark.parametrize(("baseline", "expected"), [(CHANCE, UNDECIDED), (HIGH, AVAILABLE)])
def test_nothing_is_said_not_to_be_shown_whose_use_was_not_tested(baseline, expected):
    assert judge(evidence(baseline=baseline), 0.01, 0.5).name in (NOT_SHOWN, AVAILABLE)
    found = judge(evidence(baseline=baseline), 0.01, None, "tint")
    assert found.name == expected
    assert "“tint” accounts for its difference between the classes" in found.reason


def test_a_cue_that_another_one_explains_is_not_called_used():
    tint, tone = using(MOVES, given={"tone": 0.001}), using(MOVES, given={"tint": 0.3})
    found = judge_all({"tint": tint, "tone": replace(tone, baseline=HIGH)})
    assert (found["tint"].name, found["tone"].name) == (USED, AVAILABLE)
    assert "“tint” accounts for its difference" in found["tone"].reason


def test_cues_that_explain_each_other_share_the_strongest_verdict():
    found = judge_all(
        {
            "tint": using(MOVES, given={"tone": 0.2, "box": 0.001}),
            "tone": evidence(given={"tint": 0.3, "box": 0.001}),
            "box": evidence(given={"tint": 0.001, "tone": 0.001}),
        }
    )
    assert found["tint"].name == found["tone"].name == USED
    assert found["tone"].together == ("tint",)
    assert "cannot be told apart from tint" in found["tone"].reason
    assert found["box"] == Verdict(NOT_SHOWN, found["box"].reason)


@given(st.dictionaries(st.text(min_size=1), st.floats(0.0001, 1), min_size=1, max_size=12))
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(ps):
    adjusted = holm(ps)
    assert all(p <= adjusted[name] <= min(1, p * len(ps)) + 1e-12 for name, p in ps.items())
    ordered = sorted(ps, key=lambda name: ps[name])
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(ordered))


def logits_of(shifts: np.ndarray, films: int, seed: int) -> np.ndarray:
    """Logits (K, 2, films), before around 0, and after higher by a shift that each network has of its own."""
    before = np.random.default_rng(seed).normal(0, 1, (len(shifts), films))
    return np.stack([before + shifts[:, None], before], axis=1)


def found_among(shift: float, references: np.ndarray, films: int = 60, seed: int = 0) -> Effect:
    after, before = logits_of(np.array([shift]), films, seed + 1)[0]
    return effect(after, before, np.ones(films), np.arange(films), references, 200, seed)


def test_an_effect_is_found_where_it_is_larger_than_in_references():
    references = logits_of(np.random.default_rng(0).normal(0.5, 0.1, 20), 60, 0)
    more, alike = found_among(1.5, references), found_among(0.5, references)
    assert is_used(0.0, more, more.p)
    assert more.mean.low == pytest.approx(1.5)
    assert not is_used(0.0, alike, alike.p)
    assert alike.flips.low > 0  # it flips predictions, as references do
    assert effect(np.ones(8), -np.ones(8), np.ones(8), np.arange(8) % 4, None, 100, 0) is None  # four groups
    assert found_among(1.5, references[:2]).p is None  # two networks have no spread to speak of


def test_a_network_that_does_not_move_uses_nothing_whatever_references_learnt_of_drawn_cues():
    """References that move the other way have learnt that a drawn cue goes with the other class."""
    references = logits_of(np.random.default_rng(0).normal(-2.0, 0.1, 20), 60, 0)
    still, moves = found_among(0.0, references), found_among(1.5, references)
    assert max(still.references) < -0.1
    assert still.p > 0.3
    assert moves.p < 0.001


def test_false_alarms_among_references_are_at_the_level():
    """A network of the same kind as its references: one-sided 2.5 %, for 20 references; less, if they move away."""
    rng = np.random.default_rng(2)
    drawn = rng.normal(0, 1, (4000, 21))
    ps = {mean: [above(row[0], row[1:]) for row in drawn + mean] for mean in (5, 0, -1)}
    alarms = {mean: np.mean(np.array(each) <= THRESHOLDS["use"]) for mean, each in ps.items()}
    assert 0.015 < alarms[5] < 0.035
    assert alarms[-1] < alarms[0] <= alarms[5]


def test_duplicates_count_once_in_an_effect():
    rng = np.random.default_rng(1)
    after, before = rng.normal(0.3, 1, 20), rng.normal(0, 1, 20)
    once = effect(after, before, np.ones(20), np.arange(20), None, 2000, 0)
    five = [np.repeat(each, 5) for each in (after, before, np.ones(20), np.arange(20))]
    copied = effect(*five, None, 2000, 0)
    for end in ("low", "high"):
        assert getattr(copied.mean, end) == pytest.approx(getattr(once.mean, end), abs=1e-9)
    assert copied.shift == pytest.approx(once.shift)


def test_one_flipped_prediction_of_42_is_no_use():
    for turned, used in ((1, False), (4, False), (6, True)):
        after = np.where(np.arange(42) < turned, 2.0, -2.0)
        references = logits_of(np.zeros(20), 42, 3)
        found = effect(after, np.full(42, -3.0), np.ones(42), np.arange(42), references, 200, 0)
        assert found.flips.value == pytest.approx(turned / 42)
        assert (found.flips.low > 0) is used
        assert is_used(0.0, found, 0.001) is used


def test_the_share_of_a_cue_is_taken_on_the_same_films_as_the_networks():
    """A cue that tells as much as the network has a share of 1, and a coin one around 0."""
    rng = np.random.default_rng(0)
    target = (np.arange(200) % 2).astype(np.int64)
    network = Scored(target, target + rng.normal(0, 0.7, 200), np.arange(200))
    audit = SimpleNamespace(replicates=300, seed=0)
    same, coin = _share(network, network, audit), _share(replace(network, score=rng.normal(size=200)), network, audit)
    assert tuple(same) == (1, 1, 1)
    assert coin.low < 0 < coin.high < THRESHOLDS["share"]
    assert _share(network, replace(network, score=-network.score), audit) is None


def test_matching_is_compared_with_the_same_films_unmatched():
    row = {"pairs": 10, "whole": 0.9, "value": 0.7, "low": 0.6, "high": 0.8}
    assert tuple(matched.fall(row)) == pytest.approx((0.2, 0.1, 0.3))
    assert matched.fall(row | {"pairs": 9}) is None


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
