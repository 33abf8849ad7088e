"""Region ablation: small CNNs retrained on a part of the film, down to no lung in view."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats
from tblib.audit.pairs import BATCH, enlarged
from tblib.audit.study import Audit, over_seeds
from tblib.audit.views import REGIONS, WHOLE
from tblib.eda.baselines import RULE
from tblib.metrics import ranking
from tblib.show.plots import BLUE, GREY, VERMILION, panels
from tblib.show.text import by_name, estimate, mean_sd, of_trainings, percent


def measure(audit: Audit) -> list[dict[str, Any]]:
    """AUROC of small CNNs retrained on each region of the films, and of the audited model on the same films.

    One row per region: region, sees, lung (share of the lungs in view), n, trained_on (films), seeds, mean, sd, low,
    high (of the mean over seeds, by a bootstrap of films), masked (the audited model without retraining: this also
    measures how unusual such a film is to it).
    """
    trained_on, seeds = int(audit.train[audit.fitted_rows].sum()), audit.budget.seeds
    how = {"n": len(audit.logits), "trained_on": trained_on, "seeds": seeds}
    masks, masked = audit.masks[~audit.train], _masked(audit)
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
    rows = [
        (name, baseline["all"]["auroc"], 0.0, None) for name, baseline in baselines["baselines"].items() if name != RULE
    ]
    baselines_end = len(rows)
    rows += [
        (
            f"CNN: {row['region']}",
            {"value": row["mean"], "low": row["low"], "high": row["high"]},
            row["sd"] or 0.0,
            row["masked"]["value"],
        )
        for row in regions
    ]
    rows.append(("the model at hand, whole film", baselines["held_out"]["auroc"], 0.0, None))
    told = "; ".join(f"{name} {area['value']:.3f}" for name, area, _, _ in rows)
    figure, (ax,) = panels(f"Accuracy waterfall, AUROC of each region. {told}.", 1, (8.6, 0.34 * len(rows) + 0.9))
    for place, (_name, area, sd, masked) in enumerate(rows):
        colour = BLUE if place < baselines_end else VERMILION if place == len(rows) - 1 else "black"
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
    ax.set(xlabel="AUROC (blue: baselines, all films; black: retrained, held-out films)", xlim=(lowest - 0.02, 1.08))
    ax.grid(visible=False, axis="y")
    return figure


def finding(baselines: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Which regions come close to the whole film, separately for those without and with lung in view."""
    whole = next(row for row in rows if row["region"] == WHOLE.name)
    own = baselines["held_out"]
    text = (
        f"On {own['films']} held-out films the model at hand has AUROC {estimate(own['auroc'])}, and a small CNN on "
        f"whole films {mean_sd(whole)} ({of_trainings(whole['seeds'])})."
    )
    parts = [row for row in rows if row is not whole]
    blind = [f"{row['region']} {mean_sd(row)}" for row in parts if row["lung"] == 0]
    some = [f"{row['region']} ({percent(row['lung'])}) {mean_sd(row)}" for row in parts if row["lung"] > 0]
    text += f" With no lung in view: {', '.join(blind)}." if blind else ""
    return text + (f" With this share of the lungs in view: {', '.join(some)}." if some else "")


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
    ).pipe(by_name, "region")
