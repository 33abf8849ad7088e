"""Matched films: the model among films with the same artefacts, and in each group of label and cues."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats, Ints, Mask
from tblib.audit.fits import area
from tblib.audit.study import MATCHED_ON, Audit
from tblib.films.cues import AUDITED
from tblib.metrics import Estimate, Scored, wilson
from tblib.show.plots import INK, panels, whiskers
from tblib.show.text import by_name, estimate, how_many, interval_of, listed, percent

FEWEST = 5  # minimum films of a group whose accuracy is reported
FEWEST_PAIRS = 10
SCORES = {"equalised": "evenness of the histogram", "border_mean": "mean grey of the border", "grey_mean": "mean grey"}


def matched_pairs(scores: Floats, target: Ints, caliper: float = 0.2) -> Ints:
    """Int (P, 2): pairs of a positive and a negative film with similar `scores` (N, F), each film in one pair at most.

    Each score differs by at most `caliper` sd in a pair. Pairs are as many and as similar as possible.
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


def matched_auroc(logits: Floats, pairs: Ints) -> Estimate:
    """AUROC within matched pairs with Wilson limits: share whose positive film scores higher, ties counted half."""
    if not len(pairs):
        return Estimate(None, None, None)
    above = logits[pairs[:, 0]] - logits[pairs[:, 1]]
    return wilson(float((above > 0).sum() + 0.5 * (above == 0).sum()), len(pairs))


def worst_groups(cues: pd.Series, target: Ints, called: Mask) -> pd.DataFrame:
    """Accuracy of each group of label and cues, worst first: group, n, value, low, high (Wilson)."""
    right = pd.Series(called == (target == 1), index=cues.index)
    rows: list[dict[str, Any]] = []
    for name, hits in right.groupby(cues):
        rows.append({"group": name, "n": len(hits), **wilson(int(hits.sum()), len(hits))._asdict()})
    return pd.DataFrame(rows).sort_values("value", ignore_index=True)


def measure(audit: Audit) -> dict[str, Any]:
    """AUROC within pairs of held-out films matched in one cue's score or in all; worst groups.

    Returns:
        all: pairs and AUROC of films matched in `MATCHED_ON`; by_cue: the same for each cue; groups: accuracy of each
        group of label and cues with at least `FEWEST` films.
    """
    table = audit.films[~audit.train]
    jointly = matched_pairs(table[list(MATCHED_ON)].to_numpy(float), audit.held_out.target)
    by_cue = {}
    for cue in AUDITED:
        score = audit.associations[cue.name].score[~audit.train]
        told = np.isfinite(score)
        pairs = matched_pairs(score[told][:, None], audit.held_out.target[told])
        whole = _whole(audit.logits[told], audit.held_out.target[told], pairs)
        by_cue[cue.name] = {"pairs": len(pairs), "whole": whole, **matched_auroc(audit.logits[told], pairs)._asdict()}
    groups = worst_groups(table["cues"], audit.held_out.target, audit.logits > 0)
    return {
        "all": {"pairs": len(jointly), "scores": list(MATCHED_ON), **matched_auroc(audit.logits, jointly)._asdict()},
        "by_cue": by_cue,
        "groups": groups[groups["n"] >= FEWEST].to_dict("records"),
        "too_small": groups.loc[groups["n"] < FEWEST, "group"].tolist(),
    }


def _whole(logits: Floats, target: Ints, pairs: Ints) -> float | None:
    """AUROC over all films of the pairs, whether or not they are in the same one."""
    rows = pairs.ravel()
    return area(Scored(target[rows], logits[rows], np.arange(len(rows)))) if len(rows) else None


def fall(own: dict[str, Any]) -> Estimate | None:
    """How much lower the AUROC is within pairs matched in a cue than among all films of these pairs.

    From a value of ``by_cue`` in `measure`; None with fewer than `FEWEST_PAIRS`. The interval is that within pairs.
    """
    if own["pairs"] < FEWEST_PAIRS or own["whole"] is None:
        return None
    return Estimate(own["whole"] - own["value"], own["whole"] - own["high"], own["whole"] - own["low"])


def figure(matched: dict[str, Any]) -> Figure | str:
    """Accuracy of the model in each group of label and cues."""
    rows = matched["groups"]
    if not rows:
        return "No group of label and cues has films enough."
    told = "; ".join(f"{row['group']} {percent(row['value'])} of {row['n']}" for row in rows)
    worst = rows[0]
    alt = f"The model is right least often on “{worst['group']}”, {percent(worst['value'])} of {worst['n']} films."
    figure, (ax,) = panels(f"{alt} Accuracy by label and cues, {told}.", 1, (6.4, 0.32 * len(rows) + 1))
    numbers = pd.DataFrame(rows)
    whiskers(ax, numbers["value"], numbers["low"], numbers["high"], np.arange(len(rows)), INK)
    ax.set_yticks(range(len(rows)), [f"{row['group']} (n = {row['n']})" for row in rows])
    ax.invert_yaxis()
    ax.set(xlabel="accuracy at 0.5, held-out films (95 % interval)", xlim=(-0.02, 1.02))
    ax.grid(visible=False, axis="y")
    return figure


def finding(baselines: dict[str, Any], found: dict[str, Any]) -> str:
    """AUROC among films matched in artefacts, and the worst group."""
    joint, own = found["all"], baselines["held_out"]
    whole = f"{estimate(own['auroc'])} on all {own['films']} held-out films"
    if joint["pairs"]:
        pairs = how_many(joint["pairs"], "pair")
        text = f"Among {pairs} of films alike in {_scores(joint)} the model has AUROC {_area(joint)}, and {whole}."
    else:
        text = (
            f"No film of one class is like one of the other in {_scores(joint)} all at once, so that the model's "
            f"AUROC, {whole}, cannot be compared with one among films that are alike."
        )
    if found["groups"]:
        worst = found["groups"][0]
        right = f"{percent(worst['value'])} of {how_many(worst['n'], 'film')} are predicted correctly"
        text += f" The worst group is “{worst['group']}”: {right}."
    small = found["too_small"]
    return text + (f" Too small to judge: {', '.join(small)}." if small else "")


def table(found: dict[str, Any]) -> pd.DataFrame:
    """One row per cue: pairs of films matched in it, and the AUROC within them."""
    rows = [
        {"alike in": name, "pairs": own["pairs"], "AUROC within pairs": _area(own)}
        for name, own in found["by_cue"].items()
    ]
    joint = found["all"]
    rows.append({"alike in": _scores(joint), "pairs": joint["pairs"], "AUROC within pairs": _area(joint)})
    return by_name(pd.DataFrame(rows), "alike in", "The model among pairs of films that are alike")


def _area(own: dict[str, Any]) -> str:
    return estimate(interval_of(own)) if own["pairs"] else "no such pair"


def _scores(joint: dict[str, Any]) -> str:
    return listed([SCORES.get(name, name) for name in joint["scores"]])
