"""The plain way and the project's, step by step and side by side. ``make bench`` runs this and prints the ratios.

Each step's plain way runs first: the project changes how this process keeps memory (`keep_freed_memory`).
The number of films of each call is in its ``extra_info``, so that the table can print films a second.
"""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tblib.predict import open_predictor
from tblib.prepare import prepare
from tblib.run import ROOT, open_run
from tblib.train import Training, films_of, fit, infer, load_part
from tests.benchmarks import plain
from tests.benchmarks.conftest import TRAIN, VAL

ONE_EPOCH = Training(epochs=1)


def timed(benchmark, group, films, rounds, work, setup=None):
    """Time `work` so many times; `films` is what one call gets through."""
    benchmark.group = group
    benchmark.extra_info["films"] = films
    return benchmark.pedantic(work, setup=setup, rounds=rounds, iterations=1)


def test_preparation_plain(benchmark, database, catalogued, tmp_path_factory):
    rows = catalogued.table("split.csv")

    def fresh():
        return (database.path, rows, tmp_path_factory.mktemp("plain"), 128), {}

    timed(benchmark, "preparation", len(rows), 3, plain.prepare, fresh)


def test_preparation_ours(benchmark, database, catalogued, tmp_path_factory):
    def fresh():
        run = open_run(str(tmp_path_factory.mktemp("ours") / "run"))
        run.path("catalogue.csv").symlink_to(catalogued.path("catalogue.csv"))
        return (run, database, 128, 0), {}

    timed(benchmark, "preparation", len(catalogued.table("split.csv")), 5, prepare, fresh)


def test_training_plain(benchmark, unpacked):
    parts = plain.loaders(unpacked, 128, 0.5, 0.25)
    timed(benchmark, "training", TRAIN + VAL / 3, 3, lambda: list(plain.train(parts, plain.network(128), 1)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_ours(benchmark, small, precision):
    if precision == "bf16" and not torch.cpu.get_capabilities().get("avx512_bf16", False):
        pytest.skip("this processor does not compute in bf16")
    training = replace(ONE_EPOCH, precision=precision)
    timed(benchmark, "training", TRAIN + VAL / 3, 3, lambda: fit(small, training))


def test_inference_plain(benchmark, unpacked):
    loader = plain.loaders(unpacked, 128, 0.5, 0.25)["val"]
    cnn = plain.network(128)
    timed(benchmark, "inference", VAL, 3, lambda: plain.infer(cnn, loader))


def test_inference_ours(benchmark, small):
    if not small.path("model.safetensors").exists():
        fit(small, ONE_EPOCH)
    trained = open_predictor(small.path("model.safetensors")).trained
    val = load_part(small, "val", torch.device("cpu"))
    timed(benchmark, "inference", VAL, 5, lambda: infer(trained.cnn, films_of(val), trained.normalisation))


def test_one_film_warm(benchmark, database, small):
    predictor = open_predictor(small.path("model.safetensors"))
    file = next(iter(database.labels))
    content = database.read(file)
    timed(benchmark, "one film, warm", 1, 20, lambda: predictor.answer(content, file))


def test_one_film_cold(benchmark, database, small, tmp_path):
    file = tmp_path / "film.png"
    file.write_bytes(database.read(next(iter(database.labels))))
    model = str(small.path("model.safetensors"))
    command = [sys.executable, "-m", "tblib", "predict", "--model", model, str(file)]
    timed(benchmark, "one film, cold", 1, 5, lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True))


def test_importing_what_the_eda_needs(benchmark):
    code = "from tblib import catalogue, figures, findings, readings, run, survey"
    command = [sys.executable, "-c", code]
    timed(benchmark, "imports of 01_eda", 1, 5, lambda: subprocess.run(command, cwd=ROOT, check=True))
