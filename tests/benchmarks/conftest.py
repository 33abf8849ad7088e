"""What the benchmarks share: one catalogued database, the same films unpacked for the plain way, a smaller run."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tblib.catalogue import Database, build_catalogue, open_database, save_catalogue
from tblib.phantom import write_demo
from tblib.prepare import prepare
from tblib.run import ROOT, Run, open_run, write_table
from tests.benchmarks import plain

FOLDER = ROOT / "reports" / "benchmark"
TRAIN, VAL = 192, 64  # films of the smaller run: enough to time, few enough to time several times


@pytest.fixture(scope="session")
def database() -> Database:
    """The real films where TBLIB_FILMS says where they are, else 300 SYNTHETIC ones."""
    films = os.environ.get("TBLIB_FILMS", "")
    if films:
        return open_database(Path(films) / "TB_database.zip")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "SYNTHETIC.zip"
    return open_database(path if path.exists() else write_demo(path, films=300, seed=0))


@pytest.fixture(scope="session")
def catalogued(database) -> Run:
    """A run with a catalogue and nothing else, made once for this database."""
    run = open_run(str(FOLDER / ("real" if "TB_database" in database.path.name else "synthetic")))
    if not run.path("catalogue.csv").exists():
        save_catalogue(run, build_catalogue(database))
    if not run.path("images.npy").exists():
        prepare(run, database, 128, 0)
    return run


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
    for file in ("images.npy", "preparation.json"):
        run.path(file).symlink_to(catalogued.path(file))
    write_table(run.path("split.csv"), smaller(catalogued))
    return run


def smaller(run: Run):
    """Some rows of the run's split, shuffled, so that both classes are in each part."""
    rows = run.table("split.csv").sample(frac=1, random_state=np.random.default_rng(0))
    parts = {"train": rows[:TRAIN], "val": rows[TRAIN : TRAIN + VAL]}
    given = [part.assign(part=name) for name, part in parts.items()]
    return pd.concat([*given, parts["val"].assign(part="test")])
