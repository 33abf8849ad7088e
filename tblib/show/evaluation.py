"""Figures and sentences of the fourth notebook."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tblib.arrays import Floats, Pixels
from tblib.metrics import ECE_BINS, Scored, bootstrap_weights, wilson
from tblib.show.plots import (
    FONT,
    GREY,
    INK,
    PURPLE,
    WIDTH,
    blank,
    counted,
    draw_counts,
    draw_film,
    key,
    legend_below,
    panels,
    plain,
    short,
    tiles,
)
from tblib.show.text import estimate, estimates_table, how_many, own_point, percent, point_text

WHETHER_SEEN = {  # of a model that was given: whether the films may have been among those that it was trained on
    "yes": ", on which it may have been trained,",
    "no": ", on which it was not trained,",
    "unknown": ", on which it may have been trained,",
}
INVERTED = "The AUROC lies below 0.5 with its interval: on these films the model ranks the wrong way."
INTERNAL = (
    "These films come from the database that it was trained on, with the same artefacts: none of this tells how it "
    "does elsewhere. "
)
SHARES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy")  # shown in per cent
COLUMNS = (*SHARES, "f1", "mcc")  # of a point


def finding(metrics: dict[str, Any]) -> str:
    """The main result of the evaluation."""
    model, (base, low, high) = metrics["model"], (metrics["majority_accuracy"], *_limits(metrics["accuracy"]))
    films, known = ("test films", "") if model is None else ("films", WHETHER_SEEN[model["seen"]])
    side = "above" if metrics["accuracy"]["value"] > base else "below"
    compared = f"{side} the {percent(base)} of always naming the more common class"
    if low <= base <= high:
        compared += ", which its interval includes, so that it is not shown to be better than that"
    return (
        f"The model's accuracy is {estimate(metrics['accuracy'], True)} on {metrics['n']} {films} "
        f"({metrics['positives']} positive){known or ','} {compared}. Its sensitivity is "
        f"{estimate(metrics['sensitivity'], True)}, its specificity {estimate(metrics['specificity'], True)}, its F1 "
        f"{estimate(metrics['f1'])} and its AUROC {estimate(metrics['auroc'])}. "
        f"{INTERNAL if model is None else ''}{INVERTED if metrics['inverted'] else ''}"
    )


def _limits(value: dict[str, float]) -> tuple[float, float]:
    return value["low"], value["high"]


def confusion_figure(points: dict[str, dict[str, Any]], classes: tuple[str, str]) -> Figure:
    """One confusion matrix per operating point."""
    import seaborn as sns  # takes half a second, so it waits for the first figure

    told = "; ".join(f"at {name}: " + counted(point["confusion"]) for name, point in points.items())
    first, cells = next(iter(points.items()))
    missed, false = cells["confusion"]["fn"], cells["confusion"]["fp"]
    alt = f"At {point_text(first)} the model misses {how_many(missed, 'film')} of {classes[1]}"
    figure, axes = panels(f"{alt} and calls {false} others so. Counts, {told}.", len(points), (WIDTH, 3.1))
    for ax, (name, point) in zip(axes, points.items(), strict=True):
        cells = point["confusion"]
        counts = np.array([[cells["tn"], cells["fp"]], [cells["fn"], cells["tp"]]])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        labels = [
            [f"{n}\n{percent(s, 0)}" for n, s in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)
        ]
        sns.heatmap(shares, annot=labels, fmt="", cmap="Greys", vmin=0, vmax=1, cbar=False, ax=ax, square=True)
        text = point_text(name).replace(" on ", "\non ")
        text += f"\n(threshold {point['threshold']:.3g})" if name.startswith("sensitivity") else ""
        ax.set(title=text, xlabel=f"called (n = {counts.sum():,} films)", xticklabels=classes)
        ax.set_yticklabels(classes if ax is axes[0] else ["", ""], rotation=90, va="center")
        ax.tick_params(labelsize=FONT)
    axes[0].set_ylabel("truly (share of the row's films)")
    return figure


def ranking_figure(test: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """ROC and precision-recall curves with the operating points, and bands of 95 % over duplicate groups."""
    area, precision = estimate(metrics["auroc"]), estimate(metrics["average_precision"])
    how = "the wrong way" if metrics["inverted"] else "the right way"
    alt = f"The model ranks films {how}: AUROC {area}, average precision {precision}, on {len(test)} films."
    figure, (left, right) = panels(alt, 2, (WIDTH, 4.1))
    curves = _curves(test)
    for ax, (x, (value, low, high)) in zip((left, right), curves, strict=True):
        ax.fill_between(x, low, high, color=PURPLE, alpha=0.15, linewidth=0, step="post")
        for limit in (low, high):
            ax.step(x, limit, where="post", color=PURPLE, linewidth=0.8)
        ax.step(x, value, where="post", color=INK, linewidth=1.6, label="the model")
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="guessing")
    right.axhline(metrics["prevalence"], color=GREY, linestyle=":")
    left.plot([], [], color=PURPLE, linewidth=0.8, label="95 % over duplicate groups")
    left.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"ROC, n = {len(test):,} films\nAUROC {area}")
    text = f"precision and recall, n = {len(test):,} films\naverage precision {precision}"
    right.set(xlabel="sensitivity (recall)", ylabel="positive predictive value (precision)", title=text, ylim=(0, 1.02))
    for (name, point), mark in zip(metrics["operating_points"].items(), "os^", strict=True):
        sensitivity, ppv = point["sensitivity"]["value"], point["ppv"]["value"]
        look: dict[str, Any] = {"color": INK, "clip_on": False, "zorder": 5}
        left.plot(1 - point["specificity"]["value"], sensitivity, mark, label=point_text(name), **look)
        if ppv is not None:
            right.plot(sensitivity, ppv, mark, **look)
    legend_below(figure, 2)
    return figure


def _curves(test: pd.DataFrame, replicates: int = 500) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """ROC and precision-recall curve of `tblib.run.judged` films, each as places (n,) and value, low, high (3, n)."""
    order = np.argsort(-test["probability"].to_numpy(), kind="stable")
    score, positive = test["probability"].to_numpy()[order], test["target"].to_numpy()[order] == 1
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # the last film of each tied score
    drawn = bootstrap_weights(
        Scored(test["target"].to_numpy(), test["probability"].to_numpy(), test["duplicate_group"].to_numpy()),
        replicates,
        seed=0,
    )[:, order]
    roc, recalled = np.linspace(0, 1, 201), np.linspace(0, 1, 201)[1:]
    curves: tuple[list[Floats], list[Floats]] = [], []
    for weight in [np.ones(len(order)), *drawn]:
        hits, false = np.cumsum(weight * positive)[ends], np.cumsum(weight * ~positive)[ends]
        sensitivity, wrong = hits / max(hits[-1], 1), false / max(false[-1], 1)
        curves[0].append(_best_until(wrong, sensitivity, roc))
        at = np.minimum(np.searchsorted(sensitivity, recalled - 1e-9), len(ends) - 1)
        curves[1].append((hits / np.maximum(hits + false, 1e-9))[at])
    bands = [np.stack([of[0], *np.quantile(of[1:], [0.025, 0.975], axis=0)]) for of in curves]
    return (roc, bands[0]), (recalled, bands[1])


def _best_until(x: Floats, y: Floats, places: Floats) -> Floats:
    """The highest `y`, which rises with `x`, at or left of each of the places; 0 before the first."""
    at = np.searchsorted(x, places + 1e-9, side="right") - 1
    return np.where(at >= 0, y[np.maximum(at, 0)], 0.0)


def calibration_figure(test: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """Calibration curve (observed share of positives) before and after calibration, and both score histograms."""
    before, after = metrics["calibration"]["before"]["ece"]["value"], metrics["ece"]["value"]
    change = "smaller" if after < before else "not smaller"
    alt = f"The calibration error is {change} after temperature scaling: {after:.3f}; before, {before:.3f}."
    figure = blank(alt, (WIDTH, 5.4))
    grid = figure.add_gridspec(2, 2, height_ratios=(1.25, 1))
    edges = np.linspace(0, 1, ECE_BINS + 1)
    for place, (column, error) in enumerate((("probability", before), ("calibrated", after))):
        ax = figure.add_subplot(grid[0, place])
        _draw_reliability(ax, test, column)
        text = f"{'after' if place else 'before'} scaling, n = {len(test):,} films\ncalibration error {error:.3f}"
        ax.set(title=text, xlabel="mean probability in a tenth", ylabel="share truly positive")
    ax = figure.add_subplot(grid[1, :])
    parts = [test[test["target"] == target] for target in (0, 1)]
    names = [part["label"].iloc[0] if len(part) else "" for part in parts]
    draw_counts(ax, [np.histogram(part["probability"], edges)[0] for part in parts], edges, names, shares=False)
    ax.set(xlabel="probability before scaling", ylabel="films", yscale="log", ylim=(0.5, None), xlim=(-0.02, 1.02))
    plain(ax)
    handles = ax.get_legend_handles_labels()[0]
    points = key("95 % interval; the larger, the more films", INK, "o", "-")
    legend_below(figure, 2, [*handles, points, key("perfectly calibrated", GREY, line=":")])
    return figure


def _draw_reliability(ax: Axes, test: pd.DataFrame, column: str) -> None:
    """The share of positives among the films of each tenth of the probabilities in a column."""
    bins = np.minimum((test[column] * ECE_BINS).astype(int), ECE_BINS - 1)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    for _, rows in test.groupby(bins):
        observed, at = wilson(int(rows["target"].sum()), len(rows)), rows[column].mean()
        share, low, high = (float(value or 0) for value in observed)
        ax.vlines(at, low, high, color=INK, linewidth=1.2)
        ax.scatter(at, share, s=10 + 60 * np.sqrt(len(rows) / len(test)), color=INK)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    plain(ax)


def calibration_finding(metrics: dict[str, Any]) -> str:
    """What calibration changed."""
    scaling = metrics["calibration"]
    before, after = (f"{100 * one['value']:.1f}" for one in (scaling["before"]["ece"], metrics["ece"]))
    return (
        f"Probabilities are off by {after} points on average after calibration and by {before} before: expected "
        f"calibration error {estimate(metrics['ece'])} and {estimate(scaling['before']['ece'])}. Calibration took out "
        f"the class weight (shift {scaling['shift']:.2f}) and scaled by temperature {scaling['temperature']:.2f}; the "
        f"Brier score is {estimate(metrics['brier'])} after it and {estimate(scaling['before']['brier'])} before. "
        f"{scaling['note']}"
    )


def predictive_values_finding(metrics: dict[str, Any]) -> str:
    """Predictive value of a positive result where tuberculosis is rarer."""
    values = metrics["ppv_at_prevalence"]
    told = ", ".join(
        f"{estimate(value, True)} of the films where {percent(float(p), 0)} are positive" for p, value in values.items()
    )
    own = own_point(metrics["thresholds"])
    return (
        "If sensitivity and specificity held elsewhere, a positive answer at threshold "
        f"{own} would be right for {told}."
    )


def mistakes_figure(rows: pd.DataFrame, images: Pixels, columns: int = 4) -> Figure:
    """Films with their label and the model's probability; images uint8 (n, H, W) or (n, H, W, 3)."""
    told = "; ".join(f"{short(r.file)}: {r.label}, probability {r.probability:.2f}" for r in rows.itertuples())
    first = rows.iloc[0]
    alt = f"The model is most wrong about {short(str(first['file']))}, truly {first['label']}. Films: {told}."
    figure, axes = tiles(len(rows), columns, alt, 3)
    for ax, image, row in zip(axes, images, rows.itertuples(), strict=True):
        draw_film(ax, image, f"{short(str(row.file))}\ntruly {row.label}\nprobability {row.probability:.2f}")
    return figure


def mistakes_finding(test: pd.DataFrame, points: dict[str, float]) -> str:
    """How many films are misclassified at the first of the operating points, and in which way."""
    name, threshold = next(iter(points.items()))
    wrong = test[(test["probability"] >= threshold) != (test["target"] == 1)]
    if wrong.empty:
        return f"The model is wrong on none of the {len(test)} films at {name}; shown are the least certain ones."
    missed = int((wrong["target"] == 1).sum())
    false = len(wrong) - missed
    return f"The model is wrong on {len(wrong)} of {len(test)} films at {name}: {missed} missed, {false} false alarms."


def points_table(points: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One column per operating point, one row per metric."""
    rows = {point_text(name): {column: point[column] for column in COLUMNS} for name, point in points.items()}
    return estimates_table(rows, "metric", "The model at each operating point", SHARES).T


def ranking_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """AUROC and average precision."""
    rows = {"films judged": {name: metrics[name] for name in ("auroc", "average_precision")}}
    return estimates_table(rows, "on", "How well the scores rank the films")
