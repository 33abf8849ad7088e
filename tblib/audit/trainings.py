"""Several trainings scored on the same films: AUROC, and the difference of two kinds of training, with intervals over
trainings and films."""

from dataclasses import replace

import numpy as np

from tblib.arrays import Floats
from tblib.metrics import Estimate, Scored, auroc


def areas(films: Scored, weights: Floats, logits: list[Floats]) -> tuple[Floats, Floats]:
    """AUROC of each of K trainings, float (K,), and of its bootstrap replicates, float (K, R).

    Only targets and groups of `films` are used; `weights` are float (R, N), `logits` float (N,) per training.
    """
    each = [replace(films, score=score) for score in logits]
    ones = np.ones((1, len(films.target)))
    return np.array([auroc(one, ones)[0] for one in each]), np.stack([auroc(one, weights) for one in each])


def over_trainings(values: Floats, replicates: Floats, seed: int) -> Estimate:
    """Mean over K trainings with a 95 % interval over trainings and films.

    `values` are float (K,), `replicates` (K, R) over films; in each replicate K trainings are drawn with replacement,
    too. Of one training the interval is over films alone.
    """
    count, number = replicates.shape
    drawn = np.random.default_rng(seed).integers(count, size=(count, number))
    means = np.take_along_axis(replicates, drawn, axis=0).mean(axis=0)
    value, (low, high) = float(values.mean()), np.quantile(means, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def gain(of: tuple[Floats, Floats], over: tuple[Floats, Floats], seed: int) -> Estimate:
    """Mean difference of two kinds of training in AUROC, as `areas` gives them, paired by training and by film: the
    k-th trainings of both have the same seed, and all were scored on the same films and replicates."""
    pairs = min(len(of[0]), len(over[0]))
    return over_trainings(of[0][:pairs] - over[0][:pairs], of[1][:pairs] - over[1][:pairs], seed)


def over_seeds(films: Scored, weights: Floats, logits: list[Floats]) -> dict[str, float | None]:
    """Mean AUROC of several CNNs on the same films, its sd over CNNs (None of one), and an interval over films.

    Only targets and groups of `films` are used; bootstrap `weights` are float (R, N), `logits` float (N,) per CNN.
    """
    values, replicates = areas(films, weights, logits)
    low, high = np.quantile(replicates.mean(axis=0), [0.025, 0.975])
    return mean_and_sd(values.tolist()) | {"low": float(low), "high": float(high)}


def mean_and_sd(values: list[float]) -> dict[str, float | None]:
    """Mean and standard deviation; None where there are too few values for them."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)) if values else None, "sd": sd}
