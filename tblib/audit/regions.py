"""Region ablation: small CNNs retrained on a part of the film, down to no lung in view."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tblib.arrays import Floats
from tblib.audit.first_figure import conclusion
from tblib.audit.pairs import BATCH, enlarged
from tblib.audit.study import Audit
from tblib.audit.trainings import over_seeds
from tblib.audit.views import BLIND, REGIONS, WHOLE
from tblib.eda.baselines import RULE
from tblib.metrics import ranking
from tblib.show.plots import FONT, GREY, INK, PURPLE, key, legend_below, panels
from tblib.show.text import by_name, estimate, how_many, mean_sd, of_trainings, percent


def measure(audit: Audit) -> list[dict[str, Any]]:
    """AUROC of small CNNs retrained on each region of the films, and of the audited model on the same films.

    One row per region: region, sees, lung (share of the lungs in view), n, trained_on (films), seeds, mean, sd, low,
    high (of the mean over seeds, by a bootstrap of films), masked (the audited model without retraining: this also
    measures how unusual such a film is to it).
    """
    trained_on, seeds = int(audit.train[audit.fitted_rows].sum()), audit.budget.seeds
    how = {"n": len(audit.logits), "trained_on": trained_on, "seeds": seeds}
    masks, masked = audit.masks_of(audit.held_out_rows), _masked(audit)
    table = []
    for name, logits in audit.region_logits.items():
        region = REGIONS[name]
        lung = (region.in_view(masks, 0) & masks).sum() / max(masks.sum(), 1)
        unchanged = ranking(audit.held_out_with(masked[name]), audit.weights)
        areas = over_seeds(audit.held_out, audit.weights, logits)
        what = {"region": region.name, "sees": region.sees, "lung": float(lung)}
        table.append(what | how | areas | {"masked": unchanged._asdict()})
    return table


def _masked(audit: Audit) -> dict[str, Floats]:
    """Region -> the audited model's logits (H,) of the held-out films, cut to the region at their own size."""
    rows, names = audit.held_out_rows, list(audit.region_logits)
    found: dict[str, list[Floats]] = {name: [] for name in names}
    whole = audit.masks_in_files(rows)
    views = {name: whole if REGIONS[name].outline else REGIONS[name].in_view(whole, 0) for name in names}
    for start in range(0, len(rows), BATCH):
        places = np.arange(start, min(start + BATCH, len(rows)))
        pictures = audit.pictures(rows[places])
        for name in names:
            of = REGIONS[name]
            cut = [of.left_of_film(f, enlarged(views[name][i], f)) for i, f in zip(places, pictures, strict=True)]
            found[name].append(audit.logits_of(cut, rows[places]))
    return {name: np.concatenate(each) for name, each in found.items()}


def figure(baselines: dict[str, Any], regions: list[dict[str, Any]]) -> Figure:
    """AUROC from baselines that need no picture up to the whole film: baselines, small CNNs, audited model."""
    alone = {name: one["all"]["auroc"] for name, one in baselines["baselines"].items() if name != RULE}
    own, start = baselines["held_out"]["auroc"], len(alone)
    names = [*(f"baseline: {name}" for name in alone), *(f"small CNN: {row['region']}" for row in regions)]
    values = [*(area["value"] for area in alone.values()), *(row["mean"] for row in regions), own["value"]]
    told = "; ".join(f"{name} {value:.3f}" for name, value in zip(names, values, strict=False))
    alt = f"{conclusion(regions, own, [])} AUROC: {told}."
    figure, (ax,) = panels(alt, 1, (6.8, 0.27 * len(values) + 1.7))
    for place, area in enumerate(alone.values()):
        _draw(ax, place, area, GREY, "o")
    for place, row in enumerate(regions, start):
        area, sd = {"value": row["mean"], "low": row["low"], "high": row["high"]}, row["sd"] or 0.0
        ax.hlines(place, row["mean"] - sd, row["mean"] + sd, color=INK, linewidth=4.5)
        _draw(ax, place, area, INK, "o")
        ax.plot(row["masked"]["value"], place + 0.2, "s", color=PURPLE, markersize=5.5, markerfacecolor="white")
    _draw(ax, len(values) - 1, own, PURPLE, "D")
    ax.axvline(0.5, color=INK, linestyle=":")
    for edge in (start - 0.5, len(values) - 1.5):
        ax.axhline(edge, color=GREY, linewidth=0.6)
    ax.set_yticks(range(len(values)), [*names, "the model: whole film"])
    ax.invert_yaxis()
    lowest = min([0.45, own["low"], *(area["low"] for area in alone.values())])
    lowest = min([lowest, *(min(row["low"], row["masked"]["value"]) for row in regions)])
    films = f"n = {next(iter(baselines['baselines'].values()))['all']['films']:,} films"
    ax.set(
        xlabel=f"AUROC (baselines: {films}, cross-validated; others: n = {baselines['held_out']['films']:,} held out)"
    )
    ax.set(xlim=(lowest - 0.02, 1.01), ylim=(len(values) - 0.5, -0.5))
    ax.grid(visible=False, axis="y")
    legend_below(figure, 2, _keys(regions))
    return figure


def _draw(ax: Axes, place: float, area: dict[str, float], colour: str, mark: str) -> None:
    """An AUROC with its interval over films, and its value at the right."""
    ax.hlines(place, area["low"], area["high"], color=colour, linewidth=1.2)
    ax.plot(area["value"], place, mark, color=colour, markersize=5.5)
    ax.text(1.02, place, f"{area['value']:.3f}", transform=ax.get_yaxis_transform(), va="center", fontsize=FONT)


def _keys(regions: list[dict[str, Any]]) -> list[Line2D]:
    seeds = regions[0]["seeds"] if regions else 1
    return [
        key("a cue alone, without a CNN", GREY, "o"),
        key("small CNN trained on this region", INK, "o"),
        key("the model on whole films", PURPLE, "D"),
        key("the model on this region, not retrained", PURPLE, "s", hollow=True),
        key("95 % interval over films", INK, line="-", width=1.2),
        key("guessing", INK, line=":"),
        *([key(f"± sd over {how_many(seeds, 'training')}", INK, line="-", width=4.5)] if seeds > 1 else []),
    ]


def finding(baselines: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """How much is left without the lungs; then each region, those without and those with lung in view."""
    whole, blind = (next(row for row in rows if row["region"] == one.name) for one in (WHOLE, BLIND))
    own = baselines["held_out"]
    text = (
        f"{_kept(blind, whole)} with the lungs painted over {mean_sd(blind)}, on whole films {mean_sd(whole)} "
        f"({of_trainings(whole['seeds'])}). On the same {own['films']} held-out films the model at hand has AUROC "
        f"{estimate(own['auroc'])}."
    )
    parts = [row for row in rows if row is not whole and row is not blind]
    none = [f"{row['region']} {mean_sd(row)}" for row in parts if row["lung"] == 0]
    some = [f"{row['region']} ({percent(row['lung'])}) {mean_sd(row)}" for row in parts if row["lung"] > 0]
    text += f" Other regions with no lung in view: {', '.join(none)}." if none else ""
    return text + (f" With this share of the lungs in view: {', '.join(some)}." if some else "")


def _kept(blind: dict[str, Any], whole: dict[str, Any]) -> str:
    """How much of the AUROC above chance small CNNs keep without the lungs, as the head of a sentence."""
    if whole["mean"] <= 0.5:
        return "Small CNNs do not tell the classes apart even on whole films: AUROC"
    share = (blind["mean"] - 0.5) / (whole["mean"] - 0.5)
    return f"Small CNNs keep {percent(max(share, 0.0), 0)} of their AUROC above chance without the lungs:"


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per region: what is in view, share of the lungs, AUROC retrained over seeds, and of the audited model."""
    return pd.DataFrame(
        {
            "region": [row["region"] for row in rows],
            "a CNN sees": [row["sees"] for row in rows],
            "lung in view": [percent(row["lung"]) for row in rows],
            "seeds": [row["seeds"] for row in rows],
            "retrained, mean ± sd": [mean_sd(row) for row in rows],
            "95 % over films": [f"{row['low']:.3f} to {row['high']:.3f}" for row in rows],
            "not retrained": [estimate(row["masked"]) for row in rows],
        }
    ).pipe(by_name, "region", "AUROC of each region: small CNNs retrained, and the model on the same cut films")
