"""Mitigations compared by external AUROC, remaining edit effects and worst group, never by internal accuracy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from tblib.arrays import Pixels
from tblib.audit import fits, matched
from tblib.audit.effects import flipped
from tblib.audit.jobs import Job
from tblib.audit.pairs import Viewers, added
from tblib.audit.study import FEWEST, MATCHED_ON, Audit, mean_and_sd, over_seeds
from tblib.films.cues import JUDGES
from tblib.metrics import Scored, bootstrap_weights
from tblib.prepare import read_images
from tblib.show.plots import GREY, MARKS, VERMILION, nothing, panels
from tblib.show.text import by_name, mean_and_interval, mean_sd, of_trainings

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


def figure(compared: list[dict[str, Any]]) -> Figure:
    """External AUROC (matched AUROC if there is no external set) against the remaining effect of edits."""
    if not compared:
        return nothing(NONE_COMPARED)
    by = "external" if compared[0]["external"] else "matched"
    points = [
        (row["mitigation"], row["effect"], row["external"][0] if by == "external" else row["matched"])
        for row in compared
    ]
    points = [point for point in points if point[2]["mean"] is not None]
    if not points:
        return nothing(
            "No pairs of films are alike enough to compare mitigations on, and no external database was given."
        )
    told = "; ".join(f"{name}: effect {x['mean']:.2f} sd, AUROC {y['mean']:.3f}" for name, x, y in points)
    figure, (ax,) = panels(f"Mitigations: effect left against {by} AUROC. {told}.", 1, (7.6, 4.0))
    best = _undominated([(x["mean"], -y["mean"]) for _, x, y in points])
    for place, (name, x, y) in enumerate(points):
        colour = VERMILION if place in best else GREY
        mark, sds = MARKS[place % len(MARKS)], (y["sd"] or 0.0, x["sd"] or 0.0)
        ax.errorbar(x["mean"], y["mean"], *sds, fmt=mark, color=colour, elinewidth=0.7)
        ax.annotate(name.replace("+", " + "), (x["mean"], y["mean"]), (5, 4), textcoords="offset points", fontsize=7)
    ax.axhline(0.5, color=GREY, linestyle=":")
    where = f"on {compared[0]['external'][0]['set']}" if by == "external" else "within matched pairs"
    ax.set(xlabel="largest effect left, sd of the logits (less is better)", ylabel=f"AUROC {where}")
    ax.margins(x=0.15)
    return figure


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
            f"No external database was given. Worst group ({of_trainings(best['seeds'])}): "
            f"{mean_sd(best['worst_group'])} with {best['mitigation']}, the highest of {len(compared)}; "
            f"{mean_sd(compared[0]['worst_group'])} with {compared[0]['mitigation']}."
        )
    first, best = compared[0], max(compared, key=lambda row: row["external"][0]["mean"])
    there, before = best["external"][0], first["external"][0]
    return (
        f"On “{there['set']}” the AUROC ({of_trainings(best['seeds'])}) is {mean_sd(before)} "
        f"({before['low']:.3f} to {before['high']:.3f} over films) with {first['mitigation']}, and highest with "
        f"{best['mitigation']}: {mean_and_interval(there)}; inside it is "
        f"{mean_sd(first['internal'])} and {mean_sd(best['internal'])}. The highest of {len(compared)} was chosen on "
        "these very films, so it flatters itself a little."
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
    return by_name(pd.DataFrame(rows, columns=None if rows else ["mitigation"]), "mitigation")
