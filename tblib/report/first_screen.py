"""The first screen of the report: headline, three numbers, verdicts, and what was not measured, computed from a run."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from tblib.audit.choice import LABEL, choosing, reported, why_unknown
from tblib.audit.effects import THRESHOLDS
from tblib.audit.verdicts import COLOURS, DECISIVE, PHRASES, STRENGTH, UNDECIDED, USED, without_lungs
from tblib.show.evaluation import WHETHER_SEEN
from tblib.show.text import capital, captioned, estimate, how_many, listed, percent

IN_BRIEF = {  # what each verdict means, in a line
    "DECISIVE": "The model uses it, and most of its accuracy rests on it.",
    "USED": "The model uses it: its answers change with it, more than those of networks that cannot have learnt it.",
    "AVAILABLE": "It gives the class away on its own; that the model uses it was not shown.",
    "UNDECIDED": "Nothing was shown, and the audit could have missed it.",
    "NOT SHOWN": "Nothing was shown, and the audit finds such a cue reliably.",
}
REST = "outside the lungs"  # the cue that sums up all others, named last
GIVEN_AWAY = THRESHOLDS["baseline"]  # AUROC: films without lungs give the class away if the interval lies above it


class Number(NamedTuple):
    """One of the three numbers: what it is of, value and interval as text, what it means, anchor of its section."""

    of: str
    value: str
    interval: str
    meaning: str
    link: str


class Chips(NamedTuple):
    """Cues with the same verdict: its name, its colour as #rrggbb, its meaning in a line, and the cues."""

    verdict: str
    colour: str
    meaning: str
    cues: list[str]


@dataclass(frozen=True)
class FirstScreen:
    """What a reader must leave with.

    Attributes:
        headline: the conclusion.
        accuracy: which accuracy, on what, and whether it is above that of always naming the more common class.
        numbers: inside, without the lungs, at other hospitals.
        chips: the verdicts, the strongest first.
        missing: what was not measured, a sentence each.
        truth: on the demo's films: planted, expected and found of each cue; else None.
    """

    headline: str
    accuracy: str
    numbers: list[Number]
    chips: list[Chips]
    missing: list[str]
    truth: pd.DataFrame | None


def first_screen(summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any]) -> FirstScreen:
    """Compute it from the content of ``catalogue.json``, ``metrics.json`` and ``shortcuts.json``."""
    return FirstScreen(
        headline(summary, metrics, results),
        accuracy(summary, metrics),
        [_inside(summary, metrics), _without_lungs(results), _elsewhere(summary, results)],
        _chips(results),
        _missing(metrics, results),
        _truth(results, (summary["negative"], summary["positive"])) if results["truth"] else None,
    )


def headline(summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any]) -> str:
    """The conclusion in a sentence: the gravest that the run shows."""
    if metrics["inverted"]:
        return f"Do not use this model on these films: it ranks {summary['negative']} above {summary['positive']}."
    reasons = _reasons(metrics, results)
    if reasons:
        return f"Do not rely on this accuracy: {', and '.join(reasons)}."
    if not _beyond(metrics):
        return f"This accuracy is not shown to be better than calling every film {_majority(summary, metrics)}."
    open_ones = [PHRASES[row["cue"]] for row in results["verdicts"] if row["verdict"] == UNDECIDED]
    if open_ones:
        return f"No shortcut was shown, but the audit could have missed some: {listed(open_ones)}."
    return "No shortcut was shown, and the audit could have found one."


def _reasons(metrics: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """Why the accuracy cannot be relied on: use of cues, films without lungs, other hospitals."""
    by = {row["cue"]: row["verdict"] for row in results["verdicts"] if row["verdict"] in (DECISIVE, USED)}
    used = [PHRASES[cue] for cue in sorted(by, key=lambda cue: (cue == REST, STRENGTH.index(by[cue])))]
    reasons = [f"the model uses {listed(used)}"] if used else []
    if not used and without_lungs(results)["low"] > GIVEN_AWAY:
        reasons.append("films without their lungs give the class away, too")
    failed = [one for one in reported(results["external"]["sets"]) if _falls(one["auroc"], metrics["auroc"])]
    where = "another hospital" if len(failed) == 1 else f"{len(failed)} other hospitals"
    return [*reasons, f"it does not hold at {where}"] if failed else reasons


def _falls(there: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether the AUROC of an external set lies below the one inside, interval against interval."""
    return there["high"] is not None and here["low"] is not None and there["high"] < here["low"]


def _beyond(metrics: dict[str, Any]) -> bool:
    return bool(metrics["accuracy"]["low"] > metrics["majority_accuracy"])


def _majority(summary: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Name of the more common class among the films judged."""
    return str(summary["positive" if 2 * metrics["positives"] > metrics["n"] else "negative"])


def accuracy(summary: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Which accuracy, on what, and whether it is above that of always naming the more common class."""
    model = metrics["model"]
    films, known = ("test films", "") if model is None else ("films", WHETHER_SEEN[model["seen"]].rstrip(","))
    base = f"Calling every film {_majority(summary, metrics)} is right on {percent(metrics['majority_accuracy'])}"
    if _beyond(metrics):
        compared = f"{base}; the model is better than that."
    elif metrics["accuracy"]["high"] < metrics["majority_accuracy"]:
        compared = f"{base}; the model is worse than that."
    else:
        compared = f"{base}, which lies within the model's interval: it is not shown to be better than that."
    return (
        f"The model's accuracy is {estimate(metrics['accuracy'], True)} on {metrics['n']:,} {films} of "
        f"{summary['database']} ({metrics['positives']:,} {summary['positive']}){known}. {compared}"
    )


def _inside(summary: dict[str, Any], metrics: dict[str, Any]) -> Number:
    area = metrics["auroc"]
    films = "test films" if metrics["model"] is None else "films"
    meaning = f"The model on {metrics['n']:,} {films} of {summary['database']}"
    return Number("On this database", *_texts(area), f"{meaning}.", "evaluation-ranking")


def _without_lungs(results: dict[str, Any]) -> Number:
    row = without_lungs(results)
    meaning = f"Small CNNs on the same films with the lungs painted over ({how_many(row['seeds'], 'training')})."
    given_away = row["low"] > GIVEN_AWAY
    told = "The class can be predicted without a lung." if given_away else "Little can be predicted without the lungs."
    found = {"value": row["mean"], "low": row["low"], "high": row["high"]}
    return Number("Without the lungs", *_texts(found), f"{meaning} {told}", "shortcuts-region-ablation")


def _elsewhere(summary: dict[str, Any], results: dict[str, Any]) -> Number:
    sets, link = reported(results["external"]["sets"]), "shortcuts-other-hospitals"
    chosen = "; ".join(f"{one['set']} {estimate(one['auroc'])}" for one in choosing(results["external"]["sets"]))
    chosen = f" {capital(LABEL)}: {chosen}." if chosen else ""
    if not sets:
        unknown = capital(why_unknown(results["external"]["sets"]))
        meaning = f"{unknown}, so nobody knows whether it holds elsewhere.{chosen}"
        return Number("At other hospitals", "not measured", "", meaning, link)
    first = min(sets, key=lambda one: one["auroc"]["value"])
    own = next(iter(first["points"].values()))
    others = "; ".join(f"{one['set']} {estimate(one['auroc'])}" for one in sets if one is not first)
    meaning = (
        f"The model on {first['n']:,} films of {first['set']}. At its own threshold it finds "
        f"{percent(own['sensitivity']['value'], 0)} of the {summary['positive']} films and clears "
        f"{percent(own['specificity']['value'], 0)} of the {summary['negative']} ones."
    )
    also = f" Also: {others}." if others else ""
    return Number("At other hospitals", *_texts(first["auroc"]), f"{meaning}{also}{chosen}", link)


def _texts(area: dict[str, Any]) -> tuple[str, str]:
    if area["low"] is None:
        return f"{area['value']:.3f}", ""
    return f"{area['value']:.3f}", f"{area['low']:.3f} to {area['high']:.3f}"


def _chips(results: dict[str, Any]) -> list[Chips]:
    by = {kind: [row["cue"] for row in results["verdicts"] if row["verdict"] == kind] for kind in STRENGTH}
    return [Chips(kind, COLOURS[kind], IN_BRIEF[kind], cues) for kind, cues in by.items() if cues]


def _missing(metrics: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """What the run did not measure."""
    by = {kind: [PHRASES[row["cue"]] for row in results["verdicts"] if row["verdict"] == kind] for kind in STRENGTH}
    model, power, gate = metrics["model"], results["planted"], results["saliency"]["gate"]
    unknown = why_unknown(results["external"]["sets"])
    told = {
        f"How the model does at other hospitals: {unknown}.": unknown,
        f"Whether the model uses {listed(by[UNDECIDED])}: the audit cannot decide it on these films.": by[UNDECIDED],
        "Where the model looks: its gradients are not known.": gate is None,
        "Where the model looks: its saliency maps failed the sanity check.": gate is not None and not gate["open"],
        "How much of each cue this audit finds on these very films: its power is quoted from a control study on "
        "SYNTHETIC films.": power["source"] != "this run",
        "Mitigations: this budget compares none.": not results["mitigations"],
        "Whether these films were among those that the model was trained on: its spec does not say.":
            model is not None and model["seen"] == "unknown",
        "Whether the labels are right, and whether several films are of one person: the database does not tell.": True,
    }  # fmt: skip
    return [sentence for sentence, so in told.items() if so]


def _truth(results: dict[str, Any], classes: tuple[str, str]) -> pd.DataFrame:
    """One row per cue: planted in which share of either class, expected, found, and whether they agree."""
    rows = [
        {
            "cue": row["cue"],
            **{f"on {name} films": percent(share, 0) for name, share in zip(classes, row["shares"], strict=True)},
            "expected": "used" if row["planted"] else "not used",
            "found": row["verdict"],
            "agrees": "yes" if row["agrees"] else "no",
        }
        for row in results["truth"]
    ]
    return captioned(pd.DataFrame(rows), "What the demo's films carry by design, and what the audit found")
