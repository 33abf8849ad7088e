"""The model card of a run (sections of Mitchell and others 2019), made of its artefacts alone."""

from collections.abc import Iterator
from typing import Any

from tblib.audit.choice import labelled
from tblib.report.review import topics_films, topics_model
from tblib.report.review.reviewed import SYNTHETIC, Answer, Reviewed, place
from tblib.show.text import LABELS, estimate, interval_of, mean_and_interval, of_trainings, own_point, point_text
from tblib.system.text import RESEARCH_USE, printable

Card = dict[str, list[Answer]]  # section -> answers
METRICS = (
    "auroc", "average_precision", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1",
    "mcc", "accuracy_at_3500_700", "brier", "ece",
)  # fmt: skip
IN_PERCENT = {"accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "accuracy_at_3500_700"}
SHOWN_REGIONS = ("outside the lungs", "lungs only", "whole film")
HEADLINE, POINTS, ELSEWHERE = map(
    place, ("evaluation/Headline", "evaluation/Operating points", "shortcuts/Other hospitals")
)


def model_card(run: Reviewed) -> Card:
    """The nine sections of a model card."""
    return {
        "Model details": _details(run),
        "Intended use": _use(run),
        "Factors": _factors(run),
        "Metrics": [
            _of("Measures of performance", topics_model.measures(run), HEADLINE),
            _of("Thresholds", topics_model.output(run), POINTS),
            _of("Uncertainty", topics_model.statistics(run), HEADLINE),
        ],
        "Evaluation data": [
            _of("Films", topics_films.sources(run), "made"),
            Answer("Films judged", f"{run.judged}.", "", HEADLINE),
            _of("Films of other hospitals", topics_films.external(run), ELSEWHERE),
            _of("Preprocessing", topics_model.preprocessing(run), place("preparation/Before and after")),
        ],
        "Training data": [
            _of("Films trained on", _trained_on(run), place("preparation/The split")),
            _of("Relation to the films judged", topics_films.differences(run), ELSEWHERE),
        ],
        "Quantitative analyses": _analyses(run),
        "Ethical considerations": _ethics(run),
        "Caveats and recommendations": _caveats(run),
    }


def figures(run: Reviewed) -> list[dict[str, Any]]:
    """Every estimate of the card as numbers, one per metric and set of films: name, films, on, value, low, high."""
    own = f"{run.judged}, threshold {run.own_point['threshold']:g}"
    rows = [{"name": name, "on": own, "films": run.metrics["n"]} | run.metrics[name] for name in METRICS]
    for one in run.sets + run.chosen_on:
        rates = one["points"][own_point(run.metrics["operating_points"])]
        for name, found in (("auroc", one["auroc"]), *((rate, rates[rate]) for rate in ("sensitivity", "specificity"))):
            rows.append({"name": name, "on": printable(labelled(one)), "films": one["n"]} | found)
    return rows


def _of(question: str, said: tuple[str, str], link: str = "") -> Answer:
    """An answer; without anything known, nothing tells more."""
    return Answer(question, *said, link if said[0] else "")


def _details(run: Reviewed) -> list[Answer]:
    made = "somebody else" if run.given else "tblib, in this run"
    version = {printable(step["versions"].get("tblib", "not reported")) for step in run.record["steps"].values()}
    rows = [
        Answer("Model", f"{run.model}, made by {made}."),
        Answer(
            "Date and version",
            f"Run finished {run.record['finished']}, tblib {', '.join(sorted(version))}.",
            "",
            "made",
        ),
        _of("Kind and parts", topics_model.architecture(run), place("training/What it consists of")),
        _of("Training", topics_model.training(run), place("made/Settings")),
        _of("Selection", topics_model.selection(run), place("training/Curves")),
        _of("File", topics_model.specification(run), "made"),
        _of("Availability", topics_model.availability(run), "made"),
        Answer("Citation", "See the references.", "", "citations"),
    ]
    theirs = "people who made it, version, date, licence and whom to write to: what is not said of it is not known."
    return [*rows, Answer("Author, version, licence, contact", "", theirs)] if run.given else rows


def _use(run: Reviewed) -> list[Answer]:
    return [
        _of("Primary intended use", topics_model.background(run)),
        Answer(
            "Primary intended users", "Researchers and engineers who ask whether a model is right for the right reason."
        ),
        Answer("Out of scope", f"Diagnosis, screening, triage, and any other decision on a person. {RESEARCH_USE}"),
    ]


def _factors(run: Reviewed) -> list[Answer]:
    cues = ", ".join(printable(row["cue"]) for row in run.shortcuts["verdicts"])
    return [
        Answer("Factors that are examined", f"What films carry besides lungs: {cues}.", "", "shortcuts"),
        Answer("People", "", "age, sex, origin and clinical findings of patients: none are read."),
        _of("Devices and exposure", topics_films.acquisition(run), place("eda/File modes")),
    ]


def _trained_on(run: Reviewed) -> tuple[str, str]:
    if run.given is None:
        return f"The part train of {run.database}: {run.parts}.", ""
    told = f"As its spec says: “{printable(run.given['trained_on'])}”."
    return told, "the films themselves, their number, labels and cues."


def _analyses(run: Reviewed) -> list[Answer]:
    return [*_on_own_films(run), *_at_other_points(run), *_elsewhere(run), *_by_group(run), *_of_audit(run)]


def _on_own_films(run: Reviewed) -> Iterator[Answer]:
    for name in METRICS:
        text = estimate(run.metrics[name], name in IN_PERCENT)
        yield Answer(f"{_label(name)}, {run.judged}", text, "", HEADLINE)


def _label(name: str) -> str:
    names = LABELS | {"brier": "Brier score", "ece": "ECE"}
    return names.get(name, name)


def _at_other_points(run: Reviewed) -> Iterator[Answer]:
    for name, point in list(run.metrics["operating_points"].items())[1:]:
        told = [f"{rate} {estimate(point[rate], True)}" for rate in ("sensitivity", "specificity")]
        yield Answer(f"At {point_text(name)}", ", ".join(told), "", POINTS)
    for share, value in run.metrics["ppv_at_prevalence"].items():
        question = f"PPV where {100 * float(share):g} % are ill"
        yield Answer(question, estimate(value, True), "", place("evaluation/Where tuberculosis is rarer"))


def _elsewhere(run: Reviewed) -> Iterator[Answer]:
    own = own_point(run.metrics["operating_points"])
    for one in run.sets + run.chosen_on:
        rates = [f"{rate} {estimate(one['points'][own][rate], True)}" for rate in ("sensitivity", "specificity")]
        told = ", ".join([f"AUROC {estimate(one['auroc'])}", *rates])
        yield Answer(
            f"{printable(labelled(one))}, {one['n']:,} films ({one['positives']:,} positive)", told, "", ELSEWHERE
        )
    if not run.sets:
        yield _of("Films of other hospitals", topics_films.external(run))


def _by_group(run: Reviewed) -> Iterator[Answer]:
    where = place("shortcuts/Matched films, and the worst group")
    for group in run.shortcuts["matched"]["groups"]:
        question = f"Accuracy at 0.5, {printable(group['group'])}, {group['n']} films"
        yield Answer(question, estimate(interval_of(group), True), "", where)
    yield Answer("By age, sex, origin", "", "performance in groups of people, who are not known.")


def _of_audit(run: Reviewed) -> Iterator[Answer]:
    for row in run.shortcuts["verdicts"]:
        where = place("shortcuts/Abstract: the verdicts of this run")
        yield Answer(f"Verdict on {printable(row['cue'])}", f"{row['verdict']}: {printable(row['reason'])}.", "", where)
    for name, found in run.shortcuts["baselines"].items():
        question = f"AUROC of {printable(name)} alone, all films"
        where = place("shortcuts/What cues predict, beside the model")
        yield Answer(question, estimate(found["all"]["auroc"]), "", where)
    for row in run.shortcuts["region_ablation"]:
        if row["region"] in SHOWN_REGIONS:
            question = f"AUROC of small CNNs that see: {row['region']} ({of_trainings(row['seeds'])})"
            yield Answer(question, mean_and_interval(row), "", place("shortcuts/Region ablation"))


def _ethics(run: Reviewed) -> list[Answer]:
    people = "The films are SYNTHETIC; no data of people are used."
    if not run.synthetic:
        people = "Nothing says that the films are synthetic, so they are taken as films of people."
    lacks = "" if run.synthetic else "consent and ethical approval of their collection; none are known to this program."
    return [
        Answer("Data of people", people, lacks),
        _of("De-identification", topics_films.deidentification(run)),
        Answer("Harm", "A model that goes by cues on films fails where they differ, and its accuracy here hides that."),
        _of("Fairness", topics_model.fairness(run), place("shortcuts/Matched films, and the worst group")),
    ]


def _caveats(run: Reviewed) -> list[Answer]:
    inside = "Figures on the run's own films come from one database and carry its artefacts"
    rows = [Answer("SYNTHETIC films", SYNTHETIC)] if run.synthetic else []
    rows += [
        Answer("Internal figures", f"{inside}; only films of other hospitals show how the model does elsewhere."),
        Answer(
            "Verdicts", "They hold for the cues that are listed, for edits like these, and for the power beside them."
        ),
        _of("Labels", topics_films.reference(run)),
        _of("Parts of the split", topics_films.disjoint(run)),
        _of("Recommendation", topics_model.next_steps(run)),
    ]
    if run.given:
        what = "how it was trained, on which films, and how its labels came about, beyond what its spec says."
        rows.append(Answer("A model of somebody else", "", what))
    return rows
