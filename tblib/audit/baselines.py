"""Baselines compared with the model: what is reached by cues that show no lung."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats
from tblib.audit.views import BLIND
from tblib.eda import baselines
from tblib.films.cues import AUDITED, Cue
from tblib.metrics import Estimate, Scored, auroc, bootstrap_weights, ranking
from tblib.run import judged
from tblib.show.plots import GREY, VERMILION, panels, whiskers
from tblib.show.text import estimate, estimates_table

if TYPE_CHECKING:
    from tblib.audit.study import Audit  # imports torch, which the report does without


def measure(audit: Audit) -> dict[str, Any]:
    """Fit every baseline and compare it with the model.

    Under ``baselines`` each cue has its metrics on ``all`` films, cross-validated, and on the ``test`` films alone, on
    which the model's metrics (``cnn``) are measured.
    """
    target, group = audit.target, audit.group
    scores = audit.baseline_scores
    predictions = judged(audit.run.table("predictions.csv"))
    test = np.isin(np.arange(len(target)), predictions["image"])
    cnn = Scored(*(predictions[name].to_numpy() for name in ("target", "probability", "duplicate_group")))
    summary = partial(baselines.summarise, replicates=audit.replicates, seed=audit.seed)
    parts = {"all": np.ones_like(test), "test": test}
    return {
        "baselines": {
            name: {part: summary(Scored(target[rows], score[rows], group[rows])) for part, rows in parts.items()}
            for name, score in scores.items()
        },
        "cnn": summary(cnn),
        "held_out": {"films": len(audit.logits), "auroc": ranking(audit.held_out, audit.weights)._asdict()},
    }


class Alone(NamedTuple):
    """What one cue reaches alone: its AUROC, cross-validated, and its share of the model's AUROC above chance.

    The share is (AUROC of the cue − 0.5) / (AUROC of the model − 0.5), both on the same held-out films; None if the
    model is no better than chance.
    """

    auroc: Estimate
    share: Estimate | None


def alone(audit: Audit) -> dict[str, Alone]:
    """Name of each cue -> what a baseline reaches that sees this cue and no other."""
    return {cue.name: alone_of(audit, cue) for cue in AUDITED}


def alone_of(audit: Audit, cue: Cue) -> Alone:
    """What a baseline reaches that sees one cue and no other; see `ALONE`."""
    score = ALONE[cue.baseline](audit, cue)
    told, held_out = np.isfinite(score), np.isfinite(score[~audit.train])
    scored = Scored(audit.target[told], score[told], audit.group[told])
    if len(np.unique(scored.target)) < 2:
        return Alone(Estimate(None, None, None), None)
    area = ranking(scored, bootstrap_weights(scored, audit.replicates, audit.seed))
    network = audit.held_out
    network = Scored(network.target[held_out], network.score[held_out], network.group[held_out])
    return Alone(area, _share(replace(network, score=score[~audit.train][held_out]), network, audit))


def _share(cue: Scored, network: Scored, audit: Audit) -> Estimate | None:
    if len(np.unique(network.target)) < 2:
        return None
    weights, ones = bootstrap_weights(network, audit.replicates, audit.seed), np.ones((1, len(network.target)))
    above = auroc(network, ones)[0] - 0.5
    if above <= 0:
        return None
    value = float((auroc(cue, ones)[0] - 0.5) / above)
    drawn = (auroc(cue, weights) - 0.5) / np.maximum(auroc(network, weights) - 0.5, 1e-9)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(min(low, value)), float(max(high, value)))


def _logistic(audit: Audit, features: pd.DataFrame) -> Floats:
    return baselines.cross_validated(features, audit.target, audit.group, audit.seed, kind="logistic")


def _region(audit: Audit, cue: Cue) -> Floats:
    """Mean logit of the small CNNs that do not see the lungs; NaN for the films that they were trained on."""
    score = np.full(len(audit.films), np.nan)
    score[~audit.train] = np.mean(audit.region_logits[BLIND.name], axis=0)
    return score


ALONE: dict[str, Callable[[Audit, Cue], Floats]] = {  # `Cue.baseline` -> score (N,) of each film, NaN if undefined
    "facts": lambda audit, cue: _logistic(audit, audit.films[list(cue.facts)].astype(float)),
    "score": lambda audit, cue: _logistic(audit, pd.DataFrame({"score": audit.associations[cue.name].score})),
    "fitted score": lambda audit, cue: audit.associations[cue.name].score,
    "region": _region,
}


def figure(results: dict[str, Any], majority_accuracy: float) -> Figure:
    """Accuracy (test films) and AUROC (all films) of each cue alone, and of the model."""
    rows = {
        name: (baseline["test"]["accuracy"], baseline["all"]["auroc"])
        for name, baseline in results["baselines"].items()
    }
    rows["the model (whole film)"] = (results["cnn"]["accuracy"], results["cnn"]["auroc"])
    told = "; ".join(
        f"{name}: accuracy {acc['value']:.3f}, AUROC {auc['value']:.3f}" for name, (acc, auc) in rows.items()
    )
    figure, axes = panels(f"What each cue alone reaches. {told}.", 2, (9.6, 3.4), sharey=True)
    places = np.arange(len(rows))
    for ax, column, title in (
        (axes[0], 0, "accuracy on the films judged"),
        (axes[1], 1, "AUROC (baselines: all films)"),
    ):
        numbers = pd.DataFrame([row[column] for row in rows.values()])
        for place, colour in zip(places, [GREY] * (len(rows) - 1) + [VERMILION], strict=True):
            row = numbers.iloc[[place]]
            whiskers(ax, row["value"], row["low"], row["high"], places[[place]], colour, "")
        ax.set(title=title, xlim=(0.45, 1.01))
    axes[0].set_yticks(places, list(rows))
    axes[0].invert_yaxis()
    axes[0].axvline(majority_accuracy, color=GREY, linestyle=":")
    axes[1].axvline(0.5, color=GREY, linestyle=":")
    return figure


def finding(results: dict[str, Any]) -> str:
    """How the cues compare with the model."""
    cnn, cues = results["cnn"], results["baselines"]
    reached = [name for name, cue in cues.items() if cue["test"]["accuracy"]["value"] >= cnn["accuracy"]["low"]]
    best = max(cues, key=lambda name: cues[name]["all"]["auroc"]["value"])
    found = f"{len(reached)} of {len(cues)} reach the interval of the model's accuracy on the same films"
    return (
        f"Of the cues that see no lung, “{best}” separates the classes best (AUROC "
        f"{estimate(cues[best]['all']['auroc'])}); {found}{' (' + '; '.join(reached) + ')' if reached else ''}. "
        "An accuracy that such cues reach cannot show that a model reads lungs."
    )


def table(results: dict[str, Any], films: str = "all") -> pd.DataFrame:
    """One row per baseline, on ``all`` films (cross-validated) or on the ``test`` films alone, then with the model."""
    rows = {name: found[films] for name, found in results["baselines"].items()}
    rows |= {"the model": results["cnn"]} if films == "test" else {}
    return estimates_table(baselines.estimates_of(rows), baselines.PERCENT)
