"""Evidence: the sentences and tables of the shortcut audit, written from its numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd

from tblib.budgets import BLIND
from tblib.findings import estimate, odds_text, percent
from tblib.metrics import Estimate
from tblib.verdicts import AVAILABLE, DECISIVE, MEANING, NOT_SHOWN, THRESHOLDS, UNDECIDED, USED, Effect

NONE = "–"
TOO_FEW = "under five films"
SCORES = {"equalised": "evenness of the histogram", "border_mean": "mean grey of the border", "grey_mean": "mean grey"}


def ladder(probed: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Which rungs come near the whole film, those with no lung in view apart from those with some."""
    whole = next(row for row in rows if row["rung"] == "whole film")
    own = probed["held_out"]
    text = (
        f"On {own['films']} held-out films the CNN at hand has AUROC {estimate(own['auroc'])}, and a small CNN on "
        f"whole films {_mean_sd(whole)} ({whole['seeds']} seed(s), mean ± sd)."
    )
    parts = [row for row in rows if row is not whole]
    blind = [f"{row['rung']} {_mean_sd(row)}" for row in parts if row["lung"] == 0]
    some = [f"{row['rung']} ({percent(row['lung'])}) {_mean_sd(row)}" for row in parts if row["lung"] > 0]
    text += f" With no lung in view: {', '.join(blind)}." if blind else ""
    return text + (f" With this share of the lung fields in view: {', '.join(some)}." if some else "")


def ladder_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row a rung: what is seen, how much lung, AUROC retrained over seeds, and the CNN's at hand on such films."""
    return pd.DataFrame(
        {
            "rung": [row["rung"] for row in rows],
            "the CNN sees": [row["sees"] for row in rows],
            "lung in view": [percent(row["lung"]) for row in rows],
            "seeds": [row["seeds"] for row in rows],
            "retrained, mean ± sd": [_mean_sd(row) for row in rows],
            "95 % over films": [f"{row['low']:.3f} to {row['high']:.3f}" for row in rows],
            "not retrained": [estimate(row["masked"]) for row in rows],
        }
    ).pipe(_by, "rung")


def effects(edited: dict[str, Any]) -> str:
    """Which edits move the model most."""
    found = [
        (name, way, one)
        for name, both in edited.items()
        for way, one in (("put on", both["sufficiency"]), ("taken off", both["necessity"]))
        if one is not None
    ]
    if not found:
        return "No suspect could be edited on these films."
    strongest = sorted(found, key=lambda item: -(item[2].flips.value or 0))[:3]
    told = "; ".join(
        f"{name} {way} {one.n} films: {one.mean.value:+.2f} logits, {percent(one.flips.value or 0)} of the calls"
        for name, way, one in strongest
    )
    return f"Over their placebos and towards the class that the cue goes with, these turn the most calls: {told}."


def effects_table(edited: dict[str, Any], classes: tuple[str, str]) -> pd.DataFrame:
    """A row a suspect and direction: pairs, movement, calls turned, p before correction, and movement a class."""
    rows: list[dict[str, Any]] = []
    for name, found in edited.items():
        for way, text in (("sufficiency", "put on"), ("necessity", "taken off")):
            one: Effect | None = found[way]
            if one is None:  # the table of verdicts says why
                continue
            row: dict[str, Any] = {"suspect": name, "edit": text, "towards": classes[int(found["towards"] > 0)]}
            by = {classes[part["label"]]: part["effect"] for part in found["by_class"] if part["way"] == way}
            row |= {"pairs": one.n, "logit over placebo": _signed(one.mean), "calls turned": one.flips.text(True)}
            row |= {"p, uncorrected": f"{one.p:.3g}"}
            row |= {f"on {label}": _signed(Estimate(**part["mean"])) if part else TOO_FEW for label, part in by.items()}
            rows.append(row)
    return _by(pd.DataFrame(rows, columns=None if rows else ["suspect"]), "suspect")


def doses(edited: dict[str, Any]) -> str:
    """Which edits move the model the more, the stronger they are."""
    rising = []
    for name, found in edited.items():
        means = [row["mean"] for row in found.get("doses", []) if row["mean"] is not None]
        if len(means) > 1 and all(abs(b) > abs(a) and a * b > 0 for a, b in pairwise(means)):
            rising.append(name)
    if not rising:
        return "No edit moves the logit further, the same way, at each higher dose."
    return f"The higher the dose, the further, and the same way, the logit moves for: {', '.join(rising)}."


def power(planted: dict[str, Any]) -> str:
    """What the audit finds, and how often it finds what is not there."""
    strong = [row for row in planted["curve"] if row["p"] == 0.8]
    enough = [row["suspect"] for row in strong if row["used"]["value"] >= THRESHOLDS["power"]]
    poor = [f"{row['suspect']} ({percent(row['used']['value'], 0)})" for row in strong if row["suspect"] not in enough]
    alarms = sum(round(row["used"]["value"] * row["tests"]) for row in planted["controls"])
    tests = sum(row["tests"] for row in planted["controls"])
    replicas = strong[0]["n"] if strong else 0
    return (
        f"Planted at p = 0.8 into {planted['trained_on']} training films, {replicas} time(s) each, these are called "
        f"used in {percent(THRESHOLDS['power'], 0)} or more: {', '.join(enough) or 'none'}"
        f"{'; not so: ' + ', '.join(poor) if poor else ''}. "
        f"Of {tests} tests in negative controls {alarms} ended in a false alarm."
    )


def power_table(planted: dict[str, Any]) -> pd.DataFrame:
    """A row a suspect, a column a strength: share called used with its interval."""
    rows = [
        (row["suspect"], f"p = {row['p']:g}", f"{estimate(row['used'], True)}, n {row['n']}")
        for row in planted["curve"]
    ]
    wide = pd.DataFrame(rows, columns=["suspect", "p", "used"]).pivot_table(
        index="suspect", columns="p", values="used", aggfunc="first", sort=False
    )
    return wide.rename_axis(index=None, columns=None)


def controls_table(planted: dict[str, Any]) -> pd.DataFrame:
    """A row a negative control: trainings, AUROC on held-out films, tests, called used, and moved beyond a placebo."""
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
    return _by(pd.DataFrame(rows), "negative control")


def matched(probed: dict[str, Any], found: dict[str, Any]) -> str:
    """AUROC among films of equal artefacts, and the worst group."""
    joint, own = found["all"], probed["held_out"]
    text = f"AUROC of the CNN on {own['films']} held-out films: {estimate(own['auroc'])}. "
    if joint["pairs"]:
        text += f"Among {joint['pairs']} pairs alike in {_scores(joint)}: {_area(joint)}. "
    else:
        text += f"No film of one class is like one of the other in {_scores(joint)} all at once. "
    if found["groups"]:
        worst = found["groups"][0]
        right = f"{percent(worst['value'])} of {worst['n']} films are called rightly"
        text += f"The worst group is “{worst['group']}”: {right}."
    small = found["too_small"]
    return text + (f" Too small to judge: {', '.join(small)}." if small else "")


def matched_table(found: dict[str, Any]) -> pd.DataFrame:
    """A row a suspect: pairs of films alike in it, and the AUROC within them."""
    rows = [
        {"alike in": name, "pairs": own["pairs"], "AUROC within pairs": _area(own)}
        for name, own in found["by_suspect"].items()
    ]
    joint = found["all"]
    rows.append({"alike in": _scores(joint), "pairs": joint["pairs"], "AUROC within pairs": _area(joint)})
    return _by(pd.DataFrame(rows), "alike in")


def saliency(looked: dict[str, Any], classes: tuple[str, str]) -> str:
    """Whether maps may be shown, and how much of them lies in the lungs."""
    gate = looked["gate"]
    told = (
        f"Maps of the CNN and of one with random weights correlate at {gate['correlation']:.2f} "
        f"({gate['films']} films; limit {gate['limit']})"
    )
    if not gate["open"]:
        return f"{told}: they would look alike without anything learnt, so none is shown."
    shares = "; ".join(f"{classes[int(label)]} {estimate(_three(part))}" for label, part in looked["inside"].items())
    return f"{told}. Share of the map inside the lung field over the field's share of the film, 1 is chance: {shares}."


def abroad(metrics: dict[str, Any], found: dict[str, Any], classes: tuple[str, str]) -> str:
    """The CNN on other hospitals' films."""
    dice = "; ".join(
        f"Estimated lung fields against the masks of {row['set']}: Dice {row['dice']:.3f} (5 % of the {row['n']} films "
        f"below {row['p5']:.3f})"
        for row in found["lungs"]
    )
    if not found["sets"]:
        return f"No external database was given, so it is not known what the CNN does elsewhere. {dice}"
    told = []
    for one in found["sets"]:
        point = next(point for name, point in one["points"].items() if name != "0.5")
        told.append(
            f"On {one['n']} films of “{one['set']}” the AUROC is {estimate(one['auroc'])} against "
            f"{estimate(metrics['auroc'])} inside{', inverted' if one['inverted'] else ''}; at the threshold that "
            f"finds 90 % of {classes[1]} here, sensitivity is {estimate(point['sensitivity'], True)} and specificity "
            f"{estimate(point['specificity'], True)} there. Twins of training films left out: {one['twins_left_out']}."
        )
    return " ".join([*told, dice + "." if dice else ""])


def abroad_table(metrics: dict[str, Any], found: dict[str, Any]) -> pd.DataFrame:
    """A row a set: films, AUROC, inverted or not, operating points carried over, calibration, shift of scores."""
    inside = {
        "set": "this database, test",
        "films (positive)": f"{metrics['n']} ({metrics['positives']})",
        "AUROC": estimate(metrics["auroc"]),
        "inverted": "no",
        "calibration error": estimate(metrics["ece"]),
        "shift of scores (KS), negative": NONE,
        "shift of scores (KS), positive": NONE,
    }
    inside |= {_point_name(name): _at(point) for name, point in metrics["operating_points"].items()}
    rows = [inside]
    for one in found["sets"]:
        row = {
            "set": one["set"],
            "films (positive)": f"{one['n']} ({one['positives']})",
            "AUROC": estimate(one["auroc"]),
            "inverted": "yes" if one["inverted"] else "no",
            "calibration error": estimate(one["calibration"]["ece"]),
        }
        for label, name in (("0", "negative"), ("1", "positive")):
            shift = one["shift"][label]
            row[f"shift of scores (KS), {name}"] = f"{shift['ks']:.2f}, median {shift['median']:+.1f} logits"
        rows.append(row | {_point_name(name): _at(point) for name, point in one["points"].items()})
    return _by(pd.DataFrame(rows), "set").T


def remedies(cured: list[dict[str, Any]]) -> str:
    """What the remedies change where it counts."""
    if not cured[0]["external"]:
        best = max(cured, key=lambda row: row["worst_group"]["mean"] or 0.0)
        return (
            f"No external database was given. Worst group over {best['seeds']} seed(s): "
            f"{_mean_sd(best['worst_group'])} with {best['remedy']}, the highest of {len(cured)}; "
            f"{_mean_sd(cured[0]['worst_group'])} with {cured[0]['remedy']}."
        )
    first, best = cured[0], max(cured, key=lambda row: row["external"][0]["mean"])
    there, before = best["external"][0], first["external"][0]
    return (
        f"On “{there['set']}” the AUROC over {best['seeds']} seed(s) is {_mean_sd(before)} "
        f"({before['low']:.3f} to {before['high']:.3f} over films) with {first['remedy']}, and highest with "
        f"{best['remedy']}: {_mean_sd(there)} ({there['low']:.3f} to {there['high']:.3f}); inside it is "
        f"{_mean_sd(first['internal'])} and {_mean_sd(best['internal'])}. The highest of {len(cured)} was chosen on "
        "these very films, so it flatters itself a little."
    )


def remedies_table(cured: list[dict[str, Any]]) -> pd.DataFrame:
    """A row a remedy: worst group, effect left, matched and external AUROC, and, last, the internal one."""
    rows = []
    for row in cured:
        cells = {
            "remedy": row["remedy"].replace("+", " + "),
            "seeds": row["seeds"],
            "worst group": _mean_sd(row["worst_group"]),
            "largest effect left, sd": _mean_sd(row["effect"]),
            "calls turned": _mean_sd(row["flips"]),
            f"matched AUROC ({row['matched']['pairs']} pairs)": _mean_sd(row["matched"])
            if row["matched"]["pairs"]
            else "no such pair",
        }
        for one in row["external"]:
            cells[f"AUROC on {one['set']}"] = f"{_mean_sd(one)} ({one['low']:.3f} to {one['high']:.3f})"
        rows.append(cells | {"AUROC inside": _mean_sd(row["internal"])})
    return _by(pd.DataFrame(rows), "remedy")


def audit(results: dict[str, Any]) -> list[str]:
    """Three plain sentences: what was found, what was not, and what that says of the lungs."""
    by = {name: [row["suspect"] for row in results["verdicts"] if row["verdict"] == name] for name in MEANING}
    used = by[DECISIVE] + by[USED]
    if used:
        first = (
            f"The CNN uses {_listed(used)} to tell the classes apart"
            f"{f'; decisive: {_listed(by[DECISIVE])}' if by[DECISIVE] else ', none of it decisively'}."
        )
    else:
        first = "No suspect is shown to be used by the CNN."
    second = (
        f"{_capital(_listed(by[AVAILABLE])) or 'Nothing else'} would tell the classes apart, too, but use is not "
        f"shown; not shown at all: {_listed(by[NOT_SHOWN]) or 'none'}; undecided: {_listed(by[UNDECIDED]) or 'none'}."
    )
    return [first, second, _lungs(results)]


def _lungs(results: dict[str, Any]) -> str:
    """Films without their lungs, by the one rung that was named beforehand, against whole ones; and other hospitals."""
    row = next(row for row in results["ladder"] if row["rung"] == BLIND)
    whole = results["held_out"]["auroc"]["value"]
    text = (
        f"With the lung fields painted over, small CNNs retrained on what is left have AUROC {_mean_sd(row)} "
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


def verdict_table(results: dict[str, Any]) -> pd.DataFrame:
    """A row a suspect: how common, how well it predicts, whether it is used, what is left without it, the verdict."""
    shares = {(row["cue"], row["label"]): row for row in results["prevalence"]}
    labels = list(dict.fromkeys(row["label"] for row in results["prevalence"]))
    rows = []
    for row in results["verdicts"]:
        found, cue = row["evidence"], IN_PREVALENCE.get(row["suspect"])
        cells = {"suspect": row["suspect"], "verdict": row["verdict"]}
        for label in labels:
            part = shares.get((cue, label)) if cue else None
            cells[label] = Estimate(part["share"], part["low"], part["high"]).text(True) if part else "a score"
        odds = shares.get((cue, labels[0])) if cue else None
        cells |= {
            "odds ratio": odds_text(odds) if odds else "a score has none",
            "exists: AUROC of its score": estimate(_three(found["exists"])),
            "predicts: AUROC of its probe": estimate(found["probe"]),
            "used: put on films, logits over placebo": _used(found["sufficiency"]),
            "used: taken off films": _used(found["necessity"]),
            "AUROC falls without it": estimate(found["fall"]) if found["fall"] else "under ten pairs",
            "power at p = 0.8": estimate(found["power"], True) if found["power"] else "not measured",
        }
        rows.append(cells)
    return _by(pd.DataFrame(rows), "suspect")


def reasons_table(results: dict[str, Any]) -> pd.DataFrame:
    """A row a suspect: the verdict, and why, in a sentence."""
    rows = []
    for row in results["verdicts"]:
        note = f". Note: {row['note']}" if row["note"] and row["note"] not in row["reason"] else ""
        rows.append({"suspect": row["suspect"], "verdict": row["verdict"], "why": row["reason"] + note})
    return _by(pd.DataFrame(rows), "suspect")


IN_PREVALENCE = {  # suspect -> cue of `tblib.survey.CUES`
    "one-channel file": "one channel",
    "tint": "visible tint",
    "L/R marker": "L/R marker",
    "white rectangle": "white rectangle",
    "black box": "black box",
    "film border": "film border",
    "grey histogram": "equalised",
}


def thresholds_table() -> pd.DataFrame:
    """What each verdict means."""
    return _by(pd.DataFrame({"verdict": list(MEANING), "given where": list(MEANING.values())}), "verdict")


def key_figures(results: dict[str, Any]) -> dict[str, str]:
    """Lines for the table at the head of the report."""
    rows = {f"Verdict on {row['suspect']}": row["verdict"] for row in results["verdicts"]}
    for one in results["external"]["sets"]:
        rows[f"CNN AUROC on {one['set']} (other hospital)"] = estimate(one["auroc"])
    return rows


def _used(found: dict[str, Any] | None) -> str:
    if found is None:
        return "no such edit"
    flips = Estimate(**found["flips"]).text(percent=True)
    return f"{_signed(Estimate(**found['mean']))}; turns {flips} of {found['n']} calls"


def _signed(value: Estimate) -> str:
    if value.value is None or value.low is None or value.high is None:
        return NONE
    return f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"


def _mean_sd(row: dict[str, Any]) -> str:
    return NONE if row["mean"] is None else f"{row['mean']:.3f} ± {row['sd']:.3f}"


def _area(own: dict[str, Any]) -> str:
    return estimate(_three(own)) if own["pairs"] else "no such pair"


def _three(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in ("value", "low", "high")}


def _scores(joint: dict[str, Any]) -> str:
    return _listed([SCORES.get(name, name) for name in joint["scores"]])


def _by(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with one column as its row names, without a line for their name."""
    return table.set_index(column).rename_axis(None)


def _point_name(name: str) -> str:
    return "at 0.5" if name == "0.5" else f"at {name.split('_')[1]} % sensitivity on validation"


def _at(point: dict[str, Any]) -> str:
    return f"sensitivity {estimate(point['sensitivity'], True)}, specificity {estimate(point['specificity'], True)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
