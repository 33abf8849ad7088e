"""Baselines: how well cues predict the label without a view of the lungs.

A baseline sees one cue only. It shows whether the cue *predicts* the label, not whether a model *uses* it.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats, Ints, Pixels, TblibError
from tblib.films.artefacts import FACT_COLUMNS, carries_colour_cue
from tblib.metrics import KAGGLE_FILMS, Scored, at_balance, bootstrap_weights, proportions, ranking
from tblib.show.plots import GREY, panels
from tblib.show.text import estimate, estimates_table

FEWEST = 5  # carriers of either class from which the style of markers is compared
LEAF = 5  # minimum films per leaf: with the default of 20, boosting cannot separate a class of a dozen films
BORDER = 0.05  # width of the ring seen by the border baseline, as a share of the side
SEGMENT = 16  # pieces per side of the ring
BINS = 32  # bins of the grey histogram
THUMBNAIL = 4  # pixels per side of the thumbnail baseline
RULE = "rule: one channel or tinted"
FILE_FACTS = "file facts"
TINT_BASELINE = "tint"
BORDER_STRIPS = f"border strips ({100 * BORDER:.0f} %)"
GREY_HISTOGRAM = f"grey histogram ({BINS} bins)"
THUMBNAILS = f"thumbnail ({THUMBNAIL}×{THUMBNAIL})"
TINT_COLUMNS = ("tint_strength", "tint_balance", "tint_spread", "chroma")
PERCENT = ("sensitivity", "specificity", "accuracy", "accuracy_at_3500_700")  # metrics of `summarise` shown in per cent


class BaselineError(TblibError):
    """Baselines that cannot be fitted."""


def file_facts(table: pd.DataFrame) -> pd.DataFrame:
    """Float (N, F): facts known from the files before the pictures are viewed (`FACT_COLUMNS`)."""
    return table[list(FACT_COLUMNS)].astype(float)


def border_strips(images: Pixels) -> pd.DataFrame:
    """Float (N, 8 · SEGMENT): mean and sd of each piece of the outermost `BORDER` of each side of uint8 (N, H, W)."""
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


def cross_validated(features: pd.DataFrame, target: Ints, group: Ints, seed: int, kind: str = "boosting") -> Floats:
    """Out-of-fold probability of each film, float (N,); near-duplicates share a fold.

    `features` are (N, F), `target` (N,) is 1 for the positive class, and `group` (N,) holds the duplicate groups.
    `kind` is ``boosting`` (gradient-boosted trees) or ``logistic`` (standardised logistic regression).
    """
    probability = np.zeros(len(target))
    for fit_rows, test_rows in _folds(target, group, seed):
        baseline = _model(kind, seed).fit(features.iloc[fit_rows], target[fit_rows])
        probability[test_rows] = baseline.predict_proba(features.iloc[test_rows])[:, 1]
    return probability


def style_scores(films: pd.DataFrame, target: Ints, group: Ints, seed: int) -> Floats:
    """Float (N,): cross-validated similarity of a film's marker, by letter and style, to those of the positive class.

    NaN for films without a marker, which is a separate cue; all NaN if a class has fewer than `FEWEST` carriers.
    """
    carried, score = films["marker"].astype(bool).to_numpy(), np.full(len(films), np.nan)
    kinds = pd.get_dummies(films.loc[carried, ["marker_letter", "marker_style"]].fillna("")).astype(float)
    of_class = np.bincount(target[carried], minlength=2)
    if of_class.min() >= FEWEST:
        score[carried] = cross_validated(kinds, target[carried], group[carried], seed, kind="logistic")
    return score


def fact_importance(features: pd.DataFrame, target: Ints, group: Ints, seed: int) -> pd.DataFrame:
    """Fall of the held-out AUROC when one fact is shuffled: columns fact, mean, sd over folds and repeats.

    Facts with the same information substitute for each other, so each of them may look unimportant.
    """
    from sklearn.inspection import permutation_importance  # slow to import, and most callers only need tables

    falls = []
    for fit_rows, test_rows in _folds(target, group, seed):
        baseline = _model("boosting", seed).fit(features.iloc[fit_rows], target[fit_rows])
        held_out = features.iloc[test_rows], target[test_rows]
        falls.append(
            permutation_importance(baseline, *held_out, scoring="roc_auc", n_repeats=5, random_state=seed).importances
        )
    drawn = np.concatenate(falls, axis=1)
    table = pd.DataFrame({"fact": features.columns, "mean": drawn.mean(axis=1), "sd": drawn.std(axis=1)})
    return table.sort_values("mean", ascending=False, ignore_index=True)


def summarise(scored: Scored, replicates: int, seed: int) -> dict[str, Any]:
    """AUROC, and at a threshold of 0.5 sensitivity, specificity, accuracy, and accuracy at a balance of 3,500 : 700."""
    shares = proportions(scored, 0.5)
    estimates = {
        "auroc": ranking(scored, bootstrap_weights(scored, replicates, seed)),
        **{name: shares[name] for name in ("sensitivity", "specificity", "accuracy")},
        "accuracy_at_3500_700": at_balance(shares["sensitivity"], shares["specificity"], *KAGGLE_FILMS),
    }
    return {"films": len(scored.target)} | {name: estimate._asdict() for name, estimate in estimates.items()}


def estimates_of(summaries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The estimates of `summarise` results without their film counts, for a table."""
    return {name: {key: value for key, value in found.items() if key != "films"} for name, found in summaries.items()}


def fact_features(films: pd.DataFrame, positive: str) -> tuple[pd.DataFrame, Ints, Ints]:
    """File facts (N, F), target (N,) and duplicate group (N,) of the usable films of a catalogue."""
    return file_facts(films), (films["label"] == positive).to_numpy(int), films["duplicate_group"].to_numpy()


def file_fact_baselines(films: pd.DataFrame, positive: str, replicates: int, seed: int) -> dict[str, Any]:
    """Colour rule and both file-fact baselines on the usable films of a catalogue: name -> `summarise`."""
    _, target, group = fact_features(films, positive)
    scores = _file_scores(films, target, group, seed)
    return {name: summarise(Scored(target, score, group), replicates, seed) for name, score in scores.items()}


def baseline_scores(films: pd.DataFrame, images: Pixels, target: Ints, group: Ints, seed: int) -> dict[str, Floats]:
    """Baseline -> score (N,) per film, from its file alone or from the grey images uint8 (N, H, W) of the CNN."""
    seen = {BORDER_STRIPS: border_strips, GREY_HISTOGRAM: grey_histogram, THUMBNAILS: thumbnail}
    pictures = {name: cross_validated(see(images), target, group, seed) for name, see in seen.items()}
    tint = films[list(TINT_COLUMNS)].astype(float)
    return (
        _file_scores(films, target, group, seed)
        | {TINT_BASELINE: cross_validated(tint, target, group, seed)}
        | pictures
    )


def _file_scores(films: pd.DataFrame, target: Ints, group: Ints, seed: int) -> dict[str, Floats]:
    rule = np.asarray(carries_colour_cue(films["one_channel"], films["tint_strength"]), dtype=float)
    facts = file_facts(films)
    return {
        RULE: rule,
        FILE_FACTS: cross_validated(facts, target, group, seed),
        f"{FILE_FACTS} (logistic)": cross_validated(facts, target, group, seed, kind="logistic"),
    }


def _model(kind: str, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "boosting":
        return HistGradientBoostingClassifier(min_samples_leaf=LEAF, random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def _folds(target: Ints, group: Ints, seed: int, most: int = 5) -> list[tuple[Ints, Ints]]:
    """Five folds, or as many as the rarer class has duplicate groups."""
    rarest = min(len(np.unique(group[target == label])) for label in (0, 1))
    if rarest < 2:
        raise BaselineError(
            "A class has fewer than two films that are not near-duplicates; a cross-validated baseline needs two."
        )
    return _split(tuple(target.tolist()), tuple(group.tolist()), seed, min(most, rarest))


@lru_cache(maxsize=4)  # many baselines see the same films, and a split takes half a second for a thousand
def _split(target: tuple[int, ...], group: tuple[int, ...], seed: int, folds: int) -> list[tuple[Ints, Ints]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(target)), np.array(target), np.array(group)))


def importance_figure(table: pd.DataFrame, films: int | None = None) -> Figure:
    """How much the file-facts baseline, cross-validated on so many `films`, loses when one fact is shuffled."""
    told = ", ".join(f"{row.fact} {row.mean:.3f}" for row in table.itertuples())
    alt = f"The baseline rests most on {table['fact'].iloc[0]}. Fall of its AUROC when a fact is shuffled: {told}."
    figure, (ax,) = panels(alt, 1, (6.4, 3.4))
    ax.barh(table["fact"], table["mean"], xerr=table["sd"], color=GREY, ecolor="black", height=0.6)
    ax.invert_yaxis()
    among = f"; n = {films:,} films" if films else ""
    ax.set(xlabel=f"fall of the held-out AUROC when the fact is shuffled\n(mean ± sd over folds and repeats{among})")
    ax.grid(visible=False, axis="y")
    return figure


def finding(results: dict[str, Any]) -> str:
    """How well the label is predicted without a view of the lungs."""
    rule, baseline = results[RULE], results[FILE_FACTS]
    reached = rule["accuracy_at_3500_700"]
    majority = max(KAGGLE_FILMS) / sum(KAGGLE_FILMS)
    beyond = reached["low"] is not None and reached["low"] > majority
    meaning = (
        "an accuracy like that takes no lungs" if beyond else "that is not shown to be better than always saying no"
    )
    return (
        "Without a look at a lung, the rule “one channel or visibly tinted ⇒ positive” reaches accuracy "
        f"{estimate(reached, True)} at the Kaggle database's balance of 3,500 : 700 (sensitivity "
        f"{estimate(rule['sensitivity'], True)}, specificity {estimate(rule['specificity'], True)}): {meaning}. "
        f"Gradient boosting on facts of the file reaches AUROC {estimate(baseline['auroc'])}, cross-validated with "
        "near-duplicates kept together."
    )


def table(results: dict[str, Any]) -> pd.DataFrame:
    """One row per rule or baseline of file facts."""
    return estimates_table(estimates_of(results), "baseline", "What facts of the file predict", PERCENT)
