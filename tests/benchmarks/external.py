"""Which mitigation helps at other hospitals? Chosen on one hospital's films, and reported once on another's.

1. Small networks are trained with each mitigation, over seeds, and compared on the selection set, paired by seed and
   film with networks without any.
2. Chosen is the mitigation with the highest mean AUROC there, among those whose worst group inside keeps an accuracy of
   `tblib.audit.mitigations.LEAST_WORST`.
3. CNNs of full width are trained without any and with the chosen one, over seeds, and both are reported on sets that
   had no part in the choice. Once: if another mitigation is chosen later, these sets are refused.

An interrupted study goes on: each training is kept in ``reports/benchmark/external/``. ``choice.json`` there says what
was chosen, by which films, out of what, and where it was reported; notebooks take it as the parameter `chosen_by`.

``python -m tests.benchmarks.external DATA SELECTION [REPORTING …] [--minutes 120]``
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from tblib.arrays import Floats
from tblib.audit import hospitals, matched, mitigations, trainings
from tblib.audit.external import LEAST_SPECIFICITY, ExternalError, ExternalSet
from tblib.audit.study import Audit, open_audit
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.choice import film_digests
from tblib.classifiers.protocol import Calibration, file_logits
from tblib.classifiers.trained import load_model, train_run
from tblib.evaluate import evaluate
from tblib.films.database import data_path, open_database
from tblib.metrics import Estimate, Scored, auroc, best_sensitivity, bootstrap_weights, confusion, ece
from tblib.mitigation import NAMES
from tblib.prepare import prepare
from tblib.run import Run, open_run
from tblib.show.text import mean_and_interval, mean_sd
from tblib.system.files import write_json, write_table
from tblib.train import Training
from tests.benchmarks import kinds
from tests.benchmarks.films import FOLDER, SIZE, as_markdown, fast

HERE = FOLDER / "external"
CHOICE = "choice.json"
SMALL_SEEDS, FULL_SEEDS = 3, 5
REPLICATES = 2000
LESIONS, LUNGS, OUTLINES = "lesions", "lung_crop+equalise+smooth+lungs_only", "lung_crop+equalise+other_outline"
SOURCES = "by claimed source in place of cues"
AVERAGED = "AUROC of their mean logit"
BEFORE = f"{LUNGS}+randomise"  # chosen on Montgomery by an earlier comparison


@dataclass(frozen=True)
class Candidate:
    """A mitigation to compare.

    Attributes:
        mitigation: names of `tblib.mitigation` joined by "+", or None.
        size: side of the input, px.
        kind: a training of `tests.benchmarks.kinds` in place of the plain one, or `SOURCES`; such a one cannot be
            chosen, since no run is trained in this way.
    """

    mitigation: str | None
    size: int = SIZE
    kind: str = ""

    @property
    def name(self) -> str:
        """As rows call it."""
        size = "" if self.size == SIZE else f" at {self.size} px"
        return (self.mitigation or mitigations.PLAIN) + size + (f", {self.kind}" if self.kind else "")


def _candidates() -> Iterable[Candidate]:
    """In the order in which they are measured, should time run out: what takes longest comes last."""
    yield from map(Candidate, (None, *NAMES))
    added = ("equalise", "reference_levels", "smooth", "border_crop", "balance", "hull", "lungs_only", "lung_crop")
    yield from (Candidate(f"{name}+{LESIONS}") for name in added)
    yield from (Candidate(f"hull+{name}+{LESIONS}") for name in ("equalise", "reference_levels"))
    yield from (Candidate(LESIONS, kind=kind) for kind in (kinds.ADAPTED, kinds.SECOND))
    yield Candidate(None, kind=kinds.ADAPTED)
    yield from (Candidate(mitigation, kind=SOURCES) for mitigation in ("balance", f"balance+{LESIONS}"))
    yield from map(Candidate, (f"paint_out+{LESIONS}", f"group_dro+{LESIONS}", OUTLINES, f"{OUTLINES}+{LESIONS}"))
    yield from map(Candidate, (LUNGS, f"{LUNGS}+{LESIONS}", BEFORE))
    yield from (Candidate(mitigation, size) for size in (192, 256) for mitigation in (None, LESIONS))
    yield from (Candidate(mitigation, kind=kinds.PRETRAINED) for mitigation in (None, LESIONS))
    yield Candidate(LESIONS, kind=kinds.RELEVANCE)


CANDIDATES = tuple(_candidates())


class Study:
    """The films of a study, and where they lie.

    Attributes:
        data: database of the training films.
        selection: films that choose.
        reporting: films on which the chosen mitigation is reported.
    """

    def __init__(self, data: str, selection: str, reporting: list[str], folder: Path = HERE) -> None:
        """Name the films; nothing is read yet."""
        self.data, self.selection, self.reporting, self.folder = data, selection, reporting, folder

    def audit(self, size: int) -> Audit:
        """The audit whose small networks are compared. Its own model, which there must be, has no part in that."""
        run = self.prepared(f"films-{size}", None, size)
        if not run.path("metrics.json").exists():
            train_run(run, Training(epochs=1, width=4))
            evaluate(run, 50, 0)
        return open_audit(run, "standard", None, None, REPLICATES, 0, self.selection)

    def prepared(self, name: str, mitigation: str | None, size: int) -> Run:
        """A run of the training films after a mitigation; made once."""
        run, database = open_run(str(self.folder / name)), open_database(data_path(self.data))
        if not run.path("catalogue.csv").exists():
            save_catalogue(run, build_catalogue(database))
        if run.facts("catalogue.json")["path"] != str(database.path):
            raise ExternalError(f"The study in {self.folder} is of other films; give it another folder (--out).")
        if not run.path("preparation.json").exists():
            prepare(run, database, size, 0, mitigation)
        return run


# --- choosing -------------------------------------------------------------------------------------------------------


def compare(study: Study, candidates: Iterable[Candidate], minutes: float) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each candidate (`tblib.audit.mitigations.judged`), and the names of those for which time ran out."""
    begun, found, left = time.monotonic(), dict[Candidate, list[dict[str, Any]]](), list[str]()
    audits: dict[int, Audit] = {}
    for each in candidates:
        if time.monotonic() - begun > 60 * minutes:
            left.append(each.name)
            continue
        audit = audits.setdefault(each.size, study.audit(each.size))
        audit = by_sources(audit) if each.kind == SOURCES else audit
        kind: dict[str, Any] = (
            {"of": kinds.mitigated, "kind": each.kind, "code": kinds.CODE} if each.kind in kinds.NAMES else {}
        )
        found[each] = mitigations.trained_with(audit, [each.mitigation], SMALL_SEEDS, **kind)[
            each.mitigation or mitigations.PLAIN
        ]
    plain = next(iter(found.values()))  # the first candidate is none
    return [mitigations.judged(audits[each.size], each.name, one, plain) for each, one in found.items()], left


def by_sources(audit: Audit) -> Audit:
    """The audit with groups of label and claimed source (host of its URL) for mitigations in training."""
    other, films = replace(audit), audit.films
    host = films["claimed_source"].fillna("").str.extract(r"^\w+://([^/]+)", expand=False).fillna("")
    other.__dict__["groups"] = pd.factorize(films["label"] + ": " + host, sort=True)[0]  # a cached property
    return other


def choose(rows: list[dict[str, Any]], candidates: Iterable[Candidate]) -> Candidate:
    """The candidate that is chosen (`tblib.audit.mitigations.choice`) of those that a run can have; the first one,
    without any mitigation, if none keeps its worst group."""
    able = {each.name: each for each in candidates if not each.kind}
    best = mitigations.choice([row for row in rows if row["mitigation"] in able])
    return able[best["mitigation"]] if best else next(iter(able.values()))


def keep_choice(path: Path, chosen: Candidate, rows: list[dict[str, Any]], left: list[str], by: ExternalSet) -> None:
    """Write what was chosen, out of what, and by which films.

    Raises:
        ExternalError: sets were reported on for another choice; to report on them again would be to choose on them.
    """
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if before.get("reported") and before["chosen"] != chosen.name:
        raise ExternalError(
            f"{before['chosen']} was reported on {', '.join(before['reported'])}, and now {chosen.name} would be "
            "chosen. To report on the same films again would be to choose on them: start a new study (--out) with "
            "other films to report on."
        )
    record = {"set": by.name, "n": len(by.files), "films": film_digests(by.thumbnails), "chosen": chosen.name}
    rest = {
        "out_of": rows,
        "not_measured": left,
        "worst_group": mitigations.LEAST_WORST,
        "reported": before.get("reported", []),
    }
    write_json(path, record | rest)


# --- reporting ------------------------------------------------------------------------------------------------------


def trained(study: Study, chosen: Candidate, seed: int) -> Run:
    """A CNN of full width, trained and evaluated once with the chosen mitigation, or without one."""
    films = study.prepared(f"{_folder(chosen)}-films", chosen.mitigation, chosen.size)
    run = open_run(str(study.folder / f"{_folder(chosen)}-{seed}"))
    if not run.path("metrics.json").exists():
        for path in films.folder.iterdir():
            if path.is_file() and not run.path(path.name).exists():
                os.link(path, run.path(path.name))
        train_run(run, fast(seed=seed, mitigation=chosen.mitigation))
        evaluate(run, REPLICATES, 0)
    return run


def _folder(chosen: Candidate) -> str:
    return f"{chosen.mitigation or mitigations.PLAIN}-{chosen.size}".replace("+", "-")


def scores(study: Study, run: Run, sets: list[ExternalSet]) -> dict[str, Floats]:
    """Name of each set -> the logits of a run's CNN, scored once."""
    found = {}
    for one in sets:
        path = run.path(f"{one.name}.csv")
        if not path.exists():
            model = load_model(run.path("model.safetensors"))
            write_table(path, pd.DataFrame({"logit": file_logits(model, one.database, one.files)}))
        found[one.name] = pd.read_csv(path)["logit"].to_numpy(float)
    return found


Values = tuple[Floats, Floats]  # of K trainings: float (K,), and bootstrap replicates float (K, R)
Figure = Callable[[Scored, float, Floats], Floats]  # (scored films, frozen threshold, weights (R, N)) -> (R,)


def _share(hit: str, missed: str) -> Figure:
    def of(scored: Scored, threshold: float, weights: Floats) -> Floats:
        """One kind of confusion among the films of a class."""
        cells = confusion(scored, threshold, weights)
        return cells[hit] / (cells[hit] + cells[missed])

    return of


FIGURES: dict[str, Figure] = {
    "AUROC": lambda scored, threshold, weights: auroc(scored, weights),
    "sensitivity at the frozen threshold": _share("tp", "fn"),
    "specificity at the frozen threshold": _share("tn", "fp"),
    f"best sensitivity at specificity {LEAST_SPECIFICITY:.2f}": lambda scored, threshold, weights: best_sensitivity(
        scored, LEAST_SPECIFICITY, weights
    ),
}


def figures(runs: list[Run], one: ExternalSet, logits: list[Floats]) -> dict[str, Values]:
    """What CNNs of several seeds reach on a set, at the threshold that finds 90 % in their own validation films."""
    films = Scored(one.target, np.zeros(len(one.target)), one.group)
    weights, ones = bootstrap_weights(films, REPLICATES, 0), np.ones((1, len(one.target)))
    found: dict[str, list[Values]] = {name: [] for name in FIGURES}
    for run, own in zip(runs, logits, strict=True):
        frozen, scored = run.facts("metrics.json")["thresholds"]["sensitivity_90"], replace(films, score=expit(own))
        for name, of in FIGURES.items():
            found[name].append((of(scored, frozen, ones), of(scored, frozen, weights)))
    over = {
        name: (np.concatenate([value for value, _ in each]), np.stack([drawn for _, drawn in each]))
        for name, each in found.items()
    }
    return over | {AVERAGED: trainings.areas(films, weights, [np.mean(logits, axis=0)])}


def inside(run: Run) -> dict[str, float]:
    """A run's CNN on its own films: AUROC of the test part, accuracy of the worst group (NaN if all are too small)."""
    audit, metrics = open_audit(run, "standard", None, None, REPLICATES, 0), run.facts("metrics.json")
    groups = matched.worst_groups(audit.films["cues"][~audit.train], audit.held_out.target, audit.logits > 0)
    large = groups.loc[groups["n"] >= matched.FEWEST, "value"]  # the worst comes first
    return {"AUROC": metrics["auroc"]["value"], "worst group": float(large.iloc[0]) if len(large) else float("nan")}


def calibration_there(run: Run, one: ExternalSet, logits: Floats) -> float:
    """Expected calibration error on a set, of probabilities calibrated on validation."""
    scaling = Calibration.of(run.facts("metrics.json"))
    return ece(one.target, scaling.probability(logits), np.ones(len(one.target)))


def report(study: Study, plain: Candidate, chosen: Candidate) -> dict[str, Any]:
    """CNNs of full width, without a mitigation and with the chosen one, inside, on the set that chose, and on those
    that report.

    Raises:
        ExternalError: a set that reports has films that chose.
    """
    audit = replace(study.audit(plain.size), external=",".join(study.reporting))
    assert audit.selected is not None
    sets, seeds = [audit.selected, *audit.sets], range(FULL_SEEDS)
    both = [(kind, [trained(study, kind, seed) for seed in seeds]) for kind in (plain, chosen)]
    rows: list[dict[str, Any]] = []
    for one in sets:
        found = [[scores(study, run, sets)[one.name] for run in runs] for _, runs in both]
        before, own = (figures(runs, one, logits) for (_, runs), logits in zip(both, found, strict=True))
        errors = [
            np.mean([calibration_there(run, one, each) for run, each in zip(runs, logits, strict=True)])
            for (_, runs), logits in zip(both, found, strict=True)
        ]
        rows += [
            {"set": one.name, "n": len(one.target), "chose": one is audit.selected, "figure": name}
            | {"none": over(*before[name]), "chosen": over(*own[name])}
            | {"gain": trainings.gain(own[name], before[name], 0)._asdict()}
            for name in before
        ]
        rows.append({"set": one.name, "n": len(one.target), "figure": "calibration error", "values": errors})
    within = {
        kind.name: pd.DataFrame([inside(run) for run in runs]).agg(["mean", "std"]).to_dict() for kind, runs in both
    }
    guesses = {
        kind.name: hospitals.predicted(open_audit(runs[0], "standard", None, None, REPLICATES, 0))
        for kind, runs in both
    }
    return {"rows": rows, "inside": within, "predicted": guesses, "seeds": FULL_SEEDS}


def over(values: Floats, replicates: Floats) -> dict[str, float | None]:
    """Mean and sd over trainings, and the interval over trainings and films."""
    area = trainings.over_trainings(values, replicates, 0)
    return trainings.mean_and_sd(values.tolist()) | {"low": area.low, "high": area.high}


# --- tables ---------------------------------------------------------------------------------------------------------


def compared_table(rows: list[dict[str, Any]]) -> str:
    """The comparison as Markdown, the highest AUROC on the selection set first."""
    ranked = sorted(rows, key=lambda row: -row["selection"]["mean"])
    columns = (
        "mitigation",
        "trainings",
        f"AUROC on {rows[0]['selection']['set']}",
        "gain over none",
        "worst group",
        "inside",
    )
    lines = [
        (
            row["mitigation"],
            row["seeds"],
            mean_and_interval(row["selection"]),
            Estimate(**row["selection"]["gain"]).text(),
            mean_sd(row["worst_group"]),
            mean_sd(row["internal"]),
        )
        for row in ranked
    ]
    return as_markdown(pd.DataFrame(lines, columns=columns))


def reported_table(found: dict[str, Any], chosen: str) -> str:
    """The report as Markdown."""
    lines = [
        (
            row["set"] + (" (chose)" if row["chose"] else ""),
            row["figure"],
            *(_told(row["figure"], row[name]) for name in ("none", "chosen")),
            Estimate(**row["gain"]).text(),
        )
        for row in found["rows"]
        if "gain" in row
    ]
    lines += [
        (row["set"], row["figure"], *(f"{value:.3f}" for value in row["values"]), "")
        for row in found["rows"]
        if "values" in row
    ]
    for figure in ("AUROC", "worst group"):
        own = [f"{each[figure]['mean']:.3f} ± {each[figure]['std']:.3f}" for each in found["inside"].values()]
        lines.append(("inside", figure, own[0], own[-1], ""))
    lines.append(
        (
            "elsewhere, predicted",
            "AUROC",
            *(Estimate(**each["auroc"]).text() for each in found["predicted"].values()),
            "",
        )
    )
    return as_markdown(pd.DataFrame(lines, columns=["films", "figure", "none", chosen, "gain"]))


def _told(figure: str, found: dict[str, Any]) -> str:
    """A mean over trainings as text; an AUROC below 0.5 with all of its interval is inverted."""
    return mean_and_interval(found) + (" (inverted)" if figure == "AUROC" and found["high"] < 0.5 else "")


def main() -> None:
    """Compare, choose, keep the choice, report."""
    options = _parser().parse_args()
    study = Study(options.data, options.selection, options.reporting, options.out)
    rows, left = compare(study, CANDIDATES, options.minutes)
    chosen = choose(rows, CANDIDATES)
    audit = study.audit(SIZE)
    assert audit.selected is not None
    keep_choice(study.folder / CHOICE, chosen, rows, left, audit.selected)
    print(
        f"{compared_table(rows)}\n\nChosen: {chosen.name}. Not measured, as time ran out: {', '.join(left) or 'none'}."
    )
    if study.reporting:
        found = report(study, CANDIDATES[0], chosen)
        record = json.loads((study.folder / CHOICE).read_text(encoding="utf-8"))
        names = [row["set"] for row in found["rows"] if not row.get("chose", True)]
        write_json(study.folder / CHOICE, record | {"reported": list(dict.fromkeys(names)), "report": found})
        print(f"\n{reported_table(found, chosen.name)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Mitigations, chosen on one hospital's films and reported on others'.")
    parser.add_argument("data", help="the films to train on: a zip or folder")
    parser.add_argument("selection", help="films of another hospital, which choose")
    parser.add_argument(
        "reporting", nargs="*", help="films of other hospitals, on which the chosen mitigation is reported"
    )
    parser.add_argument("--minutes", type=float, default=120, help="after so many no further mitigation is begun")
    parser.add_argument("--out", type=Path, default=HERE, help="where trainings are kept")
    return parser


if __name__ == "__main__":
    main()
