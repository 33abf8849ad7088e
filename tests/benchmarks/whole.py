"""A whole study of the real sample with the fast recipe, for the time of its audit: `python -m tests.benchmarks.whole`.

The budget is `standard`. The run is made in ``reports/benchmark/whole``, once; its verdicts are kept beside the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tblib.run import open_run
from tblib.system.files import ROOT, write_json
from tests.benchmarks.films import FOLDER, PARAMETERS, database_called


def audited_in(run: Path) -> float:
    """Seconds that the audit's notebook took in a run."""
    (notebook,) = (run / "notebooks").glob("*shortcuts.ipynb")
    return float(json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"])


def main() -> None:
    """Make the run and write ``reports/benchmark/audit.json``."""
    database, name = database_called("real"), FOLDER / "whole"
    if database is None:
        print("The real sample is not here: set TBLIB_FILMS to the folder with TB_database.zip.")
        return
    given = ["--data", str(database.path), "--params", str(PARAMETERS / "fast.yml"), "--name", str(name)]
    subprocess.run([sys.executable, "-m", "tblib", "run", *given], cwd=ROOT, check=True)
    verdicts = {row["cue"]: row["verdict"] for row in open_run(str(name)).facts("shortcuts.json")["verdicts"]}
    write_json(FOLDER / "audit.json", {"seconds": audited_in(name), "verdicts": verdicts})


if __name__ == "__main__":
    main()
