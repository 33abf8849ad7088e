"""Do verdicts repeat? The films of a finished run are audited again, with the CNN trained anew and in random halves.

The run itself counts as the first training. An interrupted study goes on: each audit's verdicts are one file in
``reports/benchmark/stability/``. ``python -m tests.benchmarks.stability RUN``
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tblib.audit.conclusion import conclude, measure
from tblib.audit.fits import training_of
from tblib.audit.power import READ_AT
from tblib.audit.study import open_audit
from tblib.audit.verdicts import DECISIVE, UNDECIDED, USED
from tblib.audit.views import BLIND
from tblib.catalogue import build_catalogue, catalogued_database, save_catalogue, usable
from tblib.classifiers.trained import train_run
from tblib.evaluate import evaluate
from tblib.films.database import open_database
from tblib.metrics import clustered_wilson
from tblib.prepare import prepare
from tblib.report.parameters import kept_parameters
from tblib.run import Run, open_run
from tblib.system.files import replacing, write_json
from tblib.train import Training
from tests.benchmarks.films import FOLDER

HERE = FOLDER / "stability"
SEEDS = (1, 2, 3, 4)  # of the CNN, besides the run's own
PREPARED = ("catalogue.csv", "catalogue.json", "images.npy", "split.csv", "preparation.json")
TRAININGS, HALVES = "training", "half"
# The power, and the region, that verdicts are read from; nothing that is only shown.
NOTHING_ELSE: dict[str, Any] = {"planted": (READ_AT,), "controls": 0, "regions": (BLIND.name,), "mitigations": ()}


def trained_again(of: Run, seed: int) -> Run:
    """A run of the same films and split, whose CNN has another seed; the audit's fits are taken over."""
    run = open_run(str(HERE / f"{TRAININGS}-{seed}"))
    for name in PREPARED:
        shutil.copy(of.path(name), run.path(name))
    shutil.copytree(of.path("audit"), run.path("audit"), dirs_exist_ok=True)
    return run


def half(of: Run, number: int) -> Run:
    """A run of a random half of the films, near-duplicates together."""
    run = open_run(str(HERE / f"{HALVES}-{number}"))
    path, database = HERE / f"films-{number}.zip", catalogued_database(of)
    table = usable(of.table("catalogue.csv"))
    groups = np.unique(table["duplicate_group"])
    chosen = np.random.default_rng(0).permutation(groups)[number::2]
    if not path.exists():
        with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
            for file in table.loc[table["duplicate_group"].isin(chosen), "file"]:
                archive.writestr(f"films/{file}", database.read(file))
    films = open_database(path, negative=database.negative, positive=database.positive)
    save_catalogue(run, build_catalogue(films))
    prepare(run, films, of.facts("preparation.json")["size"], kept_parameters(of)["preparation"]["seed"])
    return run


def training(of: Run, seed: int) -> Training:
    """The training of a run, with another seed."""
    known = Training.__dataclass_fields__
    return replace(training_of({k: v for k, v in of.facts("training.json").items() if k in known}), seed=seed)


def audited(run: Run, of: Run, seed: int) -> dict[str, str]:
    """Cue -> verdict, by a CNN of this seed and what verdicts need of the budget of `of`."""
    asked = kept_parameters(of)["shortcuts"]
    train_run(run, training(of, seed))
    evaluate(run, asked["replicates"], asked["seed"])
    audit = open_audit(run, asked["budget"], None, None, asked["replicates"], asked["seed"])
    audit = replace(audit, budget=replace(audit.budget, **NOTHING_ELSE))
    return verdicts_of(conclude(audit, measure(audit)))


def verdicts_of(results: dict[str, Any]) -> dict[str, str]:
    """Cue -> verdict."""
    return {row["cue"]: row["verdict"] for row in results["verdicts"]}


def agreement(columns: pd.DataFrame, names: list[str]) -> str:
    """How often pairs of audits agree on cues that neither leaves undecided, on the verdict and on use.

    In the intervals all pairs of one cue count as one, as they are not independent.
    """
    pairs = [
        (cue, one, other)
        for a, b in combinations(names, 2)
        for cue, one, other in zip(columns.index, columns[a], columns[b], strict=True)
        if UNDECIDED not in (one, other)
    ]
    use, of_cue = (USED, DECISIVE), np.unique([cue for cue, *_ in pairs], return_inverse=True)[1]
    same = clustered_wilson(np.array([one == other for _, one, other in pairs]), of_cue)
    alike = clustered_wilson(np.array([(one in use) == (other in use) for _, one, other in pairs]), of_cue)
    return f"{same.text(percent=True)} of {len(pairs)} (used or not: {alike.text(percent=True)})"


def table() -> str:
    """Verdicts of each audit, and how often they agree."""
    files = sorted(HERE.glob("verdicts-*.json"))
    if not files:
        return "The stability of verdicts has not been measured here.\n"
    columns = pd.DataFrame(
        {file.stem.removeprefix("verdicts-"): json.loads(file.read_text(encoding="utf-8")) for file in files}
    )
    lines = ["| cue | " + " | ".join(columns) + " |", "|---" * (len(columns.columns) + 1) + "|"]
    lines += [f"| {cue} | " + " | ".join(row) + " |" for cue, row in zip(columns.index, columns.values, strict=True)]
    for kind in (TRAININGS, HALVES):
        names = [name for name in columns if name.startswith(kind)]
        lines.append(f"\nAgreement between pairs, {kind}: {agreement(columns, names)}" if len(names) > 1 else "")
    return "\n".join(lines) + "\n"


def main(of: Run) -> None:
    """Audit all trainings and both halves that were not audited yet."""
    HERE.mkdir(parents=True, exist_ok=True)
    write_json(HERE / f"verdicts-{TRAININGS}-0.json", verdicts_of(of.facts("shortcuts.json")))
    runs = {f"{TRAININGS}-{seed}": (trained_again, seed, seed) for seed in SEEDS}
    runs |= {f"{HALVES}-{number}": (half, number, 0) for number in (0, 1)}
    for name, (make, which, seed) in runs.items():
        path = HERE / f"verdicts-{name}.json"
        if not path.exists():
            write_json(path, audited(make(of, which), of, seed))
            print(table(), flush=True)


if __name__ == "__main__":
    main(Run(Path(sys.argv[1])))
    print(table())
