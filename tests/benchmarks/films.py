"""The films that are measured on, and where what is measured is kept."""

from __future__ import annotations

import os
from pathlib import Path

from tblib.catalogue import Database, build_catalogue, open_database, save_catalogue
from tblib.phantom import write_demo
from tblib.prepare import prepare
from tblib.run import ROOT, Run, open_run

FOLDER = ROOT / "reports" / "benchmark"
SIZE = 128


def database() -> Database:
    """The real films where TBLIB_FILMS says where they are, else 300 SYNTHETIC ones."""
    films = os.environ.get("TBLIB_FILMS", "")
    if films:
        return open_database(Path(films) / "TB_database.zip")
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "SYNTHETIC.zip"
    return open_database(path if path.exists() else write_demo(path, films=300, seed=0))


def prepared(given: Database) -> Run:
    """The run of this database in the benchmark's folder, catalogued and prepared once."""
    run = open_run(str(FOLDER / ("synthetic" if given.path.stem == "SYNTHETIC" else "real")))
    if not run.path("catalogue.csv").exists():
        save_catalogue(run, build_catalogue(given))
    if not run.path("preparation.json").exists():
        prepare(run, given, SIZE, 0)
    return run
