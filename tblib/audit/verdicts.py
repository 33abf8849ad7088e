"""Verdicts: what the evidence on a cue amounts to, by one table of thresholds.

Three claims are distinguished: a cue *exists* (it differs between the classes), it *predicts* the label by itself, and
the model *uses* it. A verdict names the strongest claim that is shown.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tblib.audit.effects import THRESHOLDS, Effect, holm, is_used
from tblib.audit.views import BLIND
from tblib.eda.prevalence import odds_text
from tblib.metrics import Estimate
from tblib.show.plots import GREEN, GREY, ORANGE, SKY, VERMILION, panels
from tblib.show.text import by_name, capital, estimate, interval_of, listed, mean_sd, percent, signed

AVAILABLE, USED, DECISIVE, NOT_SHOWN, UNDECIDED = "AVAILABLE", "USED", "DECISIVE", "NOT SHOWN", "UNDECIDED"
MEANING = {
    AVAILABLE: f"a baseline that sees only this cue has an AUROC whose interval lies above {THRESHOLDS['baseline']}",
    USED: "the cue is more common in one class beyond chance; putting it on films, or taking it off, moves the model "
    f"towards, or away from, that class more than a placebo does (paired randomisation test, Holm), and the net share "
    f"of calls that it turns is {THRESHOLDS['flips']:.0%} or more, with its interval",
    DECISIVE: f"used, and the cue alone reaches {THRESHOLDS['share']:.0%} of the model's AUROC above chance, or the "
    f"AUROC falls by {THRESHOLDS['fall']} or more without it",
    NOT_SHOWN: f"none of these, and the audit finds such a cue in at least {THRESHOLDS['power']:.0%} of planted cases",
    UNDECIDED: "none of these, and the audit's power for this cue is lower or not known",
}


@dataclass(frozen=True)
class Evidence:
    """The evidence behind a verdict; None where it was not or cannot be measured.

    Attributes:
        exists: AUROC of the cue's own score.
        exists_p: p-value of the association between that score and the label (`tblib.metrics.label_p`).
        baseline: AUROC of a baseline that sees the cue alone.
        sufficiency: effect of adding the cue to films without it.
        necessity: effect of removing it from films that carry it.
        share: S, the part of the model's AUROC above chance that the cue alone reaches.
        fall: fall of the AUROC once the cue is removed from all films, or matched between the classes.
        power: share of planted cues (p = 0.8) that the audit detects as used.
        unusable: why no model can use the cue; empty if it can be used.
    """

    exists: Estimate
    exists_p: float
    baseline: Estimate
    sufficiency: Effect | None = None
    necessity: Effect | None = None
    share: float | None = None
    fall: Estimate | None = None
    power: Estimate | None = None
    unusable: str = ""


def judge(one: Evidence, exists_p: float, put_p: float | None, taken_p: float | None) -> tuple[str, str]:
    """Verdict and reason from the evidence and its adjusted p-values."""
    ways = [
        name
        for name, found, p in (("put on films", one.sufficiency, put_p), ("taken off films", one.necessity, taken_p))
        if is_used(exists_p, found, p)
    ]
    if ways and not one.unusable:
        moved = f"{' and '.join(ways)}, it moves the model as its class would, over placebo"
        if one.share is not None and one.share >= THRESHOLDS["share"]:
            return DECISIVE, f"{moved}; alone it reaches {one.share:.0%} of the model's AUROC above chance"
        if one.fall is not None and (one.fall.value or 0) >= THRESHOLDS["fall"] and (one.fall.low or 0) > 0:
            return DECISIVE, f"{moved}; without it the AUROC falls by {one.fall.value:.3f}"
        return USED, moved
    if (one.baseline.low or 0) > THRESHOLDS["baseline"]:
        why = one.unusable or _not_used(one, exists_p)
        return AVAILABLE, f"a baseline finds it; {why}"
    if one.unusable:
        return NOT_SHOWN, one.unusable
    if one.power is None or one.power.value is None:
        return UNDECIDED, "the audit's power for this cue was not measured, so nothing found means nothing known"
    if one.power.value < THRESHOLDS["power"]:
        return UNDECIDED, f"the audit finds this cue in only {one.power.value:.0%} of planted cases"
    return NOT_SHOWN, f"nothing found, and the audit finds such a cue in {one.power.value:.0%} of planted cases"


def _not_used(one: Evidence, exists_p: float) -> str:
    found = [effect for effect in (one.sufficiency, one.necessity) if effect is not None]
    if not found:
        return "no edit shows whether the model uses it"
    if exists_p > THRESHOLDS["level"]:
        return "its score is not shown to differ between the classes, so no movement can be called use"
    most = max(found, key=lambda effect: effect.flips.value or 0.0)
    turned = f"edits turn {most.flips.text(percent=True)} of the calls at most, over placebo"
    return f"{turned}, or do not move the model towards its class"


COLOURS = {DECISIVE: VERMILION, USED: ORANGE, AVAILABLE: SKY, NOT_SHOWN: GREEN, UNDECIDED: GREY}


def figure(results: dict[str, Any]) -> Figure:
    """One line per cue: exists, predicts, used, and the verdict."""
    rows = results["verdicts"]
    told = "; ".join(f"{row['cue']}: {row['verdict']}" for row in rows)
    figure, axes = panels(f"Verdicts. {told}.", 3, (9.8, 0.36 * len(rows) + 1.3), sharey=True)
    titles = ("exists: AUROC of its own score", "predicts: AUROC of its baseline", "used: logit over placebo")
    for place, row in enumerate(rows):
        colour, evidence = COLOURS[row["verdict"]], row["evidence"]
        used = [evidence[way]["mean"] for way in ("sufficiency", "necessity") if evidence[way]]
        for ax, values in zip(axes, ([evidence["exists"]], [evidence["baseline"]], used), strict=True):
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
    axes[1].axvline(THRESHOLDS["baseline"], color=GREY, linestyle="--", linewidth=0.8)
    axes[0].set_yticks(range(len(rows)), [row["cue"] for row in rows])
    axes[0].invert_yaxis()
    return figure


def finding(results: dict[str, Any]) -> list[str]:
    """Three sentences: what was found, what was not, and what that implies for the lungs."""
    by = {name: [row["cue"] for row in results["verdicts"] if row["verdict"] == name] for name in MEANING}
    used = by[DECISIVE] + by[USED]
    if used:
        first = (
            f"The CNN uses {listed(used)} to tell the classes apart"
            f"{f'; decisive: {listed(by[DECISIVE])}' if by[DECISIVE] else ', none of it decisively'}."
        )
    else:
        first = "No cue is shown to be used by the CNN."
    second = (
        f"{capital(listed(by[AVAILABLE])) or 'Nothing else'} would tell the classes apart, too, but use is not "
        f"shown; not shown at all: {listed(by[NOT_SHOWN]) or 'none'}; undecided: {listed(by[UNDECIDED]) or 'none'}."
    )
    return [first, second, _lungs(results)]


def _lungs(results: dict[str, Any]) -> str:
    """Results without the lungs, for the region chosen beforehand, against whole films; and external validation."""
    row = next(row for row in results["region_ablation"] if row["region"] == BLIND.name)
    whole = results["held_out"]["auroc"]["value"]
    text = (
        f"With the lungs painted over, small CNNs retrained on what is left have AUROC {mean_sd(row)} "
        f"({row['seeds']} seed(s), mean ± sd; {row['low']:.3f} to {row['high']:.3f} over films)"
    )
    if whole > 0.5:
        text += f", {percent((row['mean'] - 0.5) / (whole - 0.5), 0)} of what the CNN has above chance on whole films"
    sets = results["external"]["sets"]
    if sets:
        where = "; ".join(f"{estimate(one['auroc'])} on {one['set']}" for one in sets)
        return (
            f"{text}. On other hospitals' films the CNN has AUROC {where}; inside {estimate(results['cnn']['auroc'])}."
        )
    return f"{text}; what the CNN does on other hospitals' films was not measured in this run."


def table(results: dict[str, Any]) -> pd.DataFrame:
    """One row per cue: prevalence, baseline, use, what remains without it, and the verdict."""
    shares = {(row["cue"], row["label"]): row for row in results["prevalence"]}
    labels = list(dict.fromkeys(row["label"] for row in results["prevalence"]))
    rows = []
    for row in results["verdicts"]:
        found, cue = row["evidence"], row["cue"]
        cells = {"cue": cue, "verdict": row["verdict"]}
        for label in labels:
            part = shares.get((cue, label))
            cells[label] = Estimate(part["share"], part["low"], part["high"]).text(True) if part else "a score"
        odds = shares.get((cue, labels[0]))
        cells |= {
            "odds ratio": odds_text(odds) if odds else "a score has none",
            "exists: AUROC of its score": estimate(interval_of(found["exists"])),
            "predicts: AUROC of its baseline": estimate(found["baseline"]),
            "used: put on films, logits over placebo": _used(found["sufficiency"]),
            "used: taken off films": _used(found["necessity"]),
            "AUROC falls without it": estimate(found["fall"]) if found["fall"] else "under ten pairs",
            "power at p = 0.8": estimate(found["power"], True) if found["power"] else "not measured",
        }
        rows.append(cells)
    return by_name(pd.DataFrame(rows), "cue")


def _used(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no such edit"
    flips = Estimate(**found["flips"]).text(percent=True)
    return f"{signed(Estimate(**found['mean']))}; turns {flips} of {found['n']} calls"


def reasons_table(results: dict[str, Any]) -> pd.DataFrame:
    """One row per cue: the verdict, and the reason in a sentence."""
    rows = []
    for row in results["verdicts"]:
        note = f". Note: {row['note']}" if row["note"] and row["note"] not in row["reason"] else ""
        rows.append({"cue": row["cue"], "verdict": row["verdict"], "why": row["reason"] + note})
    return by_name(pd.DataFrame(rows), "cue")


def thresholds_table() -> pd.DataFrame:
    """What each verdict means."""
    return by_name(pd.DataFrame({"verdict": list(MEANING), "given where": list(MEANING.values())}), "verdict")


def key_figures(results: dict[str, Any]) -> dict[str, str]:
    """Rows for the table of key figures at the top of the report."""
    rows = {f"Verdict on {row['cue']}": row["verdict"] for row in results["verdicts"]}
    for one in results["external"]["sets"]:
        rows[f"CNN AUROC on {one['set']} (other hospital)"] = estimate(one["auroc"])
    return rows


def judge_all(evidence: dict[str, Evidence]) -> dict[str, tuple[str, str]]:
    """Cue -> (verdict, reason in a sentence), with Holm's correction over all cues and both directions."""
    ps = {
        (name, way): found.p
        for name, one in evidence.items()
        for way, found in (("put", one.sufficiency), ("taken", one.necessity))
        if found is not None
    }
    adjusted = holm(ps)
    exists = holm({name: one.exists_p for name, one in evidence.items()})
    return {
        name: judge(one, exists[name], adjusted.get((name, "put")), adjusted.get((name, "taken")))
        for name, one in evidence.items()
    }
