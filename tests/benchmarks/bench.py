"""The plain way, the careful way and the project's, step by step. ``make bench`` runs this and prints the ratios.

Each step's other ways run first: the project changes how this process keeps memory (`keep_freed_memory`).
The number of films of each call is in its ``extra_info``, so that the table can print films per second.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_serve import LATER, opened, page_server

from tblib.catalogue import build_catalogue, save_catalogue
from tblib.classifiers.trained import train_run
from tblib.devices import cpu_computes_in_bf16, pick_device
from tblib.films.database import Database, open_database
from tblib.predict.files import predict_files
from tblib.predict.panel import prediction_panel
from tblib.predict.predictor import open_predictor
from tblib.prepare import prepare
from tblib.report.page import build_report
from tblib.run import Run, open_run
from tblib.system.files import ROOT, write_json, write_table
from tblib.train import Training
from tests.benchmarks import careful, films, plain
from tests.benchmarks.whole import audited_in

CARD_FILMS, CARD_EPOCHS = 3_360, 20  # 80 % of the whole database, and the reference's epochs
TRAIN, VAL = 192, 64  # films of the smaller run: enough to time, few enough to time several times
ONE_EPOCH = Training(epochs=1)
KEPT_READY = 10  # seconds in which the panel's server starts a kernel for the next page
LEVELS = (127.5, 63.75)  # mean and sd of grey levels, for the ways that are given them


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


def test_preparation_careful(benchmark, database, catalogued, tmp_path_factory):
    def fresh():
        return (database.path, tmp_path_factory.mktemp("careful"), films.SIZE), {}

    timed(benchmark, "preparation", len(catalogued.table("split.csv")), 3, careful.prepare, fresh)


def test_preparation_ours(benchmark, database, catalogued, tmp_path_factory):
    """From the zip, catalogue included."""

    def from_the_zip(run: Run) -> None:
        given = open_database(database.path)
        save_catalogue(run, build_catalogue(given))
        prepare(run, given, films.SIZE, 0)

    def fresh():
        return (open_run(str(tmp_path_factory.mktemp("ours") / "run")),), {}

    timed(benchmark, "preparation", len(catalogued.table("split.csv")), 3, from_the_zip, fresh)


def test_preparation_of_catalogued_films(benchmark, database, catalogued, tmp_path_factory):
    """What is left of it where the films were looked at before, as at each new size or mitigation."""

    def fresh():
        run = open_run(str(tmp_path_factory.mktemp("again") / "run"))
        for file in ("catalogue.csv", "catalogue.json"):
            run.path(file).symlink_to(catalogued.path(file))
        return (run, database, films.SIZE, 0), {}

    timed(benchmark, "preparation", len(catalogued.table("split.csv")), 5, prepare, fresh)


def test_training_plain(benchmark, unpacked):
    parts = plain.loaders(unpacked, films.SIZE, 0.5, 0.25)
    timed(benchmark, "training", TRAIN + VAL / 3, 3, lambda: list(plain.train(parts, plain.network(films.SIZE), 1)))


@pytest.mark.parametrize("workers", [0, careful.WORKERS])
def test_training_careful(benchmark, small, workers):
    parts = careful.loaders(small.images(), small.table("split.csv"), workers)

    def train() -> None:
        list(careful.train(parts, careful.network(films.SIZE), LEVELS, 1))

    timed(benchmark, "training", TRAIN + VAL / 3, 3, train)


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


@pytest.mark.parametrize("workers", [0, careful.WORKERS])
def test_inference_careful(benchmark, unpacked, workers):
    files, cnn = sorted((unpacked / "val").rglob("*.png")), careful.network(films.SIZE)
    timed(benchmark, "inference", VAL, 3, lambda: careful.predict(cnn, files, LEVELS, films.SIZE, workers))


def test_inference_ours(benchmark, unpacked, model):
    """From files to the table that ``predict`` prints."""
    files, predictor = sorted((unpacked / "val").rglob("*.png")), open_predictor(model)
    timed(benchmark, "inference", VAL, 5, lambda: predict_files(predictor, files))


def on_a_card(folder: Path, films_: int, size: int, training: Training) -> tuple[Callable[[], None], str]:
    """A training on SYNTHETIC noise, warmed up by one epoch, and the name of where it runs.

    Films lie in the card's memory as uint8, the host never waits within an epoch, and the training runs in
    deterministic mode, in bfloat16 or in float32 without TF32 (`tblib.devices`).
    """
    run, device = noise(folder, films_, size), pick_device()
    train_run(run, replace(training, epochs=1))
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"the {device.type}, not a card"
    return lambda: train_run(run, training), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_training_on_a_card(benchmark, tmp_path):
    train, benchmark.extra_info["card"] = on_a_card(
        tmp_path / "card", CARD_FILMS, films.SIZE, Training(epochs=CARD_EPOCHS)
    )
    timed(benchmark, "training on a card", CARD_FILMS * CARD_EPOCHS, 3, train)


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


@pytest.mark.parametrize(
    ("words", "told"), [("--help", "usage"), ("runn", "Did you mean run?"), ("run -p epoch 3", "Did you mean epochs?")]
)
def test_help_and_mistyped_commands(benchmark, words, told):
    command = [sys.executable, "-m", "tblib", *words.split()]
    done = timed(
        benchmark, "the command line", 1, 5, lambda: subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    )
    assert told in done.stdout + done.stderr


def test_importing_what_the_eda_needs(benchmark):
    code = "from tblib.eda import balance, baselines, colour, detectors, markers, prevalence, provenance, sample, tone"
    command = [sys.executable, "-c", code]
    timed(benchmark, "imports of 01_eda", 1, 5, lambda: subprocess.run(command, cwd=ROOT, check=True))


def test_the_whole_demo(benchmark, demo):
    command = [sys.executable, "-m", "tblib", "run", "--data", "demo", "--name", str(demo)]
    timed(benchmark, "all notebooks of the demo", 1, 1, lambda: subprocess.run(command, cwd=ROOT, check=True))
    benchmark.extra_info["audit"] = audited_in(demo)


def test_the_report(benchmark, demo):
    run = open_run(str(demo))
    record = run.facts("run.json")
    timed(benchmark, "the report", 1, 5, lambda: build_report(run, record))


@pytest.fixture
def panels_address(demo, tmp_path):
    """Where the demo's panel is served as a page."""
    yield from (address for _, address, _ in page_server(open_run(str(demo)), tmp_path / "log.txt"))


def test_the_panels_page(benchmark, browser, panels_address):
    """From the request to the drop zone, with a kernel kept ready."""

    def usable() -> None:
        view = opened(browser, panels_address)[0]
        view.locator(".tblib-drop").wait_for(timeout=LATER)
        view.context.close()

    timed(benchmark, "the panel's page", 1, 3, usable, lambda: time.sleep(KEPT_READY))
