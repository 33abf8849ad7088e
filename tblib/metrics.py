"""Numbers with their intervals: proportions, odds ratios, and the scores of a classifier, twins respected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Z = NormalDist().inv_cdf(0.975)  # intervals are at 95 %
ECE_BINS = 10
KAGGLE_FILMS = (3500, 700)  # normal, tuberculosis: the balance at which accuracies on that database are published
DRAWS = 9_999  # permutations behind a p value, so that the least one is 1/10,000 however few replicates are asked for
AT_ONCE = 4_000_000  # cells of a table of permutations that are made at a time


class Estimate(NamedTuple):
    """A number with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None

    def text(self, percent: bool = False) -> str:
        """For people: ``0.962 (0.931 to 0.984)`` or ``96.2 % (93.1 to 98.4)``."""
        if self.value is None or self.low is None or self.high is None:
            return "not defined"
        if percent:
            return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Scored:
    """Films with what a classifier says of them.

    Attributes:
        target: int (N,), 1 for the positive class.
        score: float (N,), higher means more positive; a probability where Brier score or ECE is asked for.
        group: int (N,), twin group.
    """

    target: npt.NDArray[np.int64]
    score: Floats
    group: npt.NDArray[np.int64]


def wilson(hits: float, n: float) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927); `n` may be an effective number, not whole."""
    if n <= 0:
        return Estimate(None, None, None)
    p = hits / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Estimate(float(p), float(max(0.0, min(p, centre - half))), float(min(1.0, max(p, centre + half))))


def clustered_wilson(hit: npt.NDArray[np.bool_], group: npt.NDArray[np.int64]) -> Estimate:
    """The share of true entries of `hit` (N,), with a Wilson interval in which twins count as one film.

    The effective number is Kish's n² / Σm² over twin groups of m films: exact where twins always share
    the answer, and too wide, never too narrow, where they do not (Kish 1965, Survey Sampling).
    """
    if len(hit) == 0:
        return Estimate(None, None, None)
    sizes = np.unique(group, return_counts=True)[1]
    effective = len(hit) ** 2 / float((sizes**2).sum())
    return wilson(float(hit.mean()) * effective, effective)


def net_share(turned: Floats, group: npt.NDArray[np.int64]) -> Estimate:
    """The mean of `turned` (N,), −1, 0 or 1: the share that turned one way less the share that turned the other.

    Limits by the method of variance estimates recovery (Zou and Donner 2008) from both shares' Wilson limits and the
    correlation that two shares of one sample have, so that films of which none turned leave an interval, too.
    """
    there, back = clustered_wilson(turned > 0, group), clustered_wilson(turned < 0, group)
    return _difference(there, back, correlated=True)


def _difference(one: Estimate, other: Estimate, correlated: bool = False) -> Estimate:
    """One proportion less another, from their limits: Newcombe's (1998) hybrid where they are independent."""
    p, low, high = one
    q, least, most = other
    if p is None or low is None or high is None or q is None or least is None or most is None:
        return Estimate(None, None, None)
    r = -np.sqrt(p * q / ((1 - p) * (1 - q))) if correlated and p < 1 and q < 1 else 0.0
    below, above = (np.sqrt(a**2 + b**2 - 2 * r * a * b) for a, b in ((p - low, most - q), (high - p, q - least)))
    return Estimate(float(p - q), float(p - q - below), float(p - q + above))


def odds_ratio(positives_with: int, positives: int, negatives_with: int, negatives: int) -> Estimate:
    """Odds of a cue among positives over its odds among negatives, with Woolf's logit interval.

    Half a film is added to each cell (Haldane 1956, Anscombe 1956), so that an empty cell gives a finite figure.
    """
    a, b = positives_with + 0.5, positives - positives_with + 0.5
    c, d = negatives_with + 0.5, negatives - negatives_with + 0.5
    centre, half = np.log(a * d / (b * c)), Z * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Estimate(*(float(np.exp(x)) for x in (centre, centre - half, centre + half)))


def at_balance(sensitivity: Estimate, specificity: Estimate, negatives: int, positives: int) -> Estimate:
    """Accuracy that a sensitivity and a specificity give at another class balance; limits from both limits at once."""
    share = positives / (negatives + positives)
    pairs = [(se, sp) for se, sp in zip(sensitivity, specificity, strict=True) if se is not None and sp is not None]
    values = [share * se + (1 - share) * sp for se, sp in pairs]
    return Estimate(*values) if len(values) == 3 else Estimate(None, None, None)


def ppv_at(sensitivity: Estimate, specificity: Estimate, prevalence: float) -> Estimate:
    """Positive predictive value at a prevalence by Bayes' rule; limits from both limits at once, so rather wide."""

    def bayes(se: float | None, sp: float | None) -> float | None:
        """True positives over all that is called, a film's share of each."""
        if se is None or sp is None:
            return None
        called = se * prevalence + (1 - sp) * (1 - prevalence)
        return se * prevalence / called if called else None

    return Estimate(*(bayes(se, sp) for se, sp in zip(sensitivity, specificity, strict=True)))


def bootstrap_weights(scored: Scored, replicates: int, seed: int) -> Floats:
    """Float (R, N): how often each film stands in each replicate; twin groups are drawn whole, class by class.

    A group belongs to the class of its first film. Drawing within the classes keeps both in every replicate.
    """
    rng = np.random.default_rng(seed)
    _, first, index = np.unique(scored.group, return_index=True, return_inverse=True)
    drawn = np.zeros((replicates, len(first)))
    for label in np.unique(scored.target):
        members = np.flatnonzero(scored.target[first] == label)
        if len(members):
            drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), replicates)
    return drawn[:, index]


def confusion(scored: Scored, threshold: float, weights: Floats | None = None) -> dict[str, Floats]:
    """Weighted counts tp, fp, fn, tn at `threshold` (a score on it counts as positive): (R,) for weights (R, N)."""
    weights = np.ones((1, len(scored.target))) if weights is None else weights
    called, positive = scored.score >= threshold, scored.target == 1
    cells = {"tp": called & positive, "fp": called & ~positive, "fn": ~called & positive, "tn": ~called & ~positive}
    return {name: weights @ cell.astype(float) for name, cell in cells.items()}


def f1(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """2 tp / (2 tp + fp + fn); 0 where there is nothing positive, called or true."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


def balanced_accuracy(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """Mean of sensitivity and specificity."""
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """Matthews correlation coefficient (Matthews 1975); 0 where a margin is empty."""
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def ece(target: npt.NDArray[np.int64], probability: Floats, weights: Floats) -> float:
    """Expected calibration error over ten bins of equal width (Naeini 2015, Guo 2017)."""
    bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=weights * (target - probability), minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def brier(target: npt.NDArray[np.int64], probability: Floats, weights: Floats) -> float:
    """Mean squared distance of the probability from the outcome (Brier 1950)."""
    return float(weights @ (target - probability) ** 2 / weights.sum())


def proportions(scored: Scored, threshold: float) -> dict[str, Estimate]:
    """Accuracy, sensitivity, specificity, PPV and NPV at `threshold`, with twin-respecting Wilson intervals."""
    called, positive = scored.score >= threshold, scored.target == 1
    among = {
        "accuracy": (called == positive, np.ones_like(positive)),
        "sensitivity": (called, positive),
        "specificity": (~called, ~positive),
        "ppv": (positive, called),
        "npv": (~positive, ~called),
    }
    return {name: clustered_wilson(hit[rows], scored.group[rows]) for name, (hit, rows) in among.items()}


def composites(scored: Scored, threshold: float, weights: Floats) -> dict[str, Estimate]:
    """F1, balanced accuracy and MCC at `threshold`, with percentile intervals over bootstrap `weights` (R, N)."""
    point, drawn = confusion(scored, threshold), confusion(scored, threshold, weights)
    shares = proportions(scored, threshold)
    worst, best = (
        confusion(sample.scored, 0.5, sample.weights[None])
        for sample in (
            _two_valued(scored, shares["sensitivity"].low, shares["specificity"].low),
            _two_valued(scored, shares["sensitivity"].high, shares["specificity"].high),
        )
    )
    return {
        name: _estimate(float(of(**point)[0]), of(**drawn), float(of(**worst)[0]), float(of(**best)[0]))
        for name, of in {"f1": f1, "balanced_accuracy": balanced_accuracy, "mcc": mcc}.items()
    }


def auroc(scored: Scored, weights: Floats) -> Floats:
    """Area under the ROC curve (R,) for each row of weights (R, N), ties counted half (Mann and Whitney 1947)."""
    order = np.argsort(scored.score, kind="stable")
    starts = np.flatnonzero(np.diff(scored.score[order], prepend=-np.inf))  # first film of each tied score
    positive = scored.target[order] == 1
    above, below = (np.add.reduceat(weights[:, order] * side, starts, axis=1) for side in (positive, ~positive))
    beaten = below.cumsum(axis=1) - below / 2  # negatives that a positive of this score outranks
    area: Floats = (above * beaten).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1))
    return area


def average_precision(scored: Scored, weights: Floats) -> Floats:
    """Average precision (R,) for each row of weights (R, N)."""
    from sklearn.metrics import average_precision_score  # a third of a second, and only the evaluation ranks

    return np.array([average_precision_score(scored.target, scored.score, sample_weight=row) for row in weights])


def ranking(scored: Scored, weights: Floats, of: Callable[[Scored, Floats], Floats] = auroc) -> Estimate:
    """AUROC, or another figure `of` the order of the scores, with percentiles over bootstrap `weights` (R, N).

    A score of two values has its AUROC's limits from two proportions: no bootstrap draws a carrier into a class
    that has none.
    """
    if of is auroc and len(np.unique(scored.score)) == 2:
        return _area_of_two(scored)
    value = float(of(scored, np.ones((1, len(scored.target))))[0])
    drawn = of(scored, weights)
    if value < 1:
        return _percentiles(value, drawn)
    sides = (scored.group[scored.target == label] for label in (1, 0))
    faultless = (clustered_wilson(np.ones(len(side), bool), side).low for side in sides)
    worst = _two_valued(scored, *faultless)
    return _estimate(value, drawn, float(of(worst.scored, worst.weights[None])[0]), 1.0)


def _area_of_two(scored: Scored) -> Estimate:
    """AUROC of a score of two values: half of one and the difference of the classes' shares of the higher value."""
    higher = scored.score == scored.score.max()
    positives, negatives = (
        clustered_wilson(higher[rows], scored.group[rows]) for rows in (scored.target == 1, scored.target == 0)
    )
    return Estimate(*(None if limit is None else 0.5 + limit / 2 for limit in _difference(positives, negatives)))


def label_p(scored: Scored, seed: int, one_sided: bool = False) -> float:
    """p of the score of films going with the label by chance alone; twins are kept together.

    A twin group is one film here: with the label of its first film and the mean of its scores. Fisher's exact test
    where that leaves two values, otherwise labels are permuted over the groups and rank sums compared. Both hold
    for the rarest of cues, which a bootstrap does not.

    Args:
        scored: films of both classes.
        seed: of the permutations.
        one_sided: only a higher score in the positive class counts: for scores that were fitted to the label.
    """
    from scipy.stats import fisher_exact, rankdata

    _, first, index = np.unique(scored.group, return_index=True, return_inverse=True)
    target = scored.target[first] == 1
    score = np.bincount(index, weights=scored.score) / np.bincount(index)
    values = np.unique(score)
    if len(values) < 2 or target.all() or not target.any():
        return 1.0
    if len(values) == 2:
        table = [[int(((score == value) & (target == label)).sum()) for value in values[::-1]] for label in (1, 0)]
        return float(fisher_exact(table, "greater" if one_sided else "two-sided").pvalue)
    ranks = rankdata(score)
    return _permuted_p(ranks - ranks.mean(), target, seed, one_sided)


def _permuted_p(off: Floats, target: npt.NDArray[np.bool_], seed: int, one_sided: bool) -> float:
    """Share of permutations of `target` (N,) in which the sum of `off` (N,) over the positives is as far from 0."""
    rng = np.random.default_rng(seed)

    def drawn(rows: int) -> Floats:
        """Sums (rows,) of that many permutations."""
        sums: Floats = rng.permuted(np.tile(target, (rows, 1)), axis=1) @ off
        return sums

    return _share_as_far(drawn, len(off), off[target].sum(), 1e-9, one_sided)


def _share_as_far(
    drawn: Callable[[int], Floats], width: int, observed: float, slack: float, one_sided: bool = False
) -> float:
    """p of a statistic by `DRAWS` random draws, itself among them: the share that lie as far from 0, or as far up.

    Args:
        drawn: gives so many draws of the statistic; it is asked for as many at a time as memory should hold.
        width: cells that a draw takes.
        observed: the statistic.
        slack: of rounding.
        one_sided: only draws above 0 count.
    """
    as_far, rows = 1, max(1, AT_ONCE // width)
    for start in range(0, DRAWS, rows):
        some = drawn(min(rows, DRAWS - start))
        beyond = some >= observed - slack if one_sided else np.abs(some) >= abs(observed) - slack
        as_far += int(beyond.sum())
    return as_far / (DRAWS + 1)


def paired_p(moved: Floats, group: npt.NDArray[np.int64], seed: int) -> float:
    """Two-sided p of paired differences `moved` (N,) being as likely up as down: signs are flipped, twins together.

    Unlike a bootstrap it cannot find significance in a handful of pairs: n groups give no p below 2^(1 − n).
    """
    sums, rng = np.bincount(np.unique(group, return_inverse=True)[1], weights=moved), np.random.default_rng(seed)

    def drawn(rows: int) -> Floats:
        """Sums (rows,) with signs at random."""
        flipped: Floats = (2.0 * rng.integers(0, 2, (rows, len(sums))) - 1) @ sums
        return flipped

    return _share_as_far(drawn, len(sums), float(sums.sum()), 1e-9 * float(np.abs(sums).sum()))


def calibration(scored: Scored, weights: Floats) -> dict[str, Estimate]:
    """Brier score and expected calibration error, with percentile intervals over bootstrap `weights` (R, N)."""
    ones = np.ones(len(scored.target))

    def over_replicates(of: Callable[..., float]) -> Estimate:
        """`of` on the films, with its percentiles over the replicates."""
        drawn = np.array([of(scored.target, scored.score, w) for w in weights])
        return _percentiles(of(scored.target, scored.score, ones), drawn)

    return {name: over_replicates(of) for name, of in {"brier": brier, "ece": ece}.items()}


class _Weighted(NamedTuple):
    scored: Scored
    weights: Floats


def _two_valued(scored: Scored, sensitivity: float | None, specificity: float | None) -> _Weighted:
    """The films as a score of 0 or 1 with this sensitivity and specificity.

    A bootstrap of a sample without one error only repeats "no error": its interval has no width, however
    few films there are. Figures of that kind get their limits from this sample, made at the limits of
    both proportions at once: rather wide, and honest about the number of films.
    """
    se, sp = sensitivity or 0.0, specificity or 0.0
    n1 = float(scored.target.sum())
    n0 = len(scored.target) - n1
    target, score = np.array([1, 1, 0, 0]), np.array([1.0, 0.0, 0.0, 1.0])
    weights = np.array([n1 * se, n1 * (1 - se), n0 * sp, n0 * (1 - sp)])
    return _Weighted(Scored(target, score, np.arange(4)), weights)


def _estimate(value: float, drawn: Floats, worst: float, best: float) -> Estimate:
    """Percentiles of the replicates; where those are all the same, `worst` and `best`."""
    return Estimate(value, min(worst, value), max(best, value)) if np.ptp(drawn) == 0 else _percentiles(value, drawn)


def _percentiles(value: float, drawn: Floats) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
