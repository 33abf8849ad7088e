"""How well and how soon each way learns: one file a training, kept, so that the study can be interrupted.

``python -m tests.benchmarks.learning`` does all of `STUDY` that is not there yet, each training in a process of its
own; ``python -m tests.benchmarks.learning plain 0`` trains the plain way alone, with seed 0, and writes
``reports/benchmark/learning/plain-0.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from sklearn.metrics import roc_auc_score

from tblib.classifiers.trained import load_model, train_run
from tblib.model import films_of, logits_of
from tblib.prepare import load_part
from tblib.run import Run, open_run
from tblib.system.files import ROOT, write_json
from tblib.train import Training
from tests.benchmarks import plain
from tests.benchmarks.films import FOLDER, database, fast, prepared

EPOCHS = 20
WAYS = {  # of the project; each of the later ones is the fast recipe with one trick taken away
    "reference": Training(),
    "fast": fast(),
    "fast-full-side": fast(low_resolution_share=0.0),
    "fast-plateau": fast(schedule="plateau"),
    "fast-batch-32": fast(batch_size=32),
    "fast-fp32": fast(precision="fp32"),
    "fast-dropout": fast(dropout=0.3),
    "fast-edge": fast(padding="edge"),
    "fast-one-validation": fast(validations=1),
}
# Way -> seeds. Those of the fast recipe from 5 on were not looked at while it was made.
STUDY = {"plain": 5, "reference": 5, "fast": 10} | {way: 3 for way in WAYS if way.startswith("fast-")}


def outcome(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """AUROC and F1 of one part."""
    return {"auroc": float(roc_auc_score(targets, logits)), "f1": plain.f1(logits, targets)}


def learn_plainly(source: Run, seed: int) -> dict[str, Any]:
    """Train the plain way; test it in the epoch with the least validation loss."""
    facts, unpacked = source.facts("preparation.json"), source.path("unpacked")
    if not unpacked.exists():
        plain.unpack(database().path, source.table("split.csv"), unpacked)
    torch.manual_seed(seed)
    parts = plain.loaders(unpacked, facts["size"], facts["mean"] / 255, facts["sd"] / 255)
    cnn, history, test = plain.network(facts["size"]), [], {}
    for row in plain.train(parts, cnn, EPOCHS):
        if not history or row["val_loss"] < min(past["val_loss"] for past in history):
            test = outcome(*plain.infer(cnn, parts["test"]))
        history.append(row)
        print(seed, row, test, flush=True)
    return {"way": "plain", "seed": seed, "history": history, "test": test}


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
    return {"seed": training.seed, "history": history.to_dict("records"), "test": outcome(logits, test.targets)}


def reached(history: list[dict[str, Any]], f1: float) -> tuple[float, float] | None:
    """Epoch and seconds until the validation F1 first reached `f1`, or None."""
    seconds = 0.0
    for row in history:
        seconds += row["seconds"]
        if row["val_f1"] >= f1:
            return row["epoch"], seconds
    return None


def results(way: str) -> list[dict[str, Any]]:
    """What has been trained of one way, by seed."""
    files = sorted((FOLDER / "learning").glob(f"{way}-[0-9].json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def best_of_plain() -> dict[int, float]:
    """Seed -> the best validation F1 of the plain way's epochs."""
    return {result["seed"]: max(row["val_f1"] for row in result["history"]) for result in results("plain")}


def times_to_result() -> list[tuple[int, float, float, float | None]]:
    """Of each seed: plain way's best validation F1, its seconds until then, the fast recipe's, if ever."""
    rows, aims = [], best_of_plain()
    for plainly, ours in zip(results("plain"), results("fast"), strict=False):
        best = aims[plainly["seed"]]
        there = reached(plainly["history"], best)
        here = reached(ours["history"], best)
        assert there  # the best of a history is reached in it
        rows.append((plainly["seed"], best, there[1], here[1] if here else None))
    return rows


def equals_the_plain_way(way: str) -> list[tuple[str, float, float, float, bool]]:
    """For AUROC and F1: the way's mean, the plain way's mean and spread (max − min) over seeds, and whether it holds.

    The reference recipe may differ by no more than the spread, the fast one be lower by no more than it.
    """
    rows = []
    for name in ("auroc", "f1"):
        own, other = ([result["test"][name] for result in results(each)] for each in (way, "plain"))
        mean, spread = sum(other) / len(other), max(other) - min(other)
        off = sum(own) / len(own) - mean
        rows.append((name, mean + off, mean, spread, off >= -spread and (way == "fast" or off <= spread)))
    return rows


def tables() -> str:
    """Markdown: test figures of each way, time to result, and what each trick brings."""
    if not results("plain") or not results("fast") or not results("reference"):
        return "The learning study has not been run here: `make bench-long`.\n"
    lines = ["| way | seeds | AUROC, mean (least … most) | F1, mean (least … most) |", "|---|---|---|---|"]
    for way in ("plain", "reference", "fast"):
        tests = [result["test"] for result in results(way)]
        lines.append(f"| {way} | {len(tests)} | {_range(tests, 'auroc')} | {_range(tests, 'f1')} |")
    lines += ["", "| recipe | | mean | plain way | its spread | |", "|---|---|---|---|---|---|"]
    for way in ("reference", "fast"):
        for name, own, other, spread, holds in equals_the_plain_way(way):
            verdict = "" if holds else "falls short"
            lines.append(f"| {way} | {name} | {own:.4f} | {other:.4f} | {spread:.4f} | {verdict} |")
    lines += ["", "| seed | plain way's best validation F1 | plain way, s | fast, s | ratio |", "|---|---|---|---|---|"]
    for seed, best, plainly, ours in times_to_result():
        own = f"{ours:.0f} | {plainly / ours:.1f}" if ours else "not reached | "
        lines.append(f"| {seed} | {best:.3f} | {plainly:.0f} | {own} |")
    lines += [
        "",
        "| recipe | seeds | whole training, s (median) | reached the plain way's best F1 | test AUROC, mean |",
        "|---|---|---|---|---|",
    ]
    lines += [_trick(way, results(way)) for way in ("plain", "reference") if results(way)]
    lines += [_trick("fast, seeds 0 to 4", results("fast")[:5])]
    lines += [_trick("fast, seeds 5 to 9", results("fast")[5:])] if results("fast")[5:] else []
    lines += [_trick(way, results(way)) for way in WAYS if way.startswith("fast-") and results(way)]
    return "\n".join(lines) + "\n"


def _range(tests: list[dict[str, float]], name: str) -> str:
    values = [test[name] for test in tests]
    return f"{sum(values) / len(values):.4f} ({min(values):.4f} … {max(values):.4f})"


def _trick(way: str, trained: list[dict[str, Any]]) -> str:
    seconds = median(sum(row["seconds"] for row in result["history"]) for result in trained)
    aim = max(best_of_plain().values())
    ends = [reached(result["history"], aim) for result in trained]
    times = [end[1] for end in ends if end]
    when = f"{len(times)} of {len(ends)}" + (f", after {sum(times) / len(times):.0f} s" if times else "")
    auroc = sum(result["test"]["auroc"] for result in trained) / len(trained)
    return f"| {way} | {len(trained)} | {seconds:.0f} | {when} | {auroc:.4f} |"


def train_one(way: str, seed: int) -> None:
    """Train one way with one seed and keep what came of it."""
    source, folder = prepared(database()), FOLDER / "learning" / f"{way}-{seed}"
    training = None if way == "plain" else replace(WAYS[way], seed=seed)
    result = learn(source, training, folder) if training else learn_plainly(source, seed)
    write_json(folder.with_suffix(".json"), result)


def train_all() -> None:
    """Train what of `STUDY` has not been trained yet."""
    (FOLDER / "learning").mkdir(parents=True, exist_ok=True)
    for way, seeds in STUDY.items():
        for seed in range(seeds):
            if not (FOLDER / "learning" / f"{way}-{seed}.json").exists():
                print(f"{way}, seed {seed}", flush=True)
                command = [sys.executable, "-m", "tests.benchmarks.learning", way, str(seed)]
                subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train_one(sys.argv[1], int(sys.argv[2]))
    else:
        train_all()
