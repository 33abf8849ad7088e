"""What a run reports of its model on topics that checklists ask for, in words and numbers of its artefacts.

Each topic is a function of the run, whose name an item of ``checklists.yml`` gives. It returns what is reported and
what is not, either of which may be empty.
"""

from collections.abc import Callable
from typing import Any

from tblib.films.kaggle import KAGGLE_DATASET
from tblib.report.review.reviewed import NOT_TOLD, Reviewed, Said
from tblib.show.text import capital, estimate, how_many, interval_of, listed, percent, point_text
from tblib.system.text import RESEARCH_USE, printable

LIBRARIES = ("python", "torch", "scikit-learn", "numpy", "pandas", "tblib")  # named; all others are in the table


def technology(run: Reviewed) -> Said:
    """What kind of model it is."""
    if run.given:
        return f"{run.model} ({run.given['kind']}), a classifier of chest films by somebody else.", ""
    return "A convolutional neural network (deep learning) that classifies chest films, trained by this run.", ""


def background(run: Reviewed) -> Said:
    """Intended use; no literature."""
    use = f"To find out what the accuracy of {run.model} rests on. {RESEARCH_USE}"
    return use, "clinical background, existing models and place in the care pathway."


def aims(_run: Reviewed) -> Said:
    """The questions of the study."""
    questions = "whether each cue exists more often in one class, whether it predicts the label by itself, and whether "
    return f"Three questions: {questions}the model uses it.", "hypotheses set down before the run."


def goal(run: Reviewed) -> Said:
    """Development or evaluation."""
    what = "Evaluation of an existing classifier" if run.given else "Development and evaluation of a classifier"
    elsewhere = " and on films of other hospitals" if run.sets else ""
    return f"{what} on films of one database{elsewhere}, and an audit of what its accuracy rests on.", ""


def preprocessing(run: Reviewed) -> Said:
    """What is done to a film."""
    facts = run.preparation
    kind = "one grey channel" if facts.get("channels", 1) == 1 else "three channels"
    told = f"{kind}, {facts['size']} × {facts['size']} px, mitigation: {facts.get('mitigation') or 'none'}"
    if run.given:
        spec = run.given["spec"]
        known = ", ".join(f"{key} {value}" for key, value in spec.items() if key in ("size", "channels", "resize"))
        return f"Networks of the audit get {told}. The model prepares films itself{f': {known}' * bool(known)}.", ""
    return f"{capital(told)}; grey levels less {facts['mean']:.2f}, over {facts['sd']:.2f} (training part).", ""


def architecture(run: Reviewed) -> Said:
    """What the network consists of."""
    if run.given:
        about = "; ".join(f"{printable(name)}: {printable(value)}" for name, value in run.given["about"].items())
        return f"{about}.", NOT_TOLD + "layers that its file does not tell, and why they were chosen."
    assert run.training is not None
    return (
        "Four blocks of two 3×3 convolutions with batch normalisation, ReLU and max pooling; four fully connected "
        f"layers with dropout {run.training['dropout']:g}; one logit; {run.training['width']} channels in the first "
        "block.",
        "",
    )


def software(run: Reviewed) -> Said:
    """Versions of packages."""
    versions: dict[str, str] = {}
    for step in run.record["steps"].values():
        versions |= step["versions"]
    found = [f"{name} {printable(versions[name])}" for name in LIBRARIES if name in versions]
    theirs = NOT_TOLD + "what it was trained with." if run.given else ""
    return f"{', '.join(found)}; all others in the table.", theirs


def initialisation(run: Reviewed) -> Said:
    """Where weights start from."""
    if run.training is None:
        return "", NOT_TOLD + "how its weights were initialised."
    return f"At random with seed {run.training['seed']}; no weights trained elsewhere.", ""


def training(run: Reviewed) -> Said:
    """How it was trained."""
    facts = run.training
    if facts is None:
        assert run.given is not None
        return f"“{printable(run.given['trained_on'])}” (its spec).", NOT_TOLD + "loss, optimiser, schedule, epochs."
    changes = ", ".join(f"{name} {value:g}" for name, value in facts["augmentation"].items())
    return (
        f"Adam, {facts['epochs']} epochs in batches of {facts['batch_size']}, learning rate {facts['lr']:g} by the "
        f"schedule {facts['schedule']}; binary cross-entropy with positives weighted {facts['pos_weight']:.3g}; "
        f"augmentation: {changes}; mitigation: {facts['mitigation'] or 'none'}; seed {facts['seed']}. No "
        f"hyperparameter was tuned by the run.{_drawn(run.preparation)}{_chosen_by(facts)}",
        "",
    )


def _drawn(facts: dict[str, Any]) -> str:
    """How many training films carry drawn lesions, as a sentence after others; empty if none does."""
    count = facts.get("drawn", {}).get("films", 0)
    return (
        f" Besides, {how_many(count, 'negative film')} with SYNTHETIC lesions trained it as positive." if count else ""
    )


def _chosen_by(facts: dict[str, Any]) -> str:
    """On which films settings were chosen before the training, as a sentence after others; empty if on none."""
    by = facts.get("chosen_by")
    return f" Before it, settings were chosen by results on {by['n']:,} films of {printable(by['set'])}." if by else ""


def selection(run: Reviewed) -> Said:
    """Which weights were kept."""
    if run.training is None:
        return "", NOT_TOLD + "how its weights were selected."
    return f"The weights with the least validation loss, after epoch {run.training['best_epoch']:g}.", ""


def ensembling(run: Reviewed) -> Said:
    """Whether several networks answer."""
    if run.given:
        return "", NOT_TOLD + "whether it joins several networks."
    return "None: one network.", ""


def imbalance(run: Reviewed) -> Said:
    """Class imbalance, and what was done about it."""
    if run.training is None:
        return "", NOT_TOLD + "what was done about class imbalance when it was trained."
    shift = run.metrics["calibration"]["shift"]
    return (
        f"Positives weigh {run.training['pos_weight']:.3g} in the loss, so that the rarer class counts as much; the "
        f"shift of the logits against the films' own odds ({shift:.3f}) is taken out again in calibration.",
        "",
    )


def measures(run: Reviewed) -> Said:
    """Metrics used, and why."""
    return (
        "Ranking: AUROC, average precision. At three operating points: sensitivity, specificity, PPV, NPV, accuracy, "
        "balanced accuracy, F1, MCC. Calibration: ECE, Brier score. PPV at lower prevalence. Beside them the "
        f"majority-class accuracy, {percent(run.metrics['majority_accuracy'])}.",
        "",
    )


def statistics(run: Reviewed) -> Said:
    """Intervals and tests."""
    found = run.metrics.get("intervals", {})
    level = f"{100 * found['level']:g} % intervals; {found['method']}. " if found else ""
    return f"{capital(level)}Of the audit: {run.shortcuts['method']}.", ""


def robustness(run: Reviewed) -> Said:
    """Edits, regions, verdicts."""
    given: dict[str, list[str]] = {}
    for row in run.shortcuts["verdicts"]:
        given.setdefault(row["verdict"], []).append(printable(row["cue"]))
    verdicts = "; ".join(f"{verdict}: {listed(cues)}" for verdict, cues in given.items())
    return f"Edits of each cue over a placebo, and networks trained on parts of films. Verdicts: {verdicts}.", ""


def explainability(run: Reviewed) -> Said:
    """Saliency maps and their sanity check."""
    gate = run.shortcuts["saliency"]["gate"]
    if gate is None:
        return "", "saliency maps: the model gives no gradients."
    passed = "passed; the maps are shown" if gate["open"] else "failed; no map is shown"
    return (
        f"Gradients averaged over noisy copies. Sanity check with random weights: correlation "
        f"{gate['correlation']:.2f}, limit {gate['limit']:g}: {passed}.",
        "",
    )


def internal(run: Reviewed) -> Said:
    """Main numbers on the run's own films."""
    metrics = run.metrics
    told = f"{run.judged}: AUROC {estimate(metrics['auroc'])}, accuracy {estimate(metrics['accuracy'], True)}."
    theirs = NOT_TOLD + "whether it was trained on these films." if _may_have_seen(run) else ""
    return told, theirs


def _may_have_seen(run: Reviewed) -> bool:
    return run.given is not None and run.given["seen"] == "unknown"


def diagnostic(run: Reviewed) -> Said:
    """Performance at the model's own threshold, by class."""
    metrics = run.metrics
    rates = [f"{name} {estimate(metrics[name], True)}" for name in ("sensitivity", "specificity")]
    rates += [f"{name.upper()} {estimate(metrics[name], True)}" for name in ("ppv", "npv")]
    return f"{run.judged}, at threshold {run.own_point['threshold']:g}: {', '.join(rates)}.", ""


def performance(run: Reviewed) -> Said:
    """Metrics with intervals."""
    metrics = run.metrics
    told = [f"AUROC {estimate(metrics['auroc'])}", f"average precision {estimate(metrics['average_precision'])}"]
    told += [f"F1 {estimate(metrics['f1'])}", f"Brier score {estimate(metrics['brier'])}"]
    return f"{run.judged}: {', '.join(told)}, and more in the model card.", ""


def subgroups(run: Reviewed) -> Said:
    """Performance, and in which groups it is known."""
    told, _ = performance(run)
    groups = len(run.shortcuts["matched"]["groups"])
    also = f" Also the accuracy in {how_many(groups, 'group')} of label and cues." if groups else ""
    return told + also, "performance by age, sex or origin, which are not known."


def failures(run: Reviewed) -> Said:
    """Wrongly classified films."""
    cells = run.own_point["confusion"]
    return f"{cells['fp']} false positives and {cells['fn']} false negatives; the most certain ones are shown.", ""


def limitations(run: Reviewed) -> Said:
    """Limits of the study."""
    first = "SYNTHETIC films" if run.synthetic else "labels that are the database's own"
    where = ", no films of other hospitals" + " but those on which settings were chosen" * bool(run.chosen_on)
    where = "" if run.sets else where
    return f"{capital(first)}{where}, cues that are listed and edits like these: see the model card's caveats.", ""


def practice(_run: Reviewed) -> Said:
    """What it means for practice."""
    return f"{RESEARCH_USE} No clinical role is claimed.", ""


def technical(run: Reviewed) -> Said:
    """Protocol and technical details."""
    commits = sorted({step["git_commit"] for step in run.record["steps"].values()})
    told = f"Code at commit {listed([printable(commit[:12]) for commit in commits])}; parameters, steps and versions."
    return told, "a study protocol; none is known to this program."


def code_access(_run: Reviewed) -> Said:
    """Where the code is."""
    return "The code is tblib, under the MIT licence; its commit and the versions below it stand in the report.", ""


def data_access(run: Reviewed) -> Said:
    """Where the films are."""
    if run.synthetic:
        return "tblib draws the films anew (--data demo), the same ones from the same seed.", ""
    where = f"The films lie in a folder named as in Kaggle's {KAGGLE_DATASET}." if "rahman2020" in run.known else ""
    return where, "on which terms the films can be had, and where these very ones lie."


def availability(run: Reviewed) -> Said:
    """Where code, model and films are."""
    model = f"The model's digest is {printable(run.given['digest'])[:12]}…." if run.given else "The model's file lies "
    model += "" if run.given else "in the run's folder."
    films, lacks = data_access(run)
    return f"{code_access(run)[0]} {model} {films}".strip(), lacks


def specification(run: Reviewed) -> Said:
    """The model itself."""
    if run.given:
        return f"{run.model}, digest {printable(run.given['digest'])[:12]}….", NOT_TOLD + "access and terms of use."
    digest = run.record["steps"]["training"]["files"].get("model.safetensors", "")
    told = f"model.safetensors (SHA-256 {digest[:12]}…); python -m tblib export writes it as an ONNX file."
    return told, "restrictions to its use beyond research."


def predictors(_run: Reviewed) -> Said:
    """What goes in."""
    return "All pixels of the prepared film; no predictor is selected or taken by a person.", ""


def updating(run: Reviewed) -> Said:
    """Recalibration."""
    scaling = run.metrics["calibration"]
    before, after = (estimate(found["ece"]) for found in (scaling["before"], run.metrics))
    told = f"Recalibrated on validation (shift {scaling['shift']:.3f}, temperature {scaling['temperature']:.3f}): "
    return f"{told}ECE {before} before, {after} after. {scaling['note']}".strip(), ""


def computed(_run: Reviewed) -> Said:
    """How predictions are made."""
    return "predictions.csv has each film's score; python -m tblib predict scores others, as does the panel.", ""


def fairness(run: Reviewed) -> Said:
    """Groups that are known."""
    groups = run.shortcuts["matched"]["groups"]
    worst = min(groups, key=lambda group: group["value"], default=None)
    lacks = "fairness to groups of people: age, sex and origin are not known."
    if worst is None:
        return "", lacks
    told = f"{printable(worst['group'])}, {worst['n']} films: accuracy {estimate(interval_of(worst), True)}."
    return f"The worst group of label and cues: {told}", lacks


def output(run: Reviewed) -> Said:
    """What comes out, and thresholds."""
    points = run.metrics["operating_points"]
    each = [f"{point_text(name)} ({point['threshold']:.3g})" for name, point in points.items()]
    return f"A probability of {run.classes[1]}; operating points: {listed(each)}.", ""


def abstract(_run: Reviewed) -> Said:
    """A summary of the whole."""
    return "The summary at the top of the report, with key figures.", "an abstract in the structure of a journal's."


def interpretation(_run: Reviewed) -> Said:
    """What it amounts to."""
    return "The summary at the top of the report.", "fairness, and comparison with earlier studies."


def poor_input(_run: Reviewed) -> Said:
    """Odd or unreadable films."""
    return "A film that does not decode gets a sentence and no score; one unlike the training films, warnings.", ""


def users(_run: Reviewed) -> Said:
    """What users do."""
    return "A user hands over picture files and gets scores.", "what users must know; clinical use is not intended."


def next_steps(run: Reviewed) -> Said:
    """What remains."""
    what = "more films of other hospitals" if run.sets or run.chosen_on else "films of other hospitals (external)"
    return f"Validation on {what}.", ""


TOPICS: dict[str, Callable[[Reviewed], Said]] = {
    topic.__name__: topic
    for topic in (
        technology, abstract, background, aims, goal, preprocessing, architecture, software, initialisation, training,
        selection, ensembling, imbalance, measures, statistics, robustness, explainability, internal, diagnostic,
        performance, subgroups, failures, limitations, practice, technical, code_access, data_access, availability,
        specification, predictors, updating, computed, fairness, output, interpretation, poor_input, users, next_steps,
    )
}  # fmt: skip
