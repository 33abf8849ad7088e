"""How a report was made: database, code, machine, and the settings with the values that were used."""

from pathlib import Path
from typing import Any

import pandas as pd

from tblib.report.declared import schema
from tblib.report.parameters import PATHS
from tblib.run import GIVEN, STEPS, Run
from tblib.show.text import captioned, how_many, own_point, point_text

NOT_GIVEN, NOT_USED = "none", "not used"
OF_OTHER_SCHEDULE = {"cosine": ("patience", "factor"), "plateau": ("warm_up",)}  # schedule -> what it does not use


def tables(run: Run, record: dict[str, Any]) -> list[tuple[str, str, pd.DataFrame]]:
    """Anchor, title and table of each part (`record`: the run's ``run.json``)."""
    return [
        ("made-run", "This run", captioned(_made(record, run.facts("catalogue.json")), "Where the run comes from")),
        ("made-settings", "Settings", captioned(settings(run, record), "Settings, with the values that were used")),
        ("made-steps", "Steps", captioned(_steps(record), "Steps, and how long they took")),
        ("made-versions", "Versions", captioned(_versions(record), "Versions of the packages")),
    ]


def _made(record: dict[str, Any], summary: dict[str, Any]) -> pd.DataFrame:
    trained = f"trained on {record['device']} in {record['precision']} with {how_many(record['threads'], 'thread')}"
    if not record["threads"]:
        trained = f"the model was given, and is computed by {record['device']}"
    rows = [
        ("Database", summary["database"]),
        ("Database digest (SHA-256 over file names and contents)", summary["digest"]),
        ("Notes on the database", "; ".join(summary["notes"]) or "none"),
        ("Git commit", _of_steps({step: done["git_commit"] for step, done in record["steps"].items()})),
        ("Machine", f"{_of_steps({step: done['machine'] for step, done in record['steps'].items()})}; {trained}"),
        ("Finished", record["finished"]),
    ]
    return pd.DataFrame(rows, columns=["of", "this run"])


def _of_steps(values: dict[str, str]) -> str:
    """The value common to all steps, or each value with its steps."""
    steps: dict[str, list[str]] = {}
    for step, value in values.items():
        steps.setdefault(value, []).append(step)
    if len(steps) == 1:
        return next(iter(steps))
    return "; ".join(f"{value} ({', '.join(of)})" for value, of in steps.items())


def settings(run: Run, record: dict[str, Any]) -> pd.DataFrame:
    """One row per parameter of each step, with the value that was used: what was left open, as the run decided it."""
    decided, idle = _decided(run), _idle(run)
    rows = [
        (step, name, NOT_USED if (step, name) in idle else _value(name, _used(value, decided.get((step, name)))))
        for step, done in record["steps"].items()
        for name, value in done["parameters"].items()
        if name not in ("run", "data")  # the database is named above
    ]
    return pd.DataFrame(rows, columns=["step", "parameter", "value"])


def _used(asked: Any, decided: Any) -> Any:
    """The value that was used: what the run decided where it was left open, or what was asked for."""
    return decided if decided is not None and asked in (None, "auto") else asked


def _decided(run: Run) -> dict[tuple[str, str], Any]:
    """(Step, parameter) -> the value that was used of what may be left open."""
    point = point_text(own_point(run.facts("metrics.json")["thresholds"]))
    training = {} if run.path(GIVEN).is_file() else run.facts("training.json")
    found = {("training", name): value for name, value in training.items() if not isinstance(value, dict)}
    return found | {("prediction", "operating_point"): point}


def _idle(run: Run) -> set[tuple[str, str]]:
    """(Step, parameter) of what has no effect in this run."""
    idle = set[tuple[str, str]]()
    if not run.synthetic:
        idle |= {("eda", name) for name in ("demo_films", "demo_seed", "demo_preset")}
    if run.path(GIVEN).is_file():
        return idle | {("training", name) for name in schema(STEPS[2]) if name not in ("model", "spec")}
    return idle | {("training", name) for name in OF_OTHER_SCHEDULE[run.facts("training.json")["schedule"]]}


def _value(name: str, value: Any) -> Any:
    """A parameter's value; of paths only the file names, as folders of a machine are private."""
    if value is None:
        return NOT_GIVEN
    if name in (*PATHS, "model"):
        return ", ".join(Path(path).name for path in str(value).split(","))
    return value


def _steps(record: dict[str, Any]) -> pd.DataFrame:
    rows = [(step, f"{done['seconds']:.1f}", done["finished"]) for step, done in record["steps"].items()]
    return pd.DataFrame(rows, columns=["step", "seconds", "finished"])


def _versions(record: dict[str, Any]) -> pd.DataFrame:
    """Version of each package when the steps were run: one, or several if it changed between steps."""
    made = {step: done["versions"] for step, done in record["steps"].items()}
    packages = dict.fromkeys(package for versions in made.values() for package in versions)
    rows = [
        (package, _of_steps({step: versions.get(package, "not reported") for step, versions in made.items()}))
        for package in packages
    ]
    return pd.DataFrame(rows, columns=["package", "version"])
