"""External validation: the model on films of other hospitals."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Mask
from tblib.audit import external
from tblib.audit.choice import LABEL, choosing, chose, labelled, reported, why_unknown
from tblib.audit.study import Audit
from tblib.classifiers.choice import film_digests
from tblib.classifiers.protocol import Calibration, file_logits
from tblib.eda.baselines import GREY_HISTOGRAM
from tblib.films import duplicates
from tblib.metrics import ROUNDING, Estimate, auroc
from tblib.phantoms import lungs
from tblib.run import judged
from tblib.show.plots import CLASSES, FEW, GREY, draw_counts, entry, key, legend_below, panels
from tblib.show.text import NONE, by_name, estimate, how_many, percent, point_text

COLUMNS = ("set", "file", "target", "group", "logit")  # of `scored`
BEST = f"best sensitivity at a specificity of {percent(external.LEAST_SPECIFICITY, 0)} or more, any threshold"
LOST = f"lost of it at {point_text(external.FROZEN)}"


def scored(audit: Audit) -> list[pd.DataFrame]:
    """The model on each set of films of other hospitals: set, file, target, group (near-duplicates), logit."""
    return [
        pd.DataFrame({"set": one.name, "file": one.files, "target": one.target, "group": one.group}).assign(
            logit=file_logits(audit.model, one.database, one.files)
        )
        for one in audit.sets
    ]


def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """All sets in one table, also if there are none."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def measure(audit: Audit, films: list[pd.DataFrame]) -> dict[str, Any]:
    """Metrics of the model on films of other hospitals (`scored`), one row per set, and the Dice of lung masks.

    Each row says whether settings of the model were chosen on the set (``chose``, see `tblib.audit.choice`);
    ``chosen_by`` is the name of the set that chose, given here or not, if its model file tells of one.
    """
    chosen_by = audit.network.training.get("chosen_by") if audit.network else None
    rest = {"predicted": predicted(audit), "chosen_by": chosen_by and chosen_by["set"]}
    rest["lungs"] = _dice_of_known(audit) + _dice_elsewhere(audit)
    if not audit.sets:
        return {"sets": [], "note": "no external database was given", **rest}
    metrics = audit.run.facts("metrics.json")
    scaling = Calibration.of(metrics)
    internal = judged(audit.run.table("predictions.csv"))
    sets = []
    for found, own in zip(audit.sets, films, strict=True):
        logits = own["logit"].to_numpy(float)
        row = external.measure(found, logits, internal, metrics["thresholds"], scaling, audit.replicates, audit.seed)
        sets.append(row | {"chose": chose(film_digests(found.thumbnails), chosen_by)})
    return {"sets": sets, "note": "", **rest}


def predicted(audit: Audit) -> dict[str, Any] | None:
    """AUROC that other hospitals may see: inside − shuffled + 0.5 (npj Digital Medicine 7:124, 2024).

    `shuffled` is the AUROC of what is left of the films when their pixels are shuffled, the grey histogram, on the
    same held-out films; the interval is a bootstrap of both together. Nothing about lungs is left in it. None for a
    model that was trained elsewhere: these films are other hospitals' to it already.
    """
    if not audit.trained_here:
        return None
    inside, weights = audit.held_out, audit.weights
    left, ones = (
        audit.held_out_with(audit.baseline_scores[GREY_HISTOGRAM][~audit.train]),
        np.ones((1, len(inside.score))),
    )
    values = {name: float(auroc(one, ones)[0]) for name, one in (("inside", inside), ("shuffled", left))}
    value = values["inside"] - values["shuffled"] + 0.5
    low, high = np.quantile(auroc(inside, weights) - auroc(left, weights) + 0.5, [0.025, 0.975])
    return values | {"auroc": Estimate(value, float(min(low, value)), float(max(high, value)))._asdict()}


def _dice_of_known(audit: Audit) -> list[dict[str, Any]]:
    """Dice of estimated and known lung masks of the run's own films, if it has masks and the audit uses estimates, too.

    To teach a network for this figure alone takes a minute.
    """
    if audit.known_masks is None or not (audit.sets or audit.selected or audit.budget.mitigations):
        return []
    rows = audit.held_out_rows
    return [_dice("this database", audit.known_masks[rows], audit.lungs.masks(audit.grey[rows]))]


def _dice_elsewhere(audit: Audit) -> list[dict[str, Any]]:
    """Dice by hospital, of those that have masks; the one that chooses is among them."""
    rows = []
    for found in [*audit.sets, *filter(None, [audit.selected])]:
        known = lungs.known_masks(found.database, found.files, duplicates.THUMBNAIL)
        if known is not None:
            rows.append(_dice(found.name, known, audit.lungs.masks(found.thumbnails)))
    return rows


def _dice(name: str, known: Mask, estimated: Mask) -> dict[str, Any]:
    values = lungs.dice(known, estimated)
    low, high = np.quantile(values, [0.05, 0.95])
    return {"set": name, "n": len(values), "dice": float(values.mean()), "p5": float(low), "p95": float(high)}


def figure(found: dict[str, Any], classes: tuple[str, str]) -> Figure | str:
    """Score histograms per class: internal test films in the top row, each external set below."""
    sets = found["sets"]
    if not sets:
        return "No external database was given (parameter external), so no other hospital's films are shown."
    told = "; ".join(f"{labelled(one)}: AUROC {estimate(one['auroc'])} on {one['n']} films" for one in sets)
    worst = min(reported(sets) or sets, key=lambda one: one["auroc"]["value"])
    alt = f"On {labelled(worst)} the model separates the classes with AUROC {worst['auroc']['value']:.3f}"
    alt += ", not shown to be better than guessing." if worst["auroc"]["low"] <= 0.5 else "."
    figure, axes = panels(f"{alt} {told}.", 1 + len(sets), (6.4, 1.9 * (1 + len(sets)) + 0.7), 1, sharex=True)
    shown = [("this database", sets[0]["internal_histograms"], None)]
    shown += [(one["set"], one["histograms"], one) for one in sets]
    for ax, (name, counts, one) in zip(axes, shown, strict=True):
        own = [np.array(counts[label]) for label in ("0", "1")]
        draw_counts(ax, own, np.linspace(0, 1, len(own[0]) + 1), classes)
        title = f"{name}, n = " + " + ".join(
            f"{each.sum():,} {label}" for each, label in zip(own, classes, strict=True)
        )
        title += f", AUROC {one['auroc']['value']:.3f}" if one else ""
        title += f"\n{LABEL}" if one and choosing([one]) else ""
        ax.set(title=title, ylabel="share of films", xlim=(-0.01, 1.01))
    axes[-1].set_xlabel("score (probability)")
    marks = [key(entry(name), colour, line="-") for name, colour in zip(classes, CLASSES, strict=True)]
    legend_below(figure, 3, [*marks, key(FEW, GREY, "|")])
    return figure


def finding(metrics: dict[str, Any], found: dict[str, Any], classes: tuple[str, str]) -> str:
    """How the model performs on external films."""
    dice = "; ".join(
        f"Estimated lungs against the masks of {row['set']}: Dice {row['dice']:.3f} (5 % of the {row['n']} films "
        f"below {row['p5']:.3f})"
        for row in found["lungs"]
    )
    unknown = why_unknown(found["sets"])
    head = f"How the model does elsewhere is not known: {unknown}." if unknown else ""
    told = [_told(one, metrics, classes) for one in reported(found["sets"]) + choosing(found["sets"])]
    chose = found.get("chosen_by")
    by = f"Its settings were chosen by results on “{chose}”, which cannot validate them." if chose else ""
    return " ".join(part for part in (head, *told, by, _fall(found), dice + "." if dice else "") if part)


def _told(one: dict[str, Any], metrics: dict[str, Any], classes: tuple[str, str]) -> str:
    """How the model does on one set, in sentences."""
    point = one["points"][external.FROZEN]
    return (
        f"{_holding(one, metrics)}: AUROC {estimate(one['auroc'])} on {how_many(one['n'], 'film')} "
        f"there, {estimate(metrics['auroc'])} inside. At the threshold that finds 90 % of {classes[1]} in "
        f"validation it finds {estimate(point['sensitivity'], True)} there, and clears "
        f"{estimate(point['specificity'], True)} of {classes[0]}. {_price(one)} Films of this database among them, "
        f"left out: {one['duplicates_left_out']}."
    )


def _price(one: dict[str, Any]) -> str:
    """What the threshold from validation loses on a set to the best one there, as a sentence."""
    best = one["recalibrated"]
    text = (
        f"At a specificity of at least {percent(best['specificity'], 0)} the best threshold there, chosen on these "
        f"very films, finds {estimate(best['sensitivity'], True)}"
    )
    if _misses(one):
        return f"{text}; that of validation has a lower specificity, so it lacks specificity and not sensitivity."
    return f"{text}; without recalibration {_points(best['gap'])} of sensitivity are lost."


def _misses(one: dict[str, Any]) -> bool:
    """Whether the threshold from validation has a lower specificity than the best one must have, on this set."""
    own: float = one["points"][external.FROZEN]["specificity"]["value"]
    return own + ROUNDING < one["recalibrated"]["specificity"]


def _points(gap: dict[str, float]) -> str:
    """A difference of two shares in points, with its interval."""
    return f"{100 * gap['value']:.1f} points ({100 * gap['low']:.1f} to {100 * gap['high']:.1f})"


def _holding(one: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Whether what the model reaches inside holds on an external set, as the head of a sentence; of one that chose,
    only that it did."""
    name, there, inside = f"“{one['set']}”", one["auroc"], metrics["auroc"]
    if choosing([one]):
        return f"Settings of the model were chosen on films of {name}, so that this is no external validation"
    if one["inverted"]:
        return f"The model ranks the wrong way on {name}"
    if None not in (there["high"], inside["low"]) and there["high"] < inside["low"]:
        return f"The model does not hold on {name}"
    return f"The model is not shown to do worse on {name}"


def _fall(found: dict[str, Any]) -> str:
    """The predicted AUROC, and how it compares with what was measured; nothing if none was predicted."""
    guess = found["predicted"]
    if guess is None:
        return ""
    text = (
        f"From these films alone, AUROC {estimate(guess['auroc'])} was to be expected elsewhere: the "
        f"{guess['inside']:.3f} inside, less the {guess['shuffled'] - 0.5:.3f} above chance that films still give "
        "whose pixels are shuffled, so that only their histogram is left"
    )
    sets = [
        f"{estimate(one['auroc'])} on “{one['set']}”, whose interval {_holds(one['auroc'], guess['auroc']['value'])} it"
        for one in reported(found["sets"])
    ]
    return f"{text}. Measured: {'; '.join(sets)}." if sets else f"{text}."


def _holds(interval: dict[str, float], value: float) -> str:
    """Whether an AUROC's interval includes a value, in words.

    The few films of other hospitals are the less certain side, so theirs is the interval to compare with.
    """
    return "includes" if interval["low"] <= value <= interval["high"] else "does not include"


def table(metrics: dict[str, Any], found: dict[str, Any]) -> pd.DataFrame:
    """One column per set: films, AUROC, inverted or not, calibration, shift of scores, operating points of validation,
    and the best sensitivity that a threshold of its own would give."""
    inside = {
        "set": "this database",
        "films (positive)": f"{metrics['n']} ({metrics['positives']})",
        "AUROC": estimate(metrics["auroc"]),
        "inverted": "yes" if metrics["inverted"] else "no",
        "calibration error": estimate(metrics["ece"]),
        "Brier score": estimate(metrics["brier"]),
        "shift of scores (KS), negative": NONE,
        "shift of scores (KS), positive": NONE,
    }
    inside |= {_point_name(name): _at(point) for name, point in metrics["operating_points"].items()}
    inside |= dict.fromkeys((BEST, LOST), NONE)
    rows = [inside]
    for one in found["sets"]:
        row = {
            "set": labelled(one),
            "films (positive)": f"{one['n']} ({one['positives']})",
            "AUROC": estimate(one["auroc"]),
            "inverted": "yes" if one["inverted"] else "no",
            "calibration error": estimate(one["calibration"]["ece"]),
            "Brier score": estimate(one["calibration"]["brier"]),
            BEST: estimate(one["recalibrated"]["sensitivity"], True),
            LOST: _lost(one),
        }
        for label, name in (("0", "negative"), ("1", "positive")):
            shift = one["shift"][label]
            row[f"shift of scores (KS), {name}"] = f"{shift['ks']:.2f}, median {shift['median']:+.1f} logits"
        rows.append(row | {_point_name(name): _at(point) for name, point in one["points"].items()})
    return by_name(pd.DataFrame(rows), "set", "The model on this database and at other hospitals").T.rename_axis(
        "figure"
    )


def _lost(one: dict[str, Any]) -> str:
    """What the threshold from validation loses to the best one, as a cell."""
    gap, least = _points(one["recalibrated"]["gap"]), one["recalibrated"]["specificity"]
    return f"{gap}, at a specificity below {percent(least, 0)}" if _misses(one) else gap


def _point_name(name: str) -> str:
    return f"at {point_text(name)}"


def _at(point: dict[str, Any]) -> str:
    return f"sensitivity {estimate(point['sensitivity'], True)}, specificity {estimate(point['specificity'], True)}"
