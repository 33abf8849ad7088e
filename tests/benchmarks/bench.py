"""The plain way and the project's, step by step and side by side. ``make bench`` runs this and prints the ratios.

Each step's plain way runs first: the project changes how this process keeps memory (`keep_freed_memory`).
The number of films of each call is in its ``extra_info``, so that the table can print films per second.
"""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tblib.classifiers.trained import train_run
from tblib.devices import cpu_computes_in_bf16
from tblib.films.database import Database
from tblib.model import films_of, logits_of
from tblib.predict.panel import prediction_panel
from tblib.predict.predictor import open_predictor
from tblib.prepare import load_part, prepare
from tblib.report.page import build_report
from tblib.run import Run, open_run
from tblib.system.files import ROOT, write_json, write_table
from tblib.train import Training
from tests.benchmarks import films, plain

CARD_FILMS, CARD_EPOCHS = 3_360, 20  # 80 % of the whole database, and the reference's epochs
TRAIN, VAL = 192, 64  # films of the smaller run: enough to time, few enough to time several times
ONE_EPOCH = Training(epochs=1)


@pytest.fixture(scope="session")
def database() -> Database:
    return films.database()


@pytest.fixture(scope="session")
def catalogued(database) -> Run:
    """The whole database, catalogued and prepared."""
    return films.prepared(database)


@pytest.fixture(scope="session")
def unpacked(database, catalogued, tmp_path_factory) -> Path:
    """The smaller run's films in folders, as the plain way has them."""
    folder = tmp_path_factory.mktemp("unpacked")
    plain.unpack(database.path, smaller(catalogued), folder)
    return folder


@pytest.fixture(scope="session")
def small(catalogued, tmp_path_factory) -> Run:
    """The smaller run, prepared: `TRAIN` films to train, `VAL` for validation and as many to test."""
    run = open_run(str(tmp_path_factory.mktemp("run") / "small"))
    rows = smaller(catalogued)
    run.path("preparation.json").symlink_to(catalogued.path("preparation.json"))
    np.save(run.path("images.npy"), catalogued.images()[rows["image"]])
    write_table(run.path("split.csv"), rows.assign(image=np.arange(len(rows))))
    return run


@pytest.fixture(scope="session")
def model(small) -> Path:
    """The smaller run's model, trained here where no test before has."""
    path = small.path("model.safetensors")
    if not path.exists():
        train_run(small, ONE_EPOCH)
    return path


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """Where the whole demo is run."""
    return tmp_path_factory.mktemp("demo") / "demo"


def smaller(run: Run):
    """Some rows of the run's split, shuffled, so that both classes are in each part."""
    rows = run.table("split.csv").sample(frac=1, random_state=np.random.default_rng(0))
    parts = {"train": rows[:TRAIN], "val": rows[TRAIN : TRAIN + VAL]}
    given = [part.assign(part=name) for name, part in parts.items()]
    return pd.concat([*given, parts["val"].assign(part="test")])


def noise(folder: Path, train: int, size: int) -> Run:
    """A run whose films are SYNTHETIC noise, prepared: `train` of them to train, `VAL` for validation, and to test."""
    run, rng = open_run(str(folder)), np.random.default_rng(0)
    number = np.arange(train + 2 * VAL)
    np.save(run.path("images.npy"), rng.integers(0, 256, (len(number), size, size), dtype=np.uint8))
    label = np.where(number % 6 == 0, "Tuberculosis", "Normal")
    rows = {
        "image": number,
        "file": label,
        "label": label,
        "duplicate_group": number,
        "target": (number % 6 == 0).astype(int),
        "cues": label,
    }
    rows["part"] = np.repeat(["train", "val", "test"], [train, VAL, VAL])
    write_table(run.path("split.csv"), pd.DataFrame(rows))
    classes = {"negative": "Normal", "positive": "Tuberculosis"}
    write_json(run.path("preparation.json"), classes | {"size": size, "mean": 127.5, "sd": 73.9})
    return run


def timed(benchmark, group, count, rounds, work, setup=None):
    """Time `work` so many times; `count` is how many films one call gets through."""
    benchmark.group = group
    benchmark.extra_info["films"] = count
    return benchmark.pedantic(work, setup=setup, rounds=rounds, iterations=1)


def test_preparation_plain(benchmark, database, catalogued, tmp_path_factory):
    rows = catalogued.table("split.csv")

    def fresh():
        return (database.path, rows, tmp_path_factory.mktemp("plain"), films.SIZE), {}

    timed(benchmark, "preparation", len(rows), 3, plain.prepare, fresh)


def test_preparation_ours(benchmark, database, catalogued, tmp_path_factory):
    def fresh():
        run = open_run(str(tmp_path_factory.mktemp("ours") / "run"))
        for file in ("catalogue.csv", "catalogue.json"):
            run.path(file).symlink_to(catalogued.path(file))
        return (run, database, films.SIZE, 0), {}

    timed(benchmark, "preparation", len(catalogued.table("split.csv")), 5, prepare, fresh)


def test_training_plain(benchmark, unpacked):
    parts = plain.loaders(unpacked, films.SIZE, 0.5, 0.25)
    timed(benchmark, "training", TRAIN + VAL / 3, 3, lambda: list(plain.train(parts, plain.network(films.SIZE), 1)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_ours(benchmark, small, precision):
    if precision == "bf16" and not cpu_computes_in_bf16():
        pytest.skip("this processor does not compute in bf16")
    training = replace(ONE_EPOCH, precision=precision)
    timed(benchmark, "training", TRAIN + VAL / 3, 3, lambda: train_run(small, training))


def test_inference_plain(benchmark, unpacked):
    loader = plain.loaders(unpacked, films.SIZE, 0.5, 0.25)["val"]
    cnn = plain.network(films.SIZE)
    timed(benchmark, "inference", VAL, 3, lambda: plain.infer(cnn, loader))


def test_inference_ours(benchmark, small, model):
    trained = open_predictor(model).trained
    val = load_part(small, "val", torch.device("cpu"))
    timed(benchmark, "inference", VAL, 5, lambda: logits_of(trained.cnn, films_of(val), trained.normalisation))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_training_on_a_card(benchmark, tmp_path):
    """On SYNTHETIC noise; the first training, not timed, warms the card up."""
    run = noise(tmp_path / "card", CARD_FILMS, films.SIZE)
    train_run(run, ONE_EPOCH)
    benchmark.extra_info["card"] = torch.cuda.get_device_name()
    timed(
        benchmark,
        "training on a card",
        CARD_FILMS * CARD_EPOCHS,
        3,
        lambda: train_run(run, Training(epochs=CARD_EPOCHS)),
    )


def test_one_film_warm(benchmark, database, model):
    predictor = open_predictor(model)
    file = next(iter(database.labels))
    content = database.read(file)
    timed(benchmark, "one film, warm", 1, 20, lambda: predictor.answer(content, file))


def test_a_change_in_the_panel(benchmark, database, model):
    """Marker and white rectangle are on while the border's slider is moved; in the kernel, without the browser."""
    file = next(iter(database.labels))
    panel = prediction_panel(open_predictor(model), {file: database.read(file)})
    panel.controls["marker"].value, panel.controls["rectangle"].value = "R", 0.3
    widths = itertools.cycle([0.02, 0.04, 0.06])

    def move() -> None:
        panel.controls["border"].value = next(widths)

    timed(benchmark, "a change in the panel", 1, 20, move)


def test_one_film_cold(benchmark, database, model, tmp_path):
    file = tmp_path / "film.png"
    file.write_bytes(database.read(next(iter(database.labels))))
    command = [sys.executable, "-m", "tblib", "predict", "--model", str(model), str(file)]
    timed(benchmark, "one film, cold", 1, 5, lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True))


def test_importing_what_the_eda_needs(benchmark):
    code = "from tblib.eda import balance, baselines, colour, detectors, markers, prevalence, provenance, sample, tone"
    command = [sys.executable, "-c", code]
    timed(benchmark, "imports of 01_eda", 1, 5, lambda: subprocess.run(command, cwd=ROOT, check=True))


def test_the_whole_demo(benchmark, demo):
    command = [sys.executable, "-m", "tblib", "run", "--data", "demo", "--name", str(demo)]
    timed(benchmark, "all notebooks of the demo", 1, 1, lambda: subprocess.run(command, cwd=ROOT, check=True))


def test_the_report(benchmark, demo):
    run = open_run(str(demo))
    record = run.facts("run.json")
    timed(benchmark, "the report", 1, 5, lambda: build_report(run, record))
