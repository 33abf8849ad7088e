"""How well and how soon each way learns: one file a training, kept, so that the study can be interrupted.

``python -m tests.benchmarks.learning plain 0`` trains the plain way with seed 0, ``… fast 0`` the fast recipe, each
on the prepared run ``reports/benchmark/real``, and writes ``reports/benchmark/learning/plain-0.json``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score

from tblib.model import load_model
from tblib.run import ROOT, open_run, write_json
from tblib.train import Training, films_of, fit, infer, load_part, recipe
from tests.benchmarks import plain

FOLDER = ROOT / "reports" / "benchmark"
EPOCHS = 20
WAYS = {  # of the project; each of the later ones is the fast recipe with one trick taken away
    "reference": recipe("reference"),
    "fast": recipe("fast"),
    "fast-full-side": recipe("fast", small=0.0),
    "fast-plateau": recipe("fast", schedule="plateau"),
    "fast-batch-32": recipe("fast", batch_size=32),
    "fast-fp32": recipe("fast", precision="fp32"),
    "fast-no-dropout": recipe("fast", dropout=0.0),  # a trick not taken
}


def outcome(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """AUROC and F1 of one part."""
    return {"auroc": float(roc_auc_score(targets, logits)), "f1": plain.f1(logits, targets)}


def learn_plainly(run_folder: Path, unpacked: Path, seed: int) -> dict[str, Any]:
    """Train the plain way; test it in the epoch with the least validation loss."""
    facts = open_run(str(run_folder)).facts("preparation.json")
    torch.manual_seed(seed)
    parts = plain.loaders(unpacked, facts["size"], facts["mean"] / 255, facts["sd"] / 255)
    cnn, history, test = plain.network(facts["size"]), [], {}
    for row in plain.train(parts, cnn, EPOCHS):
        if not history or row["val_loss"] < min(past["val_loss"] for past in history):
            test = outcome(*plain.infer(cnn, parts["test"]))
        history.append(row)
        print(seed, row, test, flush=True)
    return {"way": "plain", "seed": seed, "history": history, "test": test}


def learn(run_folder: Path, training: Training, folder: Path) -> dict[str, Any]:
    """Train the project's way on the same films; test the state that it keeps."""
    source, run = open_run(str(run_folder)), open_run(str(folder))
    for file in ("images.npy", "split.csv", "preparation.json"):
        run.path(file).unlink(missing_ok=True)
        run.path(file).symlink_to(source.path(file))
    history = fit(run, training)
    trained = load_model(run.path("model.safetensors"))
    test = load_part(run, "test", torch.device("cpu"))
    logits = infer(trained.cnn, films_of(test), trained.normalisation)
    return {"seed": training.seed, "history": history.to_dict("records"), "test": outcome(logits, test.targets)}


def reached(history: list[dict[str, Any]], f1: float) -> tuple[int, float] | None:
    """Epoch and seconds until the validation F1 first reached `f1`, or None."""
    for row in history:
        if row["val_f1"] >= f1:
            return row["epoch"], sum(past["seconds"] for past in history[: row["epoch"]])
    return None


if __name__ == "__main__":
    way, seed = sys.argv[1], int(sys.argv[2])
    (FOLDER / "learning").mkdir(exist_ok=True)
    if way == "plain":
        result = learn_plainly(FOLDER / "real", FOLDER / "unpacked", seed)
    else:
        result = learn(FOLDER / "real", replace(WAYS[way], seed=seed), FOLDER / "learning" / f"{way}-{seed}")
    write_json(FOLDER / "learning" / f"{way}-{seed}.json", result)
