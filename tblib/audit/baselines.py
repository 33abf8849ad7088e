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
from tblib.show.plots import GREY, INK, WIDTH, legend_below, panels, whiskers
from tblib.show.text import estimate, estimates_table, percent

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
    found, cnn = results["baselines"], results["cnn"]
    rows = {name: (baseline["test"]["accuracy"], baseline["all"]["auroc"]) for name, baseline in found.items()}
    best = max(found, key=lambda name: rows[name][1]["value"])
    rows["the model (whole film)"] = (cnn["accuracy"], cnn["auroc"])
    told = "; ".join(
        f"{name}: accuracy {acc['value']:.3f}, AUROC {auc['value']:.3f}" for name, (acc, auc) in rows.items()
    )
    alt = f"Without a lung in view “{best}” alone has AUROC {rows[best][1]['value']:.3f}, the model "
    alt += f"{cnn['auroc']['value']:.3f}. Each cue alone, {told}."
    figure, axes = panels(alt, 2, (WIDTH, 1.2 + 0.3 * len(rows)), sharey=True)
    places, films = np.arange(len(rows)), next(iter(found.values()))
    labels = (
        f"accuracy (n = {cnn['films']:,} films)",
        f"AUROC (baselines: n = {films['all']['films']:,} films,\ncross-validated; model: n = {cnn['films']:,})",
    )
    for column, (ax, label) in enumerate(zip(axes, labels, strict=True)):
        numbers = pd.DataFrame([row[column] for row in rows.values()])
        for own, colour, text, mark in (
            (slice(None, -1), GREY, "baseline", "o"),
            (slice(-1, None), INK, "the model", "D"),
        ):
            part = numbers.iloc[own]
            whiskers(ax, part["value"], part["low"], part["high"], places[own], colour, f"{text} (95 % interval)", mark)
        ax.set(xlabel=label, xlim=(min(0.45, numbers["low"].min() - 0.02), 1.01))
    axes[0].set_yticks(places, list(rows))
    axes[0].invert_yaxis()
    axes[0].axvline(majority_accuracy, color=INK, linestyle="--", label="calling all films the commoner class")
    axes[1].axvline(0.5, color=INK, linestyle=":", label="guessing")
    legend_below(figure, 2)
    return figure


def finding(results: dict[str, Any], majority_accuracy: float) -> str:
    """How the cues compare with the model; one counts only if it is better than always naming the more common class."""
    cnn, cues = results["cnn"], results["baselines"]
    better = [name for name, cue in cues.items() if cue["test"]["accuracy"]["low"] > majority_accuracy]
    reached = [name for name in better if cues[name]["test"]["accuracy"]["value"] >= cnn["accuracy"]["low"]]
    best = max(cues, key=lambda name: cues[name]["all"]["auroc"]["value"])
    text = (
        f"Without a look at a lung, “{best}” separates the classes best: AUROC {estimate(cues[best]['all']['auroc'])}. "
        f"{len(better)} of {len(cues)} such cues are more accurate on the films judged than always naming the more "
        f"common class ({percent(majority_accuracy)})"
    )
    if not reached:
        return f"{text}; none of them reaches the model's accuracy, {estimate(cnn['accuracy'], True)}."
    return (
        f"{text}, and {len(reached)} of these reach the model's interval, {estimate(cnn['accuracy'], True)}: "
        f"{'; '.join(reached)}. An accuracy that they reach cannot show that a model reads lungs."
    )


def table(results: dict[str, Any], films: str = "all") -> pd.DataFrame:
    """One row per baseline, on ``all`` films (cross-validated) or on the ``test`` films alone, then with the model."""
    rows = {name: found[films] for name, found in results["baselines"].items()}
    rows |= {"the model": results["cnn"]} if films == "test" else {}
    where = "all films, cross-validated" if films == "all" else "the test films alone, beside the model"
    caption = f"What each cue reaches without a look at a lung: {where}"
    return estimates_table(baselines.estimates_of(rows), "baseline", caption, baselines.PERCENT)
