"""Does the audit cry wolf? Forty databases of demo films on which no artefact differs between the classes.

No cue should be called USED or DECISIVE. A cue can only be called so if it is associated with the label beyond chance,
with Holm's correction, so a CNN and reference networks are trained where that is so, and nowhere else: elsewhere no
network could change the outcome. An interrupted study goes on: each seed's verdicts are one file in
``reports/benchmark/clean/``.
"""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from tblib.audit import references
from tblib.audit.edit_effects import BOTH, Scores, effects_of
from tblib.audit.edited import PUT, TAKEN, edited_films
from tblib.audit.study import Audit, open_audit
from tblib.audit.verdicts import DECISIVE, USED, Evidence, judge_all
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.trained import train_run
from tblib.evaluate import evaluate
from tblib.films.cues import AUDITED
from tblib.films.database import open_database
from tblib.metrics import Estimate, wilson
from tblib.phantoms.demo import write_demo
from tblib.phantoms.presets import CLEAN
from tblib.prepare import prepare
from tblib.run import open_run
from tblib.system.files import write_json
from tblib.train import Training
from tests.benchmarks.films import FOLDER, demo_training

SEEDS, FILMS = 40, 480
HERE = FOLDER / "clean"


def study(seed: int) -> dict[str, Any]:
    """Films of one seed, the cues that exist on them, and those that are called used."""
    folder = HERE / f"run-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    run = open_run(str(folder))
    database = open_database(write_demo(folder / "films.zip", FILMS, seed, CLEAN))
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 128, seed)
    train_run(run, Training(epochs=1, width=4, seed=seed))  # an audit has a model; whether a cue exists depends on none
    evaluate(run, 50, seed)
    audit = open_audit(run, "quick", None, None, 1000, seed)
    existing = [
        cue.name for cue in AUDITED if cue.name in audit.existing and not cue.unusable and (cue.put or cue.swap)
    ]
    if existing:
        train_run(run, demo_training(seed=seed))
        evaluate(run, 50, seed)
        audit = open_audit(run, "quick", None, None, 1000, seed)
    found = {"seed": seed, "exist": existing, "used": used(audit) if existing else []}
    shutil.rmtree(folder)
    return found


def used(audit: Audit) -> list[str]:
    """Cues that an audit calls used or decisive."""
    films = edited_films(audit)
    networks = references.measure(audit, films)
    scored: Scores = {way: (pairs.after, pairs.before) for way, pairs in films.pairs.items()}
    evidence = {}
    for cue in AUDITED:
        goes, ways = audit.associations[cue.name], effects_of(audit, films, networks, cue.name, scored)
        given, unknown = audit.given_others.get(cue.name, {}), Estimate(None, None, None)
        found = (ways.get(name) for name in (PUT, TAKEN, BOTH))
        evidence[cue.name] = Evidence(goes.auroc, goes.p, unknown, *found, given=given, unusable=cue.unusable)
    return [name for name, verdict in judge_all(evidence).items() if verdict.name in (USED, DECISIVE)]


def table() -> str:
    """In how many studies none was called used, and which cues existed by chance."""
    done = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(HERE.glob("seed-*.json"))]
    if not done:
        return "No study of clean films has been run here: `make study-clean`.\n"
    quiet = sum(not one["used"] for one in done)
    exist = [f"{name} (seed {one['seed']})" for one in done for name in one["exist"]]
    return (
        f"{quiet} of {len(done)} studies without USED or DECISIVE: {wilson(quiet, len(done)).text(percent=True)}. "
        f"Cues associated with the label by chance: {', '.join(exist) or 'none'}.\n"
    )


if __name__ == "__main__":
    HERE.mkdir(parents=True, exist_ok=True)
    for seed in [int(text) for text in sys.argv[1:]] or range(1, SEEDS + 1):
        if not (HERE / f"seed-{seed:02}.json").exists():
            write_json(HERE / f"seed-{seed:02}.json", study(seed))
            print(table(), flush=True)
    print(table())
