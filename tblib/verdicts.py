"""Verdicts: what the evidence against a suspect amounts to, by one table of thresholds.

Three claims are kept apart: a cue *exists* (it is unequal between the classes), it *predicts* the label by itself, and
the model *uses* it. A verdict names the strongest that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tblib.metrics import Estimate, Floats, net_share, paired_p, wilson

AVAILABLE, USED, DECISIVE, NOT_SHOWN, UNDECIDED = "AVAILABLE", "USED", "DECISIVE", "NOT SHOWN", "UNDECIDED"
THRESHOLDS = {  # the one table that verdicts rest on
    "probe": 0.6,  # the lower limit of the probe's AUROC lies above it: AVAILABLE
    "level": 0.05,  # of the tests of existence and of movement, after Holm over the suspects
    "flips": 0.02,  # the lower limit of the net share of calls that the cue turns, over the placebo, reaches it: USED
    "share": 0.5,  # of the AUROC above chance that the cue alone reaches: DECISIVE, if it is used
    "fall": 0.05,  # of AUROC when the cue is taken away or matched, interval above 0: DECISIVE, if it is used
    "power": 0.8,  # of the audit at p = 0.8, below which nothing found means nothing known: UNDECIDED
}
MEANING = {
    AVAILABLE: f"a probe that sees only this cue has an AUROC whose interval lies above {THRESHOLDS['probe']}",
    USED: "the cue is more common in one class beyond chance; putting it on films, or taking it off, moves the model "
    f"towards, or away from, that class more than a placebo does (paired randomisation test, Holm), and the net share "
    f"of calls that it turns is {THRESHOLDS['flips']:.0%} or more, with its interval",
    DECISIVE: f"used, and the cue alone reaches {THRESHOLDS['share']:.0%} of the model's AUROC above chance, or the "
    f"AUROC falls by {THRESHOLDS['fall']} or more without it",
    NOT_SHOWN: f"none of these, and the audit finds such a cue in at least {THRESHOLDS['power']:.0%} of planted cases",
    UNDECIDED: "none of these, and the audit's power for this cue is lower or not known",
}


@dataclass(frozen=True)
class Effect:
    """What an edit does over its placebo, towards the class that the cue goes with.

    Attributes:
        n: pairs of films.
        mean: of the logit, with its interval.
        p: two-sided, of flipped signs of twin groups (`tblib.metrics.paired_p`).
        flips: share of calls that the edit turns towards that class and the placebo does not, less the reverse.
    """

    n: int
    mean: Estimate
    p: float
    flips: Estimate


@dataclass(frozen=True)
class Evidence:
    """All that a verdict is made of; None where it was not or cannot be measured.

    Attributes:
        exists: AUROC of the cue's own score.
        exists_p: of that score going with the label by chance (`tblib.metrics.label_p`).
        probe: AUROC of a probe that sees the cue alone.
        sufficiency: effect of putting the cue on films without it.
        necessity: effect of taking it off films that carry it.
        share: S, the part of the model's AUROC above chance that the cue alone reaches.
        fall: of the AUROC once the cue is taken off all films, or matched between the classes.
        power: share of planted cues (p = 0.8) that the audit called used.
        unusable: why a model cannot use the cue whatever it does; empty where it can.
    """

    exists: Estimate
    exists_p: float
    probe: Estimate
    sufficiency: Effect | None = None
    necessity: Effect | None = None
    share: float | None = None
    fall: Estimate | None = None
    power: Estimate | None = None
    unusable: str = ""


def effect(moved: Floats, flipped: Floats, group: npt.NDArray[np.int64], replicates: int, seed: int) -> Effect | None:
    """The effect from pairs: `moved` (n,) logits and `flipped` (n,) calls (−1, 0, 1), edited less placebo.

    Both are signed towards the class that the cue goes with. None where there are fewer than five twin groups.
    """
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 5:
        return None
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), replicates)
    weights = drawn[:, index].astype(float)
    weights /= weights.sum(1, keepdims=True)
    mean = _interval(moved.mean(), weights @ moved)
    return Effect(len(moved), mean, paired_p(moved, group, seed), net_share(flipped, group))


def holm(ps: dict[str, float]) -> dict[str, float]:
    """Adjusted p of each, by Holm's step-down method (Holm 1979)."""
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(ps, key=lambda name: ps[name])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[name]))
        adjusted[name] = highest
    return adjusted


def is_used(exists_p: float, found: Effect | None, p: float | None) -> bool:
    """Whether one effect, with its adjusted `p`, shows use of a cue that exists with adjusted `exists_p`."""
    if found is None or p is None or found.mean.value is None or found.flips.low is None:
        return False
    exists, moves = exists_p <= THRESHOLDS["level"], p <= THRESHOLDS["level"] and found.mean.value > 0
    return exists and moves and found.flips.low >= THRESHOLDS["flips"]


def verdicts(evidence: dict[str, Evidence]) -> dict[str, tuple[str, str]]:
    """Suspect -> (verdict, why, in a sentence); Holm's correction goes over all suspects and both directions."""
    ps = {
        (name, way): found.p
        for name, one in evidence.items()
        for way, found in (("put", one.sufficiency), ("taken", one.necessity))
        if found is not None
    }
    texts = {" ".join(key): key for key in ps}
    adjusted = {texts[text]: p for text, p in holm({text: ps[key] for text, key in texts.items()}).items()}
    exists = holm({name: one.exists_p for name, one in evidence.items()})
    return {
        name: judge(one, exists[name], adjusted.get((name, "put")), adjusted.get((name, "taken")))
        for name, one in evidence.items()
    }


def judge(one: Evidence, exists_p: float, put_p: float | None, taken_p: float | None) -> tuple[str, str]:
    """Verdict and reason from the evidence and its adjusted p values."""
    ways = [
        name
        for name, found, p in (("put on films", one.sufficiency, put_p), ("taken off films", one.necessity, taken_p))
        if is_used(exists_p, found, p)
    ]
    if ways and not one.unusable:
        moved = f"{' and '.join(ways)}, it moves the model as its class would, over placebo"
        if one.share is not None and one.share >= THRESHOLDS["share"]:
            return DECISIVE, f"{moved}; alone it reaches {one.share:.0%} of the model's AUROC above chance"
        if one.fall is not None and (one.fall.value or 0) >= THRESHOLDS["fall"] and (one.fall.low or 0) > 0:
            return DECISIVE, f"{moved}; without it the AUROC falls by {one.fall.value:.3f}"
        return USED, moved
    if (one.probe.low or 0) > THRESHOLDS["probe"]:
        why = one.unusable or _not_used(one, exists_p)
        return AVAILABLE, f"a probe finds it; {why}"
    if one.unusable:
        return NOT_SHOWN, one.unusable
    if one.power is None or one.power.value is None:
        return UNDECIDED, "the audit's power for this cue was not measured, so nothing found means nothing known"
    if one.power.value < THRESHOLDS["power"]:
        return UNDECIDED, f"the audit finds this cue in only {one.power.value:.0%} of planted cases"
    return NOT_SHOWN, f"nothing found, and the audit finds such a cue in {one.power.value:.0%} of planted cases"


def _not_used(one: Evidence, exists_p: float) -> str:
    found = [effect for effect in (one.sufficiency, one.necessity) if effect is not None]
    if not found:
        return "no edit shows whether the model uses it"
    if exists_p > THRESHOLDS["level"]:
        return "its score is not shown to differ between the classes, so no movement can be called use"
    most = max(found, key=lambda effect: effect.flips.value or 0.0)
    turned = f"edits turn {most.flips.text(percent=True)} of the calls at most, over placebo"
    return f"{turned}, or do not move the model towards its class"


def matched_pairs(scores: Floats, target: npt.NDArray[np.int64], caliper: float = 0.2) -> npt.NDArray[np.int64]:
    """Int (P, 2): each a positive and a negative film that are alike in `scores` (N, F), each film in one pair.

    Scores are in sd; a pair differs by at most `caliper` in each. Pairs are as many, and as alike, as can be.
    """
    from scipy.optimize import linear_sum_assignment

    positive, negative = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
    if not len(positive) or not len(negative):
        return np.empty((0, 2), np.int64)
    sd = scores.std(0)
    scaled = scores / np.where(sd > 0, sd, 1)
    apart = np.abs(scaled[positive][:, None] - scaled[negative][None]).max(2)
    rows, columns = linear_sum_assignment(np.where(apart <= caliper, apart, 1e6))
    close = apart[rows, columns] <= caliper
    return np.stack([positive[rows[close]], negative[columns[close]]], 1)


def matched_auroc(logits: Floats, pairs: npt.NDArray[np.int64]) -> Estimate:
    """Share of pairs whose positive film scores higher, ties half: AUROC within matched pairs, Wilson limits."""
    if not len(pairs):
        return Estimate(None, None, None)
    above = logits[pairs[:, 0]] - logits[pairs[:, 1]]
    return wilson(float((above > 0).sum() + 0.5 * (above == 0).sum()), len(pairs))


def worst_groups(cues: pd.Series, target: npt.NDArray[np.int64], called: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Accuracy of each group of label and cues, worst first: group, n, value, low, high (Wilson)."""
    right = pd.Series(called == (target == 1), index=cues.index)
    rows: list[dict[str, Any]] = []
    for name, hits in right.groupby(cues):
        rows.append({"group": name, "n": len(hits), **wilson(int(hits.sum()), len(hits))._asdict()})
    return pd.DataFrame(rows).sort_values("value", ignore_index=True)


def _interval(value: float, drawn: Floats) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
