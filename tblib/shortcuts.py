"""Shortcuts: every suspect's evidence, from probes, retrained networks, edits and planted cues, and its verdict.

Each function takes the audit of a run and returns plain numbers; `conclude` writes all of them to ``shortcuts.json``.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tblib import probes, saliency, suspects, trials, verdicts
from tblib.audit import FEWEST, MATCHED_ON, Audit, over_seeds
from tblib.budgets import RUNGS
from tblib.film import Pixels
from tblib.jobs import Job
from tblib.metrics import Estimate, Floats, Scored, auroc, bootstrap_weights, ranking, wilson
from tblib.run import write_json
from tblib.survey import prevalence
from tblib.suspects import Pairs, Suspect

GATED = 12  # films of a class that maps are made of; the gate looks at half of them
SHOWN = 6  # maps shown
DOSED = 60  # films, evenly drawn, that doses are tried on, or a few more


# --- what cues tell ------------------------------------------------------------------------------


def probe(audit: Audit) -> dict[str, Any]:
    """Fit every probe and set it beside the CNN.

    Under ``probes`` each cue has its figures on ``all`` films, cross-validated, and on the ``test`` films alone,
    those that the CNN's figures under ``cnn`` are measured on.
    """
    target, group = audit.target, audit.group
    scores = probes.probe_scores(audit.films, audit.images, target, group, audit.seed)
    test = (audit.films["part"] == "test").to_numpy()
    predictions = audit.run.table("predictions.csv").query("part == 'test'")
    cnn = Scored(*(predictions[name].to_numpy() for name in ("target", "probability", "twin_group")))
    return {
        "probes": {
            name: {
                "all": probes.summarise(Scored(target, score, group), audit.replicates, audit.seed),
                "test": probes.summarise(Scored(target[test], score[test], group[test]), audit.replicates, audit.seed),
            }
            for name, score in scores.items()
        },
        "cnn": probes.summarise(cnn, audit.replicates, audit.seed),
        "held_out": {"films": len(audit.logits), "auroc": ranking(audit.held, audit.weights)._asdict()},
    }


def climb(audit: Audit) -> list[dict[str, Any]]:
    """The ladder: AUROC of small CNNs retrained on what each rung leaves, and of the CNN at hand on the same rung.

    One row a rung: rung, sees, lung (share of the lung fields that is in view), n, taught (films trained on), seeds,
    mean, sd, low, high (of the mean over seeds, by a bootstrap of films), masked (the CNN at hand, not retrained: that
    also measures how strange such a film is to it).
    """
    rows, budget = audit.taught, audit.budget
    shared: dict[str, npt.NDArray[Any]] = {"images": audit.images[rows], "fields": audit.fields[rows]}
    shared |= {"target": audit.target[rows], "train": audit.train[rows]}
    wanted = [(name, seed) for name in budget.rungs for seed in range(budget.seeds)]
    jobs = [
        Job(trials.climb, shared, {"name": name, "seed": seed, "training": audit.training}) for name, seed in wanted
    ]
    found, table = audit.jobs(jobs, "ladder"), []
    how = {"n": len(audit.logits), "taught": int(audit.train[rows].sum()), "seeds": budget.seeds}
    for name in budget.rungs:
        logits = [np.array(result["logits"]) for (rung, _), result in zip(wanted, found, strict=True) if rung == name]
        images, fields = audit.images[~audit.train], audit.fields[~audit.train]
        left, lung = trials.rung(images, fields, name), (trials.in_view(fields, name) & fields).sum()
        masked = ranking(replace(audit.held, score=audit.ask(left)), audit.weights)
        areas = over_seeds(audit.held, audit.weights, logits)
        what = {"rung": name, "sees": RUNGS[name], "lung": float(lung / max(fields.sum(), 1))}
        table.append(what | how | areas | {"masked": masked._asdict()})
    return table


# --- what the CNN uses ---------------------------------------------------------------------------


def edit(audit: Audit, doses: bool = True) -> dict[str, Any]:
    """Every suspect's edits on held-out films: suspect -> sufficiency, necessity, doses, by_class and fall.

    Effects are in logits towards the class that the cue goes with (`towards`), over the placebo.
    """
    rows = audit.drawn(audit.rows_held, audit.budget.films)
    greys, table = audit.greys(rows), audit.films.iloc[rows].reset_index(drop=True)
    size, remedy, seed, lungs = audit.model.size, audit.model.remedy, audit.seed, audit.model.lungs
    fields = audit.fields[rows] if remedy == "none" else None  # cropped films and their fields do not lie alike
    found: dict[str, Any] = {}
    for one in suspects.SUSPECTS:
        carries = one.score(table) > 0
        lacking = ~carries if one.name != suspects.SHARPNESS else np.ones(len(rows), bool)
        put: Pairs | None = None
        if one.put:
            put = suspects.only(suspects.added(one, greys, size, remedy, seed, fields=fields, lungs=lungs), lacking)
        elif one.name == suspects.STYLE:
            put = suspects.restyled(greys, table, audit.database.positive, size, remedy, seed, lungs)
        elif one.name == suspects.OUTSIDE:
            put = suspects.swapped(audit.images[rows], audit.fields[rows], audit.target[rows], seed)
        taken = suspects.removed(one, greys, table, size, remedy, seed, lungs)
        found[one.name] = _effects(audit, one, rows, put, taken)
        if doses and one.put and len(one.doses) > 1:
            few = slice(None, None, max(1, len(rows) // DOSED))
            spared = None if fields is None else fields[few]
            by_dose = {
                dose: suspects.only(
                    suspects.added(one, greys[few], size, remedy, seed, dose, spared, lungs), lacking[few]
                )
                for dose in one.doses
            }
            found[one.name]["doses"] = [_dose(audit, dose, pairs) for dose, pairs in by_dose.items()]
    return found


def examples(audit: Audit) -> tuple[list[str], list[tuple[Pixels, Pixels, Pixels]]]:
    """Names of the suspects that can be edited; for each a film as the CNN gets it, edited, and with the placebo."""
    rows = audit.rows_held
    names, films = [], []
    for place, one in enumerate(suspects.EDITED):
        lacking = rows if one.name == suspects.SHARPNESS else rows[one.score(audit.films.iloc[rows]) <= 0]
        if len(lacking):
            row = lacking[[place % len(lacking)]]
            model = audit.model
            pairs = suspects.added(one, audit.greys(row), model.size, model.remedy, audit.seed, lungs=model.lungs)
            names.append(one.name)
            films.append((audit.images[row[0]], pairs.edited[0], pairs.placebo[0]))
    return names, films


def _effects(
    audit: Audit, one: Suspect, rows: npt.NDArray[np.int64], put: Pairs | None, taken: Pairs
) -> dict[str, Any]:
    """Sufficiency and necessity of one suspect, per class too, and the AUROC without it."""
    towards = audit.associations[one.name].towards
    told: dict[str, Any] = {"towards": towards, "sufficiency": None, "necessity": None, "fall": None, "by_class": []}
    for way, pairs in (("sufficiency", put), ("necessity", taken)):
        if pairs is None or not len(pairs.rows):
            continue
        after, before = audit.ask(pairs.edited), audit.ask(pairs.placebo)
        signed = towards * pairs.sign
        moved, flipped = signed * (after - before), signed * trials.turned(after, before)
        group = audit.group[rows[pairs.rows]]
        told[way] = verdicts.effect(moved, flipped, group, audit.replicates, audit.seed)
        for label in (0, 1):
            own = audit.target[rows[pairs.rows]] == label
            part = verdicts.effect(moved[own], flipped[own], group[own], audit.replicates, audit.seed)
            told["by_class"].append({"way": way, "label": label, "effect": part and _plain(part)})
    if len(taken.rows):
        given = Scored(audit.target[rows], audit.logits[np.searchsorted(audit.rows_held, rows)], audit.group[rows])
        without = given.score.copy()
        without[taken.rows] = audit.ask(taken.edited)
        told["fall"] = _fall(audit, given, without)
    return told


def _fall(audit: Audit, part: Scored, without: Floats) -> Estimate:
    """How much the AUROC of some films falls once their logits are those without a cue."""
    weights, ones = bootstrap_weights(part, audit.replicates, audit.seed), np.ones((1, len(without)))
    value, drawn = (auroc(part, each) - auroc(replace(part, score=without), each) for each in (ones, weights))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(value[0]), float(low), float(high))


def _dose(audit: Audit, dose: float, pairs: Pairs) -> dict[str, Any]:
    """Mean movement of the logit over the placebo at one dose, towards the positive class."""
    if not len(pairs.rows):
        return {"dose": dose, "n": 0, "mean": None, "low": None, "high": None}
    moved = audit.ask(pairs.edited) - audit.ask(pairs.placebo)
    found = verdicts.effect(moved, np.zeros_like(moved), pairs.rows, audit.replicates, audit.seed)
    mean = found.mean if found else Estimate(None, None, None)
    return {"dose": dose, "n": len(moved), **mean._asdict()} | {"mean": mean.value}


# --- what the audit can find ---------------------------------------------------------------------


def plant(audit: Audit) -> dict[str, Any]:
    """Planted cues and negative controls: how often the audit finds what is there, and what is not.

    Returns:
        curve: a row a suspect and strength: suspect, p, n, used (share with Wilson interval), moved, auroc.
        controls: a row a kind (shuffled labels; parity of the file number): tests, used, moved, auroc.
        training, films: how.
    """
    rows = audit.drawn(np.arange(len(audit.films)), audit.budget.films)
    greys, train = audit.greys(rows), audit.train[rows]
    plain, target, group = audit.images[rows], audit.target[rows], audit.group[rows]
    model, seed = audit.model, audit.seed
    fields = audit.fields[rows] if model.remedy == "none" else None
    pairs = {
        one.name: suspects.added(one, greys, model.size, model.remedy, seed, fields=fields, lungs=model.lungs)
        for one in suspects.EDITED
    }
    how: dict[str, Any] = audit.training
    shared: dict[str, npt.NDArray[Any]] = {"plain": plain, "label": target, "group": group, "train": train}
    wanted = [(name, p, seed) for name in pairs for p in audit.budget.planted for seed in range(audit.budget.replicas)]
    jobs = [
        Job(
            trials.plant,
            shared | {"put": pairs[name].edited, "placebo": pairs[name].placebo},
            {"p": p, "shuffle": True, "seed": seed, "training": how},
        )
        for name, p, seed in wanted
    ]
    edited = np.stack([np.stack([one.edited, one.placebo]) for one in pairs.values()])
    cues = np.stack([one.score(audit.films.iloc[rows]) for one in suspects.EDITED])
    shared |= {"edited": edited, "cues": cues}
    kinds = {"shuffled labels": target, "parity of the file number": _parity(audit.films["file"].iloc[rows])}
    denials = [
        Job(
            trials.deny,
            shared | {"label": label},
            {"names": list(pairs), "shuffle": kind == "shuffled labels", "seed": seed, "training": how},
        )
        for kind, label in kinds.items()
        for seed in range(audit.budget.controls)
    ]
    found = audit.jobs(jobs + denials, "planted cues")
    return {
        "curve": _curve(wanted, found[: len(jobs)]),
        "controls": _controls(list(kinds), list(pairs), found[len(jobs) :]),
        "films": len(rows),
        "trained_on": int(train.sum()),
        "training": asdict(trials.training_of(how)),
    }


def _parity(files: pd.Series) -> npt.NDArray[np.int64]:
    """1 for an odd number at the end of a file's name, 0 for an even one; files without take their place's."""
    number = files.str.extract(r"(\d+)\D*$", expand=False)
    places = pd.Series(np.arange(len(files)), index=files.index)
    return number.where(number.notna(), places.astype(str)).astype(object).map(int).to_numpy(np.int64) % 2


def _curve(wanted: list[tuple[str, float, int]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for name, p in dict.fromkeys((name, p) for name, p, _ in wanted):
        own = [result for (n, q, _), result in zip(wanted, found, strict=True) if (n, q) == (name, p)]
        share, moved = (wilson(sum(result[what] for result in own), len(own)) for what in ("used", "moved"))
        rows.append(
            {"suspect": name, "p": p, "n": len(own), "used": share._asdict(), "moved": moved._asdict()}
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


# --- matched films, worst groups, maps -----------------------------------------------------------


def match(audit: Audit) -> dict[str, Any]:
    """AUROC within pairs of held-out films that are alike in a suspect's score, or in all; worst groups.

    Returns:
        all: pairs and AUROC of films alike in `MATCHED_ON`; by_suspect: the same for each suspect; groups: accuracy
        of each group of label and cues with at least `FEWEST` films.
    """
    table = audit.films[~audit.train]
    jointly = verdicts.matched_pairs(table[list(MATCHED_ON)].to_numpy(float), audit.held.target)
    by_suspect = {}
    for one in suspects.SUSPECTS:
        score = audit.associations[one.name].score[~audit.train]
        told = np.isfinite(score)
        pairs = verdicts.matched_pairs(score[told][:, None], audit.held.target[told])
        by_suspect[one.name] = {"pairs": len(pairs), **verdicts.matched_auroc(audit.logits[told], pairs)._asdict()}
    groups = verdicts.worst_groups(table["cues"], audit.held.target, audit.logits > 0)
    return {
        "all": {
            "pairs": len(jointly),
            "scores": list(MATCHED_ON),
            **verdicts.matched_auroc(audit.logits, jointly)._asdict(),
        },
        "by_suspect": by_suspect,
        "groups": groups[groups["n"] >= FEWEST].to_dict("records"),
        "too_small": groups.loc[groups["n"] < FEWEST, "group"].tolist(),
    }


def look(audit: Audit) -> tuple[dict[str, Any], npt.NDArray[np.int64], Floats]:
    """Saliency maps of held-out films, behind their gate: the numbers, rows of the shown films, and their maps."""
    held = audit.rows_held
    rows = np.concatenate([held[audit.target[held] == label][:GATED] for label in (0, 1)])
    gate = saliency.gate(audit.model, audit.images[rows[::2]], audit.seed)
    if not gate["open"]:
        return {"gate": gate, "inside": None}, rows[:0], np.empty((0, *audit.images.shape[1:]))
    maps = saliency.maps(audit.model.cnn, audit.images[rows], audit.model.normalisation, audit.seed)
    seen = audit.fields[rows].any((1, 2))
    ratios = saliency.inside(maps[seen], audit.fields[rows][seen])
    told = saliency.by_class(ratios, audit.target[rows][seen], audit.replicates, audit.seed)
    shown = np.concatenate([np.flatnonzero(audit.target[rows] == label)[: SHOWN // 2] for label in (0, 1)])
    return {"gate": gate, "inside": told}, rows[shown], maps[shown]


# --- the verdicts --------------------------------------------------------------------------------

SEEN_BY = {  # suspect -> the probe that sees it in the picture
    "film border": probes.BORDER_STRIPS,
    "grey histogram": probes.GREY_HISTOGRAM,
    "tint": probes.TINT_PROBE,
}


def conclude(
    audit: Audit,
    probed: dict[str, Any],
    ladder: list[dict[str, Any]],
    edited: dict[str, Any],
    planted: dict[str, Any],
    matched: dict[str, Any],
    looked: dict[str, Any],
    abroad: dict[str, Any],
    cured: list[dict[str, Any]],
) -> dict[str, Any]:
    """Bring all evidence to its verdicts; write ``shortcuts.json`` and return its content."""
    full = audit_auroc(probed)
    prevalences = prevalence(audit.films, audit.database.classes)
    evidence = {}
    for one in suspects.SUSPECTS:
        goes = audit.associations[one.name]
        alone = _probed(audit, one, probed, ladder)
        own, whole = matched["by_suspect"][one.name], _whole(audit, one, full)
        fall = edited[one.name]["fall"] or _matched_fall(whole, own)
        evidence[one.name] = verdicts.Evidence(
            exists=goes.auroc,
            exists_p=goes.p,
            probe=alone,
            sufficiency=edited[one.name]["sufficiency"],
            necessity=edited[one.name]["necessity"],
            share=(alone.value - 0.5) / (whole - 0.5) if alone.value is not None and whole > 0.5 else None,
            fall=fall,
            power=_power(one.name, planted),
            unusable=one.note if one.name == suspects.ONE_CHANNEL else "",
        )
    judged = verdicts.verdicts(evidence)
    content = probed | {
        "verdicts": [
            {"suspect": name, "verdict": judged[name][0], "reason": judged[name][1]}
            | {"evidence": _evidence(evidence[name]), "note": suspects.suspect(name).note}
            for name in evidence
        ],
        "thresholds": verdicts.THRESHOLDS,
        "prevalence": prevalences.to_dict("records"),
        "ladder": ladder,
        "edits": {name: _edit_numbers(found) for name, found in edited.items()},
        "planted": planted,
        "matched": matched,
        "saliency": looked,
        "external": abroad,
        "remedies": cured,
        "lung_fields": "the database's own masks" if audit.known_fields is not None else "estimated (tblib.lungs)",
        "budget": asdict(audit.budget),
        "seed": audit.seed,
        "replicates": audit.replicates,
        "method": "AUROC: percentile bootstrap, or, of a score of two values, Newcombe's limits; proportions: Wilson; "
        "existence: Fisher's exact test, or permuted labels; effects: bootstrap, and p by flipped signs; twin groups "
        "kept whole; p adjusted by Holm",
    }
    write_json(audit.run.path("shortcuts.json"), content)
    return content


def audit_auroc(probed: dict[str, Any]) -> float:
    """The CNN's AUROC on all held-out films."""
    return float(probed["held_out"]["auroc"]["value"])


def _whole(audit: Audit, one: Suspect, full: float) -> float:
    """The CNN's AUROC on the held-out films that a suspect can be told of; 0.5 where those are of one class."""
    told = audit.associations[one.name].told[~audit.train]
    if told.all():
        return full
    area = trials.area(Scored(audit.held.target[told], audit.logits[told], audit.held.group[told]))
    return 0.5 if area is None else area


def _probed(audit: Audit, one: Suspect, probed: dict[str, Any], ladder: list[dict[str, Any]]) -> Estimate:
    """AUROC of a probe that sees one suspect and nothing else."""
    if one.name in SEEN_BY:
        return Estimate(**probed["probes"][SEEN_BY[one.name]]["all"]["auroc"])
    if one.name == suspects.OUTSIDE:
        row = next((row for row in ladder if row["rung"] == "outside the lungs"), None)
        return Estimate(row["mean"], row["low"], row["high"]) if row else Estimate(None, None, None)
    if one.name == suspects.STYLE:
        return audit.associations[one.name].auroc  # its score is that of a probe
    facts = audit.films[list(one.facts)].astype(float)
    if one.name == suspects.SHARPNESS:
        facts = facts.assign(fineness=suspects.fineness(audit.images, audit.fields))
    score = probes.cross_validated(facts, audit.target, audit.group, audit.seed, kind="logistic")
    scored = Scored(audit.target, score, audit.group)
    return ranking(scored, bootstrap_weights(scored, audit.replicates, audit.seed))


def _matched_fall(full: float, own: dict[str, Any]) -> Estimate | None:
    """How much lower the AUROC is among films that are alike in the cue; None with fewer than ten pairs."""
    if own["pairs"] < 10:
        return None
    return Estimate(full - own["value"], full - own["high"], full - own["low"])


def _power(name: str, planted: dict[str, Any]) -> Estimate | None:
    row = next((row for row in planted["curve"] if row["suspect"] == name and row["p"] == 0.8), None)
    return Estimate(**row["used"]) if row else None


def _evidence(one: verdicts.Evidence) -> dict[str, Any]:
    return {
        "exists": one.exists._asdict() | {"p": one.exists_p},
        "probe": one.probe._asdict(),
        "sufficiency": one.sufficiency and _plain(one.sufficiency),
        "necessity": one.necessity and _plain(one.necessity),
        "share": one.share,
        "fall": one.fall and one.fall._asdict(),
        "power": one.power and one.power._asdict(),
    }


def _edit_numbers(found: dict[str, Any]) -> dict[str, Any]:
    plain = {way: found[way] and _plain(found[way]) for way in ("sufficiency", "necessity")}
    return found | plain | {"fall": found["fall"] and found["fall"]._asdict()}


def _plain(found: verdicts.Effect) -> dict[str, Any]:
    return {"n": found.n, "mean": found.mean._asdict(), "p": found.p, "flips": found.flips._asdict()}
