"""Mitigations compared by external AUROC, remaining edit effects and worst group, never by internal accuracy."""

from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tblib.arrays import Pixels
from tblib.audit import fits, matched
from tblib.audit.effects import flipped
from tblib.audit.jobs import Job
from tblib.audit.pairs import Viewers, added
from tblib.audit.study import FEWEST, MATCHED_ON, Audit, mean_and_sd, over_seeds
from tblib.films.cues import JUDGES
from tblib.metrics import Scored, bootstrap_weights
from tblib.prepare import read_images
from tblib.show.plots import GREY, INK, PURPLE, WIDTH, key, legend_below, panels
from tblib.show.text import by_name, how_many, mean_and_interval, mean_sd, of_trainings

NONE_COMPARED = "This budget compares no mitigations; the budgets standard and full do."
EDITED_FILMS = 60  # held-out films that are edited to measure the remaining effects


def measure(audit: Audit) -> list[dict[str, Any]]:
    """Compare the budget's mitigations over seeds, one row each; none is judged by internal accuracy.

    Columns: mitigation, seeds, n, internal, worst_group, effect (the largest of `JUDGES`: mean change of the logit over
    the placebo, in sd of the logits), flips (the largest share of prediction flips of one of them), matched, external.
    """
    if not audit.budget.mitigations:
        return []
    rows = audit.sampled(audit.held_out_rows, EDITED_FILMS)
    pictures, fitted = audit.pictures(rows), audit.fitted_rows
    jobs: dict[str, list[Job]] = {}
    for mitigation in audit.budget.mitigations:
        arrays = _films(audit, mitigation, pictures)
        arrays |= {"target": audit.target[fitted], "groups": audit.groups[fitted], "train": audit.train[fitted]}
        settings = {"mitigation": mitigation, "training": audit.training}
        seeds = range(audit.budget.mitigation_seeds)
        jobs[mitigation or "none"] = [Job(fits.mitigated, arrays, settings | {"seed": seed}) for seed in seeds]
    found = iter(audit.jobs([job for each in jobs.values() for job in each], "mitigations"))
    return [_judged(audit, name, [next(found) for _ in each]) for name, each in jobs.items()]


def _films(audit: Audit, mitigation: str | None, pictures: list[Pixels]) -> dict[str, npt.NDArray[Any]]:
    """Images, edited films and external films after the preparation of a mitigation."""
    given, rows = audit.input_with(mitigation), audit.fitted_rows
    same = given.mitigation == audit.input.mitigation
    images = audit.images[rows] if same else read_images(audit.database, audit.films["file"].iloc[rows].tolist(), given)
    pairs = [added(cue, pictures, Viewers(given), audit.seed) for cue in JUDGES]
    others = [one.images if same else read_images(one.database, one.files, given) for one in audit.sets]
    return {
        "images": images,
        "edited": np.stack([np.stack([one.edited, one.placebo]) for one in pairs]),
        "others": np.concatenate([np.empty((0, *given.shape), np.uint8), *others]),
    }


def _judged(audit: Audit, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    logits = [np.array(one["logits"]) for one in found]
    table = audit.films[~audit.train]
    pairs = matched.matched_pairs(table[list(MATCHED_ON)].to_numpy(float), audit.held_out.target)
    worst, effects, flips = [], [], []
    for one, scores in zip(found, logits, strict=True):
        groups = matched.worst_groups(table["cues"], audit.held_out.target, scores > 0)
        worst += groups.loc[groups["n"] >= FEWEST, "value"].head(1).tolist()  # the worst group comes first
        moved = [np.subtract(*np.array(pair)) for pair in one["edited"]]
        turned = [flipped(*np.array(pair)) for pair in one["edited"]]
        effects.append(max(abs(float(move.mean())) for move in moved) / max(float(scores.std()), 1e-6))
        flips.append(max(float(np.abs(turn).mean()) for turn in turned))
    alike = [matched.matched_auroc(scores, pairs).value for scores in logits]
    return {
        "mitigation": name,
        "seeds": len(found),
        "n": len(table),
        "internal": over_seeds(audit.held_out, audit.weights, logits),
        "worst_group": mean_and_sd(worst),
        "effect": mean_and_sd(effects),
        "flips": mean_and_sd(flips),
        "matched": mean_and_sd([value for value in alike if value is not None]) | {"pairs": len(pairs)},
        "external": external_areas(audit, found),
    }


def external_areas(audit: Audit, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
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


def figure(compared: list[dict[str, Any]]) -> Figure | str:
    """External AUROC (matched AUROC if there is no external set), and the remaining effect of edits."""
    if not compared:
        return NONE_COMPARED
    by = "external" if compared[0]["external"] else "matched"
    points = [
        (row["mitigation"], row["effect"], row["external"][0] if by == "external" else row["matched"])
        for row in compared
    ]
    points = sorted((point for point in points if point[2]["mean"] is not None), key=lambda each: -each[2]["mean"])
    if not points:
        return "No pairs of films are alike enough to compare mitigations on, and no external database was given."
    told = "; ".join(f"{name}: effect {x['mean']:.2f} sd, AUROC {y['mean']:.3f}" for name, x, y in points)
    best = _undominated([(x["mean"], -y["mean"]) for _, x, y in points])
    alt = f"With {points[0][0]} the {by} AUROC is highest, {points[0][2]['mean']:.3f}. Mitigations, {told}."
    names = [fill(name.replace("+", " + "), 30) for name, _, _ in points]
    lines = sum(name.count("\n") + 1 for name in names)
    figure, (left, right) = panels(alt, 2, (WIDTH, 0.19 * lines + 0.12 * len(names) + 1.5), sharey=True)
    places = np.cumsum([0.19 * (name.count("\n") + 1) + 0.12 for name in names])
    for place, (at, (_, x, y)) in enumerate(zip(places, points, strict=True)):
        colour, mark = (PURPLE, "D") if place in best else (GREY, "o")
        if "low" in y:
            left.hlines(at, y["low"], y["high"], color=colour, linewidth=1)
        for ax, one in ((left, y), (right, x)):
            ax.hlines(at, one["mean"] - (one["sd"] or 0), one["mean"] + (one["sd"] or 0), color=colour, linewidth=3.5)
            ax.plot(one["mean"], at, mark, color=colour, markersize=6)
    left.axvline(0.5, color=INK, linestyle=":")
    left.set_yticks(places, names)
    left.invert_yaxis()
    first = compared[0]
    where = (
        f"{first['external'][0]['set']}\n(n = {first['external'][0]['n']:,} films)"
        if by == "external"
        else (f"matched pairs\n(n = {first['matched']['pairs']:,} pairs)")
    )
    left.set_xlabel(f"AUROC on {where}")
    right.set(xlabel=f"largest effect of an edit left, sd of the\nlogits (less is better; n = {first['n']:,} films)")
    right.set_xlim(left=min(0.0, right.get_xlim()[0]))
    for ax in (left, right):
        ax.grid(visible=False, axis="y")
    legend_below(figure, 2, _keys(first["seeds"]))
    return figure


def _keys(seeds: int) -> list[Line2D]:
    return [
        key("none other is better in both", PURPLE, "D"),
        key("another is better in both", GREY, "o"),
        key(f"± sd over {how_many(seeds, 'training')}", INK, line="-", width=3.5),
        key("95 % interval over films", INK, line="-", width=1),
        key("guessing", INK, line=":"),
    ]


def _undominated(points: list[tuple[float, float]]) -> set[int]:
    """Indices of the Pareto-optimal points: no other point is smaller in both coordinates."""
    return {i for i, (x, y) in enumerate(points) if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)}


def finding(compared: list[dict[str, Any]]) -> str:
    """How the mitigations change external AUROC or, without external films, the worst group."""
    if not compared:
        return NONE_COMPARED
    if not compared[0]["external"]:
        best = max(compared, key=lambda row: row["worst_group"]["mean"] or 0.0)
        return (
            f"The worst group's accuracy is highest with {best['mitigation']}, the best of {len(compared)}: "
            f"{mean_sd(best['worst_group'])}, against {mean_sd(compared[0]['worst_group'])} with "
            f"{compared[0]['mitigation']} ({of_trainings(best['seeds'])}). No films of another hospital were given."
        )
    first, best = compared[0], max(compared, key=lambda row: row["external"][0]["mean"])
    there, before = best["external"][0], first["external"][0]
    return (
        f"On “{there['set']}” {best['mitigation']} has the highest AUROC, {mean_and_interval(there)}, and "
        f"{first['mitigation']} {mean_and_interval(before)} ({of_trainings(best['seeds'])}; in brackets over films). "
        f"Inside they have {mean_sd(best['internal'])} and {mean_sd(first['internal'])}. The highest of "
        f"{len(compared)} was chosen on these very films, so it flatters itself a little."
    )


def table(compared: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per mitigation: worst group, remaining effect, matched and external AUROC, and, last, internal AUROC."""
    rows = []
    for row in compared:
        cells = {
            "mitigation": row["mitigation"].replace("+", " + "),
            "seeds": row["seeds"],
            "worst group": mean_sd(row["worst_group"]),
            "largest effect left, sd": mean_sd(row["effect"]),
            "predictions flipped": mean_sd(row["flips"]),
            f"matched AUROC ({row['matched']['pairs']} pairs)": mean_sd(row["matched"])
            if row["matched"]["pairs"]
            else "no such pair",
        }
        for one in row["external"]:
            cells[f"AUROC on {one['set']}"] = mean_and_interval(one)
        rows.append(cells | {"AUROC inside": mean_sd(row["internal"])})
    return by_name(
        pd.DataFrame(rows, columns=None if rows else ["mitigation"]),
        "mitigation",
        "Mitigations, inside and at other hospitals",
    )
