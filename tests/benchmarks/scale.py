"""Memory and time of preparation, training and the audit's edits as the database grows, each in its own process.

``python -m tests.benchmarks.scale`` prepares 1,000, 10,000 and 100,000 SYNTHETIC films of 128 × 128, fetches and
augments every one of their training films once, shuffled, as an epoch does, and edits films as an audit does. The
network, whose time a film does not depend on their number, takes one of `EACH` batches, and its share of the time is
scaled up by that number. Then small networks are trained by one process of a Dask cluster, and by two.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from tblib.arrays import Normalisation
from tblib.audit import fits
from tblib.audit.budgets import budget_of
from tblib.audit.edited import edited_films
from tblib.audit.jobs import Job, run_jobs
from tblib.audit.study import Audit
from tblib.catalogue import Catalogue, build_catalogue, save_catalogue
from tblib.classifiers.trained import TrainedModel
from tblib.dataset import Augmentation, augment, augmentation_parameters, batches, normalise
from tblib.devices import keep_freed_memory, pick_precision
from tblib.films.cues import GROUPED
from tblib.films.database import open_database
from tblib.model import CNN, folded
from tblib.prepare import load_part, prepare
from tblib.run import Run, open_run
from tblib.system.files import ROOT, write_json
from tests.benchmarks.films import FOLDER, SIZE

COUNTS = (1_000, 10_000, 100_000)
STEPS = ("preparation", "training", "audit's edits")
BATCH, EACH = 32, 50
KINDS = 64  # different pictures, each stored under many names


def write_films(path: Path, count: int) -> Catalogue:
    """Write a zip of SYNTHETIC noise films; return a catalogue of them, of which only the first were looked at."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(KINDS):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    names = [f"SYNTHETIC/{'Tuberculosis' if i % 6 == 0 else 'Normal'}/{i:06}.png" for i in range(count)]
    known = Catalogue(pd.DataFrame(), {}, pd.DataFrame(columns=["file", "why"]))
    for most in (KINDS, count):
        with zipfile.ZipFile(path, "w") as file:
            for i, name in enumerate(names[:most]):
                file.writestr(name, contents[i % KINDS])
        known = known if known.summary else build_catalogue(open_database(path))
    labels = [name.split("/")[1] for name in names]
    table = known.table.iloc[np.arange(count) % KINDS].assign(file=names, label=labels, duplicate_group=range(count))
    return Catalogue(
        table.assign(**dict.fromkeys((cue.column for cue in GROUPED), False)), known.summary, known.passed_over
    )


def peak() -> float:
    """Most memory this process has held so far in GB, mapped pages counted."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(folder: Path, step: str) -> dict[str, float]:
    """Seconds and peak memory of one step of the run in `folder`."""
    run = open_run(str(folder))
    begun = time.perf_counter()
    if step == "preparation":
        prepare(run, open_database(folder / "films.zip"), SIZE, 0)
        return {"seconds": time.perf_counter() - begun, "gb": peak()}
    if step == "audit's edits":
        edit(run)
        return {"seconds": time.perf_counter() - begun, "gb": peak()}
    keep_freed_memory()
    data, precision = load_part(run, "train", torch.device("cpu")), pick_precision("auto", torch.device("cpu"))
    cnn, generator = CNN(SIZE).to(memory_format=torch.channels_last), torch.Generator().manual_seed(0)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(cnn.parameters())
    moves = augmentation_parameters(len(data), generator).split(BATCH, dim=1)
    in_network = 0.0
    for number, (films, targets) in enumerate(batches(data, BATCH, generator)):
        inputs = normalise(augment(films, Augmentation(), moves[number]), Normalisation(128, 64))
        if number % EACH == 0:
            begun_step = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = cnn(inputs)
            torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), targets).backward()
            optimiser.step()
            optimiser.zero_grad()
            in_network += time.perf_counter() - begun_step
    steps = len(moves)
    data_seconds = time.perf_counter() - begun - in_network
    return {
        "seconds": data_seconds + in_network * steps / len(range(0, steps, EACH)),
        "data": data_seconds,
        "gb": peak(),
    }


def edit(run: Run) -> None:
    """Edit a run's films as the audit at budget quick does, for a model that knows them; it is untrained."""
    cnn = folded(CNN(SIZE, width=8))
    model = TrainedModel(cnn, run.facts("preparation.json"), {"pos_weight": 1.0})
    audit = Audit(run, model, model.input, budget_of("quick"), None, None, 1_000, 0)
    vars(audit)["threshold"] = 0.0  # a cached property of the evaluation, which was not run
    films = edited_films(audit, trained_here=True)
    assert len(films.rows) == min(audit.budget.films, len(audit.films))


def on_workers(folder: Path, count: int, jobs: int = 16) -> float:
    """Seconds in which a Dask cluster of so many processes, of one thread each, trains small networks on SYNTHETIC
    noise; each takes some seconds, as in an audit."""
    from distributed import LocalCluster

    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (120, SIZE, SIZE), dtype=np.uint8), "masks": np.ones((120, 1, 1), bool)}
    arrays |= {"target": np.arange(120) % 2, "train": np.arange(120) < 96}
    settings: dict[str, Any] = {"name": "whole film", "training": {"epochs": 8}}
    with LocalCluster(n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        for number in range(2):  # the first round imports and warms up
            begun = time.perf_counter()
            seeds = range(number * 100, number * 100 + jobs)
            run_jobs([Job(fits.region, arrays, settings | {"seed": seed}) for seed in seeds], folder / str(count),
                     cluster.scheduler_address)  # fmt: skip
    return time.perf_counter() - begun


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: seconds, milliseconds a film and peak memory of each step and number of films."""
    lines = ["| SYNTHETIC films | step | seconds | ms a film | peak memory, GB | |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = "" if row["gb"] < 3 else "falls short"
        each = row["seconds"] / row["films"] * 1e3
        lines.append(
            f"| {row['films']:,} | {row['step']} | {row['seconds']:.1f} | {each:.2f} | {row['gb']:.2f} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def catalogue(folder: Path, count: int) -> None:
    """Films, and what preparation reads of a catalogue of them, without the hours that it would take to make one."""
    save_catalogue(open_run(str(folder)), write_films(folder / "films.zip", count))


def main() -> None:
    """Measure every number of films and write ``reports/benchmark/scale.json``."""
    rows: list[dict[str, Any]] = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory(dir=FOLDER) as name:
            folder = Path(name)
            catalogue(folder, count)
            for step in STEPS:
                command = [sys.executable, "-m", "tests.benchmarks.scale", str(folder), step]
                done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
                rows.append({"films": count, "step": step} | json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        workers = {word: on_workers(Path(name), count) for word, count in (("one", 1), ("two", 2))}
    print(workers, flush=True)
    write_json(FOLDER / "scale.json", {"rows": rows, "workers": workers})


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2])))
    else:
        main()
