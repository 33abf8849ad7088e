"""Verdicts: what the evidence on a cue amounts to, by one table of thresholds.

Three claims are distinguished: a cue *exists* (it differs between the classes), it *predicts* the label by itself, and
the model *uses* it. A verdict names the strongest claim that is shown.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tblib.audit.choice import LABEL, choosing, reported, why_unknown
from tblib.audit.effects import THRESHOLDS, Effect, holm, is_used
from tblib.audit.views import BLIND, BLIND_WIDE, WIDEST
from tblib.eda.prevalence import odds_text
from tblib.films.edits import SIDE
from tblib.metrics import Estimate
from tblib.show.plots import FONT, GREY, INK, TOWARDS, WIDTH, key, legend_below, panels
from tblib.show.text import by_name, capital, estimate, interval_of, listed, mean_sd, of_trainings, percent

AVAILABLE, USED, DECISIVE, NOT_SHOWN, UNDECIDED = "AVAILABLE", "USED", "DECISIVE", "NOT SHOWN", "UNDECIDED"
STRENGTH = (DECISIVE, USED, AVAILABLE, UNDECIDED, NOT_SHOWN)  # of a group of cues the first of its verdicts counts
MEANING = {
    AVAILABLE: f"a baseline that sees only this cue has an AUROC whose interval lies above {THRESHOLDS['baseline']}",
    USED: "the cue is more common in one class beyond chance, also among films that are alike in any one other cue; "
    "putting it on films and taking it off moves the model towards, and away from, that class more than it moves "
    "reference networks, which cannot have learnt the cue (Student's t among them, one-sided at "
    f"{percent(THRESHOLDS['use'])}; Holm over cues); "
    "and the interval of the net share of predictions that it flips, over a placebo, lies above 0",
    DECISIVE: f"used, and the cue alone reaches {percent(THRESHOLDS['share'], 0)} of the model's AUROC above chance, "
    f"with its interval, or without it the AUROC falls by {THRESHOLDS['fall']} or more over a placebo",
    NOT_SHOWN: "none of these, and the audit finds such a cue, planted at p = 0.8, by this very rule: the lower limit "
    f"of its power is {percent(THRESHOLDS['power'], 0)} or more",
    UNDECIDED: "none of these, and the audit's power for this cue is lower or not known, or its use was not tested",
}

PHRASES = {  # cue -> what it is called within a sentence
    "one-channel file": "the number of channels in the file",
    "tint": "the tint",
    "L/R marker": "the L/R marker",
    "marker style": "the style of the marker",
    "white rectangle": "the white rectangle",
    "black box": "the black box",
    "film border": "the film border",
    "grey histogram": "the grey levels",
    "sharpness, compression": "the sharpness",
    "outside the lungs": "what lies outside the lungs",
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
        use: effect of both together, by which use is judged.
        share: S, the part of the model's AUROC above chance that the cue alone reaches.
        fall: fall of the AUROC over a placebo once the cue is removed, or matched between the classes.
        power: share of planted cues (p = 0.8) that the audit detects as used.
        given: other cue -> p-value of the association that is left among films alike in it.
        unusable: why no model can use the cue; empty if it can be used.
    """

    exists: Estimate
    exists_p: float
    baseline: Estimate
    sufficiency: Effect | None = None
    necessity: Effect | None = None
    use: Effect | None = None
    share: Estimate | None = None
    fall: Estimate | None = None
    power: Estimate | None = None
    given: dict[str, float] = field(default_factory=dict)
    unusable: str = ""


@dataclass(frozen=True)
class Verdict:
    """A verdict on one cue.

    Attributes:
        name: one of `MEANING`.
        reason: a sentence.
        together: other cues that cannot be told apart from it on these films; the verdict is on all of them.
    """

    name: str
    reason: str
    together: tuple[str, ...] = ()


def judge_all(evidence: dict[str, Evidence]) -> dict[str, Verdict]:
    """Judge every cue, with Holm's correction over all existing cues."""
    exists = holm({name: one.exists_p for name, one in evidence.items()})
    explained = {name: _explained(name, evidence) for name in evidence}
    adjusted = holm(
        {
            name: one.use.p
            for name, one in evidence.items()
            if exists[name] <= THRESHOLDS["level"] and not explained[name] and one.use and one.use.p is not None
        }
    )
    judged = {name: judge(one, exists[name], adjusted.get(name), explained[name]) for name, one in evidence.items()}
    groups = {name: _together(name, evidence) for name in evidence}
    return {name: _of_group(name, groups[name], judged) for name in evidence}


def _explained(name: str, evidence: dict[str, Evidence]) -> str:
    """The cue that explains all of this one's association with the label, and not the reverse; empty if none does."""
    level = THRESHOLDS["level"]
    for other, p in evidence[name].given.items():
        if p > level and evidence[other].given.get(name, 0.0) <= level:
            return other
    return ""


def _together(name: str, evidence: dict[str, Evidence]) -> tuple[str, ...]:
    """Cues that explain each other's association with the label."""
    level = THRESHOLDS["level"]
    given = evidence[name].given
    return tuple(o for o, p in given.items() if p > level and evidence[o].given.get(name, 0.0) > level)


def _of_group(name: str, together: tuple[str, ...], judged: dict[str, Verdict]) -> Verdict:
    if not together:
        return judged[name]
    strongest = min((name, *together), key=lambda each: STRENGTH.index(judged[each].name))
    return Verdict(
        judged[strongest].name,
        f"on these films it cannot be told apart from {listed(list(together))}, so this is the verdict on them "
        f"together; {strongest}: {judged[strongest].reason}",
        together,
    )


def judge(one: Evidence, exists_p: float, use_p: float | None, explained: str = "") -> Verdict:
    """Verdict from the evidence, its adjusted p-values, and the cue that explains this one's association, if any."""
    if is_used(exists_p, one.use, use_p) and not one.unusable and not explained:
        ways = {"put on films": one.sufficiency, "taken off films": one.necessity}
        how = " and ".join(way for way, found in ways.items() if found)
        return _used(one, f"{how}, it moves the model as its class would, more than reference networks")
    if (one.baseline.low or 0) > THRESHOLDS["baseline"]:
        return Verdict(AVAILABLE, f"a baseline finds it; {one.unusable or _not_used(one, exists_p, explained)}")
    if one.unusable:
        return Verdict(NOT_SHOWN, one.unusable)
    tested = one.use is not None and one.use.p is not None
    if explained or (exists_p <= THRESHOLDS["level"] and not tested):
        return Verdict(UNDECIDED, _not_used(one, exists_p, explained))
    enough, power = _power(one)
    if away := _away(one):
        return Verdict(NOT_SHOWN if enough else UNDECIDED, f"{away}; {power}")
    return Verdict(NOT_SHOWN, f"nothing found, and {power}") if enough else Verdict(UNDECIDED, power)


def _away(one: Evidence) -> str:
    """That edits move the model against the class that the cue goes with on these films, if they do; else empty."""
    if one.use is None or one.use.p is None or one.use.p < 1 - THRESHOLDS["use"]:
        return ""
    return (
        f"{_moves(one.use)}: it moves the other way, so that what it makes of this cue goes against these films' labels"
    )


def _moves(use: Effect) -> str:
    return (
        f"edits move the probability by {100 * use.shift:+.1f} points, reference networks by "
        f"{100 * float(np.mean(use.references)):+.1f} on average"
    )


def _power(one: Evidence) -> tuple[bool, str]:
    """Whether the power is enough for a use that was not found to speak against it, and a clause that gives it."""
    if one.power is None or one.power.value is None or one.power.low is None:
        return False, "the audit's power for this cue is not known, so that nothing found means nothing"
    enough, found = one.power.low >= THRESHOLDS["power"], one.power.text(percent=True)
    return enough, f"the audit finds such a cue in {'' if enough else 'only '}{found} of planted cases"


def _used(one: Evidence, moved: str) -> Verdict:
    if one.share is not None and (one.share.low or 0) >= THRESHOLDS["share"]:
        share = percent(one.share.value or 0.0, 0)
        return Verdict(DECISIVE, f"{moved}; alone it reaches {share} of the model's AUROC above chance")
    if one.fall is not None and (one.fall.value or 0) >= THRESHOLDS["fall"] and (one.fall.low or 0) > 0:
        return Verdict(DECISIVE, f"{moved}; without it the AUROC falls by {one.fall.value:.3f} over a placebo")
    return Verdict(USED, moved)


def _not_used(one: Evidence, exists_p: float, explained: str) -> str:
    if explained:
        return f"“{explained}” accounts for its difference between the classes, so its use is not tested"
    if one.use is None:
        return "no edit shows whether the model uses it"
    if exists_p > THRESHOLDS["level"]:
        return "its score is not shown to differ between the classes, so no movement can be called use"
    if one.use.p is None:
        return "this budget trains no reference networks for it, so use is not tested"
    return _away(one) or f"{_moves(one.use)}: not shown to be more; {_power(one)[1]}"


NARROWEST = 5.0  # points of probability: least reach of a panel to either side of 0
COLOURS = {  # of marks and of text on white; none is green, which would read as safe, or stands for a class
    DECISIVE: "#4B0055",
    USED: "#A3278F",
    AVAILABLE: "#8A6100",
    UNDECIDED: "#6E6E6E",
    NOT_SHOWN: "#2F3B45",
}
MARKS = {DECISIVE: "D", USED: "o", AVAILABLE: "^", UNDECIDED: "x", NOT_SHOWN: "_"}
WAYS = (("put on films without it", "o", False), ("taken off its carriers", "s", True))  # label, mark, hollow


def figure(results: dict[str, Any]) -> Figure:
    """One line per cue: exists, predicts, used, and the verdict."""
    rows = results["verdicts"]
    told = "; ".join(f"{row['cue']}: {row['verdict']}" for row in rows)
    alt = f"{finding(results)[0]} Verdicts, {told}."
    figure, axes = panels(alt, 3, (WIDTH, 0.34 * len(rows) + 1.6), sharey=True)
    for place, row in enumerate(rows):
        name, evidence = row["verdict"], row["evidence"]
        for ax, value in zip(axes, (evidence["exists"], evidence["baseline"]), strict=False):
            if value["value"] is not None:
                ax.hlines(place, value["low"], value["high"], color=COLOURS[name], linewidth=2)
                ax.plot(value["value"], place, MARKS[name], color=COLOURS[name], markersize=6)
        draw_shifts(axes[2], place, [evidence["sufficiency"], evidence["necessity"]], COLOURS[name])
        side: dict[str, Any] = {"transform": axes[2].get_yaxis_transform(), "color": COLOURS[name]}
        axes[2].plot(1.1, place, MARKS[name], clip_on=False, markersize=6, **side)
        axes[2].text(1.17, place, name, va="center", fontsize=FONT, **side)
    axes[2].margins(x=0.15)  # apart from the verdicts
    show_at_least(axes[2])
    for ax, title, null in zip(axes, _titles(results), (0.5, 0.5, 0.0), strict=True):
        ax.set_xlabel(title)
        ax.axvline(null, color=INK, linestyle=":")
        ax.grid(visible=False, axis="y")
        ax.xaxis.get_major_locator().set_params(nbins=4)
    axes[1].axvline(THRESHOLDS["baseline"], color=INK, linestyle="--", linewidth=0.8)
    axes[0].set_yticks(range(len(rows)), [row["cue"] for row in rows])
    axes[0].invert_yaxis()
    limit = key(f"limit of AVAILABLE ({THRESHOLDS['baseline']})", INK, line="--", width=0.8)
    legend_below(figure, 3, [key("95 % interval over films", INK, line="-"), limit, *keys_of_shifts()])
    return figure


def _titles(results: dict[str, Any]) -> tuple[str, str, str]:
    """What the three panels of `figure` show, with the number of films."""
    films = f"(n = {next(iter(results['baselines'].values()))['all']['films']:,} films)"
    tried = [row["evidence"]["use"]["n"] for row in results["verdicts"] if row["evidence"]["use"]]
    edited = f"\n(n = {min(tried):,} to {max(tried):,} films)" if tried else ""
    used = f"used: change of the\nprobability, points,\n{TOWARDS}{edited}"
    return f"exists: AUROC\nof its own score\n{films}", f"predicts: AUROC\nof its baseline\n{films}", used


def draw_shifts(ax: Axes, place: float, effects: list[dict[str, Any] | None], colour: str) -> None:
    """Changes of the probability in points at height `place`: reference networks in grey, the model in front of them.

    `effects` are of putting the cue on and of taking it off.
    """
    for down, found, (_, mark, hollow) in zip((-0.16, 0.16), effects, WAYS, strict=True):
        if found:
            others = 100 * np.array(found["references"])
            ax.plot(others, [place + down] * len(others), "|", color=GREY, markersize=6, markeredgewidth=0.8)
            face = "white" if hollow else colour
            ax.plot(100 * found["shift"], place + down, mark, color=colour, markerfacecolor=face, markersize=5.5)


def keys_of_shifts() -> list[Line2D]:
    """The legend of `draw_shifts`."""
    ways = [key(label, INK, mark, hollow=hollow) for label, mark, hollow in WAYS]
    return [*ways, key("reference networks", GREY, "|"), key("no effect, or guessing", INK, line=":")]


def show_at_least(ax: Axes) -> None:
    """Widen a panel of probabilities to `NARROWEST`, so that tiny changes look tiny."""
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, -NARROWEST), max(high, NARROWEST))


def finding(results: dict[str, Any]) -> list[str]:
    """Three sentences: what was found, what was not, and what that implies for the lungs."""
    by = {kind: [PHRASES[row["cue"]] for row in results["verdicts"] if row["verdict"] == kind] for kind in MEANING}
    used = by[DECISIVE] + by[USED]
    first = f"The model uses {listed(used)}." if used else "The model is not shown to use any cue."
    if used:
        most = f"Most of its accuracy rests on {listed(by[DECISIVE])}" if by[DECISIVE] else "None is decisive"
        first = f"{first} {most}."
    rest = (
        (AVAILABLE, "also give the class away, but the model is not shown to use {them}"),
        (UNDECIDED, "may be used or not: the audit could have missed it"),
        (NOT_SHOWN, "were not found to be used, by an audit that finds such cues reliably"),
    )
    told = [f"{capital(listed(by[kind]))} {_of_number(what, len(by[kind]))}." for kind, what in rest if by[kind]]
    return [first, " ".join(told) or "There is no other cue.", _lungs(results)]


def _of_number(text: str, count: int) -> str:
    """A predicate for one cue or several."""
    if count > 1:
        return text.format(them="them")
    return text.format(them="it").replace("give ", "gives ", 1).replace("were ", "was ", 1)


def without_lungs(results: dict[str, Any]) -> dict[str, Any]:
    """The row of the region ablation behind the headline: small CNNs on films whose lungs are painted over."""
    row: dict[str, Any] = next(row for row in results["region_ablation"] if row["region"] == BLIND.name)
    return row


def _lungs(results: dict[str, Any]) -> str:
    """Results without the lungs, for the region chosen beforehand, against whole films; and external validation."""
    row, whole = without_lungs(results), results["held_out"]["auroc"]["value"]
    text = (
        f"Small CNNs trained on films whose lungs are painted over have AUROC {mean_sd(row)} "
        f"({of_trainings(row['seeds'])}; {row['low']:.3f} to {row['high']:.3f} over films)"
    )
    wide = next((row for row in results["region_ablation"] if row["region"] == BLIND_WIDE), None)
    if wide:
        text += f", and {mean_sd(wide)} if {WIDEST} px (of {SIDE}) around the lungs are painted over as well"
    if whole > 0.5:
        text += f". That is {percent((row['mean'] - 0.5) / (whole - 0.5), 0)} of what the model has above chance"
    return f"{text}. {_elsewhere(results['external']['sets'], estimate(results['cnn']['auroc']))}"


def _elsewhere(sets: list[dict[str, Any]], inside: str) -> str:
    """The model on films of other hospitals, apart from those on which its settings were chosen."""
    others, own = (
        "; ".join(f"{estimate(one['auroc'])} on {one['set']}" for one in some)
        for some in (reported(sets), choosing(sets))
    )
    text = f"How the model does on films of other hospitals is not known: {why_unknown(sets)}."
    if others:
        text = f"On films of other hospitals the model has AUROC {others}, inside {inside}."
    return f"{text} On films on which its settings were chosen it has AUROC {own}." if own else text


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
            **_use_cells(found["use"]),
            "AUROC falls without it": estimate(found["fall"]) if found["fall"] else "under ten pairs",
            "power at p = 0.8": estimate(found["power"], True) if found["power"] else "not measured",
        }
        rows.append(cells)
    return by_name(pd.DataFrame(rows), "cue", "The evidence on each cue, and its verdict")


def _use_cells(found: dict[str, Any] | None) -> dict[str, str]:
    """Put on and taken off films: change of the probability in points, among reference networks; net flips."""
    names = ("used: points of probability over placebo", "reference networks", "used: net prediction flips")
    if found is None:
        return dict.fromkeys(names, "no such edit")
    others = 100 * np.array(found["references"])
    among = f"{others.mean():+.1f} ± {others.std(ddof=1):.1f} ({len(others)})" if len(others) else "none"
    flips = f"{Estimate(**found['flips']).text(percent=True)} of {found['n']}"
    return dict(zip(names, (f"{100 * found['shift']:+.1f}", among, flips), strict=True))


def reasons_table(results: dict[str, Any]) -> pd.DataFrame:
    """One row per cue: the verdict, and the reason in a sentence."""
    rows = []
    for row in results["verdicts"]:
        note = f". Note: {row['note']}" if row["note"] and row["note"] not in row["reason"] else ""
        rows.append({"cue": row["cue"], "verdict": row["verdict"], "why": row["reason"] + note})
    return by_name(pd.DataFrame(rows), "cue", "Why each verdict was given")


def thresholds_table() -> pd.DataFrame:
    """What each verdict means."""
    meanings = pd.DataFrame({"verdict": list(MEANING), "given where": list(MEANING.values())})
    return by_name(meanings, "verdict", "What each verdict means")


def key_figures(results: dict[str, Any]) -> dict[str, str]:
    """Rows for the table of key figures at the top of the report."""
    rows = {f"Verdict on {row['cue']}": row["verdict"] for row in results["verdicts"]}
    for one in results["external"]["sets"]:
        what = LABEL if choosing([one]) else "other hospital"
        rows[f"AUROC on {one['set']} ({what})"] = estimate(one["auroc"])
    return rows
