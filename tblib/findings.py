"""Findings: the sentences under the figures and at the head of the report, written from a run's own numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import escape

from tblib.metrics import Estimate
from tblib.probes import FILE_FACTS, RULE
from tblib.survey import CUES, Portrait, marker_kinds, within_spread

LABELS = {  # of figures in tables
    "auroc": "AUROC",
    "average_precision": "average precision",
    "accuracy_at_3500_700": "accuracy at 3,500 : 700",
    "balanced_accuracy": "balanced accuracy",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "mcc": "MCC",
}


def say(*sentences: str) -> None:
    """Show sentences as one paragraph of a notebook, each sign as it is: a name in them is no markup and no formula."""
    from IPython.display import display

    told = " ".join(sentence for sentence in sentences if sentence)
    html = f'<p class="tex2jax_ignore mathjax_ignore"><strong>Finding.</strong> {escape(told)}</p>'
    display({"text/plain": f"Finding. {told}", "text/html": html}, raw=True)


def percent(share: float, digits: int = 1) -> str:
    """A share as text: ``85.7 %``."""
    return f"{100 * share:.{digits}f} %"


def estimate(value: dict[str, float | None], in_percent: bool = False) -> str:
    """An object with value, low and high as text."""
    return Estimate(**value).text(in_percent)


def estimates_table(rows: dict[str, dict[str, Any]], in_percent: tuple[str, ...] = ()) -> pd.DataFrame:
    """Row name -> {column -> estimate} as a table of texts; those `in_percent` are shown in per cent."""
    cells = {
        name: {LABELS.get(column, column): estimate(value, column in in_percent) for column, value in row.items()}
        for name, row in rows.items()
    }
    return pd.DataFrame.from_dict(cells, orient="index")


def balance(summary: dict[str, Any]) -> str:
    """Balance, majority-class accuracy and what was left out."""
    films = summary["films"]
    majority = max(films, key=lambda name: films[name])
    share = films[majority] / sum(films.values())
    text = (
        f"{sum(films.values()):,} usable films, " + " and ".join(f"{n:,} {name}" for name, n in films.items()) + ". "
        f"Calling every film {majority} is right {percent(share)} of the time: accuracy means nothing below that."
    )
    return f"{text} {left_out(summary)}"


def left_out(summary: dict[str, Any]) -> str:
    """How many images could not be used, and why; and how many files were passed over as no films."""
    gone = summary["left_out"]
    told = "Every image file decodes."
    if gone:
        told = f"{len(gone)} image file(s) were left out; the first is “{gone[0]['file']}”: “{gone[0]['problem']}”"
    kinds = [f"{count:,} ({why})" for why, count in summary.get("passed_over", {}).items()]
    return told + (f" Files passed over as no films (passed_over.csv): {', '.join(kinds)}." if kinds else "")


def modes(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """What the file mode alone tells."""
    shares = {name: table.loc[table["label"] == name, "one_channel"].mean() for name in classes}
    equal = {name: table.loc[table["label"] == name, "equal_channels"].mean() for name in classes}
    return (
        "One-channel files: " + " and ".join(f"{percent(share)} of {name}" for name, share in shares.items()) + "; "
        "files without any colour (one channel, or R = G = B in every pixel): "
        + " and ".join(f"{percent(share)} of {name}" for name, share in equal.items())
        + "."
    )


def tint(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """How many films are visibly tinted, and which way."""
    parts = []
    for name in classes:
        films = table[table["label"] == name]
        seen = films[CUES["visible tint"](films)]
        bluish = f", {percent((seen['tint_balance'] < 0).mean(), 0)} of them towards blue or cyan" if len(seen) else ""
        parts.append(f"{len(seen):,} of {len(films):,} {name} ({percent(len(seen) / len(films))}){bluish}")
    return "Visibly tinted (mean |R − B| above 4 grey levels): " + "; ".join(parts) + "."


def prevalence(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """Which artefacts differ between the classes beyond chance, the most unequal first."""
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
        f"{len(unequal)} of {len(odds)} artefacts are unequal between {classes[0]} and {classes[1]} beyond chance: "
        + "; ".join(named)
        + ". That a cue exists says neither that it predicts, nor that a model uses it."
    )


def prevalence_table(table: pd.DataFrame) -> pd.DataFrame:
    """The prevalences as texts: a row a cue, a column a class, and the odds ratio."""
    cells = table.assign(
        share=[f"{r.films} of {r.of}, {Estimate(r.share, r.low, r.high).text(True)}" for r in table.itertuples()],
        odds=[odds_text(row) for row in table.to_dict("records")],
    )
    wide = cells.pivot_table(index="cue", columns="label", values="share", aggfunc="first", sort=False)
    return wide.assign(**{"odds ratio": cells.groupby("cue")["odds"].first()}).rename_axis(index=None, columns=None)


def odds_text(row: dict[str, Any]) -> str:
    """An odds ratio with its interval, from a row of `tblib.survey.prevalence`."""
    return f"{_odds(row['odds_ratio'])} ({_odds(row['odds_low'])} to {_odds(row['odds_high'])})"


def _odds(ratio: float) -> str:
    """Three figures, without an exponent: ``0.0378``, ``1,660``."""
    return f"{float(f'{ratio:.3g}'):,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def detectors(scores: pd.DataFrame) -> str:
    """Which detectors reach their aims, and which are not good enough to rest an audit on."""
    sentences = []
    for part, rows in scores.groupby("part", sort=False):
        if part == "tuning":
            continue
        good = rows[(rows["precision"] >= rows["aim"]) & (rows["recall"] >= rows["aim"])]
        poor = rows.drop(good.index)
        named = [f"{r.artefact} ({_rates(r)}; aim {r.aim:g})" for r in poor.itertuples()]
        sentences.append(
            f"On {'the demo' if part == 'demo' else part + ' films'} ({rows['films'].max()}) these reach their aim: "
            f"{', '.join(good['artefact']) or 'none'}. "
            + (f"Not good enough to rest an audit on: {'; '.join(named)}." if named else "None falls short.")
        )
    return (
        " ".join(sentences) or "No film of this database was read by eye, so precision and recall are not known here."
    )


def _rates(row: Any) -> str:
    if pd.isna(row.recall):
        return "carried by no film"
    precision = "nothing found" if pd.isna(row.precision) else f"precision {row.precision:.2f}"
    return f"{precision}, recall {row.recall:.2f}, {row.carried} carriers"


def detector_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Precision and recall as texts: a row a part and artefact."""
    texts = {what: [_rate_text(row, what) for _, row in scores.iterrows()] for what in ("precision", "recall")}
    return scores[["part", "artefact", "films", "carried", "found", "right"]].assign(**texts, aim=scores["aim"])


def _rate_text(row: pd.Series, what: str) -> str:
    low, high = row[f"{what}_low"], row[f"{what}_high"]
    return "not defined" if pd.isna(row[what]) else Estimate(row[what], low, high).text(percent=True)


def speed(detecting: float) -> str:
    """How fast the detectors are here."""
    return f"The detectors look at {detecting:.0f} films a second on one core of this machine."


def separation(found: dict[str, float]) -> str:
    """How well scores rank films that were blurred, compressed, equalised or unevenly lit in the demo."""
    if not found:
        return ""
    named = {
        "equalised": "evenness of the histogram finds equalised films",
        "sharpness": "sharpness finds blurred films",
        "blockiness": "blockiness finds films that were JPEGs",
        "tint_evenness": "evenness of tint finds uneven light boxes",
    }
    return "As scores (AUROC): " + "; ".join(f"{named[name]} {value:.3f}" for name, value in found.items()) + "."


def likeness(looks: dict[str, dict[str, Portrait]]) -> str:
    """How the classes differ in detail; and, where there are two databases, whether the first looks like the second."""
    (name, mine), *others = looks.items()
    fine = {label: float(one.spectrum[0, one.spectrum.shape[1] // 2 :].mean()) for label, one in mine.items()}
    told = " and ".join(f"{value:.2f} in {label}" for label, value in fine.items())
    text = f"Fine detail (mean log10 power in the upper half of the spectrum): {told}."
    for other, theirs in others:
        shares = {label: within_spread(mine[label], theirs[label]) for label in mine if label in theirs}
        parts = " and ".join(f"{percent(share, 0)} of the frequencies in {label}" for label, share in shares.items())
        text += (
            f" The mean power spectrum of {name} lies within the 5 to 95 % spread of the films of {other} at {parts}."
        )
    return text


def misses(wrong: pd.DataFrame, truth: pd.DataFrame) -> str:
    """On how many films a detector of shapes was wrong."""
    judged = int((truth["part"] != "tuning").sum())
    if not judged:
        return "There is no film of known truth to be wrong about."
    return f"On {len(wrong)} of {judged} films of known truth at least one detector of shapes was wrong."


def markers(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """The commonest kinds of markers of each class."""
    parts = []
    for name in classes:
        kinds = marker_kinds(table[table["label"] == name])
        carried = kinds[kinds != ""]
        common = [f"{kind} {count}" for kind, count in carried.value_counts().head(4).items()]
        parts.append(
            f"{len(carried)} of {len(kinds)} {name}" + (f" (most often {'; '.join(common)})" if common else "")
        )
    return "Markers were found on " + " and ".join(parts) + "."


def grey(table: pd.DataFrame, classes: tuple[str, str]) -> str:
    """Whether one class looks equalised."""
    groups = table.groupby("label")
    means, spreads = groups["grey_mean"].mean(), groups["grey_mean"].std()
    told = [f"{name} {means[name]:.0f} ± {spreads[name]:.0f}" for name in classes]
    even = groups["equalised"].median()
    flatter = max(classes, key=lambda name: even[name])
    return (
        "Mean grey level (mean ± sd over films): " + ", ".join(told) + f". The grey histograms of {flatter} are the "
        "flatter ones (" + ", ".join(f"{name} {even[name]:.2f}" for name in classes) + " on a scale where 1 is flat)."
    )


def twins(table: pd.DataFrame) -> str:
    """How many films stand in the database more than once."""
    if table.empty:
        return "No film has a twin."
    groups = table.drop_duplicates("twin_group")
    counts = groups["kind"].value_counts()
    mixed = table.drop_duplicates(["twin_group", "label"])["twin_group"].duplicated().sum()
    return (
        f"{len(table)} films form {len(groups)} groups of twins, {counts.get('exact', 0)} of them identical in every "
        f"pixel. {mixed} group(s) hold films of both classes. A split that parts twins would test on training films."
    )


def sources(table: pd.DataFrame) -> str:
    """Whether the claimed sources explain the colour cue."""
    if (table["claimed source"] == "not reported").all():
        return "The database claims no sources."
    told = [
        f"{row['label']} from {row['claimed source']}: {row['films']:,} films, "
        f"{percent(row['one channel or tinted'], 0)}"
        for _, row in table.iterrows()
    ]
    return (
        "Films of each claimed source, and the share with one channel or a tint: " + "; ".join(told) + ". "
        "The claims are the database's own and are not confirmed by the films."
    )


def file_facts(results: dict[str, Any]) -> str:
    """What is known of a film before anyone looks at a lung."""
    rule, probe = results[RULE], results[FILE_FACTS]
    return (
        f"The rule “one channel or visibly tinted ⇒ positive” has sensitivity {estimate(rule['sensitivity'], True)} "
        f"and specificity {estimate(rule['specificity'], True)}: accuracy "
        f"{estimate(rule['accuracy_at_3500_700'], True)} at the Kaggle database's balance of 3,500 : 700, with no look "
        f"at a lung. Gradient boosting on file facts "
        f"reaches AUROC {estimate(probe['auroc'])}, cross-validated with twins kept together."
    )


def preparation(content: dict[str, Any], split: pd.DataFrame) -> str:
    """What the split holds, and that no twin group is parted."""
    parted = split.drop_duplicates(["twin_group", "part"])["twin_group"].duplicated().sum()
    parts = "; ".join(
        f"{part} {sum(counts.values()):,} ({counts.get(content['positive'], 0):,} {content['positive']})"
        for part, counts in content["parts"].items()
    )
    return (
        f"{parts}. Twin groups that stand in more than one part: {parted}. Grey levels of the training part: "
        f"mean {content['mean']:.3f}, sd {content['sd']:.3f}, exact; they normalise all parts."
    )


def training(outcome: dict[str, Any], history: pd.DataFrame) -> str:
    """What was kept of the training, and how it went."""
    kept = history.loc[history["epoch"] == outcome["best_epoch"]].iloc[0]
    falls = int((history["lr"].diff() < 0).sum())
    rate = f"fell {falls} time(s)" if outcome["schedule"] == "plateau" else "rose and fell along a cosine"
    return (
        f"Epoch {outcome['best_epoch']:g} of {outcome['epochs']} is kept: validation loss {kept['val_loss']:.4f}, "
        f"accuracy {percent(kept['val_accuracy'])}, F1 {kept['val_f1']:.3f}. The learning rate {rate}. "
        f"Positive films weigh {outcome['pos_weight']:.2f}. Trained on {outcome['device']} in {outcome['precision']} "
        f"with {outcome['threads']} thread(s), {outcome['films_per_second']:.0f} films a second."
    )


def evaluation(metrics: dict[str, Any]) -> str:
    """The headline of the evaluation."""
    beyond = "above" if metrics["accuracy"]["low"] > metrics["majority_accuracy"] else "not shown to be above"
    return (
        f"On {metrics['n']} test films ({metrics['positives']} positive) the CNN's accuracy is "
        f"{estimate(metrics['accuracy'], True)}, {beyond} the {percent(metrics['majority_accuracy'])} of always naming "
        f"the more common class; F1 {estimate(metrics['f1'])}, sensitivity {estimate(metrics['sensitivity'], True)}, "
        f"specificity {estimate(metrics['specificity'], True)}, AUROC {estimate(metrics['auroc'])}. "
        "All of it is internal: same database, same artefacts."
    )


def calibration(metrics: dict[str, Any]) -> str:
    """What calibration changed."""
    scaling = metrics["calibration"]
    return (
        f"Expected calibration error {estimate(scaling['before']['ece'])} before and {estimate(metrics['ece'])} after "
        f"taking out the class weight (shift {scaling['shift']:.2f}) and scaling by temperature "
        f"{scaling['temperature']:.2f}; Brier score {estimate(scaling['before']['brier'])} and "
        f"{estimate(metrics['brier'])}. {scaling['note']}"
    )


def mistakes(test: pd.DataFrame) -> str:
    """How many test films are called wrongly at 0.5, and how surely."""
    wrong = test[(test["probability"] >= 0.5) != (test["target"] == 1)]
    if wrong.empty:
        return f"None of the {len(test)} test films is called wrongly at 0.5; shown are the least certain ones."
    missed = int((wrong["target"] == 1).sum())
    false = len(wrong) - missed
    return f"{len(wrong)} of {len(test)} test films are called wrongly at 0.5: {missed} missed, {false} false alarms."


def predictive_values(metrics: dict[str, Any]) -> str:
    """What a positive call would be worth where tuberculosis is rarer."""
    values = metrics["ppv_at_prevalence"]
    told = ", ".join(f"{percent(float(p), 0)} prevalence {estimate(value, True)}" for p, value in values.items())
    return f"If these internal figures held elsewhere, a positive call at 0.5 would be right: at {told}."


def what_if(effects: pd.DataFrame) -> str:
    """The change that moves a sample film's score most beyond its placebo."""
    if effects.empty:
        return "There was no sample film to change."
    beyond = effects["moved"] - effects["placebo_moved"]
    most = effects.loc[beyond.abs().idxmax()]
    return (
        f"Of {len(effects)} changes to “{most['film']}”, “{most['change']}” moves the logit most beyond its placebo: "
        f"by {most['moved']:+.2f}, its placebo by {most['placebo_moved']:+.2f}. The probability goes from "
        f"{percent(most['as_is'])} to {percent(most['changed'])}, with the placebo to {percent(most['placebo'])}."
    )


def probes(results: dict[str, Any]) -> str:
    """The cues beside the CNN."""
    cnn, cues = results["cnn"], results["probes"]
    reached = [name for name, cue in cues.items() if cue["test"]["accuracy"]["value"] >= cnn["accuracy"]["low"]]
    best = max(cues, key=lambda name: cues[name]["all"]["auroc"]["value"])
    found = f"{len(reached)} of {len(cues)} reach the interval of the CNN's accuracy on the same test films"
    return (
        f"Of the cues that see no lung, “{best}” separates the classes best (AUROC "
        f"{estimate(cues[best]['all']['auroc'])}); {found}{' (' + '; '.join(reached) + ')' if reached else ''}. "
        "An accuracy that such cues reach cannot show that a model reads lungs."
    )


def headline(summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """The sentences at the top of the report."""
    rule = results["probes"][RULE]["all"]
    return [
        evaluation(metrics),
        f"With no look at a lung, the rule “one channel or visibly tinted ⇒ positive” has accuracy "
        f"{estimate(rule['accuracy_at_3500_700'], True)} at the balance 3,500 : 700, and file facts alone reach AUROC "
        f"{estimate(results['probes'][FILE_FACTS]['all']['auroc'])}.",
        probes(results),
        left_out(summary),
    ]


def key_figures(
    summary: dict[str, Any], metrics: dict[str, Any], results: dict[str, Any], verdicts: dict[str, str]
) -> pd.DataFrame:
    """The table at the top of the report: what, and its value with the interval; `verdicts` come last."""
    test = results["probes"]
    rows = {
        "Films": ", ".join(f"{n:,} {name}" for name, n in summary["films"].items()),
        "Image files left out": str(len(summary["left_out"])),
        "Majority-class accuracy (test)": percent(metrics["majority_accuracy"]),
        "CNN accuracy (test)": estimate(metrics["accuracy"], True),
        "CNN accuracy at 3,500 : 700": estimate(metrics["accuracy_at_3500_700"], True),
        "CNN F1": estimate(metrics["f1"]),
        "CNN sensitivity": estimate(metrics["sensitivity"], True),
        "CNN specificity": estimate(metrics["specificity"], True),
        "CNN AUROC": estimate(metrics["auroc"]),
        "Rule “one channel or tinted”: accuracy at 3,500 : 700": estimate(
            test[RULE]["all"]["accuracy_at_3500_700"], True
        ),
        "Rule: accuracy on the test films": estimate(test[RULE]["test"]["accuracy"], True),
    }
    rows |= {
        f"AUROC of {name}, no lung seen": estimate(probe["all"]["auroc"])
        for name, probe in test.items()
        if name != RULE
    } | verdicts
    return pd.DataFrame({"figure": list(rows), "value (95 % interval)": list(rows.values())})
