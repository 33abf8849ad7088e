"""The films that are measured on, and where what is measured is kept."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from tblib.catalogue import build_catalogue, find_data, save_catalogue
from tblib.films.database import Database, open_database
from tblib.phantoms.demo import write_demo
from tblib.prepare import prepare
from tblib.report.parameters import read_parameters
from tblib.run import Run, open_run
from tblib.system.files import ROOT
from tblib.train import Training

FOLDER = ROOT / "reports" / "benchmark"
SIZE = 128
PARAMETERS = ROOT / "notebooks" / "parameters"
NAMES = {"SYNTHETIC": "synthetic", "TB_database": "real"}  # of a database's file -> of its run


def database() -> Database:
    """The real films where TBLIB_FILMS says where they are, else 300 SYNTHETIC ones."""
    real = database_called("real")
    if real is not None:
        return real
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "SYNTHETIC.zip"
    return open_database(path if path.exists() else write_demo(path, films=300, seed=0))


def database_called(name: str) -> Database | None:
    """``real``: the films where TBLIB_FILMS says where they are, or None; ``demo``: those of the demo, SYNTHETIC."""
    if name == "demo":
        given = read_parameters(PARAMETERS / "demo.yml")
        return open_database(find_data("demo", given["demo_films"], 0, given["demo_preset"]))
    films = os.environ.get("TBLIB_FILMS", "")
    return open_database(Path(films) / "TB_database.zip") if films else None


def prepared(given: Database) -> Run:
    """The run of this database in the benchmark's folder, catalogued and prepared once."""
    run = open_run(str(FOLDER / NAMES.get(given.path.stem, "demo")))
    if not run.path("catalogue.csv").exists():
        save_catalogue(run, build_catalogue(given))
    if not run.path("preparation.json").exists():
        prepare(run, given, SIZE, 0)
    return run


def as_markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, without its index."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (table.columns, *table.itertuples(index=False))]
    return "\n".join([lines[0], "|---" * len(table.columns) + "|", *lines[1:]])


def fast(**changed: Any) -> Training:
    """The training of ``parameters/fast.yml``, but for what is changed."""
    return _training("fast", changed)


def demo_training(**changed: Any) -> Training:
    """The training of ``parameters/demo.yml``, but for what is changed."""
    return _training("demo", changed)


def _training(parameters: str, changed: dict[str, Any]) -> Training:
    given = read_parameters(PARAMETERS / f"{parameters}.yml")
    known = {field.name for field in fields(Training)}
    return Training(**{name: value for name, value in given.items() if name in known} | changed)
