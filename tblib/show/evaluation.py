"""Figures and sentences of the fourth notebook."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Pixels
from tblib.metrics import ECE_BINS, wilson
from tblib.show.plots import BLUE, GREY, VERMILION, counted, draw_film, entry, panels, short, sns, tiles
from tblib.show.text import estimate, estimates_table, own_point, percent, point_text

WHETHER_SEEN = {  # of a model that was given: whether the films may have been among those that it was trained on
    "yes": ", on which it may have been trained,",
    "no": ", on which it was not trained,",
    "unknown": ", on which it may have been trained,",
}
INVERTED = "The AUROC lies below 0.5 with its interval: on these films the model ranks the wrong way."
COLUMNS = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy", "f1", "mcc")  # of a point


def finding(metrics: dict[str, Any]) -> str:
    """The main result of the evaluation."""
    beyond = "above" if metrics["accuracy"]["low"] > metrics["majority_accuracy"] else "not shown to be above"
    model = metrics["model"]
    films, known = ("test films", "") if model is None else ("films", WHETHER_SEEN[model["seen"]])
    return (
        f"On {metrics['n']} {films} ({metrics['positives']} positive){known} the model's accuracy is "
        f"{estimate(metrics['accuracy'], True)}, {beyond} the {percent(metrics['majority_accuracy'])} of always naming "
        f"the more common class; F1 {estimate(metrics['f1'])}, sensitivity {estimate(metrics['sensitivity'], True)}, "
        f"specificity {estimate(metrics['specificity'], True)}, AUROC {estimate(metrics['auroc'])}. "
        f"{'All of it is internal: same database, same artefacts.' if model is None else ''}"
        f"{INVERTED if metrics['inverted'] else ''}"
    )


def confusion_figure(points: dict[str, dict[str, Any]], classes: tuple[str, str]) -> Figure:
    """One confusion matrix per operating point."""
    told = "; ".join(f"at {name}: " + counted(point["confusion"]) for name, point in points.items())
    figure, axes = panels(f"Confusion matrices on test. {told}.", len(points), (9.6, 3.0))
    for ax, (name, point) in zip(axes, points.items(), strict=True):
        cells = point["confusion"]
        counts = np.array([[cells["tn"], cells["fp"]], [cells["fn"], cells["tp"]]])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        labels = [[f"{n}\n{s:.0%}" for n, s in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)]
        sns.heatmap(shares, annot=labels, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, ax=ax, square=True)
        title = point_text(name)
        title += f"\n(threshold {point['threshold']:.3g})" if name.startswith("sensitivity") else ""
        ax.set(title=title, xlabel="called", xticklabels=classes)
        ax.set_yticklabels(classes if ax is axes[0] else ["", ""], rotation=90, va="center")
    axes[0].set_ylabel("true")
    return figure


def ranking_figure(test: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """ROC and precision-recall curves on test, with the operating points marked."""
    auroc, ap = metrics["auroc"]["value"], metrics["average_precision"]["value"]
    figure, (left, right) = panels(f"ROC curve, AUROC {auroc:.3f}; precision-recall curve, AP {ap:.3f}.", 2, (8.6, 3.6))
    from sklearn.metrics import precision_recall_curve, roc_curve  # slow to import

    false_positive, true_positive, _ = roc_curve(test["target"], test["probability"])
    precision, recall, _ = precision_recall_curve(test["target"], test["probability"])
    left.step(false_positive, true_positive, where="post", color=VERMILION)
    left.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    left.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"ROC, AUROC {auroc:.3f}")
    right.step(recall, precision, where="post", color=VERMILION)
    right.axhline(metrics["prevalence"], color=GREY, linestyle=":")
    right.set(
        xlabel="sensitivity (recall)",
        ylabel="PPV (precision)",
        title=f"precision and recall, AP {ap:.3f}",
        ylim=(0, 1.02),
    )
    for (name, point), mark in zip(metrics["operating_points"].items(), "os^", strict=True):
        sensitivity, ppv = point["sensitivity"]["value"], point["ppv"]["value"]
        left.plot(
            1 - point["specificity"]["value"], sensitivity, mark, color="black", label=point_text(name), clip_on=False
        )
        if ppv is not None:
            right.plot(sensitivity, ppv, mark, color="black", clip_on=False)
    left.legend(frameon=False, loc="lower right")
    return figure


def calibration_figure(test: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """Calibration curve (observed share of positives) before and after calibration, and both score histograms."""
    before, after = metrics["calibration"]["before"]["ece"]["value"], metrics["ece"]["value"]
    alt = f"Calibration before (ECE {before:.3f}) and after (ECE {after:.3f}) temperature scaling."
    figure, axes = panels(alt, 3, (9.6, 3.2))
    edges = np.linspace(0, 1, ECE_BINS + 1)
    for ax, column, title in (
        (axes[0], "probability", f"before, ECE {before:.3f}"),
        (axes[1], "calibrated", f"after, ECE {after:.3f}"),
    ):
        bins = np.minimum((test[column] * ECE_BINS).astype(int), ECE_BINS - 1)
        ax.plot([0, 1], [0, 1], color=GREY, linestyle=":")
        for _, rows in test.groupby(bins):
            observed = wilson(int(rows["target"].sum()), len(rows))
            ax.vlines(rows[column].mean(), observed.low, observed.high, color=VERMILION, alpha=0.6)
            ax.scatter(rows[column].mean(), observed.value, s=10 + 60 * np.sqrt(len(rows) / len(test)), color=VERMILION)
        ax.set(title=title, xlabel="probability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[0].set_ylabel("share truly positive")
    for target, colour in ((0, BLUE), (1, VERMILION)):
        label = test.loc[test["target"] == target, "label"]
        axes[2].hist(
            test.loc[test["target"] == target, "probability"],
            edges,
            color=colour,
            alpha=0.6,
            label=entry(label.iloc[0]),
        )
    axes[2].set(title="scores", xlabel="probability", ylabel="films", yscale="log")
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def calibration_finding(metrics: dict[str, Any]) -> str:
    """What calibration changed."""
    scaling = metrics["calibration"]
    return (
        f"Expected calibration error {estimate(scaling['before']['ece'])} before and {estimate(metrics['ece'])} after "
        f"taking out the class weight (shift {scaling['shift']:.2f}) and scaling by temperature "
        f"{scaling['temperature']:.2f}; Brier score {estimate(scaling['before']['brier'])} and "
        f"{estimate(metrics['brier'])}. {scaling['note']}"
    )


def predictive_values_finding(metrics: dict[str, Any]) -> str:
    """Predictive value of a positive result where tuberculosis is rarer."""
    values = metrics["ppv_at_prevalence"]
    told = ", ".join(f"{percent(float(p), 0)} prevalence {estimate(value, True)}" for p, value in values.items())
    own = own_point(metrics["thresholds"])
    return f"If these figures held elsewhere, a positive call at {own} would be right: at {told}."


def mistakes_figure(rows: pd.DataFrame, images: Pixels, columns: int = 6) -> Figure:
    """Films with their label and the model's probability; images uint8 (n, H, W) or (n, H, W, 3)."""
    alt = "; ".join(f"{short(r.file)}: {r.label}, probability {r.probability:.2f}" for r in rows.itertuples())
    figure, axes = tiles(len(rows), columns, f"Films the model gets most wrong. {alt}.")
    for ax, image, row in zip(axes, images, rows.itertuples(), strict=True):
        draw_film(ax, image, f"{short(str(row.file))}\ntruly {row.label}\nscore {row.probability:.2f}")
    return figure


def mistakes_finding(test: pd.DataFrame, points: dict[str, float]) -> str:
    """How many films are misclassified at the first of the operating points, and in which way."""
    name, threshold = next(iter(points.items()))
    wrong = test[(test["probability"] >= threshold) != (test["target"] == 1)]
    if wrong.empty:
        return f"None of the {len(test)} films is called wrongly at {name}; shown are the least certain ones."
    missed = int((wrong["target"] == 1).sum())
    false = len(wrong) - missed
    return f"{len(wrong)} of {len(test)} films are called wrongly at {name}: {missed} missed, {false} false alarms."


def points_table(points: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One column per operating point, one row per metric."""
    return estimates_table({name: {column: point[column] for column in COLUMNS} for name, point in points.items()}).T


def ranking_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """AUROC and average precision."""
    return estimates_table({"films judged": {name: metrics[name] for name in ("auroc", "average_precision")}})
