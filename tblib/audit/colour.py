"""Colour and grey: what conversion to one channel takes away from a shortcut, and what it leaves."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Floats, Pixels
from tblib.audit import fits
from tblib.audit.edited import lacking
from tblib.audit.effects import probability
from tblib.audit.jobs import Job
from tblib.audit.mitigations import EDITED_FILMS
from tblib.audit.pairs import Viewers, added
from tblib.audit.study import Audit
from tblib.audit.trainings import mean_and_sd, over_seeds
from tblib.audit.views import BLIND, REGIONS, WHOLE
from tblib.films.cues import EDITED
from tblib.metrics import Scored, bootstrap_weights
from tblib.mitigation import ModelInput
from tblib.prepare import read_images
from tblib.show.plots import GREY, INK, PURPLE, entry, legend_below, panels, whiskers
from tblib.show.text import NONE, by_name, mean_and_interval, mean_sd, of_trainings

SEEN = {3: "in colour", 1: "in grey"}  # channels -> in words, in the order of figures and tables
LOOKS = {3: (PURPLE, "o"), 1: (GREY, "s")}  # colour and mark
PARTS = tuple(name for name in REGIONS if name in ("border 5 %", BLIND.name))
VIEWS = (*PARTS, WHOLE.name)
TINT = next(cue for cue in EDITED if cue.name == "tint")
NONE_TRAINED = "This budget trains no CNNs in colour beside those in grey; the budgets standard and full do."


def measure(audit: Audit) -> list[dict[str, Any]]:
    """Train small CNNs on the same films in colour and in grey, over seeds; one row for each.

    Columns: channels, seeds, n (held-out films), regions (AUROC of each of `VIEWS` retrained: mean, sd, low, high),
    tint (points of probability by which a tint moves films without one, over its placebo: mean, sd, films), external
    (AUROC on each external set). Nothing is trained if the budget says so; mitigations are left out.
    """
    if not audit.budget.colour_seeds:
        return []
    rows, jobs = [], {channels: _jobs(audit, channels) for channels in SEEN}
    found = iter(audit.jobs([job for each in jobs.values() for job in each], "colour and grey"))
    for channels, own in jobs.items():
        done = [next(found) for _ in own]
        whole, views = done[: audit.budget.colour_seeds], done[audit.budget.colour_seeds :]
        rows.append(_row(audit, channels, whole, views))
    return rows


def _jobs(audit: Audit, channels: int) -> list[Job]:
    """Trainings on whole films, which also score edited and external ones; then on the other views."""
    rows, seeds = audit.fitted_rows, range(audit.budget.colour_seeds)
    given = ModelInput(audit.input.size, channels=channels)
    images = _images(audit, given)
    tinted = audit.sampled(audit.held_out_rows, EDITED_FILMS)
    table = audit.films.iloc[tinted].reset_index(drop=True)
    places, pictures = np.flatnonzero(lacking(TINT, table)), audit.pictures_in(tinted, channels)
    pairs = added(TINT, pictures, Viewers(given), audit.seed, places=places)
    others = [read_images(one.database, one.files, given) for one in audit.sets]
    shared: dict[str, npt.NDArray[Any]] = {"images": images, "target": audit.target[rows], "train": audit.train[rows]}
    whole = shared | {"groups": audit.groups[rows], "edited": np.stack([np.stack([pairs.edited, pairs.placebo])])}
    none = np.empty((0, *given.shape), np.uint8)
    whole |= {"others": np.concatenate([none, *others]), "drawn": none}
    masked = shared | {"masks": audit.masks_in_files(rows)}
    how = {"training": audit.training}
    jobs = [Job(fits.mitigated, whole, how | {"seed": seed, "mitigation": None}) for seed in seeds]
    return jobs + [Job(fits.region, masked, how | {"seed": seed, "name": name}) for name in PARTS for seed in seeds]


def _images(audit: Audit, given: ModelInput) -> Pixels:
    """The films of `Audit.fitted_rows` as CNNs with this input see them."""
    if given == audit.input:
        return audit.images[audit.fitted_rows]
    return read_images(audit.database, audit.films["file"].iloc[audit.fitted_rows].tolist(), given)


def _row(audit: Audit, channels: int, whole: list[dict[str, Any]], views: list[dict[str, Any]]) -> dict[str, Any]:
    seeds = len(whole)
    logits = {WHOLE.name: [np.array(one["logits"]) for one in whole]}
    for place, name in enumerate(PARTS):
        logits[name] = [np.array(one["logits"]) for one in views[place * seeds : (place + 1) * seeds]]
    moved = [_points(np.array(one["edited"][0])) for one in whole]
    return {
        "channels": channels,
        "seeds": seeds,
        "n": len(audit.held_out_rows),
        "regions": {name: over_seeds(audit.held_out, audit.weights, logits[name]) for name in VIEWS},
        "tint": mean_and_sd(moved) | {"films": len(whole[0]["edited"][0][0])},
        "external": _external_areas(audit, whole),
    }


def _points(pair: Floats) -> float:
    """Points of probability between logits (2, n) of films after an edit and after its placebo."""
    after, before = probability(pair)
    return 100 * float((after - before).mean()) if after.size else 0.0


def _external_areas(audit: Audit, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """AUROC on each external set, from logits of CNNs over seeds (``others``): mean, sd, interval over films."""
    rows, start = [], 0
    for one in audit.sets:
        part = slice(start, start + len(one.target))
        start += len(one.target)
        scored = Scored(one.target, np.zeros(len(one.target)), one.group)
        weights = bootstrap_weights(scored, audit.replicates, audit.seed)
        logits = [np.array(result["others"])[part] for result in found]
        rows.append({"set": one.name, "n": len(one.target), **over_seeds(scored, weights, logits)})
    return rows


def figure(found: list[dict[str, Any]]) -> Figure | str:
    """AUROC of small CNNs in colour and in grey on each view and external set, and what a tint does to them."""
    if not found:
        return NONE_TRAINED
    told = "; ".join(f"{SEEN[row['channels']]}: {_told(row)}" for row in found)
    moved = " and ".join(f"{row['tint']['mean']:+.1f} {SEEN[row['channels']]}" for row in found)
    alt = f"A tint moves small CNNs by {moved}, in points of probability. Their AUROC, {told}."
    figure, (above, below) = panels(alt, 2, (6.4, 4.6), 1, height_ratios=(2.4, 1))
    names = [*VIEWS, *(one["set"] for one in found[0]["external"])]
    for down, row in zip((-0.16, 0.16), found, strict=True):
        colour, mark = LOOKS[row["channels"]]
        areas = pd.DataFrame([*row["regions"].values(), *row["external"]])
        label = entry(f"{SEEN[row['channels']]} ({of_trainings(row['seeds'])})")
        whiskers(above, areas["mean"], areas["low"], areas["high"], np.arange(len(names)) + down, colour, label, mark)
        tint = row["tint"]
        below.errorbar(tint["mean"], down, xerr=tint["sd"] or 0.0, fmt=mark, color=colour, elinewidth=2)
    above.axvline(0.5, color=INK, linestyle=":", label="guessing, or no effect")
    counts = [found[0]["n"]] * len(VIEWS) + [one["n"] for one in found[0]["external"]]
    above.set_yticks(range(len(names)), [f"{name} (n = {n})" for name, n in zip(names, counts, strict=True)])
    above.invert_yaxis()
    above.set(xlabel="AUROC, mean over trainings (95 % interval over films)")
    below.axvline(0, color=INK, linestyle=":")
    films = f"n = {found[0]['tint']['films']} films"
    below.set(
        xlabel=f"change of the probability over the placebo, points\n(+ towards the positive class; {films}; ± sd)"
    )
    below.set_yticks([0], ["with a tint"])
    below.set_ylim(0.6, -0.6)
    for ax in (above, below):
        ax.grid(visible=False, axis="y")
    legend_below(figure, 2)
    return figure


def _told(row: dict[str, Any]) -> str:
    areas = ", ".join(f"{name} {area['mean']:.3f}" for name, area in row["regions"].items())
    return f"{areas}, a tint {row['tint']['mean']:+.1f} points"


def finding(found: list[dict[str, Any]]) -> str:
    """What conversion to one channel takes away from the shortcut, and what it leaves."""
    if not found:
        return NONE_TRAINED
    colour, grey = found
    taken, left = (row["tint"]["mean"] for row in found)
    text = (
        f"A tint moves small CNNs that see colour by {taken:+.1f} points of probability over its placebo, and those "
        f"that see grey by {left:+.1f} ({of_trainings(grey['seeds'])}, {grey['tint']['films']} films): the "
        "difference is what conversion to one channel takes away. What it leaves: with the lungs painted over, "
        f"{_both(found, BLIND.name)}, and on whole films {_both(found, WHOLE.name)}"
    )
    sets = [
        f"on {one['set']} {mean_sd(one)} in colour and {mean_sd(other)} in grey"
        for one, other in zip(colour["external"], grey["external"], strict=True)
    ]
    return f"{text}; {'; '.join(sets)}." if sets else f"{text}."


def _both(found: list[dict[str, Any]], region: str) -> str:
    return "the AUROC is " + " and ".join(f"{mean_sd(row['regions'][region])} {SEEN[row['channels']]}" for row in found)


def table(found: list[dict[str, Any]]) -> pd.DataFrame:
    """One column for CNNs in colour and one for those in grey."""
    rows = []
    for row in found:
        cells = {"CNNs": SEEN[row["channels"]], "seeds": str(row["seeds"])}
        cells |= {f"AUROC, {name}": mean_and_interval(area) for name, area in row["regions"].items()}
        cells |= {f"AUROC on {one['set']}": mean_and_interval(one) for one in row["external"]}
        tint = row["tint"]
        sd = NONE if tint["sd"] is None else f"{tint['sd']:.1f}"
        cells["a tint, points of probability over placebo"] = f"{tint['mean']:+.1f} ± {sd} ({tint['films']} films)"
        rows.append(cells)
    return by_name(
        pd.DataFrame(rows, columns=None if rows else ["CNNs"]), "CNNs", "Small CNNs in colour and in grey"
    ).T.rename_axis("figure")
