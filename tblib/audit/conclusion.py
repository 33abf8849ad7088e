"""Conclusion: the evidence of all chapters on each cue, its verdict, and ``shortcuts.json``."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tblib.audit import baselines, edit_effects, hospitals, matched, mitigations, power, regions, saliency, verdicts
from tblib.audit.edit_effects import CueEffects
from tblib.audit.effects import THRESHOLDS, plain
from tblib.audit.fits import area
from tblib.audit.pairs import fineness
from tblib.audit.saliency import Saliency
from tblib.audit.study import Audit
from tblib.audit.views import BLIND
from tblib.eda import prevalence
from tblib.eda.baselines import cross_validated
from tblib.films.cues import AUDITED, Cue
from tblib.metrics import Estimate, Scored, bootstrap_weights, ranking
from tblib.system.files import write_json

METHOD = (
    "AUROC: percentile bootstrap, or, of a score of two values, Newcombe's limits; proportions: Wilson; existence: "
    "Fisher's exact test, or permuted labels; effects: bootstrap, and p by flipped signs; duplicate groups kept whole; "
    "p adjusted by Holm"
)


@dataclass(frozen=True)
class Chapters:
    """Result of `measure` in each chapter, the module of the same name in `tblib.audit` (`edits`: `edit_effects`)."""

    baselines: dict[str, Any]
    regions: list[dict[str, Any]]
    edits: dict[str, CueEffects]
    power: dict[str, Any]
    matched: dict[str, Any]
    saliency: Saliency
    hospitals: dict[str, Any]
    mitigations: list[dict[str, Any]]


def measure(audit: Audit) -> Chapters:
    """Measure all chapters in the order of the argument; each fit is cached, so that a stopped audit resumes."""
    return Chapters(
        baselines.measure(audit),
        regions.measure(audit),
        edit_effects.measure(audit),
        power.measure(audit),
        matched.measure(audit),
        saliency.measure(audit),
        hospitals.measure(audit),
        mitigations.measure(audit),
    )


def conclude(audit: Audit, found: Chapters) -> dict[str, Any]:
    """Derive the verdicts from all evidence; write ``shortcuts.json`` and return its content."""
    evidence = {cue.name: _evidence_on(audit, cue, found) for cue in AUDITED}
    judged = verdicts.judge_all(evidence)
    content = found.baselines | {
        "verdicts": [
            {"cue": cue.name, "verdict": judged[cue.name][0], "reason": judged[cue.name][1]}
            | {"evidence": _plain(evidence[cue.name]), "note": cue.unusable or cue.note}
            for cue in AUDITED
        ],
        "thresholds": THRESHOLDS,
        "prevalence": prevalence.measure(audit.films, audit.database.classes).to_dict("records"),
        "region_ablation": found.regions,
        "edits": {name: effects.plain() for name, effects in found.edits.items()},
        "planted": found.power,
        "matched": found.matched,
        "saliency": found.saliency.numbers,
        "external": found.hospitals,
        "mitigations": found.mitigations,
        "lung_masks": "estimated (tblib.phantoms.lungs)" if audit.known_masks is None else "the database's own masks",
        "budget": asdict(audit.budget),
        "seed": audit.seed,
        "replicates": audit.replicates,
        "method": METHOD,
    }
    write_json(audit.run.path("shortcuts.json"), content)
    return content


def _evidence_on(audit: Audit, cue: Cue, found: Chapters) -> verdicts.Evidence:
    goes, effects, pairs = audit.associations[cue.name], found.edits[cue.name], found.matched["by_cue"][cue.name]
    alone, whole = _baseline(audit, cue, found), _whole(audit, cue, found)
    return verdicts.Evidence(
        exists=goes.auroc,
        exists_p=goes.p,
        baseline=alone,
        sufficiency=effects.sufficiency,
        necessity=effects.necessity,
        share=(alone.value - 0.5) / (whole - 0.5) if alone.value is not None and whole > 0.5 else None,
        fall=effects.fall or _matched_fall(whole, pairs),
        power=_power(cue, found),
        unusable=cue.unusable,
    )


def _whole(audit: Audit, cue: Cue, found: Chapters) -> float:
    """The CNN's AUROC on the held-out films for which a cue is defined; 0.5 if these are all of one class."""
    told = audit.associations[cue.name].told[~audit.train]
    if told.all():
        return float(found.baselines["held_out"]["auroc"]["value"])
    found_area = area(Scored(audit.held_out.target[told], audit.logits[told], audit.held_out.group[told]))
    return 0.5 if found_area is None else found_area


def _baseline(audit: Audit, cue: Cue, found: Chapters) -> Estimate:
    """AUROC of a baseline that sees only one cue (`Cue.baseline`)."""
    if cue.baseline in BASELINES:
        return BASELINES[cue.baseline](audit, cue, found)
    return Estimate(**found.baselines["baselines"][cue.baseline]["all"]["auroc"])


def _of_facts(audit: Audit, cue: Cue, found: Chapters) -> Estimate:
    facts = audit.films[list(cue.facts)].astype(float)
    if cue.baseline == "facts and sharpness":
        facts = facts.assign(fineness=fineness(audit.images, audit.masks))
    score = cross_validated(facts, audit.target, audit.group, audit.seed, kind="logistic")
    scored = Scored(audit.target, score, audit.group)
    return ranking(scored, bootstrap_weights(scored, audit.replicates, audit.seed))


def _of_regions(audit: Audit, cue: Cue, found: Chapters) -> Estimate:
    row = next((row for row in found.regions if row["region"] == BLIND.name), None)
    return Estimate(row["mean"], row["low"], row["high"]) if row else Estimate(None, None, None)


BASELINES: dict[str, Callable[[Audit, Cue, Chapters], Estimate]] = {  # `Cue.baseline` -> how it is measured
    "facts": _of_facts,
    "facts and sharpness": _of_facts,
    "region ablation": _of_regions,
    "its own score": lambda audit, cue, found: audit.associations[cue.name].auroc,  # fitted to the label, too
}


def _matched_fall(full: float, own: dict[str, Any]) -> Estimate | None:
    """How much lower the AUROC is among films matched in the cue; None with fewer than ten pairs."""
    if own["pairs"] < 10:
        return None
    return Estimate(full - own["value"], full - own["high"], full - own["low"])


def _power(cue: Cue, found: Chapters) -> Estimate | None:
    row = next((row for row in found.power["curve"] if row["cue"] == cue.name and row["p"] == 0.8), None)
    return Estimate(**row["used"]) if row else None


def _plain(one: verdicts.Evidence) -> dict[str, Any]:
    return {
        "exists": one.exists._asdict() | {"p": one.exists_p},
        "baseline": one.baseline._asdict(),
        "sufficiency": one.sufficiency and plain(one.sufficiency),
        "necessity": one.necessity and plain(one.necessity),
        "share": one.share,
        "fall": one.fall and one.fall._asdict(),
        "power": one.power and one.power._asdict(),
    }
