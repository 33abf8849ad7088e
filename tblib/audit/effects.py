"""Effects: what an edit changes over its placebo, and the thresholds above which that counts as use."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tblib.arrays import Floats, Ints
from tblib.metrics import Estimate, net_share, paired_p

Name = TypeVar("Name")
THRESHOLDS = {  # the only thresholds on which verdicts are based
    "baseline": 0.6,  # AVAILABLE if the lower limit of the baseline's AUROC is above it
    "level": 0.05,  # level of the tests of existence and of logit change, after Holm's correction over the cues
    "flips": 0.02,  # USED if the lower limit of the net share of prediction flips over the placebo reaches it
    "share": 0.5,  # share of the AUROC above chance that the cue alone reaches: DECISIVE, if it is used
    "fall": 0.05,  # fall of the AUROC when the cue is removed or matched, interval above 0: DECISIVE, if it is used
    "power": 0.8,  # of the audit at p = 0.8; below it, finding nothing is inconclusive: UNDECIDED
}


@dataclass(frozen=True)
class Effect:
    """Effect of an edit over its placebo, towards the class that the cue is associated with.

    Attributes:
        n: pairs of films.
        mean: mean change of the logit, with its interval.
        p: two-sided p-value from sign flips of duplicate groups (`tblib.metrics.paired_p`).
        flips: share of predictions flipped towards that class by the edit but not by the placebo, minus the reverse.
    """

    n: int
    mean: Estimate
    p: float
    flips: Estimate


def effect(moved: Floats, flipped: Floats, group: Ints, replicates: int, seed: int) -> Effect | None:
    """Effect from logit changes `moved` (n,) and prediction flips `flipped` (n,) of −1, 0 or 1, edit minus placebo.

    Both are signed towards the class that the cue is associated with. None with fewer than five duplicate groups.
    """
    names, index = np.unique(group, return_inverse=True)
    if len(names) < 5:
        return None
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), replicates)
    weights = drawn[:, index].astype(float)
    weights /= weights.sum(1, keepdims=True)
    low, high = np.quantile(weights @ moved, [0.025, 0.975])
    value = float(moved.mean())
    mean = Estimate(value, float(min(low, value)), float(max(high, value)))
    return Effect(len(moved), mean, paired_p(moved, group, seed), net_share(flipped, group))


def holm(ps: dict[Name, float]) -> dict[Name, float]:
    """Adjusted p-values by Holm's step-down method (Holm 1979)."""
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(ps, key=lambda name: ps[name])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[name]))
        adjusted[name] = highest
    return adjusted


def is_used(exists_p: float, found: Effect | None, p: float | None) -> bool:
    """Whether an effect with adjusted `p` shows use of a cue that exists with adjusted p-value `exists_p`."""
    if found is None or p is None or found.mean.value is None or found.flips.low is None:
        return False
    exists, moves = exists_p <= THRESHOLDS["level"], p <= THRESHOLDS["level"] and found.mean.value > 0
    return exists and moves and found.flips.low >= THRESHOLDS["flips"]


def plain(found: Effect) -> dict[str, Any]:
    """The effect as JSON-compatible values."""
    return {"n": found.n, "mean": found.mean._asdict(), "p": found.p, "flips": found.flips._asdict()}
