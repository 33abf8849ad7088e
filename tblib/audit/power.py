"""Power of the audit: planted cues and negative controls."""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tblib.arrays import Ints
from tblib.audit import fits
from tblib.audit.effects import THRESHOLDS
from tblib.audit.jobs import Job
from tblib.audit.pairs import added
from tblib.audit.study import Audit
from tblib.films.cues import EDITED
from tblib.metrics import wilson
from tblib.show.plots import BLUE, GREEN, GREY, MARKS, ORANGE, SKY, VERMILION, panels
from tblib.show.text import by_name, estimate, percent


def measure(audit: Audit) -> dict[str, Any]:
    """Plant cues and run negative controls: how often the audit finds cues that are there, and cues that are not.

    Returns:
        curve: one row per cue and strength: cue, p, n, used (share with Wilson interval), moved, auroc.
        controls: one row per kind (shuffled labels; parity of the file number): tests, used, moved, auroc.
        films, trained_on, training: number of films, of training films, and training settings.
    """
    rows = audit.sampled(np.arange(len(audit.films)), audit.budget.films)
    greys, train, how = audit.greys(rows), audit.train[rows], audit.training
    masks = None if audit.edit_masks is None else audit.edit_masks[rows]
    pairs = {cue.name: added(cue, greys, audit.model.input, audit.seed, masks=masks) for cue in EDITED}
    shared: dict[str, npt.NDArray[Any]] = {"plain": audit.images[rows], "group": audit.group[rows], "train": train}
    seeds = range(audit.budget.replicas)
    wanted = [(name, p, seed) for name in pairs for p in audit.budget.planted for seed in seeds]
    jobs = [
        Job(
            fits.planted,
            shared | {"label": audit.target[rows], "put": pairs[name].edited, "placebo": pairs[name].placebo},
            {"p": p, "shuffle": True, "seed": seed, "training": how},
        )
        for name, p, seed in wanted
    ]
    shared |= {"edited": np.stack([np.stack([one.edited, one.placebo]) for one in pairs.values()])}
    shared |= {"cues": np.stack([cue.carried(audit.films.iloc[rows]) for cue in EDITED])}
    kinds = {
        "shuffled labels": audit.target[rows],
        "parity of the file number": _parity(audit.films["file"].iloc[rows]),
    }
    controls = [
        Job(
            fits.control,
            shared | {"label": label},
            {"names": list(pairs), "shuffle": kind == "shuffled labels", "seed": seed, "training": how},
        )
        for kind, label in kinds.items()
        for seed in range(audit.budget.controls)
    ]
    found = audit.jobs(jobs + controls, "planted cues")
    return {
        "curve": _curve(wanted, found[: len(jobs)]),
        "controls": _controls(list(kinds), list(pairs), found[len(jobs) :]),
        "films": len(rows),
        "trained_on": int(train.sum()),
        "training": asdict(fits.training_of(how)),
    }


def _parity(files: pd.Series) -> Ints:
    """1 if the number at the end of a file's name is odd, 0 if even; files without a number use their index."""
    number = files.str.extract(r"(\d+)\D*$", expand=False)
    places = pd.Series(np.arange(len(files)), index=files.index)
    return number.where(number.notna(), places.astype(str)).astype(object).map(int).to_numpy(np.int64) % 2


def _curve(wanted: list[tuple[str, float, int]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for name, p in dict.fromkeys((name, p) for name, p, _ in wanted):
        own = [result for (n, q, _), result in zip(wanted, found, strict=True) if (n, q) == (name, p)]
        share, moved = (wilson(sum(result[what] for result in own), len(own)) for what in ("used", "moved"))
        rows.append(
            {"cue": name, "p": p, "n": len(own), "used": share._asdict(), "moved": moved._asdict()}
            | {"auroc": _mean([result["auroc"] for result in own])}
        )
    return rows


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _controls(kinds: list[str], names: list[str], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for kind, own in zip(kinds, np.array_split(np.array(found, dtype=object), len(kinds)), strict=True):
        answers = [result[name] for result in own for name in names]
        used, moved = (wilson(sum(one[what] for one in answers), len(answers)) for what in ("used", "moved"))
        rows.append(
            {"control": kind, "trainings": len(own), "tests": len(answers), "used": used._asdict()}
            | {"moved": moved._asdict(), "auroc": _mean([result["auroc"] for result in own])}
        )
    return rows


def figure(planted: dict[str, Any]) -> Figure:
    """Share of planted cues that the audit detects as used, by strength, and false alarms of the negative controls."""
    curve = pd.DataFrame([row | row["used"] for row in planted["curve"]])
    told = "; ".join(f"{r.cue} at p={r.p:g}: {r.value:.0%} of {r.n}" for r in curve.itertuples())
    controls = "; ".join(
        f"{row['control']}: {row['used']['value']:.1%} of {row['tests']} tests" for row in planted["controls"]
    )
    figure, (left, right) = panels(
        f"Power of the audit. {told}. False alarms. {controls}.", 2, (9.6, 3.4), width_ratios=(1.6, 1)
    )
    names = list(dict.fromkeys(curve["cue"]))
    for place, name in enumerate(names):
        rows, aside = curve[curve["cue"] == name], 0.004 * (place - len(names) / 2)
        colour, marker = (VERMILION, BLUE, GREEN, ORANGE, SKY, "black", GREY)[place % 7], MARKS[place % len(MARKS)]
        away = rows["value"] - rows["low"], rows["high"] - rows["value"]
        left.errorbar(rows["p"] + aside, rows["value"], away, marker=marker, color=colour, label=name, elinewidth=0.7)
    left.axhline(THRESHOLDS["power"], color=GREY, linestyle="--", linewidth=0.8)
    left.axhline(THRESHOLDS["level"], color=GREY, linestyle=":")
    left.set(xlabel="p of the planted cue", ylabel="share called used", ylim=(-0.03, 1.05), xlim=(0.47, 1.03))
    left.legend(frameon=False, fontsize=7, loc="center left")
    _draw_controls(right, planted["controls"])
    return figure


def _draw_controls(ax: Axes, controls: list[dict[str, Any]]) -> None:
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


def finding(planted: dict[str, Any]) -> str:
    """How often the audit detects planted cues, and how often it raises a false alarm."""
    strong = [row for row in planted["curve"] if row["p"] == 0.8]
    enough = [row["cue"] for row in strong if row["used"]["value"] >= THRESHOLDS["power"]]
    poor = [f"{row['cue']} ({percent(row['used']['value'], 0)})" for row in strong if row["cue"] not in enough]
    alarms = sum(round(row["used"]["value"] * row["tests"]) for row in planted["controls"])
    tests = sum(row["tests"] for row in planted["controls"])
    replicas = strong[0]["n"] if strong else 0
    return (
        f"Planted at p = 0.8 into {planted['trained_on']} training films, {replicas} time(s) each, these are called "
        f"used in {percent(THRESHOLDS['power'], 0)} or more: {', '.join(enough) or 'none'}"
        f"{'; not so: ' + ', '.join(poor) if poor else ''}. "
        f"Of {tests} tests in negative controls {alarms} ended in a false alarm."
    )


def table(planted: dict[str, Any]) -> pd.DataFrame:
    """One row per cue, one column per strength: share detected as used, with its interval."""
    rows = [
        (row["cue"], f"p = {row['p']:g}", f"{estimate(row['used'], True)}, n {row['n']}") for row in planted["curve"]
    ]
    wide = pd.DataFrame(rows, columns=["cue", "p", "used"]).pivot_table(
        index="cue", columns="p", values="used", aggfunc="first", sort=False
    )
    return wide.rename_axis(index=None, columns=None)


def controls_table(planted: dict[str, Any]) -> pd.DataFrame:
    """One row per negative control: trainings, held-out AUROC, tests, called used, changed over the placebo."""
    rows = [
        {
            "negative control": row["control"],
            "trainings": row["trainings"],
            "AUROC, mean": "one class only" if row["auroc"] is None else f"{row['auroc']:.3f}",
            "tests": row["tests"],
            "called used": estimate(row["used"], True),
            "moved, whether or not the cue tells": estimate(row["moved"], True),
        }
        for row in planted["controls"]
    ]
    return by_name(pd.DataFrame(rows), "negative control")
