"""Prevalence of each artefact in each class, and the odds ratios."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tblib.films.cues import ON_FILMS
from tblib.metrics import Estimate, clustered_wilson, odds_ratio
from tblib.run import usable
from tblib.show.plots import CLASSES, INK, WIDTH, entry, legend_below, panels, whiskers
from tblib.show.text import captioned, percent


def measure(table: pd.DataFrame, classes: tuple[str, str]) -> pd.DataFrame:
    """Prevalence of each of `ON_FILMS` in each class, and the odds ratio of positive over negative.

    One row per cue and class: cue, label, films, of, share, low, high (Wilson at 95 %, near-duplicates counted once),
    odds_ratio, odds_low, odds_high (Woolf; the same in both rows of a cue).
    """
    films = usable(table)
    members = {name: (films["label"] == name).to_numpy() for name in classes}
    rows = []
    for cue in ON_FILMS:
        carried = cue.carried(films) > 0
        counts = {name: (int(carried[rows_of].sum()), int(rows_of.sum())) for name, rows_of in members.items()}
        odds = odds_ratio(*counts[classes[1]], *counts[classes[0]])
        for name, inside in members.items():
            share = clustered_wilson(carried[inside], films["duplicate_group"].to_numpy()[inside])
            rows.append((cue.name, name, *counts[name], *share, *odds))
    columns = ["cue", "label", "films", "of", "share", "low", "high", "odds_ratio", "odds_low", "odds_high"]
    return pd.DataFrame(rows, columns=columns)


def figure(table: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Prevalence of each artefact per class with intervals, and the odds ratios."""
    cues = list(dict.fromkeys(table["cue"]))
    told = "; ".join(
        f"{cue}: "
        + ", ".join(f"{row.label} {percent(row.share, 0)}" for row in table[table["cue"] == cue].itertuples())
        for cue in cues
    )
    odds = table.drop_duplicates("cue")
    unequal = int(((odds["odds_low"] > 1) | (odds["odds_high"] < 1)).sum())
    alt = f"Of {len(cues)} artefacts {unequal} are unequal between the classes beyond chance. Prevalence, {told}."
    figure, (left, right) = panels(alt, 2, (WIDTH, 1.3 + 0.3 * len(cues)), sharey=True, width_ratios=(3, 2))
    for offset, name, colour in zip((-0.14, 0.14), classes, CLASSES, strict=True):
        rows = table[table["label"] == name]
        label = entry(f"{name}, n = {rows['of'].max():,} films" if "of" in rows else name)
        whiskers(left, rows["share"], rows["low"], rows["high"], np.arange(len(cues)) + offset, colour, label)
    left.set(xlabel="share of the class's films\n(95 % interval)", xlim=(-0.02, 1.02))
    left.set(yticks=range(len(cues)), yticklabels=cues)
    left.invert_yaxis()
    whiskers(right, odds["odds_ratio"], odds["odds_low"], odds["odds_high"], np.arange(len(cues)), INK)
    right.axvline(1, color=INK, linestyle=":", label="1: equally common")
    right.set(xscale="log", xlabel=f"odds ratio, {classes[1]}\nover {classes[0]} (95 % interval)")
    legend_below(figure)
    return figure


def finding(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """Which artefacts differ between the classes beyond chance, largest difference first."""
    odds = table.drop_duplicates("cue").copy()
    odds["distance"] = odds[["odds_low", "odds_high"]].apply(
        lambda row: max(row["odds_low"], 1 / row["odds_high"]), axis=1
    )
    unequal = odds[odds["distance"] > 1].sort_values("distance", ascending=False)
    if unequal.empty:
        return "No artefact is shown to be more common in one class than in the other."
    named = [
        f"{row.cue} (odds ratio {_odds(row.odds_ratio)}, {_odds(row.odds_low)} to {_odds(row.odds_high)})"
        for row in unequal.itertuples()
    ]
    return (
        f"{len(unequal)} of {len(odds)} artefacts are more common in one class than chance allows: {'; '.join(named)}; "
        f"{classes[1]} over {classes[0]}. A cue that exists need not be used by a model."
    )


def table(table: pd.DataFrame) -> pd.DataFrame:
    """The prevalences as text: one row per cue, one column per class, and the odds ratio."""
    cells = table.assign(
        share=[f"{r.films} of {r.of}, {Estimate(r.share, r.low, r.high).text(True)}" for r in table.itertuples()],
        odds=[odds_text(row) for row in table.to_dict("records")],
    )
    wide = cells.pivot_table(index="cue", columns="label", values="share", aggfunc="first", sort=False)
    wide = wide.assign(**{"odds ratio": cells.groupby("cue")["odds"].first()}).rename_axis(columns=None)
    return captioned(wide, "How common each artefact is in either class")


def odds_text(row: dict[str, Any]) -> str:
    """An odds ratio with its interval, from a row of `tblib.eda.prevalence.measure`."""
    return f"{_odds(row['odds_ratio'])} ({_odds(row['odds_low'])} to {_odds(row['odds_high'])})"


def _odds(ratio: float) -> str:
    """Three significant digits without an exponent: ``0.0378``, ``1,660``."""
    return f"{float(f'{ratio:.3g}'):,.0f}" if ratio >= 100 else f"{ratio:.3g}"
