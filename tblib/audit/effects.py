"""Effects: what an edit changes over its placebo, more than in reference networks; and the thresholds of verdicts."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from tblib.arrays import Floats, Ints
from tblib.metrics import Estimate, net_share

Name = TypeVar("Name")
THRESHOLDS = {  # the only thresholds on which verdicts are based
    "baseline": 0.6,  # AVAILABLE if the lower limit of the baseline's AUROC is above it
    "level": 0.05,  # level of the tests of existence, after Holm's correction
    "use": 0.025,  # level of the one-sided tests of use, after Holm's correction: what 95 % intervals leave on one side
    "flips": 0.0,  # USED if the lower limit of the net share of prediction flips over the placebo is above it
    "share": 0.5,  # DECISIVE, if used and the cue alone reaches this share of the AUROC above chance (lower limit)
    "fall": 0.05,  # DECISIVE, if used and the AUROC falls by this over a placebo without the cue, interval above 0
    "power": 0.6,  # NOT SHOWN if the lower limit of the audit's power at p = 0.8 reaches it, otherwise UNDECIDED
}
FEWEST_GROUPS = 5  # duplicate groups: with fewer films an edit has no effect to speak of
FEWEST_REFERENCES = 3  # networks: with fewer their spread is not known


@dataclass(frozen=True)
class Effect:
    """Effect of an edit over its placebo, towards the class that the cue is associated with.

    Attributes:
        n: pairs of films.
        mean: mean change of the logit, with its interval over films.
        shift: mean change of the probability.
        references: the same for each reference network; empty if there are none for this edit.
        flips: share of predictions flipped towards that class by the edit but not by the placebo, minus the reverse.
    """

    n: int
    mean: Estimate
    shift: float
    references: tuple[float, ...]
    flips: Estimate

    @property
    def p(self) -> float | None:
        """One-sided p-value of `shift` among the references (`above`); None without them."""
        return above(self.shift, np.array(self.references)) if len(self.references) >= FEWEST_REFERENCES else None


def above(value: float, references: Floats) -> float:
    """One-sided p-value of `value` being one more draw from where `references` (K,) come from.

    Student's t with K − 1 degrees of freedom on the distance from their mean in predictive standard deviations,
    s √(1 + 1/K): the test of one case against a small control sample (Crawford and Howell 1998). Where their mean is
    below 0, the distance from 0 counts: references can learn that a cue as an edit draws it goes with the other class,
    and a network that never saw one need not move.
    """
    from scipy.stats import t  # takes 0.4 s to import, and the report does without

    spread = max(float(references.std(ddof=1)), 1e-9) * np.sqrt(1 + 1 / len(references))
    return float(t.sf((value - max(float(references.mean()), 0.0)) / spread, len(references) - 1))


def probability(logits: Floats) -> Floats:
    """Probabilities of logits of any shape. Bounded, so they compare between networks of any size and confidence."""
    from scipy.special import expit  # as above

    return np.asarray(expit(logits))


def effect(
    after: Floats, before: Floats, sign: Floats, group: Ints, references: Floats | None, replicates: int, seed: int
) -> Effect | None:
    """Effect of an edit, or None with fewer than `FEWEST_GROUPS` duplicate groups.

    Args:
        after, before: logits (n,) of films after the edit and after its placebo.
        sign: (n,), 1 where the edit should move the logit up, if the model uses the cue, −1 where down.
        group: duplicate groups (n,).
        references: logits (K, 2, n) of reference networks for the same films, after and before; None without.
        replicates, seed: of the bootstrap over films.
    """
    if len(np.unique(group)) < FEWEST_GROUPS:
        return None
    others = np.empty((0, 2, len(after))) if references is None else references
    shifts = sign * (probability(others[:, 0]) - probability(others[:, 1]))
    return Effect(
        len(after),
        mean_change(sign * (after - before), group, replicates, seed),
        float((sign * (probability(after) - probability(before))).mean()),
        tuple(float(each.mean()) for each in shifts),
        net_share(sign * flipped(after, before), group),
    )


def flipped(after: Floats, before: Floats) -> Floats:
    """Float (n,): 1 where the prediction at 0.5 is positive after the edit only, −1 where after the placebo only."""
    return (after > 0).astype(float) - (before > 0)


def mean_change(moved: Floats, group: Ints, replicates: int, seed: int) -> Estimate:
    """Mean of `moved` (n,) with percentiles of a bootstrap over duplicate groups (n,)."""
    names, index = np.unique(group, return_inverse=True)
    weights = _drawn(len(names), replicates, seed)[:, index].astype(float)
    weights /= weights.sum(1, keepdims=True)
    low, high = np.quantile(weights @ moved, [0.025, 0.975])
    value = float(moved.mean())
    return Estimate(value, float(min(low, value)), float(max(high, value)))


@lru_cache(maxsize=8)  # an audit judges hundreds of networks by the same films
def _drawn(groups: int, replicates: int, seed: int) -> Ints:
    """Int (R, G): how often each duplicate group occurs in each replicate."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), replicates)


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
    if found is None or p is None or found.flips.low is None:
        return False
    return exists_p <= THRESHOLDS["level"] and p <= THRESHOLDS["use"] and found.flips.low > THRESHOLDS["flips"]


def plain(found: Effect) -> dict[str, Any]:
    """The effect as JSON-compatible values."""
    told = {"n": found.n, "mean": found.mean._asdict(), "shift": found.shift, "flips": found.flips._asdict()}
    return told | {"p": found.p, "references": list(found.references)}
