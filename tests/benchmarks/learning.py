"""How well and how soon each way learns, over seeds: one file a training, kept, so that the study can be interrupted.

``python -m tests.benchmarks.learning`` does all of `STUDY` that is not there yet, each training in a process of its
own; ``python -m tests.benchmarks.learning real careful 100`` trains one way alone on one database with one seed, and
writes ``reports/benchmark/learning/real/careful-100.json``. So are those of `EXPLAINING` made, which tell what each
part of the fast recipe brings.

No recipe was chosen with `SEEDS` in view. Their results are paired by seed, which gives both sides the same films,
split and, where the network is the same, the same random numbers to begin with; the margins were fixed before.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, median_low
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from tblib.classifiers.trained import load_model, train_run
from tblib.model import films_of, logits_of
from tblib.prepare import load_part
from tblib.run import Run, open_run
from tblib.system.files import ROOT, write_json
from tblib.train import Training
from tests.benchmarks import careful, plain
from tests.benchmarks.films import FOLDER, database_called, demo_training, fast, prepared

EPOCHS = 20
DATABASES = {"real": "real sample", "demo": "demo, SYNTHETIC"}
NARROW = demo_training().width  # of the demo's CNNs
RECIPES = {  # of the project; each of the later ones is the fast recipe with one part taken away
    "real": {
        "reference": Training(),
        "fast": fast(),
        "fast-full-side": fast(low_resolution_share=0.0),
        "fast-plateau": fast(schedule="plateau"),
        "fast-batch-32": fast(batch_size=32),
        "fast-fp32": fast(precision="fp32"),
        "fast-dropout": fast(dropout=0.3),
        "fast-edge": fast(padding="edge"),
        "fast-one-validation": fast(validations=1),
    },
    "demo": {"reference": Training(width=NARROW), "fast": fast(width=NARROW), "demo.yml": demo_training()},
}
SEEDS = range(100, 110)
FEW = range(100, 103)  # for what only explains
STUDY = {  # (database, way) -> seeds
    **{(database, way): SEEDS for database in ("demo", "real") for way in ("careful", "reference", "fast")},
    ("real", "plain"): FEW,
}
EXPLAINING = {  # trained on demand
    **{("real", way): FEW for way in RECIPES["real"] if way.startswith("fast-")},
    ("demo", "demo.yml"): SEEDS,
}
COMPARED = ("reference", "fast", "demo.yml")  # with the careful way
MARGINS = {"auroc": 0.005, "f1": 0.02}  # differences that do not matter
LEVEL = 0.95

Epochs = Iterator[dict[str, Any]]


def outcome(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """AUROC and F1 of one part."""
    return {"auroc": float(roc_auc_score(targets, logits)), "f1": plain.f1(logits, targets)}


def learn_elsewhere(
    epochs: Epochs, test: Callable[[], tuple[torch.Tensor, torch.Tensor]], until: float = math.inf
) -> dict[str, Any]:
    """Train another way, if need be only `until` this validation F1; test it in the epoch with the least validation
    loss."""
    history: list[dict[str, Any]] = []
    tested: dict[str, float] = {}
    for row in epochs:
        if not history or row["val_loss"] < min(past["val_loss"] for past in history):
            tested = outcome(*test())
        history.append(row)
        print(row, tested, flush=True)
        if row["val_f1"] >= until:
            break
    return {"history": history, "test": tested}


def learn_plainly(source: Run, database: str, seed: int, width: int) -> dict[str, Any]:
    """The plain way, from folders of films, until it has the F1 that counts: an epoch takes it most of a minute."""
    facts, unpacked = source.facts("preparation.json"), source.path("unpacked")
    if not unpacked.exists():
        plain.unpack(database_called(database).path, source.table("split.csv"), unpacked)
    torch.manual_seed(seed)
    parts = plain.loaders(unpacked, facts["size"], facts["mean"] / 255, facts["sd"] / 255)
    cnn = plain.network(facts["size"], width)
    epochs = plain.train(parts, cnn, EPOCHS)
    return learn_elsewhere(epochs, lambda: plain.infer(cnn, parts["test"]), aim(database))


def learn_carefully(source: Run, database: str, seed: int, width: int) -> dict[str, Any]:
    """The careful way, from the same prepared films, without workers: they only make it slower (`make bench`)."""
    facts = source.facts("preparation.json")
    torch.manual_seed(seed)
    parts = careful.loaders(np.array(source.images()), source.table("split.csv"), workers=0, seed=seed)
    cnn, by = careful.network(facts["size"], width), (facts["mean"], facts["sd"])
    seen = careful.transforms(*by)[1]
    epochs = careful.train(parts, cnn, by, EPOCHS)
    return learn_elsewhere(epochs, lambda: careful.infer(cnn, parts["test"], seen))


def learn(source: Run, training: Training, folder: Path) -> dict[str, Any]:
    """Train the project's way on the same films; test the state that it keeps."""
    run = open_run(str(folder))
    for file in ("images.npy", "split.csv", "preparation.json"):
        run.path(file).unlink(missing_ok=True)
        run.path(file).symlink_to(source.path(file))
    history = train_run(run, training)
    trained = load_model(run.path("model.safetensors"))
    test = load_part(run, "test", torch.device("cpu"))
    logits = logits_of(trained.cnn, films_of(test), trained.normalisation)
    return {"history": history.to_dict("records"), "test": outcome(logits, test.targets)}


def place_of(database: str, way: str, seed: int) -> Path:
    """Where the result of one training is kept."""
    return FOLDER / "learning" / database / f"{way}-{seed}.json"


def results(database: str, way: str) -> list[dict[str, Any]]:
    """What has been trained of one way, by seed."""
    files = [place_of(database, way, seed) for seed in (STUDY | EXPLAINING)[database, way]]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def trained_on(database: str) -> list[str]:
    """The ways that have been trained on a database, in the order of the study."""
    return [way for of, way in STUDY | EXPLAINING if of == database and results(database, way)]


def aim(database: str) -> float:
    """The validation F1 to reach: the median over seeds of the best of the careful way."""
    return median(max(row["val_f1"] for row in result["history"]) for result in results(database, "careful"))


def reached(history: list[dict[str, Any]], f1: float) -> float:
    """Seconds of training until the validation F1 first reached `f1`; infinite if it never did."""
    seconds = 0.0
    for row in history:
        seconds += row["seconds"]
        if row["val_f1"] >= f1:
            return seconds
    return float("inf")


def times_to_result(database: str) -> dict[str, float | None]:
    """Way -> seconds by which half of its seeds had reached the `aim`; None if fewer did. Empty without results."""
    if not results(database, "careful"):
        return {}
    ways, wanted = trained_on(database), aim(database)
    times = {way: [reached(each["history"], wanted) for each in results(database, way)] for way in ways}
    halves = {way: median_low(of) for way, of in times.items()}
    return {way: time if np.isfinite(time) else None for way, time in halves.items()}


class Compared(NamedTuple):
    """A way beside the careful one: mean difference over `n` paired seeds with its interval, and whether the interval
    lies within the margin on either side."""

    name: str
    own: float
    other: float
    n: int
    low: float
    high: float

    @property
    def equivalent(self) -> bool:
        """Whether the whole interval lies within the margin."""
        return self.low >= -MARGINS[self.name] and self.high <= MARGINS[self.name]

    @property
    def verdict(self) -> str:
        """In words: an interval that lies above 0 leaves the margin only by being better."""
        if self.equivalent:
            return "equivalent"
        return "better" if self.low > 0 else "falls short: not shown to be equivalent"

    @property
    def difference(self) -> float:
        """Of the means."""
        return self.own - self.other


def compared(database: str, way: str) -> list[Compared]:
    """AUROC and F1 on test films beside the careful way's; the interval is Student's over differences by seed."""
    own_by, other_by = ({each["seed"]: each["test"] for each in results(database, of)} for of in (way, "careful"))
    seeds = sorted(own_by.keys() & other_by.keys())
    rows = []
    for name in MARGINS if len(seeds) > 1 else ():
        own, other = (np.array([by[seed][name] for seed in seeds]) for by in (own_by, other_by))
        off = own - other
        half = stats.t.ppf((1 + LEVEL) / 2, len(off) - 1) * off.std(ddof=1) / len(off) ** 0.5
        rows.append(Compared(name, own.mean(), other.mean(), len(off), off.mean() - half, off.mean() + half))
    return rows


def tables() -> str:
    """Markdown: whether ways are equivalent, how soon they learn, and what each part of the fast recipe brings."""
    known = [database for database in DATABASES if results(database, "careful")]
    if not known:
        return "The learning study has not been run here: `make bench-long`.\n"
    lines = [
        "| films | recipe | test films | mean | careful way | difference (95 %), paired by seed | seeds | margin | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for database in known:
        for way in (way for way in trained_on(database) if way in COMPARED):
            lines += [_compared(DATABASES[database], way, row) for row in compared(database, way)]
    lines += ["", *_learnt(known)]
    return "\n".join(lines) + "\n"


def _compared(database: str, way: str, row: Compared) -> str:
    off = f"{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})"
    name = {"auroc": "AUROC", "f1": "F1"}[row.name]
    beside = f"{row.own:.4f} | {row.other:.4f} | {off} | {row.n} | ±{MARGINS[row.name]:g}"
    return f"| {database} | {way} | {name} | {beside} | {row.verdict} |"


def _learnt(databases: list[str]) -> list[str]:
    """Each way's time to the careful way's F1."""
    lines = [
        "| films | recipe | seeds | whole training, s (median) | validation F1 to reach | reached | by half of them, s "
        "| test AUROC, mean (least to most) | test F1, mean (least to most) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for database in databases:
        lines += [_of_way(database, way) for way in trained_on(database)]
    return lines


def _of_way(database: str, way: str) -> str:
    trained, wanted = results(database, way), aim(database)
    seconds = median(sum(row["seconds"] for row in result["history"]) for result in trained)
    whole = f"{seconds:.0f}" if way != "plain" else "stopped there"
    times = [reached(result["history"], wanted) for result in trained]
    ends, half = sum(np.isfinite(times)), median_low(times)
    when = f"{half:.0f}" if np.isfinite(half) else "not"
    figures = " | ".join(_range([result["test"][name] for result in trained]) for name in MARGINS)
    counts = f"{len(trained)} | {whole} | {wanted:.3f} | {ends} of {len(times)} | {when}"
    return f"| {DATABASES[database]} | {way} | {counts} | {figures} |"


def _range(values: list[float]) -> str:
    return f"{mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


def train_one(database: str, way: str, seed: int) -> None:
    """Train one way on one database with one seed and keep what came of it."""
    source, file = prepared(database_called(database)), place_of(database, way, seed)
    recipes = RECIPES[database]
    file.parent.mkdir(parents=True, exist_ok=True)
    others = {"plain": learn_plainly, "careful": learn_carefully}
    if way in others:
        found = others[way](source, database, seed, recipes["reference"].width)
    else:
        found = learn(source, replace(recipes[way], seed=seed), file.with_suffix(""))
    write_json(file, {"way": way, "seed": seed} | found)


def train_all() -> None:
    """Train what of `STUDY` has not been trained yet, on the databases that are here."""
    for (database, way), seeds in STUDY.items():
        if database_called(database) is None:
            print(f"{database}: set TBLIB_FILMS to the folder with TB_database.zip")
            continue
        for seed in seeds:
            if not place_of(database, way, seed).exists():
                print(f"{database}, {way}, seed {seed}", flush=True)
                command = [sys.executable, "-m", "tests.benchmarks.learning", database, way, str(seed)]
                subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        train_one(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        train_all()
