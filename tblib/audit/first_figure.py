"""The figure that the report shows first: the model beside small CNNs with and without lungs, and other hospitals."""

from typing import Any

from matplotlib.figure import Figure

from tblib.audit.choice import LABEL, choosing, reported
from tblib.audit.views import BLIND, WHOLE
from tblib.metrics import Estimate
from tblib.show.plots import GREY, INK, PURPLE, cased, panels, short
from tblib.show.text import interval_of

ALIKE = 0.01  # AUROC: closer ones are called alike
LARGE = 11.0  # points: the first figure is read on a telephone, too
PLAIN = {
    WHOLE.name: "whole films",
    BLIND.name: "lungs painted over",
    "border 5 %": "border 5 % only",
    "lungs only": "lungs only",
}
FIRST = (BLIND.name, WHOLE.name, "border 5 %", "lungs only")  # regions of the first figure, the more important first


def conclusion(regions: list[dict[str, Any]], own: dict[str, float], sets: list[dict[str, Any]]) -> str:
    """What the figures of this chapter show, in a sentence."""
    blind = next(row for row in regions if row["region"] == BLIND.name)
    same, within = blind["mean"] >= own["value"] - ALIKE, blind["mean"] >= own["low"]
    do = "do as well as" if same else "are not shown to do worse than" if within else "do worse than"
    text = f"Small CNNs that see no lung {do} the model on whole films, AUROC {blind['mean']:.3f} and "
    text = f"{text}{own['value']:.3f}"
    for where, some in (
        ("on other hospitals' films", reported(sets)),
        ("on films on which its settings were chosen", choosing(sets)),
    ):
        there = ", ".join(f"{one['auroc']['value']:.3f} on {one['set']}" for one in some)
        text += f"; {where} the model has {there}" if there else ""
    return f"{text}."


def figure(results: dict[str, Any]) -> Figure:
    """What the report shows first: the model, small CNNs with and without lungs, and other hospitals' films.

    `results` is the content of ``shortcuts.json``.
    """
    regions, own, sets = results["region_ablation"], results["cnn"]["auroc"], results["external"]["sets"]
    sets = (reported(sets) + choosing(sets))[:3]
    named = {row["region"]: row for row in regions}
    shown = [name for name in FIRST if name in named][: max(2, 5 - len(sets))]
    rows = [("The model: whole films", own, PURPLE)]
    for name in sorted(shown, key=list(PLAIN).index):
        row = named[name]
        rows.append((f"Small CNN: {PLAIN[name]}", {"value": row["mean"], "low": row["low"], "high": row["high"]}, GREY))
    for mark, some in (("*", reported(sets)), ("†", choosing(sets))):
        rows += [(f"The model: {short(one['set'])}{mark}", one["auroc"], PURPLE) for one in some]
    told = "; ".join(f"{name.rstrip('*†')} {Estimate(**interval_of(area)).text()}" for name, area, _ in rows)
    alt = f"{conclusion(regions, own, sets)} AUROC with 95 % intervals: {told}."
    figure, (ax,) = panels(alt, 1, (6.2, 0.36 * len(rows) + 0.85 + 0.2 * bool(choosing(sets))))
    for place, (_, area, colour) in enumerate(rows):
        ax.barh(place, area["value"] - 0.5, left=0.5, color=colour, height=0.62)
        ax.hlines(place, area["low"], area["high"], color="black", linewidth=2.2, path_effects=cased(4.2, "white"))
        text = f"{area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})"
        ax.text(1.03, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=LARGE)
    ax.axvline(0.5, color=INK, linestyle=":", linewidth=1.8)
    ax.text(0.5, -0.55, "guessing", ha="center", va="bottom", fontsize=LARGE)
    lowest = min(area["low"] for _, area, _ in rows)
    ax.set(xlim=(min(0.4, lowest - 0.02), 1), ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=LARGE)
    other = "\n* another hospital's films" * bool(reported(sets)) + f"\n† {LABEL}" * bool(choosing(sets))
    ax.set_xlabel(f"AUROC, 95 % interval (1 is perfect){other}", fontsize=LARGE)
    ax.xaxis.get_major_locator().set_params(nbins=4)
    ax.tick_params(labelsize=LARGE)
    ax.grid(visible=False, axis="y")
    return figure
