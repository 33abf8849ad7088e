"""Probes: how well the film around the lungs predicts the label, with no look at a lung.

A probe sees one cue and nothing else. It answers whether the cue *predicts* the label; whether a model *uses* it
is another question, and no figure here answers that one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tblib import TblibError
from tblib.artefacts import FACT_COLUMNS, carries_colour_cue
from tblib.film import Pixels
from tblib.metrics import KAGGLE_FILMS, Floats, Scored, at_balance, bootstrap_weights, proportions, ranking

LEAF = 5  # films in a leaf of the boosting, at least: with the usual 20 a class of a dozen films cannot be told apart
BORDER = 0.05  # of the side: the ring that the border probe sees
SEGMENT = 16  # pieces into which each side of the ring is cut
BINS = 32  # of the grey histogram
THUMBNAIL = 4  # pixels a side of the thumbnail probe
RULE = "rule: one channel or tinted"
FILE_FACTS = "file facts"
TINT_PROBE = "tint"
BORDER_STRIPS = f"border strips ({100 * BORDER:.0f} %)"
GREY_HISTOGRAM = f"grey histogram ({BINS} bins)"
THUMBNAILS = f"thumbnail ({THUMBNAIL}×{THUMBNAIL})"
TINT_COLUMNS = ("tint_strength", "tint_balance", "tint_spread", "chroma")
PERCENT = ("sensitivity", "specificity", "accuracy", "accuracy_at_3500_700")  # of the figures of `summarise`


class ProbeError(TblibError):
    """Probes that cannot be fitted."""


def file_facts(table: pd.DataFrame) -> pd.DataFrame:
    """Float (N, F): what the files tell before anyone looks at a picture (`FACT_COLUMNS`)."""
    return table[list(FACT_COLUMNS)].astype(float)


def border_strips(images: Pixels) -> pd.DataFrame:
    """Float (N, 8 · SEGMENT): mean and sd of the pieces of the outermost `BORDER` of each side of uint8 (N, H, W)."""
    width = max(1, round(BORDER * images.shape[1]))
    sides = [images[:, :width], images[:, -width:], images[:, :, :width], images[:, :, -width:]]
    columns = []
    for side, across in zip(sides, (1, 1, 2, 2), strict=True):
        for piece in np.array_split(side, SEGMENT, axis=3 - across):
            columns += [piece.mean(axis=(1, 2)), piece.std(axis=(1, 2))]
    return pd.DataFrame(np.stack(columns, axis=1))


def grey_histogram(images: Pixels) -> pd.DataFrame:
    """Float (N, BINS): share of the pixels of uint8 (N, H, W) in each of `BINS` equal ranges of grey."""
    counts = [np.bincount(image.ravel() // (256 // BINS), minlength=BINS) for image in images]
    return pd.DataFrame(np.stack(counts) / images[0].size)


def thumbnail(images: Pixels) -> pd.DataFrame:
    """Float (N, THUMBNAIL²): uint8 (N, H, W) shrunk to THUMBNAIL × THUMBNAIL means."""
    count, side = images.shape[:2]
    fold = side // THUMBNAIL
    return pd.DataFrame(images.reshape(count, THUMBNAIL, fold, THUMBNAIL, fold).mean(axis=(2, 4)).reshape(count, -1))


def cross_validated(
    features: pd.DataFrame,
    target: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    seed: int,
    kind: str = "boosting",
) -> Floats:
    """Probability float (N,) of each film by a probe that was fitted without its fold; twins share a fold.

    Args:
        features: (N, F).
        target: (N,), 1 for the positive class.
        group: (N,), twin group.
        seed: of the folds and the boosting.
        kind: ``boosting`` (gradient-boosted trees) or ``logistic`` (standardised logistic regression).
    """
    probability = np.zeros(len(target))
    for fit_rows, test_rows in _folds(features, target, group, seed):
        probe = _probe(kind, seed).fit(features.iloc[fit_rows], target[fit_rows])
        probability[test_rows] = probe.predict_proba(features.iloc[test_rows])[:, 1]
    return probability


def fact_importance(
    features: pd.DataFrame, target: npt.NDArray[np.int64], group: npt.NDArray[np.int64], seed: int
) -> pd.DataFrame:
    """How much AUROC falls on held-out films when one fact is shuffled: columns fact, mean, sd over folds and repeats.

    Facts that say the same stand in for each other, so that each of them may look unimportant.
    """
    from sklearn.inspection import (
        permutation_importance,  # slow to import, here and below, and most look at tables only
    )

    falls = []
    for fit_rows, test_rows in _folds(features, target, group, seed):
        probe = _probe("boosting", seed).fit(features.iloc[fit_rows], target[fit_rows])
        held_out = features.iloc[test_rows], target[test_rows]
        falls.append(
            permutation_importance(probe, *held_out, scoring="roc_auc", n_repeats=5, random_state=seed).importances
        )
    drawn = np.concatenate(falls, axis=1)
    table = pd.DataFrame({"fact": features.columns, "mean": drawn.mean(axis=1), "sd": drawn.std(axis=1)})
    return table.sort_values("mean", ascending=False, ignore_index=True)


def summarise(scored: Scored, replicates: int, seed: int) -> dict[str, Any]:
    """AUROC, sensitivity, specificity, accuracy and accuracy at 3,500 : 700 of probabilities, called at 0.5."""
    shares = proportions(scored, 0.5)
    estimates = {
        "auroc": ranking(scored, bootstrap_weights(scored, replicates, seed)),
        **{name: shares[name] for name in ("sensitivity", "specificity", "accuracy")},
        "accuracy_at_3500_700": at_balance(shares["sensitivity"], shares["specificity"], *KAGGLE_FILMS),
    }
    return {"films": len(scored.target)} | {name: estimate._asdict() for name, estimate in estimates.items()}


def estimates_of(summaries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The estimates alone of some `summarise` results, for a table."""
    return {name: {key: value for key, value in found.items() if key != "films"} for name, found in summaries.items()}


def fact_features(
    films: pd.DataFrame, positive: str
) -> tuple[pd.DataFrame, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """File facts (N, F), target (N,) and twin group (N,) of the usable films of a catalogue."""
    return file_facts(films), (films["label"] == positive).to_numpy(int), films["twin_group"].to_numpy()


def probe_file_facts(films: pd.DataFrame, positive: str, replicates: int, seed: int) -> dict[str, Any]:
    """The colour rule and both file-fact probes on the usable films of a catalogue: name -> `summarise`."""
    _, target, group = fact_features(films, positive)
    scores = _file_scores(films, target, group, seed)
    return {name: summarise(Scored(target, score, group), replicates, seed) for name, score in scores.items()}


def probe_scores(
    films: pd.DataFrame, images: Pixels, target: npt.NDArray[np.int64], group: npt.NDArray[np.int64], seed: int
) -> dict[str, Floats]:
    """Probe -> score (N,) of each film: of its file alone, and of the grey images uint8 (N, H, W) that the CNN gets."""
    seen = {BORDER_STRIPS: border_strips, GREY_HISTOGRAM: grey_histogram, THUMBNAILS: thumbnail}
    pictures = {name: cross_validated(see(images), target, group, seed) for name, see in seen.items()}
    tint = films[list(TINT_COLUMNS)].astype(float)
    return (
        _file_scores(films, target, group, seed) | {TINT_PROBE: cross_validated(tint, target, group, seed)} | pictures
    )


def _file_scores(
    films: pd.DataFrame, target: npt.NDArray[np.int64], group: npt.NDArray[np.int64], seed: int
) -> dict[str, Floats]:
    rule = np.asarray(carries_colour_cue(films["one_channel"], films["tint_strength"]), dtype=float)
    facts = file_facts(films)
    return {
        RULE: rule,
        FILE_FACTS: cross_validated(facts, target, group, seed),
        f"{FILE_FACTS} (logistic)": cross_validated(facts, target, group, seed, kind="logistic"),
    }


def _probe(kind: str, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "boosting":
        return HistGradientBoostingClassifier(min_samples_leaf=LEAF, random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def _folds(
    features: pd.DataFrame, target: npt.NDArray[np.int64], group: npt.NDArray[np.int64], seed: int, most: int = 5
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Five folds, or as many as the rarer class has twin groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    rarest = min(len(np.unique(group[target == label])) for label in (0, 1))
    if rarest < 2:
        raise ProbeError("A class has fewer than two films that are not twins; a cross-validated probe needs two.")
    folds = StratifiedGroupKFold(min(most, rarest), shuffle=True, random_state=seed)
    return list(folds.split(features, target, group))
