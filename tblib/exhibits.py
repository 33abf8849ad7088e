"""Exhibits: the figures of the shortcut audit; each takes the audit's numbers and carries its alt text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tblib.edits import Mask
from tblib.figures import BLUE, GREY, VERMILION, draw_film, entry, nothing, overlay, panels, short, tiles
from tblib.film import Pixels
from tblib.metrics import Floats
from tblib.probes import RULE
from tblib.verdicts import AVAILABLE, DECISIVE, NOT_SHOWN, THRESHOLDS, UNDECIDED, USED

GREEN, SKY, ORANGE = "#009E73", "#56B4E9", "#E69F00"
COLOURS = {DECISIVE: VERMILION, USED: ORANGE, AVAILABLE: SKY, NOT_SHOWN: GREEN, UNDECIDED: GREY}
MARKS = "osD^vPX*"


def waterfall(probed: dict[str, Any], ladder: list[dict[str, Any]]) -> Figure:
    """AUROC from what needs no picture up to the whole film: probes, retrained small CNNs, and the CNN at hand."""
    rows = [(name, probe["all"]["auroc"], 0.0, None) for name, probe in probed["probes"].items() if name != RULE]
    probes_end = len(rows)
    rows += [
        (
            f"CNN: {row['rung']}",
            {"value": row["mean"], "low": row["low"], "high": row["high"]},
            row["sd"],
            row["masked"]["value"],
        )
        for row in ladder
    ]
    rows.append(("the CNN at hand, whole film", probed["held_out"]["auroc"], 0.0, None))
    told = "; ".join(f"{name} {area['value']:.3f}" for name, area, _, _ in rows)
    figure, (ax,) = panels(f"Accuracy waterfall, AUROC of each rung. {told}.", 1, (8.6, 0.34 * len(rows) + 0.9))
    for place, (_name, area, sd, masked) in enumerate(rows):
        colour = BLUE if place < probes_end else VERMILION if place == len(rows) - 1 else "black"
        ax.barh(place, area["value"] - 0.5, left=0.5, color=colour, alpha=0.18, height=0.7)
        ax.hlines(place, area["low"], area["high"], color=colour, linewidth=1)
        ax.hlines(place, area["value"] - sd, area["value"] + sd, color=colour, linewidth=4)
        ax.plot(area["value"], place, "o", color=colour, markersize=5)
        ax.text(1.015, place, f"{area['value']:.3f}", va="center", fontsize=8)
        if masked is not None:
            ax.plot(masked, place, "s", color=VERMILION, markersize=5, markerfacecolor="none")
    ax.axvline(0.5, color=GREY, linestyle=":")
    ax.set_yticks(range(len(rows)), [name for name, *_ in rows])
    ax.invert_yaxis()
    lowest = min([0.45, *(area["low"] for _, area, _, _ in rows), *(m for *_, m in rows if m is not None)])
    ax.set(xlabel="AUROC (blue: probes, all films; black: retrained, held-out films)", xlim=(lowest - 0.02, 1.08))
    ax.grid(visible=False, axis="y")
    return figure


def edit_pairs(names: list[str], films: list[tuple[Pixels, Pixels, Pixels]]) -> Figure:
    """For each suspect a film as it is, after the edit, after the placebo, all as the model sees them."""
    if not films:
        return nothing("No suspect can be edited on these films.")
    figure, axes = tiles(3 * len(films), 9, f"Films as they are, edited and with a placebo: {', '.join(names)}.")
    for place, (name, triple) in enumerate(zip(names, films, strict=True)):
        for ax, film, what in zip(axes[3 * place : 3 * place + 3], triple, ("as it is", name, "placebo"), strict=True):
            draw_film(ax, film, what)
    return figure


def effects(edited: dict[str, Any]) -> Figure:
    """Mean movement of the logit and share of turned calls, sufficiency and necessity, of each suspect."""
    ways = (("sufficiency", "o", VERMILION, "put on films without it"), ("necessity", "s", BLUE, "taken off carriers"))
    names = [name for name, found in edited.items() if any(found[way] for way, *_ in ways)]
    told = "; ".join(
        f"{name}, {way}: {found.mean.value:+.2f} logits, {found.flips.value:.1%} of calls"
        for name in names
        for way, *_ in ways
        if (found := edited[name][way])
    )
    figure, axes = panels(f"Effects of edits over placebos. {told}.", 2, (9.6, 0.38 * len(names) + 1.2), sharey=True)
    for ax, part, title in zip(
        axes, ("mean", "flips"), ("logit, edit over placebo", "share of calls turned"), strict=True
    ):
        for shift, (way, mark, colour, label) in zip((-0.14, 0.14), ways, strict=True):
            for place, name in enumerate(names):
                if found := edited[name][way]:
                    value = getattr(found, part)
                    ax.hlines(place + shift, value.low, value.high, color=colour, linewidth=1.6)
                    ax.plot(value.value, place + shift, mark, color=colour, markersize=5)
            ax.plot([], [], mark, color=colour, label=label)
        ax.axvline(0, color=GREY, linestyle=":")
        ax.set(xlabel=f"{title}, towards the cue's class")
        ax.grid(visible=False, axis="y")
    axes[1].axvline(THRESHOLDS["flips"], color=GREY, linestyle="--", linewidth=0.8)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[1].legend(frameon=False, fontsize=8)
    return figure


def doses(edited: dict[str, Any]) -> Figure:
    """Mean movement of the logit over the placebo at each dose of each suspect's edit."""
    told, shown = [], {name: found["doses"] for name, found in edited.items() if found.get("doses")}
    figure, (ax,) = panels("", 1, (6.8, 3.2))
    for place, (name, rows) in enumerate(shown.items()):
        rows = [row for row in rows if row["mean"] is not None]
        if not rows:
            continue
        told.append(f"{name}: " + ", ".join(f"×{row['dose']:g} {row['mean']:+.2f}" for row in rows))
        colour = (VERMILION, BLUE, GREEN, ORANGE, SKY, "black", GREY)[place % 7]
        x, y = [row["dose"] for row in rows], [row["mean"] for row in rows]
        ax.fill_between(x, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.12)
        ax.plot(x, y, marker=MARKS[place % len(MARKS)], color=colour, label=name)
    ax.axhline(0, color=GREY, linestyle=":")
    ax.set(xlabel="dose (1 is the edit that is judged)", ylabel="logit towards positive, over placebo")
    ax.legend(frameon=False, fontsize=8, bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.set_label(f"Dose and response of edits, in logits over the placebo. {'; '.join(told)}.")
    return figure


def power(planted: dict[str, Any]) -> Figure:
    """Share of planted cues that the audit calls used, by strength, and false alarms of the negative controls."""
    curve = pd.DataFrame([row | row["used"] for row in planted["curve"]])
    told = "; ".join(f"{r.suspect} at p={r.p:g}: {r.value:.0%} of {r.n}" for r in curve.itertuples())
    controls = "; ".join(
        f"{row['control']}: {row['used']['value']:.1%} of {row['tests']} tests" for row in planted["controls"]
    )
    figure, (left, right) = panels(
        f"Power of the audit. {told}. False alarms. {controls}.", 2, (9.6, 3.4), width_ratios=(1.6, 1)
    )
    names = list(dict.fromkeys(curve["suspect"]))
    for place, name in enumerate(names):
        rows, aside = curve[curve["suspect"] == name], 0.004 * (place - len(names) / 2)
        colour = (VERMILION, BLUE, GREEN, ORANGE, SKY, "black", GREY)[place % 7]
        left.errorbar(
            rows["p"] + aside,
            rows["value"],
            (rows["value"] - rows["low"], rows["high"] - rows["value"]),
            marker=MARKS[place % len(MARKS)],
            color=colour,
            label=name,
            elinewidth=0.7,
        )
    left.axhline(THRESHOLDS["power"], color=GREY, linestyle="--", linewidth=0.8)
    left.axhline(THRESHOLDS["level"], color=GREY, linestyle=":")
    left.set(xlabel="p of the planted cue", ylabel="share called used", ylim=(-0.03, 1.05), xlim=(0.47, 1.03))
    left.legend(frameon=False, fontsize=7, loc="center left")
    _controls(right, planted["controls"])
    return figure


def _controls(ax: Axes, controls: list[dict[str, Any]]) -> None:
    for place, row in enumerate(controls):
        for shift, what, colour in ((-0.12, "used", VERMILION), (0.12, "moved", GREY)):
            share = row[what]
            ax.hlines(place + shift, share["low"], share["high"], color=colour)
            ax.plot(share["value"], place + shift, "o", color=colour, label=what if place == 0 else "")
    ax.axvline(THRESHOLDS["level"], color=GREY, linestyle=":")
    ax.set_yticks(range(len(controls)), [row["control"].replace(" of the", "\nof the") for row in controls])
    ax.set(xlabel="share of negative controls", xlim=(-0.02, 1), ylim=(len(controls) - 0.5, -0.5))
    ax.legend(frameon=False, fontsize=8)
    ax.grid(visible=False, axis="y")


def groups(matched: dict[str, Any]) -> Figure:
    """Accuracy of the CNN in each group of label and cues."""
    rows = matched["groups"]
    if not rows:
        return nothing("No group of label and cues has films enough.")
    told = "; ".join(f"{row['group']} {row['value']:.1%} of {row['n']}" for row in rows)
    figure, (ax,) = panels(f"Accuracy by label and cues, worst first. {told}.", 1, (6.8, 0.32 * len(rows) + 1))
    for place, row in enumerate(rows):
        ax.hlines(place, row["low"], row["high"], color=VERMILION if place == 0 else BLUE, linewidth=2)
        ax.plot(row["value"], place, "o", color=VERMILION if place == 0 else BLUE)
    ax.set_yticks(range(len(rows)), [f"{row['group']} ({row['n']})" for row in rows])
    ax.invert_yaxis()
    ax.set(xlabel="accuracy at 0.5, held-out films (95 % interval)", xlim=(-0.02, 1.02))
    ax.grid(visible=False, axis="y")
    return figure


def saliency(images: Pixels, maps: Floats, fields: Mask, rows: pd.DataFrame, looked: dict[str, Any]) -> Figure:
    """Films with what moves the logit laid over them, and the outline of the lung field; or why there are none."""
    gate = looked["gate"]
    if not gate["open"]:
        return nothing(
            f"No maps are shown: they correlate at {gate['correlation']:.2f} with those of random weights "
            f"(limit {gate['limit']})."
        )
    names = ", ".join(f"{short(str(row.file))} ({row.label})" for row in rows.itertuples())
    figure, axes = tiles(len(images), 6, f"Saliency maps of {len(images)} films with lung outlines: {names}.")
    for ax, image, found, field, row in zip(axes, images, maps, fields, rows.itertuples(), strict=True):
        draw_film(ax, overlay(image, found), f"{short(str(row.file))}\n{row.label}")
        if field.any():
            ax.contour(field, levels=[0.5], colors=[SKY], linewidths=0.9)
    return figure


def abroad(found: dict[str, Any], classes: tuple[str, str]) -> Figure:
    """Score histograms per class: this database's test films above, each external set below."""
    sets = found["sets"]
    if not sets:
        return nothing("No external database was given (parameter external), so no other hospital's films are shown.")
    told = "; ".join(f"{one['set']}: AUROC {one['auroc']['value']:.3f}" for one in sets)
    figure, axes = panels(f"Score histograms inside and outside. {told}.", 1 + len(sets), (3.4 * (1 + len(sets)), 2.8))
    shown = [("this database, test", sets[0]["internal_histograms"], None)]
    shown += [(one["set"], one["histograms"], one) for one in sets]
    for ax, (name, counts, one) in zip(axes, shown, strict=True):
        for label, colour in (("0", BLUE), ("1", VERMILION)):
            share = np.array(counts[label]) / max(sum(counts[label]), 1)
            edges = np.linspace(0, 1, len(share) + 1)
            ax.stairs(share, edges, color=colour, fill=True, alpha=0.45, label=entry(classes[int(label)]))
        title = name if one is None else f"{name}: AUROC {one['auroc']['value']:.3f}"
        ax.set(title=title, xlabel="score", ylabel="share of the class's films" if ax is axes[0] else "")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def pareto(cured: list[dict[str, Any]]) -> Figure:
    """Remedies: the AUROC that matters (external where there is one, else matched) against what is left of effects."""
    by = "external" if cured[0]["external"] else "matched"
    points = [
        (row["remedy"], row["effect"], row["external"][0] if by == "external" else row["matched"]) for row in cured
    ]
    points = [point for point in points if point[2]["mean"] is not None]
    if not points:
        return nothing("No pairs of films are alike enough to compare remedies on, and no external database was given.")
    told = "; ".join(f"{name}: effect {x['mean']:.2f} sd, AUROC {y['mean']:.3f}" for name, x, y in points)
    figure, (ax,) = panels(f"Remedies: effect left against {by} AUROC. {told}.", 1, (7.6, 4.0))
    best = _undominated([(x["mean"], -y["mean"]) for _, x, y in points])
    for place, (name, x, y) in enumerate(points):
        colour = VERMILION if place in best else GREY
        ax.errorbar(x["mean"], y["mean"], y["sd"], x["sd"], fmt=MARKS[place % len(MARKS)], color=colour, elinewidth=0.7)
        ax.annotate(name.replace("+", " + "), (x["mean"], y["mean"]), (5, 4), textcoords="offset points", fontsize=7)
    ax.axhline(0.5, color=GREY, linestyle=":")
    where = f"on {cured[0]['external'][0]['set']}" if by == "external" else "within matched pairs"
    ax.set(xlabel="largest effect left, sd of the logits (less is better)", ylabel=f"AUROC {where}")
    ax.margins(x=0.15)
    return figure


def _undominated(points: list[tuple[float, float]]) -> set[int]:
    """Places of the points than which no other is less in both."""
    return {i for i, (x, y) in enumerate(points) if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)}


def verdicts(results: dict[str, Any]) -> Figure:
    """One line a suspect: exists, predicts, used, and the verdict."""
    rows = results["verdicts"]
    told = "; ".join(f"{row['suspect']}: {row['verdict']}" for row in rows)
    figure, axes = panels(f"Verdicts. {told}.", 3, (9.8, 0.36 * len(rows) + 1.3), sharey=True)
    titles = ("exists: AUROC of its own score", "predicts: AUROC of its probe", "used: logit over placebo")
    for place, row in enumerate(rows):
        colour, evidence = COLOURS[row["verdict"]], row["evidence"]
        used = [evidence[way]["mean"] for way in ("sufficiency", "necessity") if evidence[way]]
        for ax, values in zip(axes, ([evidence["exists"]], [evidence["probe"]], used), strict=True):
            for shift, value in zip((0.0, 0.22), values, strict=False):
                if value["value"] is not None:
                    ax.hlines(place + shift, value["low"], value["high"], color=colour, linewidth=2)
                    ax.plot(value["value"], place + shift, "o" if shift == 0 else "s", color=colour, markersize=5)
        axes[2].text(
            1.02, place, row["verdict"], transform=axes[2].get_yaxis_transform(), va="center", fontsize=8, color=colour
        )
    for ax, title, null in zip(axes, titles, (0.5, 0.5, 0.0), strict=True):
        ax.set(xlabel=title)
        ax.axvline(null, color=GREY, linestyle=":")
        ax.grid(visible=False, axis="y")
    axes[1].axvline(THRESHOLDS["probe"], color=GREY, linestyle="--", linewidth=0.8)
    axes[0].set_yticks(range(len(rows)), [row["suspect"] for row in rows])
    axes[0].invert_yaxis()
    return figure
