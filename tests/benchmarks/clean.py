"""Does the audit cry wolf? Twenty studies of demo films on which no artefact differs between the classes.

Each draws other films, trains the demo's CNN on them and audits it; no cue should be called USED or DECISIVE.
An interrupted study goes on: each seed's verdicts are one file in ``reports/benchmark/clean/``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from tblib.audit import baselines, edit_effects, matched, regions
from tblib.audit.budgets import BUDGETS
from tblib.audit.conclusion import Chapters, conclude
from tblib.audit.effects import THRESHOLDS
from tblib.audit.saliency import Saliency
from tblib.audit.study import open_audit
from tblib.audit.verdicts import DECISIVE, MEANING, USED
from tblib.catalogue import build_catalogue, save_catalogue
from tblib.evaluate import evaluate
from tblib.films.database import open_database
from tblib.metrics import wilson
from tblib.phantoms.demo import write_demo
from tblib.phantoms.presets import CLEAN
from tblib.prepare import prepare
from tblib.run import open_run
from tblib.system.files import write_json
from tblib.train import Training
from tblib.trained import train_run
from tests.benchmarks.films import FOLDER

SEEDS, FILMS, EPOCHS = 20, 600, 8
HERE = FOLDER / "clean"


def study(seed: int) -> dict[str, Any]:
    """Films of one seed, a CNN, and the verdicts on it; planted cues and mitigations are left out, they change none."""
    folder = HERE / f"run-{seed}"
    run = open_run(str(folder))
    films = write_demo(folder / "films.zip", FILMS, seed, CLEAN)
    database = open_database(films)
    save_catalogue(run, build_catalogue(database))
    prepare(run, database, 128, seed)
    train_run(run, Training(epochs=EPOCHS, seed=seed))
    metrics = evaluate(run, 500, seed)
    audit = replace(
        open_audit(run, "quick", None, None, 1000, seed),
        budget=replace(BUDGETS["quick"], seeds=1, regions=("outside the lungs", "whole film")),
    )
    found = Chapters(
        baselines.measure(audit),
        regions.measure(audit),
        edit_effects.measure(audit, doses=False),
        {"curve": [], "controls": []},
        matched.measure(audit),
        Saliency({}, np.empty(0, np.int64), np.empty(0)),
        {"sets": []},
        [],
    )
    results = conclude(audit, found)
    shutil.rmtree(folder)
    return {
        "seed": seed,
        "auroc": metrics["auroc"],
        "verdicts": {row["cue"]: row["verdict"] for row in results["verdicts"]},
        "evidence": {row["cue"]: row["evidence"] for row in results["verdicts"]},
    }


def moved(evidence: dict[str, Any]) -> bool:
    """Whether an edit turns calls, beyond its placebo, as a used cue would: the rule without "the cue exists"."""
    effects = [evidence[way] for way in ("sufficiency", "necessity") if evidence[way]]
    return any(
        one["p"] <= THRESHOLDS["level"] and one["mean"]["value"] > 0 and one["flips"]["low"] >= THRESHOLDS["flips"]
        for one in effects
    )


def table() -> str:
    """Markdown: how often each cue got each verdict, and in how many studies none was called used."""
    done = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(HERE.glob("seed-*.json"))]
    if not done:
        return "No study of clean films has been run here: `make study-clean`.\n"
    quiet = [not {USED, DECISIVE}.intersection(one["verdicts"].values()) for one in done]
    head = ["cue", *MEANING, "edits that move the model past the thresholds, whether or not the cue tells"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for cue in done[0]["verdicts"]:
        counts = Counter(one["verdicts"][cue] for one in done)
        cells = [counts[verdict] for verdict in MEANING] + [sum(moved(one["evidence"][cue]) for one in done)]
        lines.append(f"| {cue} | " + " | ".join(map(str, cells)) + " |")
    share = wilson(sum(quiet), len(quiet)).text(percent=True)
    mean = sum(one["auroc"]["value"] for one in done) / len(done)
    lines += [
        "",
        f"{sum(quiet)} of {len(done)} studies without USED or DECISIVE: {share}. CNN's test AUROC, mean {mean:.3f}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    HERE.mkdir(parents=True, exist_ok=True)
    for seed in [int(text) for text in sys.argv[1:]] or range(1, SEEDS + 1):
        if not (HERE / f"seed-{seed:02}.json").exists():
            write_json(HERE / f"seed-{seed:02}.json", study(seed))
            print(table(), flush=True)
    print(table())
