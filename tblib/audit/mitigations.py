"""Mitigations compared by their AUROC on a selection set, remaining edit effects and worst group, never by internal
accuracy.

The selection set are films of another hospital by which a mitigation may be chosen. How the chosen one does elsewhere
is reported on other sets (`tblib.audit.hospitals`), which have no part in this comparison.
"""

from collections.abc import Callable, Iterable
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tblib.arrays import Floats, Pixels
from tblib.audit import fits, matched, trainings
from tblib.audit.effects import flipped
from tblib.audit.external import ExternalSet
from tblib.audit.jobs import Job
from tblib.audit.pairs import Viewers, added
from tblib.audit.study import MATCHED_ON, Audit
from tblib.audit.trainings import mean_and_sd, over_seeds
from tblib.films.cues import JUDGES
from tblib.metrics import Estimate, Scored, bootstrap_weights
from tblib.mitigation import ModelInput, chosen
from tblib.prepare import drawn_images, read_images
from tblib.show.plots import FONT, GREY, INK, PURPLE, WIDTH, key, legend_below, panels
from tblib.show.text import by_name, how_many, mean_and_interval, mean_sd, of_trainings

NONE_COMPARED = "This budget compares no mitigations; the budgets standard and full do."
EDITED_FILMS = 60  # held-out films that are edited to measure the remaining effects
PLAIN = "none"
LEAST_WORST = 0.70  # accuracy that a chosen mitigation keeps in the worst group inside
Found = dict[str, list[dict[str, Any]]]  # mitigation -> what `fits.mitigated` found, for each seed


def measure(audit: Audit) -> list[dict[str, Any]]:
    """Compare the budget's mitigations over seeds, one row each (`judged`)."""
    if not audit.budget.mitigations:
        return []
    found = trained_with(audit, audit.budget.mitigations, audit.budget.mitigation_seeds)
    return [judged(audit, name, each, found[PLAIN]) for name, each in found.items()]


def trained_with(
    audit: Audit,
    mitigations: Iterable[str | None],
    seeds: int,
    of: Callable[..., dict[str, Any]] = fits.mitigated,
    **settings: Any,
) -> Found:
    """Train small networks with each mitigation, one per seed; by another function than `fits.mitigated`, with further
    settings, if one is given."""
    rows = audit.sampled(audit.held_out_rows, EDITED_FILMS)
    pictures, fitted = audit.pictures(rows), audit.fitted_rows
    jobs: dict[str, list[Job]] = {}
    for mitigation in mitigations:
        arrays = _films(audit, mitigation, pictures)
        arrays |= {"target": audit.target[fitted], "groups": audit.groups[fitted], "train": audit.train[fitted]}
        given = settings | {"mitigation": mitigation, "training": audit.training}
        jobs[mitigation or PLAIN] = [Job(of, arrays, given | {"seed": seed}) for seed in range(seeds)]
    found = iter(audit.jobs([job for each in jobs.values() for job in each], "mitigations"))
    return {name: [next(found) for _ in each] for name, each in jobs.items()}


def _films(audit: Audit, mitigation: str | None, pictures: list[Pixels]) -> dict[str, npt.NDArray[Any]]:
    """Images, edited, drawn and other hospitals' films after the preparation of a mitigation."""
    given, rows = audit.input_with(mitigation), audit.fitted_rows
    same = given.mitigation == audit.input.mitigation
    images = audit.images[rows] if same else read_images(audit.database, audit.films["file"].iloc[rows].tolist(), given)
    pairs = [added(cue, pictures, Viewers(given), audit.seed) for cue in JUDGES]
    sets = [audit.selected] if audit.selected else []
    others = [one.images if same else read_images(one.database, one.files, given) for one in sets]
    return {
        "images": images,
        "edited": np.stack([np.stack([one.edited, one.placebo]) for one in pairs]),
        "drawn": _drawn(audit, mitigation, given),
        "others": np.concatenate([np.empty((0, *given.shape), np.uint8), *others]),
    }


def _drawn(audit: Audit, mitigation: str | None, given: ModelInput) -> Pixels:
    """The training films with drawn lesions, none if the mitigation draws none."""
    rows = audit.fitted_rows[audit.train[audit.fitted_rows] & (audit.target[audit.fitted_rows] == 0)]
    files = audit.films["file"].iloc[rows].tolist() if "lesions" in chosen(mitigation) else []
    return drawn_images(audit.database, files, given, audit.lungs, audit.seed)


def judged(audit: Audit, name: str, found: list[dict[str, Any]], without: list[dict[str, Any]]) -> dict[str, Any]:
    """How networks trained with a mitigation do, against those `without` any.

    Columns: mitigation, seeds, n, internal, worst_group, effect (the largest of `JUDGES`: mean change of the logit over
    the placebo, in sd of the logits), flips (the largest share of prediction flips of one of them), matched, and
    selection (`on_selection`), None without a selection set.
    """
    logits = [np.array(one["logits"]) for one in found]
    table = audit.films[~audit.train]
    pairs = matched.matched_pairs(table[list(MATCHED_ON)].to_numpy(float), audit.held_out.target)
    worst, effects, flips = [], [], []
    for one, scores in zip(found, logits, strict=True):
        groups = matched.worst_groups(table["cues"], audit.held_out.target, scores > 0)
        worst += groups.loc[groups["n"] >= matched.FEWEST, "value"].head(1).tolist()  # the worst group comes first
        moved = [np.subtract(*np.array(pair)) for pair in one["edited"]]
        turned = [flipped(*np.array(pair)) for pair in one["edited"]]
        effects.append(max(abs(float(move.mean())) for move in moved) / max(float(scores.std()), 1e-6))
        flips.append(max(float(np.abs(turn).mean()) for turn in turned))
    alike = [matched.matched_auroc(scores, pairs).value for scores in logits]
    others = [np.array(one["others"]) for one in found], [np.array(one["others"]) for one in without]
    return {
        "mitigation": name,
        "seeds": len(found),
        "n": len(table),
        "internal": over_seeds(audit.held_out, audit.weights, logits),
        "worst_group": mean_and_sd(worst),
        "effect": mean_and_sd(effects),
        "flips": mean_and_sd(flips),
        "matched": mean_and_sd([value for value in alike if value is not None]) | {"pairs": len(pairs)},
        "selection": on_selection(audit, audit.selected, *others) if audit.selected else None,
    }


def on_selection(audit: Audit, one: ExternalSet, logits: list[Floats], without: list[Floats]) -> dict[str, Any]:
    """AUROC on the selection set over trainings: mean, sd, and interval (low, high) over trainings and films; and its
    gain over trainings without a mitigation, paired by seed and film, with the same interval."""
    films = Scored(one.target, np.zeros(len(one.target)), one.group)
    weights = bootstrap_weights(films, audit.replicates, audit.seed)
    of, over = trainings.areas(films, weights, logits), trainings.areas(films, weights, without)
    area = trainings.over_trainings(*of, audit.seed)
    return mean_and_sd(of[0].tolist()) | {
        "set": one.name,
        "n": len(one.target),
        "low": area.low,
        "high": area.high,
        "gain": trainings.gain(of, over, audit.seed)._asdict(),
    }


def figure(compared: list[dict[str, Any]]) -> Figure | str:
    """AUROC on the selection set (on matched pairs if there is none), and the remaining effect of edits."""
    if not compared:
        return NONE_COMPARED
    by = "selection" if compared[0]["selection"] else "matched"
    points = [(row["mitigation"], row["effect"], row[by]) for row in compared]
    points = sorted((point for point in points if point[2]["mean"] is not None), key=lambda each: -each[2]["mean"])
    if not points:
        return "No pairs of films are alike enough to compare mitigations on, and no selection set was given."
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
    left.set_ylim(places[-1] + 0.2, places[0] - 0.2)
    first = compared[0]
    where = (
        f"{first['selection']['set']}, the selection set\n(n = {first['selection']['n']:,} films)"
        if by == "selection"
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
        key("95 % interval over trainings and films", INK, line="-", width=1),
        key("guessing", INK, line=":"),
    ]


def _undominated(points: list[tuple[float, float]]) -> set[int]:
    """Indices of the Pareto-optimal points: no other point is smaller in both coordinates."""
    return {i for i, (x, y) in enumerate(points) if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)}


def choice(compared: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row with the highest AUROC on the selection set, of those whose worst group inside keeps `LEAST_WORST`; None
    if none does."""
    kept = [row for row in compared if (row["worst_group"]["mean"] or 0.0) >= LEAST_WORST]
    return max(kept, key=lambda row: float(row["selection"]["mean"]), default=None)


def trade(compared: list[dict[str, Any]]) -> Figure | str:
    """AUROC on the selection set against the accuracy of the worst group inside: what one costs of the other."""
    rows = [row for row in compared if row["selection"] and row["worst_group"]["mean"] is not None]
    if not rows:
        return "Without a selection set (parameter selection) nothing is traded, as nothing can be chosen."
    points = [(row["worst_group"]["mean"], row["selection"]["mean"]) for row in rows]
    best, chosen_row = _undominated([(-x, -y) for x, y in points]), choice(rows)
    nothing = f"Nothing is chosen: no worst group keeps {LEAST_WORST:g}"
    what = f"Chosen: {chosen_row['mitigation']}" if chosen_row else nothing
    alt = f"{what}. Worst group inside and AUROC on {rows[0]['selection']['set']}: "
    alt += "; ".join(f"{row['mitigation']} {x:.2f}, {y:.3f}" for row, (x, y) in zip(rows, points, strict=True))
    figure, (ax,) = panels(f"{alt}.", 1, (WIDTH, 3.6))
    for place, (row, (x, y)) in enumerate(zip(rows, points, strict=True)):
        colour, mark = (PURPLE, "D") if place in best else (GREY, "o")
        ax.vlines(x, row["selection"]["low"], row["selection"]["high"], color=colour, linewidth=1)
        ax.plot(x, y, mark, color=colour, markersize=8 if row is chosen_row else 5)
    front = sorted(best, key=lambda place: points[place])
    ax.step(*zip(*(points[place] for place in front), strict=True), color=PURPLE, linewidth=1, where="pre")
    for number, place in enumerate(front):  # names on alternating sides, as neighbours are close
        away, side = (((7, 5), "left"), ((-7, -12), "right"))[number % 2]
        name = ("chosen: " if rows[place] is chosen_row else "") + rows[place]["mitigation"].replace("+", " + ")
        ax.annotate(fill(name, 30), points[place], away, textcoords="offset points", ha=side, fontsize=FONT)
    ax.axvline(LEAST_WORST, color=INK, linestyle=":")
    ax.set_xlabel(f"accuracy of the worst group inside (n = {rows[0]['n']:,} films)")
    ax.set_ylabel(f"AUROC on {rows[0]['selection']['set']}\n(n = {rows[0]['selection']['n']:,} films)")
    least = key(f"least worst group of a choice, {LEAST_WORST:g}", INK, line=":")
    legend_below(figure, 2, [*_keys(rows[0]["seeds"])[:2], _keys(rows[0]["seeds"])[3], least])
    return figure


def finding(compared: list[dict[str, Any]]) -> str:
    """How the mitigations change the AUROC on the selection set or, without one, the worst group."""
    if not compared:
        return NONE_COMPARED
    if not compared[0]["selection"]:
        best = max(compared, key=lambda row: row["worst_group"]["mean"] or 0.0)
        without = f"with {compared[0]['mitigation']} it is {mean_sd(compared[0]['worst_group'])}"
        told = (
            f"No mitigation raises the accuracy of the worst group: {without}, the highest of {len(compared)}"
            if best is compared[0]
            else f"The worst group's accuracy is highest with {best['mitigation']}, the best of {len(compared)}: "
            f"{mean_sd(best['worst_group'])}; {without}"
        )
        return f"{told} ({of_trainings(best['seeds'])}). No films of another hospital were given to choose on."
    first, best = compared[0], max(compared, key=lambda row: row["selection"]["mean"])
    there, before = best["selection"], first["selection"]
    if best is first:
        return (
            f"On “{there['set']}”, the selection set, no mitigation has a higher AUROC than {best['mitigation']}, "
            f"{mean_and_interval(there)} ({of_trainings(best['seeds'])}; in brackets over trainings and films)."
        )
    gained = Estimate(**there["gain"])
    return (
        f"On “{there['set']}”, the selection set, {best['mitigation']} has the highest AUROC, "
        f"{mean_and_interval(there)}, and {first['mitigation']} {mean_and_interval(before)} "
        f"({of_trainings(best['seeds'])}; in brackets over trainings and films); paired, the gain is {gained.text()}. "
        f"Inside they have {mean_sd(best['internal'])} and {mean_sd(first['internal'])}, in their worst groups "
        f"{mean_sd(best['worst_group'])} and {mean_sd(first['worst_group'])}. The highest of {len(compared)} was "
        "chosen on these very films, so it flatters itself a little: other sets tell how it does elsewhere."
    )


def table(compared: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per mitigation: AUROC on the selection set and its gain, worst group, remaining effect, matched AUROC,
    and, last, AUROC inside."""
    rows = []
    for row in compared:
        cells = {"mitigation": row["mitigation"].replace("+", " + "), "seeds": row["seeds"]}
        if row["selection"]:
            cells[f"AUROC on {row['selection']['set']}"] = mean_and_interval(row["selection"])
            cells[f"gain over {PLAIN}"] = Estimate(**row["selection"]["gain"]).text()
        cells |= {
            "worst group": mean_sd(row["worst_group"]),
            "largest effect left, sd": mean_sd(row["effect"]),
            "predictions flipped": mean_sd(row["flips"]),
            f"matched AUROC ({row['matched']['pairs']} pairs)": mean_sd(row["matched"])
            if row["matched"]["pairs"]
            else "no such pair",
        }
        rows.append(cells | {"AUROC inside": mean_sd(row["internal"])})
    return by_name(
        pd.DataFrame(rows, columns=None if rows else ["mitigation"]),
        "mitigation",
        "Mitigations, inside and on the selection set",
    )
