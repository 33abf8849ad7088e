"""Conclusion: the evidence of all chapters on each cue, its verdict, and ``shortcuts.json``."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from tblib.audit import (
    baselines,
    colour,
    edit_effects,
    hospitals,
    matched,
    mitigations,
    power,
    references,
    regions,
    saliency,
    truth,
    unnamed,
    verdicts,
)
from tblib.audit.baselines import Alone
from tblib.audit.edit_effects import CueEffects
from tblib.audit.edited import edited_films
from tblib.audit.effects import THRESHOLDS, Effect, plain
from tblib.audit.saliency import Saliency
from tblib.audit.study import Audit
from tblib.audit.unnamed import Unnamed
from tblib.eda import prevalence
from tblib.films.cues import AUDITED, Cue
from tblib.system.files import write_json, write_table

METHOD = (
    "AUROC: percentile bootstrap, or, of a score of two values, Newcombe's limits; proportions: Wilson; existence: "
    "Fisher's exact test, or permuted labels; use: Student's t among reference networks; duplicate groups kept whole; "
    "p adjusted by Holm"
)


@dataclass(frozen=True)
class Chapters:
    """Result of `measure` in each chapter, the module of the same name in `tblib.audit` (`edits`: `edit_effects`); and
    the scores of films of other hospitals (`elsewhere`)."""

    baselines: dict[str, Any]
    regions: list[dict[str, Any]]
    alone: dict[str, Alone]
    edits: dict[str, CueEffects]
    power: dict[str, Any]
    matched: dict[str, Any]
    saliency: Saliency
    unnamed: Unnamed
    hospitals: dict[str, Any]
    mitigations: list[dict[str, Any]]
    colour: list[dict[str, Any]]
    elsewhere: pd.DataFrame


def measure(audit: Audit) -> Chapters:
    """Measure all chapters in the order of the argument; each fit is cached, so that a stopped audit resumes."""
    films, maps = edited_films(audit), saliency.measure(audit)
    networks, elsewhere = references.measure(audit, films), hospitals.scored(audit)
    return Chapters(
        baselines.measure(audit),
        regions.measure(audit),
        baselines.alone(audit),
        edit_effects.measure(audit, films, networks),
        power.measure(audit, films, networks),
        matched.measure(audit),
        maps,
        unnamed.measure(audit, maps),
        hospitals.measure(audit, elsewhere),
        mitigations.measure(audit),
        colour.measure(audit),
        hospitals.joined(elsewhere),
    )


def conclude(audit: Audit, found: Chapters) -> dict[str, Any]:
    """Derive the verdicts from all evidence; write ``external.csv`` and ``shortcuts.json``, and return the latter."""
    evidence = {cue.name: _evidence_on(audit, cue, found) for cue in AUDITED}
    judged = verdicts.judge_all(evidence)
    content = found.baselines | {
        "verdicts": [
            {"cue": cue.name, "verdict": judged[cue.name].name, "reason": judged[cue.name].reason}
            | {"together": list(judged[cue.name].together)}
            | {"evidence": _plain(evidence[cue.name]), "note": evidence[cue.name].unusable or cue.note}
            for cue in AUDITED
        ],
        "thresholds": THRESHOLDS,
        "prevalence": prevalence.measure(audit.films, audit.database.classes).to_dict("records"),
        "region_ablation": found.regions,
        "edits": {name: effects.plain() for name, effects in found.edits.items()},
        "planted": found.power,
        "matched": found.matched,
        "saliency": found.saliency.numbers,
        "unnamed": found.unnamed.places,
        "external": found.hospitals,
        "mitigations": found.mitigations,
        "colour": found.colour,
        "lung_masks": "estimated (tblib.phantoms.lungs)" if audit.known_masks is None else "the database's own masks",
        "budget": asdict(audit.budget),
        "seed": audit.seed,
        "replicates": audit.replicates,
        "method": METHOD,
    }
    content["truth"] = truth.measure(audit, content["verdicts"])
    write_table(audit.run.path("external.csv"), found.elsewhere)
    write_json(audit.run.path("shortcuts.json"), content)
    return content


def _evidence_on(audit: Audit, cue: Cue, found: Chapters) -> verdicts.Evidence:
    goes, effects, pairs = audit.associations[cue.name], found.edits[cue.name], found.matched["by_cue"][cue.name]
    return verdicts.Evidence(
        exists=goes.auroc,
        exists_p=goes.p,
        baseline=found.alone[cue.name].auroc,
        sufficiency=effects.sufficiency,
        necessity=effects.necessity,
        use=effects.both,
        share=found.alone[cue.name].share,
        fall=effects.fall or matched.fall(pairs),
        power=power.at(found.power, cue.name),
        given=audit.given_others.get(cue.name, {}),
        unusable=cue.unusable if _is_never_seen(effects.both) else "",
    )


def _is_never_seen(effect: Effect | None) -> bool:
    """Whether the model gave each film the same score after the edit and after the placebo."""
    return effect is None or (effect.mean.low == 0 and effect.mean.high == 0)


def _plain(one: verdicts.Evidence) -> dict[str, Any]:
    return {
        "exists": one.exists._asdict() | {"p": one.exists_p},
        "given": one.given,
        "baseline": one.baseline._asdict(),
        "sufficiency": one.sufficiency and plain(one.sufficiency),
        "necessity": one.necessity and plain(one.necessity),
        "use": one.use and plain(one.use),
        "share": one.share and one.share._asdict(),
        "fall": one.fall and one.fall._asdict(),
        "power": one.power and one.power._asdict(),
    }
