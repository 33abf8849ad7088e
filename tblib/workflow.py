"""The workflow: the notebooks in order through papermill, with checked parameters, skipping what is unchanged."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from filelock import FileLock, Timeout
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from tblib import TblibError, budgets, remedies
from tblib.catalogue import Database, data_path, find_data, open_database
from tblib.run import ROOT, STEPS, Run, Step, open_run, write_json

NOTEBOOKS = ROOT / "notebooks"
PACKAGES = ("tblib", "torch", "numpy", "pandas", "scikit-learn", "scikit-image", "pillow", "papermill", "matplotlib")
TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
OURS = ("run", "data")  # set by the workflow itself, not by -p


class ParameterError(TblibError):
    """An unknown or wrongly typed parameter."""


class StepError(TblibError):
    """A notebook that stopped, or a step that cannot be run."""


Parameters = dict[str, Any]


def schema(step: Step) -> dict[str, tuple[type, Any, str]]:
    """What a notebook's parameters cell declares: name -> (type, default, comment)."""
    declared = papermill.inspect_notebook(str(NOTEBOOKS / step.notebook))
    return {
        name: (TYPES[found["inferred_type_name"]], ast.literal_eval(found["default"]), found["help"])
        for name, found in declared.items()
    }


def read_parameters(path: Path) -> Parameters:
    """The flat ``name: value`` mapping of a YAML file.

    Raises:
        ParameterError: there is no such file, or it is no such mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"The parameter file {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or any(isinstance(value, dict | list) for value in content.values()):
        raise ParameterError(f"The parameter file {path} must hold lines of the form name: value, and nothing else.")
    return {str(name): value for name, value in content.items()}


def check_parameters(given: Parameters) -> dict[str, Parameters]:
    """Step -> all parameters of its notebook, the `given` ones converted to their declared types.

    Raises:
        ParameterError: a name that no notebook declares, or a value of another type; the message names the right ones.
    """
    declared = {step.name: schema(step) for step in STEPS}
    known = sorted({name for names in declared.values() for name in names} - set(OURS))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ParameterError(f"There is no parameter {name!r}.{hint} The parameters are: {', '.join(known)}.")
    return {
        step: {
            name: convert(name, given[name], kind) if name in given else default
            for name, (kind, default, _) in names.items()
        }
        for step, names in declared.items()
    }


def convert(name: str, value: Any, kind: type) -> Any:
    """`value` as `kind`: text (of the command line, or YAML's ``1e-3``) is read, a whole number may be a float.

    Raises:
        ParameterError: it is of another type.
    """
    converted = _converted(value, kind)
    if converted is not None:
        return converted
    wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
    raise ParameterError(f"Parameter {name} must be {wanted}, not {value!r}.")


def _converted(value: Any, kind: type) -> Any:
    """`value` as `kind`, or None where it is no such thing."""
    if kind is str:
        return value if isinstance(value, str) else None
    if kind is bool:
        return {"true": True, "false": False}.get(str(value).lower())
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if isinstance(value, bool) or not math.isfinite(number):
        return None
    if kind is int:
        return int(number) if number.is_integer() else None
    return number


def run_study(
    name: str,
    data: str,
    given: Parameters,
    first: str | None = None,
    only: str | None = None,
    overwrite: bool = False,
) -> Path | None:
    """Run the steps whose code, parameters or inputs have changed, in order, and build the report.

    Args:
        name: of the run, a folder in ``reports/``; or a path.
        data: ``demo``, ``kaggle``, or a zip or folder of films.
        given: parameters, of any of the notebooks.
        first: run this step and all behind it, changed or not; those before it must be done.
        only: run this one step, changed or not.
        overwrite: replace steps of a complete run that was made with something else.

    Returns:
        The report's path, or None while steps behind `only` are still to be run.

    Raises:
        ParameterError: see `check_parameters`.
        RemedyError, BudgetError, ExternalError: a remedy, budget or an external database is not there.
        RunError: the run folder cannot be used.
        StepError: a notebook stopped; a complete run would be replaced; or another process works on it.
    """
    parameters, chosen = check_parameters(given), _chosen(first, only)
    _refuse_early(parameters)
    if not chosen or "eda" in chosen:  # a wrong path is better told before a folder is made for it
        _open(parameters["eda"] | {"data": data})
    run = open_run(name)
    for settings in parameters.values():
        settings["run"] = run.folder.name if run.folder.parent == ROOT / "reports" else str(run.folder)
    parameters["eda"]["data"] = data if data in ("demo", "kaggle") else str(data_path(data))
    try:
        with FileLock(run.path(".lock"), timeout=0):
            return _run_steps(run, parameters, chosen, overwrite)
    except Timeout:
        raise StepError(
            f"Another process is working on the run {run.folder}; wait for it, or give another --name."
        ) from None


def _refuse_early(parameters: dict[str, Parameters]) -> None:
    """Tell of a remedy or an external database that is not there before an hour of work, not after it.

    Raises:
        RemedyError, BudgetError: there is no such remedy or budget.
        ExternalError: an external database cannot be used.
    """
    remedies.chosen(parameters["preparation"]["remedy"])
    budgets.budget_of(parameters["shortcuts"]["budget"])
    if parameters["shortcuts"]["external"]:
        from tblib import external  # brings torch

        for path in external.paths(parameters["shortcuts"]["external"]):
            external.find(path)


def _chosen(first: str | None, only: str | None) -> set[str]:
    """Names of the steps that are to be run whether changed or not."""
    names = [step.name for step in STEPS]
    for name in (first, only):
        if name is not None and name not in names:
            raise StepError(f"There is no step {name!r}; the steps are: {', '.join(names)}.")
    if only:
        return {only}
    return set(names[names.index(first) :]) if first else set()


def _run_steps(run: Run, parameters: dict[str, Parameters], chosen: set[str], overwrite: bool) -> Path | None:
    record, ran = _read_record(run), False
    for step in STEPS:
        done, asked = record["steps"].get(step.name), step.name in chosen
        settings = done["parameters"] if chosen and not asked and done else parameters[step.name]
        if not asked and _is_current(run, step, done, settings):
            if not chosen:
                print(f"{step.name}: unchanged, skipped")
            continue
        if chosen and not asked:
            first = f"python -m tblib run --name {run.folder.name} --from {step.name}"
            if ran:
                print(f"{step.name}: out of date; the report waits for: {first}")
                return None
            raise StepError(
                f"Step {step.name} comes before the one asked for and is not done, or its code or inputs have "
                f"changed. Run it first: {first}"
            )
        if record.get("complete") and not (overwrite or asked):
            raise StepError(_kept(run, step, done, settings))
        record["complete"] = False
        _run_step(run, step, settings, record)
        ran = True
    return _finish(run, record)


def _kept(run: Run, step: Step, done: dict[str, Any] | None, settings: Parameters) -> str:
    then = done["parameters"] if done else {}
    changed = [f"{key} {then.get(key)} → {value}" for key, value in settings.items() if then.get(key) != value]
    what = ", ".join(changed) or "its code, its inputs or its files have changed"
    return (
        f"The run {run.folder} is complete, and step {step.name} would now be another one ({what}). It is kept. "
        "Give another --name (make: NAME=…), or ask for it to be replaced with --overwrite (make: OVERWRITE=1)."
    )


def _read_record(run: Run) -> dict[str, Any]:
    if not run.path("run.json").is_file():
        return {"steps": {}, "complete": False}
    return run.facts("run.json")


def _run_step(run: Run, step: Step, settings: Parameters, record: dict[str, Any]) -> None:
    """Execute one notebook and write what it was made from into ``run.json``."""
    stamp = fingerprint(run, step, settings)  # before the step, in case the code is edited while it runs
    record["steps"].pop(step.name, None)
    write_json(run.path("run.json"), record)  # a step that stops half-way must not look done
    begun = time.perf_counter()
    execute(run, step, settings)
    missing = [file for file in step.writes if not run.path(file).is_file()]
    if missing:
        raise StepError(f"Step {step.name} ended without writing {', '.join(missing)}; see {step.notebook}.")
    record["steps"][step.name] = {
        "fingerprint": stamp,
        "parameters": settings,
        "files": {file: _digest(run.path(file)) for file in step.writes},
        "seconds": round(time.perf_counter() - begun, 2),
        "finished": _now(),
    }
    write_json(run.path("run.json"), record)


def execute(run: Run, step: Step, settings: Parameters) -> None:
    """Run one notebook with papermill; the executed copy lies in the run's ``notebooks/``, also after a failure.

    Raises:
        StepError: a cell stopped; the message shows the cell and the error.
    """
    folder = run.path("notebooks")
    folder.mkdir(exist_ok=True)
    target = folder / step.notebook
    running, failed = target.with_suffix(".running.ipynb"), target.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    print(f"{step.name}: notebooks/{step.notebook}", flush=True)
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / step.notebook),
            str(running),
            settings,
            kernel_name="python3",
            stderr_file=sys.stderr,  # the progress bars of the cells
            extra_arguments=["--log-level=ERROR"],  # each kernel warns of TCP, though it only talks to this process
        )
        os.replace(running, target)
    except PapermillExecutionError as error:
        os.replace(running, failed)
        raise StepError(
            f"Step {step.name} stopped in this cell of {step.notebook}:\n\n{_indented(error.source)}\n\n"
            f"{error.ename}: {error.evalue}\n\nThe notebook as far as it came: {failed}\n"
            "When the cause is mended, the same command goes on from here."
        ) from error
    except DeadKernelError as error:
        raise StepError(
            f"The process of step {step.name} died, perhaps for want of memory. The same command goes on from here."
        ) from error
    finally:
        running.unlink(missing_ok=True)


def _indented(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines())


def _is_current(run: Run, step: Step, done: dict[str, Any] | None, settings: Parameters) -> bool:
    """Whether the step was done with this code, these parameters and inputs, and its files are as it left them."""
    files = (*step.writes, f"notebooks/{step.notebook}")
    if done is None or not all(run.path(file).is_file() for file in (*files, *step.reads)):
        return False
    unchanged = all(done["files"].get(file) == _digest(run.path(file)) for file in step.writes)
    return unchanged and bool(done["fingerprint"] == fingerprint(run, step, settings))


def fingerprint(run: Run, step: Step, settings: Parameters) -> str:
    """SHA-256 over the notebook's code, the tblib modules it uses, its parameters and the files it reads."""
    cells = nbformat.read(NOTEBOOKS / step.notebook, as_version=4).cells
    sources = [cell.source for cell in cells]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    parts = [step.name, json.dumps(sources), json.dumps(settings, sort_keys=True)]
    parts += [_digest(ROOT / "tblib" / f"{module}.py") for module in sorted(modules_used(code))]
    parts += [_digest(run.path(file)) for file in step.reads]
    if step.name == "eda":
        parts.append(_database_stamp(settings))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def modules_used(code: str) -> set[str]:
    """Names of the tblib modules that `code` imports, directly or through one another."""
    found: set[str] = set()
    waiting = _imported(code)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting |= _imported((ROOT / "tblib" / f"{name}.py").read_text(encoding="utf-8"))
    return found | {"__init__"}


def _imported(code: str) -> set[str]:
    """Modules imported at the top; what a function imports when it is called is left to the notebooks to name."""
    names: set[str] = set()
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, module = node.module.partition(".")
            if package == "tblib":
                names |= {module} if module else {alias.name for alias in node.names}
    return {name for name in names if (ROOT / "tblib" / f"{name}.py").is_file()}


def _database_stamp(settings: Parameters) -> str:
    """What changes when the films do, without reading them: checksums in the zip; sizes and times in a folder."""
    database = _open(settings)
    path = database.path
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            return str([(entry.filename, entry.file_size, entry.CRC) for entry in archive.infolist()])
    files = (path / file for file in (*database.labels, *database.others))
    return str([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _open(settings: Parameters) -> Database:
    """The database that the parameters of the first step name."""
    path = find_data(settings["data"], settings["demo_films"], settings["demo_seed"], settings["demo_preset"])
    return open_database(path, settings["negative"], settings["positive"])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finish(run: Run, record: dict[str, Any]) -> Path:
    """Complete ``run.json`` and build the report."""
    from tblib.report import build_report

    outcome = run.facts("training.json")
    record |= {name: outcome[name] for name in ("device", "precision", "threads")} | {
        "name": run.folder.name,
        "complete": True,
        "database": run.facts("catalogue.json")["digest"],
        "versions": {"python": platform.python_version()} | _versions(PACKAGES),
        "git_commit": _git_commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "finished": max(done["finished"] for done in record["steps"].values()),
    }
    record["steps"] = {step.name: record["steps"][step.name] for step in STEPS}
    path = build_report(run, record)
    write_json(run.path("run.json"), record)
    return path


def _versions(packages: Iterable[str]) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


def _git_commit() -> str:
    """The checkout's commit, marked where files have been changed since."""
    try:
        asked = [["rev-parse", "HEAD"], ["status", "--porcelain"]]
        commit, changes = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "not reported"
    return commit.strip() + (" with uncommitted changes" if changes.strip() else "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
