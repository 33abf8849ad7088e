"""Figures: each function takes tables or arrays and returns a matplotlib Figure whose label is its alt text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import lazy_loader
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from scipy.special import logit

from tblib.artefacts import TINT_VISIBLE
from tblib.box import boxes_from_text, widths_from_text
from tblib.film import Pixels
from tblib.metrics import ECE_BINS, Floats, wilson
from tblib.run import Run
from tblib.survey import SPREAD, Portrait, Shown, marker_kinds

sns = lazy_loader.load("seaborn")  # half a second of imports, which wait for the first figure

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito's: told apart without red-green vision
BOXES = {"markers": "#F0E442", "white_rectangles": "#D55E00", "black_boxes": "#56B4E9", "border": "#009E73"}
NAMES = {
    "markers": "marker",
    "white_rectangles": "white rectangle",
    "black_boxes": "black box",
    "border": "film border",
}
DPI = 110


def show(run: Run, figure: Figure) -> None:
    """Show a figure of a run in a notebook."""
    display_figure(figure, run.synthetic)


def display_figure(figure: Figure, synthetic: bool) -> None:
    """Show a figure in a notebook as PNG with its alt text; stamp it SYNTHETIC where the films are."""
    from IPython.display import Image, display

    data, alt = picture(figure, synthetic)
    display(Image(data=data, format="png", alt=alt))


def picture(figure: Figure, synthetic: bool) -> tuple[bytes, str]:
    """A figure as PNG and its alt text, both stamped SYNTHETIC where the films are."""
    alt = str(figure.get_label())
    if synthetic:
        figure.text(1, 0, "SYNTHETIC", ha="right", va="top", color=VERMILION, fontsize=9, fontweight="bold")
        alt = f"SYNTHETIC films. {alt}"
    _show_signs_as_they_are(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue(), alt


def _show_signs_as_they_are(figure: Figure) -> None:
    """Let no dollar in a name start a formula; only the powers of ten along a log scale are some."""
    axes: list[Axis] = figure.findobj(Axis)
    ticks = [(axis.get_scale() == "log", axis.get_ticklabels(which="both")) for axis in axes]
    powers = {text for logarithmic, texts in ticks if logarithmic for text in texts}
    for text in figure.findobj(Text):
        text.set_parse_math(text in powers)


def class_balance(counts: dict[str, int]) -> Figure:
    """Films a class."""
    figure, (ax,) = panels("Bar chart of films a class: " + _listed(counts) + ".", 1, (6.4, 1.7))
    bars = ax.barh(list(counts), list(counts.values()), color=[BLUE, VERMILION], height=0.6)
    ax.bar_label(bars, padding=4)
    ax.set(xlabel="films", xlim=(0, 1.12 * max(counts.values())))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    return figure


def film_grid(shown: Sequence[Shown], columns: int = 8) -> Figure:
    """Films as they are in the files, colours included, each under its name."""
    alt = f"{len(shown)} films: " + ", ".join(_name(item) for item in shown) + "."
    figure, axes = tiles(len(shown), columns, alt)
    for ax, item in zip(axes, shown, strict=True):
        draw_film(ax, item.film.pixels, f"{_name(item)}\n{item.film.mode}")
    return figure


def boxed_films(shown: Sequence[Shown], columns: int = 6) -> Figure:
    """Films with what the detectors found on them drawn as boxes; below the name the column "mistake", if any."""
    if not shown:
        return nothing("There is no such film.")
    figure, axes = tiles(
        len(shown), columns, f"{len(shown)} films with boxes around what the detectors found.", legend=True
    )
    for ax, item in zip(axes, shown, strict=True):
        draw_film(ax, item.film.pixels, "\n".join([_name(item), *item.row.get("mistake", "").split("; ")]).strip())
        for kind in ("markers", "white_rectangles", "black_boxes"):
            for box in boxes_from_text(item.row[kind]):
                _outline(ax, (box.left, box.top, box.right - box.left, box.bottom - box.top), BOXES[kind])
        _border_outline(ax, item)
    handles = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=BOXES[kind], label=NAMES[kind]) for kind in BOXES]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def file_modes(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Share of each file mode within each class."""
    shares = pd.crosstab(table["label"], table["mode"], normalize="index").loc[list(classes)]
    alt = "; ".join(f"{name}: " + ", ".join(f"{m} {v:.0%}" for m, v in row.items()) for name, row in shares.iterrows())
    figure, (ax,) = panels(f"Share of file modes in each class. {alt}.", 1, (6.4, 1.9))
    shares.plot.barh(stacked=True, ax=ax, color=sns.color_palette("colorblind", shares.shape[1]), width=0.6)
    ax.set(xlabel="share of the class's files", ylabel="", xlim=(0, 1))
    ax.invert_yaxis()
    ax.legend(title="mode", bbox_to_anchor=(1.01, 1), loc="upper left", frameon=False)
    ax.grid(visible=False, axis="y")
    return figure


def spectra(by_class: dict[str, Floats]) -> Figure:
    """Mean histogram of red, green and blue of each class's three-channel files."""
    if not by_class:
        return nothing("No file has three channels, so there are no colour spectra.")
    gaps = {name: float(np.abs(levels[0] - levels[2]).sum() / 2) for name, levels in by_class.items()}
    apart = "; ".join(f"{name}: red and blue differ over {gap:.0%} of the pixels" for name, gap in gaps.items())
    figure, axes = panels(f"Mean colour spectra of each class. {apart}.", len(by_class), (8.6, 2.8), sharey=True)
    for ax, (name, levels) in zip(axes, by_class.items(), strict=True):
        for level, colour, style in zip(levels, ("#C0392B", "#1E8449", "#2455A4"), ("-", "--", ":"), strict=True):
            smooth = np.convolve(level, np.full(5, 0.2), mode="same")
            ax.plot(100 * smooth, color=colour, linestyle=style, linewidth=1.6)
        ax.set(title=name, xlabel="level (0 black … 255 full)", xlim=(0, 255), ylim=(0, None))
    axes[0].set_ylabel("% of pixels")
    axes[-1].legend(["red", "green", "blue"], frameon=False)
    top = 100 * max(float(np.quantile(levels, 0.995)) for levels in by_class.values())
    axes[0].set_ylim(0, 1.15 * top)
    return figure


def tint_map(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Hue against strength of the mean colour of each three-channel film, and the tint strengths per class."""
    counts = (
        table.groupby("label")["tint_strength"].agg(lambda strength: int((strength > TINT_VISIBLE).sum())).to_dict()
    )
    figure = _figure(f"Tint of each film. Visibly tinted: {_listed(counts)}.", (8.6, 3.6))
    wheel = figure.add_subplot(1, 2, 1, projection="polar")
    line = figure.add_subplot(1, 2, 2)
    for name, colour in zip(classes, (BLUE, VERMILION), strict=True):
        films = table[(table["label"] == name) & (table["tint_strength"] > 0)]
        wheel.scatter(np.deg2rad(films["hue"]), films["chroma"], s=9, color=colour, alpha=0.5, label=entry(name))
        strength = table.loc[(table["label"] == name) & ~table["one_channel"].astype(bool), "tint_strength"]
        if len(strength):
            sns.ecdfplot(x=strength, ax=line, color=colour, label=entry(f"{name} ({len(strength)} files)"))
    wheel.set_title("hue (angle) and chroma (radius)", fontsize=9)
    wheel.set_xticks(np.deg2rad([0, 60, 120, 180, 240, 300]), ["red", "yellow", "green", "cyan", "blue", "magenta"])
    wheel.tick_params(labelsize=8)
    line.axvline(TINT_VISIBLE, color=GREY, linestyle=":")
    line.set(xlabel="tint strength: mean |R − B|, grey levels", ylabel="share of three-channel files", ylim=(0, 1.02))
    if line.get_legend_handles_labels()[0]:
        line.legend(frameon=False, loc="lower right")
    return figure


def prevalences(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """How common each artefact is per class, with intervals, and the odds ratios."""
    cues = list(dict.fromkeys(table["cue"]))
    told = "; ".join(
        f"{cue}: " + ", ".join(f"{row.label} {row.share:.0%}" for row in table[table["cue"] == cue].itertuples())
        for cue in cues
    )
    figure, (left, right) = panels(f"Prevalence of artefacts. {told}.", 2, (8.6, 3.2), sharey=True, width_ratios=(3, 2))
    for offset, name, colour in ((-0.12, classes[0], BLUE), (0.12, classes[1], VERMILION)):
        rows = table[table["label"] == name]
        _whiskers(left, rows["share"], rows["low"], rows["high"], np.arange(len(cues)) + offset, colour, entry(name))
    left.set(xlabel="share of the class's films", xlim=(-0.02, 1.02), yticks=range(len(cues)), yticklabels=cues)
    left.invert_yaxis()
    left.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    odds = table.drop_duplicates("cue")
    _whiskers(right, odds["odds_ratio"], odds["odds_low"], odds["odds_high"], np.arange(len(cues)), "black", "")
    right.axvline(1, color=GREY, linestyle=":")
    right.set(xscale="log", xlabel=f"odds ratio, {classes[1]} over {classes[0]}")
    return figure


def marker_styles(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Which kinds of markers the films of each class carry."""
    kinds = marker_kinds(table)
    if not kinds.any():
        return nothing("No marker was found on any film.")
    shares = pd.crosstab(kinds, table["label"], normalize="columns").drop(index="", errors="ignore")
    shares = shares.reindex(columns=list(classes), fill_value=0.0)
    shares = shares.loc[shares.sum(axis=1).sort_values(ascending=False).index[:10]]
    told = "; ".join(f"{kind}: " + ", ".join(f"{n} {v:.0%}" for n, v in row.items()) for kind, row in shares.iterrows())
    figure, (ax,) = panels(
        f"Kinds of markers found, share of each class's films. {told}.", 1, (6.4, 0.9 + 0.3 * len(shares))
    )
    shares.rename(columns=entry).plot.barh(ax=ax, color=[BLUE, VERMILION], width=0.75)
    ax.set(xlabel="share of the class's films", ylabel="")
    ax.invert_yaxis()
    ax.legend(frameon=False)
    ax.grid(visible=False, axis="y")
    return figure


def detector_scores(scores: pd.DataFrame) -> Figure:
    """Precision and recall of each detector on films of known truth, with the aim of each as a tick."""
    if scores.empty:
        return nothing("No film of this database has a known truth.")
    names, parts = list(dict.fromkeys(scores["artefact"])), list(dict.fromkeys(scores["part"]))
    told = "; ".join(
        f"{row.part}, {row.artefact}: precision {row.precision:.2f}, recall {row.recall:.2f}"
        for row in scores.itertuples()
    )
    figure, axes = panels(f"Detectors on films of known truth. {told}.", 2, (8.6, 0.9 + 0.42 * len(names)), sharey=True)
    for number, part in enumerate(parts):
        rows = scores[scores["part"] == part]
        place = np.array([names.index(name) for name in rows["artefact"]]) + 0.24 * (number - (len(parts) - 1) / 2)
        for ax, what in zip(axes, ("precision", "recall"), strict=True):
            colour = (BLUE, VERMILION, GREY)[number % 3]
            _whiskers(ax, rows[what], rows[f"{what}_low"], rows[f"{what}_high"], place, colour, part)
            ax.plot(rows["aim"], place, "|", color="black", markersize=9)
            ax.set(xlabel=f"{what} (95 % interval; | aim)", xlim=(-0.02, 1.02))
    axes[0].set(yticks=range(len(names)), yticklabels=names)
    axes[0].invert_yaxis()
    axes[0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return figure


def side_by_side(left: Sequence[Shown], right: Sequence[Shown], names: tuple[str, str], columns: int = 4) -> Figure:
    """Films of two databases in grey, those of one left and of the other right of a gap."""
    rows = -(-max(len(left), len(right)) // columns)
    figure = _figure(
        f"{len(left)} films of {names[0]} (left) beside {len(right)} of {names[1]} (right).", (10.4, 1.25 * rows + 0.3)
    )
    halves: Any = figure.subfigures(1, 2, squeeze=False, wspace=0.03)
    for place, films, name in zip((0, 1), (left, right), names, strict=True):
        part = halves[0, place]
        part.suptitle(name, fontsize=9)
        axes = part.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, item in zip(axes, films, strict=False):
            ax.imshow(item.film.grey, cmap="gray", vmin=0, vmax=255)
    return figure


def portraits(by_database: dict[str, dict[str, Portrait]]) -> Figure:
    """The mean film, the grey histogram and the power spectrum of each class, databases beside one another."""
    told = "; ".join(f"{name}: {', '.join(classes)}" for name, classes in by_database.items())
    count = sum(len(classes) for classes in by_database.values())
    figure = _figure(
        f"Mean films, grey histograms and power spectra with their {SPREAD} percentiles. {told}.", (9.6, 4.6)
    )
    parts: Any = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.2))
    above, below = parts[:, 0]
    means = above.subplots(1, count, squeeze=False)[0]
    histogram, spectrum = below.subplots(1, 2)
    drawn = ((name, label, one) for name, classes in by_database.items() for label, one in classes.items())
    for ax, colour, (name, label, one) in zip(means, sns.color_palette("colorblind", count), drawn, strict=True):
        draw_film(ax, one.mean_film, f"{name}\n{label}")
        _band(histogram, np.arange(one.histogram.shape[1]) * 256 / one.histogram.shape[1], 100 * one.histogram, colour)
        _band(spectrum, np.arange(1, one.spectrum.shape[1] + 1), one.spectrum, colour, entry(f"{name}, {label}"))
    highest = 100 * max(one.histogram[0, 1:-1].max() for classes in by_database.values() for one in classes.values())
    histogram.set(xlabel="grey level", ylabel="% of pixels", xlim=(0, 255), ylim=(0, 1.6 * highest))
    spectrum.set(xlabel="cycles a film", ylabel="log10 power", xscale="log")
    spectrum.legend(frameon=False, fontsize=7)
    return figure


def _band(ax: Axes, place: npt.NDArray[Any], values: Floats, colour: Any, label: str = "") -> None:
    mean, low, high = values
    ax.plot(place, mean, color=colour, linewidth=1.4, label=label)
    ax.fill_between(place, low, high, color=colour, alpha=0.15, linewidth=0)


def grey_levels(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Distributions of mean grey, spread of grey and evenness of the grey histogram per class."""
    columns = {
        "grey_mean": "mean grey level",
        "grey_sd": "sd of the grey levels",
        "equalised": "evenness of the histogram",
    }
    means = table.groupby("label")[list(columns)].median()
    told = "; ".join(
        f"{text}: " + ", ".join(f"{n} {means.loc[n, c]:.3g}" for n in classes) for c, text in columns.items()
    )
    figure, axes = panels(f"Grey levels per class, medians: {told}.", 3, (8.6, 2.6))
    for ax, (column, text) in zip(axes, columns.items(), strict=True):
        for name, colour in zip(classes, (BLUE, VERMILION), strict=True):
            values = table.loc[table["label"] == name, column]
            sns.histplot(
                x=values,
                ax=ax,
                color=colour,
                label=entry(name),
                stat="probability",
                bins=24,
                element="step",
                alpha=0.35,
            )
        ax.set(xlabel=text, ylabel="share of films" if ax is axes[0] else "")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def importances(table: pd.DataFrame) -> Figure:
    """How much the file-facts probe loses when one fact is shuffled."""
    told = ", ".join(f"{row.fact} {row.mean:.3f}" for row in table.head(3).itertuples())
    figure, (ax,) = panels(f"Permutation importance of file facts, strongest: {told}.", 1, (6.4, 3.0))
    ax.barh(table["fact"], table["mean"], xerr=table["sd"], color=GREY, ecolor="black", height=0.6)
    ax.invert_yaxis()
    ax.set(xlabel="fall of the held-out AUROC when the fact is shuffled (mean ± sd)")
    ax.grid(visible=False, axis="y")
    return figure


def before_after(shown: Sequence[Shown], images: Pixels) -> Figure:
    """Films as given above the same films as the CNN gets them, uint8 (n, H, W)."""
    count = len(shown)
    figure = _figure(
        f"{count} films before and after preparation to {images.shape[1]}×{images.shape[2]} grey.", (1.25 * count, 3.0)
    )
    axes = figure.subplots(2, count, squeeze=False)
    for i, item in enumerate(shown):
        draw_film(axes[0, i], item.film.pixels, f"{_name(item)}\n{item.film.mode}, {item.film.pixels.shape[0]} px")
        draw_film(axes[1, i], images[i], f"grey, {images.shape[1]} px")
    return figure


def split_parts(split: pd.DataFrame) -> Figure:
    """Films of each class in each part."""
    counts = pd.crosstab(split["part"], split["label"]).loc[["train", "val", "test"]]
    told = "; ".join(f"{part}: " + ", ".join(f"{n} {v}" for n, v in row.items()) for part, row in counts.iterrows())
    figure, (ax,) = panels(f"Films a part. {told}.", 1, (6.4, 2.0))
    counts.rename(columns=entry).plot.barh(stacked=True, ax=ax, color=[BLUE, VERMILION], width=0.6)
    for container in ax.containers:
        ax.bar_label(container, label_type="center", color="white", fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="films", ylabel="")
    ax.legend(frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    ax.grid(visible=False, axis="y")
    return figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Loss, accuracy, F1 and learning rate by epoch, the kept epoch marked."""
    best = history.loc[history["val_loss"].idxmin()]
    last, kept = history["epoch"].iloc[-1], best["epoch"]
    alt = f"Training over {last:g} epochs; kept: epoch {kept:g}, validation F1 {best['val_f1']:.3f}."
    figure, axes = panels(alt, 4, (10.0, 2.6))
    for ax, name in zip(axes, ("loss", "accuracy", "f1"), strict=False):
        for part, colour, style in (("train", GREY, "--"), ("val", VERMILION, "-")):
            label = {"train": "training (augmented)", "val": "validation"}[part]
            ax.plot(
                history["epoch"], history[f"{part}_{name}"], style, color=colour, label=label, marker=".", markersize=4
            )
        ax.set(title={"f1": "F1"}.get(name, name), xlabel="epoch")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8)
    axes[3].step(history["epoch"], history["lr"], where="mid", color="black")
    axes[3].set(title="learning rate", xlabel="epoch", yscale="log")
    for ax in axes:
        ax.axvline(best["epoch"], color=BLUE, linestyle=":")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def confusion_matrices(points: dict[str, dict[str, Any]], classes: tuple[str, str]) -> Figure:
    """One confusion matrix an operating point."""
    told = "; ".join(f"at {name}: " + _listed(point["confusion"]) for name, point in points.items())
    figure, axes = panels(f"Confusion matrices on test. {told}.", len(points), (9.6, 3.0))
    for ax, (name, point) in zip(axes, points.items(), strict=True):
        cells = point["confusion"]
        counts = np.array([[cells["tn"], cells["fp"]], [cells["fn"], cells["tp"]]])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        labels = [[f"{n}\n{s:.0%}" for n, s in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)]
        sns.heatmap(shares, annot=labels, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, ax=ax, square=True)
        title = (
            "threshold 0.5"
            if name == "0.5"
            else f"{name.split('_')[1]} % sensitivity on validation\n(threshold {point['threshold']:.3g})"
        )
        ax.set(title=title, xlabel="called", xticklabels=classes)
        ax.set_yticklabels(classes if ax is axes[0] else ["", ""], rotation=90, va="center")
    axes[0].set_ylabel("true")
    return figure


def roc_and_precision_recall(test: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """ROC and precision-recall curves on test, the operating points on them."""
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
        text = "threshold 0.5" if name == "0.5" else f"{name.split('_')[1]} % on validation"
        left.plot(1 - point["specificity"]["value"], sensitivity, mark, color="black", label=text, clip_on=False)
        if ppv is not None:
            right.plot(sensitivity, ppv, mark, color="black", clip_on=False)
    left.legend(frameon=False, loc="lower right")
    return figure


def reliability(test: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """Observed share of positives against the probability, before and after calibration, and both score histograms."""
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


def mistakes(rows: pd.DataFrame, images: Pixels, columns: int = 6) -> Figure:
    """Films with what they are and the probability that the CNN gave them; images uint8 (n, H, W)."""
    alt = "; ".join(f"{short(r.file)}: {r.label}, probability {r.probability:.2f}" for r in rows.itertuples())
    figure, axes = tiles(len(rows), columns, f"Films the CNN gets most wrong. {alt}.")
    for ax, image, row in zip(axes, images, rows.itertuples(), strict=True):
        draw_film(ax, image, f"{short(str(row.file))}\ntruly {row.label}\nscore {row.probability:.2f}")
    return figure


def accuracy_ladder(results: dict[str, Any], majority_accuracy: float) -> Figure:
    """Accuracy (test films) and AUROC (all films) of each cue alone, beside the CNN."""
    rows = {name: (probe["test"]["accuracy"], probe["all"]["auroc"]) for name, probe in results["probes"].items()}
    rows["CNN (whole image)"] = (results["cnn"]["accuracy"], results["cnn"]["auroc"])
    told = "; ".join(
        f"{name}: accuracy {acc['value']:.3f}, AUROC {auc['value']:.3f}" for name, (acc, auc) in rows.items()
    )
    figure, axes = panels(f"What each cue alone reaches. {told}.", 2, (9.6, 3.4), sharey=True)
    places = np.arange(len(rows))
    for ax, column, title in (
        (axes[0], 0, "accuracy on the test films"),
        (axes[1], 1, "AUROC (probes: all films, CNN: test)"),
    ):
        numbers = pd.DataFrame([row[column] for row in rows.values()])
        for place, colour in zip(places, [GREY] * (len(rows) - 1) + [VERMILION], strict=True):
            row = numbers.iloc[[place]]
            _whiskers(ax, row["value"], row["low"], row["high"], places[[place]], colour, "")
        ax.set(title=title, xlim=(0.45, 1.01))
    axes[0].set_yticks(places, list(rows))
    axes[0].invert_yaxis()
    axes[0].axvline(majority_accuracy, color=GREY, linestyle=":")
    axes[1].axvline(0.5, color=GREY, linestyle=":")
    return figure


def answer_figure(name: str, given: Pixels, seen: Pixels, found: Floats | None, place: Place, sentence: str) -> Figure:
    """A film as given, as the model sees it, with what moves its score where that is known, and where the score lies.

    Args:
        name: of the film.
        given: uint8 (H, W) or (H, W, 3).
        seen: uint8 (S, S).
        found: float (S, S), which pixels move the logit, or None.
        place: the score among those of the test films.
        sentence: the answer in words.
    """
    alt = f"The film {name} as given and as the model sees it. {sentence} {place_sentence(place)}"
    count = 3 if found is None else 4
    figure, axes = panels(alt, count, (8.6, 8.6 / count + 0.4), width_ratios=(*(1,) * (count - 1), 1.3))
    title = f"{name}\n{sentence}"  # names of files may hold a $
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, parse_math=False)
    draw_film(axes[0], given, "as given")
    draw_film(axes[1], seen, f"as the model sees it, {len(seen)} px")
    if found is not None:
        draw_film(axes[2], overlay(seen, found), "what moves the score")
    _draw_place(axes[-1], place)
    return figure


class Place(NamedTuple):
    """A film's score among those of the test films.

    Attributes:
        logit: the film's.
        threshold: of the operating point, a probability.
        by_class: class name, negative first -> float (n,), logits of the test films; empty where they are not known.
    """

    logit: float
    threshold: float
    by_class: dict[str, Floats]

    @property
    def threshold_logit(self) -> float:
        """The threshold on the axis of logits."""
        return float(logit(self.threshold))

    @property
    def axis(self) -> tuple[float, float]:
        """The logits between which the test films lie, and a score of 0.5 with room beside it."""
        known = np.concatenate([[-5.0, 5.0], *self.by_class.values()])
        return float(known.min()) - 0.5, float(known.max()) + 0.5

    def share(self, logit: float) -> float:
        """Where a logit lies on the axis, 0 … 1; what lies beyond an end is put there."""
        low, high = self.axis
        return min(max((logit - low) / (high - low), 0.0), 1.0)


def place_figure(place: Place) -> Figure:
    """Where a film's score lies among those of the test films."""
    figure, (ax,) = panels(place_sentence(place), 1, (4.4, 2.0))
    _draw_place(ax, place)
    return figure


def place_sentence(place: Place) -> str:
    """How many test films of each class score at least as high."""
    higher = [
        f"{int((logits >= place.logit).sum())} of {len(logits)} {name}" for name, logits in place.by_class.items()
    ]
    return f"{' and '.join(higher)} test films score at least as high." if higher else ""


TICKS = (1e-6, 1e-3, 0.5, 0.999, 0.999999)  # scores marked on an axis of logits, 7 apart


def _draw_place(ax: Axes, place: Place) -> None:
    """Histograms of both classes' logits, the axis told in scores; this film's as a line, the threshold dotted."""
    bins = np.linspace(*place.axis, 25)
    for (name, logits), colour in zip(place.by_class.items(), (BLUE, VERMILION), strict=False):
        counts = np.histogram(logits, bins)[0]
        ax.stairs(100 * counts / max(len(logits), 1), bins, fill=True, color=colour, alpha=0.6, label=entry(name))
    ax.axvline(place.threshold_logit, color="black", linestyle=":", label="threshold")
    ax.axvline(bins[0] + place.share(place.logit) * np.ptp(bins), color="black", linewidth=2, label="this film")
    inside = [tick for tick in TICKS if bins[0] <= logit(tick) <= bins[-1]]
    ax.set_xticks([logit(tick) for tick in inside], [f"{tick:.6g}" for tick in inside], fontsize=7)
    ax.set(xlabel="score (logit scale)", ylabel="% of the class's test films", xlim=(bins[0], bins[-1]))
    ax.legend(frameon=False, fontsize=7, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def overlay(film: Pixels, found: Floats) -> Pixels:
    """Uint8 (S, S, 3): a film, uint8 (S, S), under the pixels that move a score, float (S, S), from dark to bright."""
    share = np.clip(found / max(float(np.quantile(found, 0.99)), 1e-30), 0, 1)[..., None]
    colours = mpl.colormaps["inferno"](found / max(float(found.max()), 1e-30))[..., :3]
    return np.rint(film[..., None] * (1 - 0.75 * share) + 255 * colours * 0.75 * share).astype(np.uint8)


def _figure(alt: str, size: tuple[float, float]) -> Figure:
    with mpl.rc_context({**sns.axes_style("whitegrid"), "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
    figure.set_label(alt)
    return figure


def nothing(sentence: str) -> Figure:
    """A figure that says why there is none."""
    figure = _figure(sentence, (6.4, 0.6))
    figure.text(0, 0.5, sentence, va="center")
    return figure


def panels(alt: str, count: int, size: tuple[float, float], **how: Any) -> tuple[Figure, npt.NDArray[Any]]:
    """A figure with `count` axes side by side."""
    figure = _figure(alt, size)
    with mpl.rc_context({**sns.axes_style("whitegrid"), "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9}):
        axes = figure.subplots(1, count, squeeze=False, **how)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def tiles(count: int, columns: int, alt: str, legend: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows of `columns`, for pictures."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = _figure(alt, (10.0 * columns / max(columns, 5), (10.0 / max(columns, 5) + 0.42) * rows + 0.35 * legend))
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def draw_film(ax: Axes, pixels: Pixels, title: str) -> None:
    """A film in grey, or as it is, on axes without ticks."""
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=7)
    ax.set_axis_off()


def _outline(ax: Axes, box: tuple[float, float, float, float], colour: str) -> None:
    left, top, width, height = box
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=1.4))


def _border_outline(ax: Axes, item: Shown) -> None:
    if item.row["bordered"]:
        top, right, bottom, left = widths_from_text(item.row["border"])
        height, width = item.film.pixels.shape[:2]
        film = Rectangle((left - 0.5, top - 0.5), width - left - right, height - top - bottom, fill=False)
        middle = Affine2D().rotate_deg_around(width / 2, height / 2, -item.row["border_tilt"])
        film.set(edgecolor=BOXES["border"], linewidth=1.4, transform=middle + ax.transData)
        ax.add_patch(film)
        ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _whiskers(
    ax: Axes, value: pd.Series, low: pd.Series, high: pd.Series, place: npt.NDArray[Any], colour: str, label: str
) -> None:
    ax.hlines(place, low, high, color=colour, linewidth=2)
    ax.plot(value, place, "o", color=colour, markersize=5, label=label)


def entry(name: str) -> str:
    """A name in a legend, from which matplotlib would leave out one that begins with an underscore."""
    return f"\u200a{name}" if name.startswith("_") else name


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _name(item: Shown) -> str:
    return short(item.row["file"])


def short(file: str) -> str:
    """The file's own name without folders and ending, cut where it is long."""
    stem = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return stem if len(stem) <= 18 else f"{stem[:17]}…"
