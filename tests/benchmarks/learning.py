"""How well and how soon each way learns: one file a training, kept, so that the study can be interrupted.

``python -m tests.benchmarks.learning plain 0`` trains the plain way with seed 0 on the prepared run
``reports/benchmark/real`` and writes ``reports/benchmark/learning/plain-0.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score

from tblib.run import ROOT, open_run, write_json
from tests.benchmarks import plain

FOLDER = ROOT / "reports" / "benchmark"
EPOCHS = 20


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


if __name__ == "__main__":
    way, seed = sys.argv[1], int(sys.argv[2])
    (FOLDER / "learning").mkdir(exist_ok=True)
    result = learn_plainly(FOLDER / "real", FOLDER / "unpacked", seed)
    write_json(FOLDER / "learning" / f"{way}-{seed}.json", result)
