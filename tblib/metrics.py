"""Metrics with confidence intervals: proportions, odds ratios and classifier scores, allowing for near-duplicates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from tblib.arrays import Floats, Ints, Mask

Z = NormalDist().inv_cdf(0.975)  # for 95 % intervals
ECE_BINS = 10
KAGGLE_FILMS = (3500, 700)  # normal, tuberculosis: the class balance of published accuracies on that database
DRAWS = 9_999  # permutations per p value, whose minimum is therefore 1/10,000 however few replicates are requested
ROUNDING = 1e-9  # films: a share of a number of films may come out this much too large
AT_ONCE = 4_000_000  # cells of a table of permutations computed at a time


class Estimate(NamedTuple):
    """A value with its 95 % interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None

    def text(self, percent: bool = False) -> str:
        """Format for display: ``0.962 (0.931 to 0.984)`` or ``96.2 % (93.1 to 98.4)``."""
        if self.value is None or self.low is None or self.high is None:
            return "not defined"
        if percent:
            return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Scored:
    """Films with the scores of a classifier.

    Attributes:
        target: int (N,), 1 for the positive class.
        score: float (N,), higher means more positive; must be a probability for Brier score and ECE.
        group: int (N,), duplicate group.
    """

    target: Ints
    score: Floats
    group: Ints


def wilson(hits: float, n: float) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927); `n` may be a fractional effective sample size."""
    if n <= 0:
        return Estimate(None, None, None)
    p = hits / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Estimate(float(p), float(max(0.0, min(p, centre - half))), float(min(1.0, max(p, centre + half))))


def clustered_wilson(hit: Mask, group: Ints) -> Estimate:
    """The share of true entries of `hit` (N,), with a Wilson interval in which near-duplicates count as one film.

    The effective sample size is Kish's n² / Σm² over duplicate groups of m films (Kish 1965, Survey Sampling): exact if
    near-duplicates always agree, otherwise the interval is too wide, never too narrow.
    """
    if len(hit) == 0:
        return Estimate(None, None, None)
    return _wilson_of(float(hit.mean()), group)


def _wilson_of(share: float, group: Ints) -> Estimate:
    """A share of films, with the interval of `clustered_wilson`; `group` (N,) holds their duplicate groups."""
    sizes = np.unique(group, return_counts=True)[1]
    effective = len(group) ** 2 / float((sizes**2).sum())
    return wilson(share * effective, effective)


def net_share(turned: Floats, group: Ints) -> Estimate:
    """The mean of `turned` (N,), −1, 0 or 1: the share that changed one way minus the share that changed the other.

    Limits by the method of variance estimates recovery (Zou and Donner 2008) from the Wilson limits of both shares and
    the correlation of two shares of one sample, so the interval has a width even if no film changed.
    """
    there, back = clustered_wilson(turned > 0, group), clustered_wilson(turned < 0, group)
    return _difference(there, back, correlated=True)


def _difference(one: Estimate, other: Estimate, correlated: bool = False) -> Estimate:
    """Difference of two proportions from their limits: Newcombe's (1998) hybrid interval if they are independent."""
    p, low, high = one
    q, least, most = other
    if p is None or low is None or high is None or q is None or least is None or most is None:
        return Estimate(None, None, None)
    r = -np.sqrt(p * q / ((1 - p) * (1 - q))) if correlated and p < 1 and q < 1 else 0.0
    below, above = (np.sqrt(a**2 + b**2 - 2 * r * a * b) for a, b in ((p - low, most - q), (high - p, q - least)))
    return Estimate(float(p - q), float(p - q - below), float(p - q + above))


def odds_ratio(positives_with: int, positives: int, negatives_with: int, negatives: int) -> Estimate:
    """Odds of a cue among positives over its odds among negatives, with Woolf's logit interval.
    0.5 is added to each cell (Haldane 1956, Anscombe 1956), so that an empty cell gives a finite value."""
    a, b = positives_with + 0.5, positives - positives_with + 0.5
    c, d = negatives_with + 0.5, negatives - negatives_with + 0.5
    centre, half = np.log(a * d / (b * c)), Z * np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Estimate(*(float(np.exp(x)) for x in (centre, centre - half, centre + half)))


def at_balance(sensitivity: Estimate, specificity: Estimate, negatives: int, positives: int) -> Estimate:
    """Accuracy of a sensitivity and a specificity at another class balance; both limits are combined."""
    share = positives / (negatives + positives)
    pairs = [(se, sp) for se, sp in zip(sensitivity, specificity, strict=True) if se is not None and sp is not None]
    values = [share * se + (1 - share) * sp for se, sp in pairs]
    return Estimate(*values) if len(values) == 3 else Estimate(None, None, None)


def ppv_at(sensitivity: Estimate, specificity: Estimate, prevalence: float) -> Estimate:
    """Positive predictive value at a prevalence by Bayes' rule; both limits are combined, so the interval is wide."""

    def bayes(se: float | None, sp: float | None) -> float | None:
        """Predictive value of one pair; None where a value is undefined or no film is called positive."""
        if se is None or sp is None:
            return None
        called = se * prevalence + (1 - sp) * (1 - prevalence)
        return se * prevalence / called if called else None

    return Estimate(*(bayes(se, sp) for se, sp in zip(sensitivity, specificity, strict=True)))


def bootstrap_weights(scored: Scored, replicates: int, seed: int) -> Floats:
    """Float (R, N): how often each film occurs in each replicate; whole duplicate groups are sampled within each class.
    A group belongs to the class of its first film. Sampling within classes keeps both in every replicate."""
    rng = np.random.default_rng(seed)
    _, first, index = np.unique(scored.group, return_index=True, return_inverse=True)
    drawn = np.zeros((replicates, len(first)))
    for label in np.unique(scored.target):
        members = np.flatnonzero(scored.target[first] == label)
        if len(members):
            drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), replicates)
    return drawn[:, index]


def confusion(scored: Scored, threshold: float, weights: Floats | None = None) -> dict[str, Floats]:
    """Weighted counts tp, fp, fn, tn of scores >= `threshold` as positive: (R,) for weights (R, N)."""
    weights = np.ones((1, len(scored.target))) if weights is None else weights
    called, positive = scored.score >= threshold, scored.target == 1
    cells = {"tp": called & positive, "fp": called & ~positive, "fn": ~called & positive, "tn": ~called & ~positive}
    return {name: weights @ cell.astype(float) for name, cell in cells.items()}


def f1(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """2 tp / (2 tp + fp + fn); 0 if no film is positive or predicted positive."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


def balanced_accuracy(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """Mean of sensitivity and specificity."""
    return (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2


def mcc(tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    """Matthews correlation coefficient (Matthews 1975); 0 where a margin is empty."""
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


def ece(target: Ints, probability: Floats, weights: Floats) -> float:
    """Expected calibration error over ten bins of equal width (Naeini 2015, Guo 2017)."""
    bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=weights * (target - probability), minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def brier(target: Ints, probability: Floats, weights: Floats) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(weights @ (target - probability) ** 2 / weights.sum())


def proportions(scored: Scored, threshold: float) -> dict[str, Estimate]:
    """Accuracy, sensitivity, specificity, PPV and NPV at `threshold`, with Wilson intervals allowing for duplicates."""
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
    positives, negatives = _by_score(scored, weights)
    beaten = negatives.cumsum(axis=1) - negatives / 2  # negatives ranked below a positive of this score
    area: Floats = (positives * beaten).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
    return area


def _by_score(scored: Scored, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of the positives and of the negatives at each of K distinct scores, ascending: each (R, K)."""
    order = np.argsort(scored.score, kind="stable")
    starts = np.flatnonzero(np.diff(scored.score[order], prepend=-np.inf))  # first film of each tied score
    positive = scored.target[order] == 1
    above, below = (np.add.reduceat(weights[:, order] * side, starts, axis=1) for side in (positive, ~positive))
    return above, below


def best_sensitivity(scored: Scored, specificity: float, weights: Floats) -> Floats:
    """Highest sensitivity (R,) of any threshold with at least this specificity, for each row of weights (R, N).

    Each distinct score is a threshold, and tied films are called alike. A threshold above all scores calls no film
    positive, so that the lowest value is 0. It is chosen on these very films, and so flatters itself a little.
    """
    positives, negatives = _by_score(scored, weights)
    found = positives[:, ::-1].cumsum(axis=1)[:, ::-1]  # at this score or above
    cleared = negatives.cumsum(axis=1) - negatives  # below it
    allowed = cleared >= specificity * negatives.sum(axis=1, keepdims=True) - ROUNDING
    best: Floats = (found * allowed).max(axis=1) / positives.sum(axis=1)
    return best


def sensitivity_at(scored: Scored, specificity: float, weights: Floats) -> Estimate:
    """`best_sensitivity`, with percentiles over bootstrap `weights` (R, N), each with a best threshold of its own.

    Where the percentiles have no width, as for a model that finds every film, the limits are Wilson's.
    """
    value = float(best_sensitivity(scored, specificity, np.ones((1, len(scored.target))))[0])
    found = _percentiles(value, best_sensitivity(scored, specificity, weights))
    return found if found.low != found.high else _wilson_of(value, scored.group[scored.target == 1])


def lost_sensitivity(scored: Scored, threshold: float, specificity: float, weights: Floats) -> Estimate:
    """What a given `threshold` lacks of `best_sensitivity`, with percentiles over bootstrap `weights` (R, N).

    Both sensitivities are taken on the same replicate, so that what they have in common cancels out. Below 0 if the
    threshold has a lower specificity than asked for. Where the percentiles have no width, Newcombe's limits.
    """

    def lost(weights: Floats) -> Floats:
        """The difference (R,) for each row of weights."""
        cells = confusion(scored, threshold, weights)
        return best_sensitivity(scored, specificity, weights) - _ratio(cells["tp"], cells["tp"] + cells["fn"])

    found = _percentiles(float(lost(np.ones((1, len(scored.target))))[0]), lost(weights))
    if found.low != found.high:
        return found
    own = proportions(scored, threshold)["sensitivity"]
    return _difference(sensitivity_at(scored, specificity, weights), own)


def average_precision(scored: Scored, weights: Floats) -> Floats:
    """Average precision (R,) for each row of weights (R, N)."""
    from sklearn.metrics import average_precision_score  # takes a third of a second, and only evaluation needs it

    return np.array([average_precision_score(scored.target, scored.score, sample_weight=row) for row in weights])


def ranking(scored: Scored, weights: Floats, of: Callable[[Scored, Floats], Floats] = auroc) -> Estimate:
    """AUROC, or another ranking metric `of`, with percentiles over bootstrap `weights` (R, N). The AUROC of a
    two-valued score gets its limits from two proportions: no bootstrap sample gives a class its first carrier."""
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
    """AUROC of a two-valued score: half of 1 plus the difference of the classes' shares of the higher value."""
    higher = scored.score == scored.score.max()
    positives, negatives = (
        clustered_wilson(higher[rows], scored.group[rows]) for rows in (scored.target == 1, scored.target == 0)
    )
    return Estimate(*(None if limit is None else 0.5 + limit / 2 for limit in _difference(positives, negatives)))


def label_p(scored: Scored, seed: int, one_sided: bool = False) -> float:
    """p value of the association of score and label, with near-duplicates kept together.

    Each duplicate group counts as one film, with the label of its first film and the mean of its scores. Fisher's exact
    test if that leaves two values, otherwise a permutation test on rank sums over the groups. Unlike a bootstrap, both
    are valid for the rarest cues.

    Args:
        scored: films of both classes.
        seed: of the permutations.
        one_sided: count only higher scores in the positive class, for scores fitted to the label.
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


def label_ps_within(cues: Sequence[Scored], stratum: Ints, seed: int) -> list[float]:
    """Two-sided p values of the association of each score and the label among films of the same `stratum` (N,).

    As `label_p`, by permutations of the labels within each stratum; a group belongs to that of its first film. `cues`
    are scores of the same films, and the same permutations serve all of them.
    """
    from scipy.stats import rankdata

    films = cues[0]
    _, first, index = np.unique(films.group, return_index=True, return_inverse=True)
    target, strata = films.target[first] == 1, np.unique(stratum[first], return_inverse=True)[1]
    off = np.empty((len(first), len(cues)))
    for place, cue in enumerate(cues):
        ranks = rankdata(np.bincount(index, weights=cue.score) / np.bincount(index))
        off[:, place] = ranks - (np.bincount(strata, weights=ranks) / np.bincount(strata))[strata]
    rng, members = np.random.default_rng(seed), [np.flatnonzero(strata == each) for each in np.unique(strata)]

    def drawn(rows: int) -> Floats:
        """Float (rows, K), sums over the positives of targets permuted within strata."""
        permuted = (rng.permuted(np.tile(target[own], (rows, 1)), axis=1) @ off[own] for own in members)
        return np.asarray(sum(permuted))

    return _shares_as_far(drawn, len(off), off[target].sum(0), 1e-9 * np.abs(off).sum(0)).tolist()


def _permuted_p(off: Floats, target: Mask, seed: int, one_sided: bool) -> float:
    """Share of permutations of `target` (N,) whose sum of `off` (N,) over the positives is at least as far from 0."""
    rng = np.random.default_rng(seed)

    def drawn(rows: int) -> Floats:
        """Float (rows, 1), sums over the positives of permuted targets."""
        sums: Floats = rng.permuted(np.tile(target, (rows, 1)), axis=1) @ off[:, None]
        return sums

    return float(_shares_as_far(drawn, len(off), off[target].sum(keepdims=True), 1e-9, one_sided)[0])


def _shares_as_far(
    drawn: Callable[[int], Floats], width: int, observed: Floats, slack: Floats | float, one_sided: bool = False
) -> Floats:
    """P values float (K,) of `observed`, float (K,), from `DRAWS` samples of each, itself included: the share that is
    as far from 0 or, if `one_sided`, above.

    `drawn` samples the statistics so many times, float (rows, K), `width` is the number of cells per sample, which
    bounds the memory, and `slack` a tolerance for rounding.
    """
    as_far, rows = np.ones(len(observed)), max(1, AT_ONCE // width)
    for start in range(0, DRAWS, rows):
        some = drawn(min(rows, DRAWS - start))
        beyond = some >= observed - slack if one_sided else np.abs(some) >= np.abs(observed) - slack
        as_far += beyond.sum(0)
    return as_far / (DRAWS + 1)


def calibration(scored: Scored, weights: Floats) -> dict[str, Estimate]:
    """Brier score and expected calibration error, with percentile intervals over bootstrap `weights` (R, N)."""
    ones = np.ones(len(scored.target))

    def over_replicates(of: Callable[..., float]) -> Estimate:
        """The score of all films, with its interval over the replicates."""
        drawn = np.array([of(scored.target, scored.score, w) for w in weights])
        return _percentiles(of(scored.target, scored.score, ones), drawn)

    return {name: over_replicates(of) for name, of in {"brier": brier, "ece": ece}.items()}


class _Weighted(NamedTuple):
    scored: Scored
    weights: Floats


def _two_valued(scored: Scored, sensitivity: float | None, specificity: float | None) -> _Weighted:
    """The films as a score of 0 or 1 with this sensitivity and specificity.

    A bootstrap of a sample without errors only repeats "no error": its interval has no width, however few films there
    are. Such metrics get their limits from this sample, made at the limits of both proportions at once: rather wide,
    but dependent on the number of films.
    """
    se, sp = sensitivity or 0.0, specificity or 0.0
    n1 = float(scored.target.sum())
    n0 = len(scored.target) - n1
    target, score = np.array([1, 1, 0, 0]), np.array([1.0, 0.0, 0.0, 1.0])
    weights = np.array([n1 * se, n1 * (1 - se), n0 * sp, n0 * (1 - sp)])
    return _Weighted(Scored(target, score, np.arange(4)), weights)


def _estimate(value: float, drawn: Floats, worst: float, best: float) -> Estimate:
    """Percentiles of the replicates; `worst` and `best` if the replicates are all the same."""
    return Estimate(value, min(worst, value), max(best, value)) if np.ptp(drawn) == 0 else _percentiles(value, drawn)


def _percentiles(value: float, drawn: Floats) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above, dtype=float), where=below > 0)
