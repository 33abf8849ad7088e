"""The workflow: the notebooks in order through papermill, with checked parameters, skipping what is unchanged."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from jupyter_core.utils import run_sync
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from tblib import budgets, remedies
from tblib.catalogue import Database, data_path, find_data, open_database
from tblib.database import files_of
from tblib.notebooks import BY_WORKFLOW, read_record, working_alone
from tblib.parameters import (
    NOTEBOOKS,
    Parameters,
    check_parameters,
    convert,
    differences,
    kept_parameters,
    schema,
    with_whole_paths,
)
from tblib.processes import clear_parts, clear_scratch, scratch
from tblib.run import ROOT, STEPS, Run, Step, StepError, code_digest, file_digest, open_run, versions, write_json
from tblib.shortages import allow_open_files, shortage, shortage_in

WANT = "perhaps for want of memory or open files (ulimit -n). The same command goes on from here."
END = 5  # seconds that a notebook's kernel has to end in order
RUNNING = ".running.ipynb"  # ending of a notebook that is being executed


def run_study(
    name: str,
    data: str,
    given: Parameters,
    first: str | None = None,
    only: str | None = None,
    overwrite: bool = False,
    kept: dict[str, Parameters] | None = None,
) -> Path | None:
    """Run the steps whose code, parameters or inputs have changed, in order, and build the report.

    Args:
        name: of the run, a folder in ``reports/``; or a path.
        data: ``demo``, ``kaggle``, or a zip or folder of films.
        given: parameters, of any of the notebooks.
        first: run this step and all behind it, changed or not; those before it must be done.
        only: run this one step, changed or not.
        overwrite: replace steps of a complete run that was made with something else.
        kept: parameters by step that hold where none is given (`tblib.parameters.kept_parameters`).

    Returns:
        The report's path, or None while steps behind `only` are still to be run.

    Raises:
        ParameterError: see `check_parameters`.
        RemedyError, BudgetError, ExternalError: a remedy, budget or an external database is not there.
        RunError: the run folder cannot be used.
        ShortageError: there is no room for the demo or a file of the run, or too few files may be open.
        StepError: a notebook stopped; a complete run would be replaced; or another process works on it.
    """
    allow_open_files()
    parameters, chosen = check_parameters(given, kept), chosen_steps(first, only)
    running = chosen or {step.name for step in STEPS}
    _refuse_early(parameters, running)
    if "eda" in running:  # a wrong path is better told before a folder is made for it
        _open(parameters["eda"] | {"data": data})
    run = open_run(name)
    parameters["eda"]["data"] = data
    parameters = {step: with_whole_paths(settings | {"run": run.name}) for step, settings in parameters.items()}
    with working_alone(run, "give another --name"):
        _clear(run)
        return _run_steps(run, parameters, chosen, overwrite)


def _clear(run: Run) -> None:
    """Remove what commands that were killed left half-written: of this run, in ``data/`` and among temporary files."""
    for folder in (run.folder, run.path("audit"), ROOT / "data"):
        clear_parts(folder)
    for notebook in run.path("notebooks").glob(f"*{RUNNING}"):
        notebook.unlink()
    clear_scratch()


def _refuse_early(parameters: dict[str, Parameters], running: set[str]) -> None:
    """Tell of a remedy or an external database that is not there before an hour of work, not after it.

    Raises:
        RemedyError, BudgetError: there is no such remedy or budget.
        ExternalError: an external database cannot be used.
    """
    for step in ("preparation", "training"):
        remedies.chosen(parameters[step]["remedy"])
    budgets.budget_of(parameters["shortcuts"]["budget"])
    if "eda" in running:
        _refuse_tables(parameters["eda"])
    if "shortcuts" in running and parameters["shortcuts"]["external"]:
        from tblib import external  # brings torch

        for path in external.paths(parameters["shortcuts"]["external"]):
            external.find(path)


def _refuse_tables(settings: Parameters) -> None:
    """Tell of readings or a database to compare with that are not there.

    Raises:
        ReadingsError, CatalogueError: they cannot be used.
    """
    from tblib.readings import read_readings

    read_readings(data_path(settings["films_read"]))
    if settings["beside"]:
        open_database(data_path(settings["beside"]), settings["negative"], settings["positive"])


def chosen_steps(first: str | None, only: str | None) -> set[str]:
    """Names of the steps that are to be run whether changed or not.

    Raises:
        StepError: there is no such step.
    """
    names = [step.name for step in STEPS]
    for name in (first, only):
        if name is not None and name not in names:
            raise StepError(f"There is no step {name!r}; the steps are: {', '.join(names)}.")
    if only:
        return {only}
    return set(names[names.index(first) :]) if first else set()


def _run_steps(run: Run, parameters: dict[str, Parameters], chosen: set[str], overwrite: bool) -> Path | None:
    record, ran = read_record(run), False
    for line in differences(kept_parameters(run), {step: parameters[step] for step in chosen or parameters}):
        print(f"other than in the run so far: {line}")
    for step in STEPS:
        done, asked = record["steps"].get(step.name), step.name in chosen
        settings = _settings(step, done["parameters"]) if chosen and not asked and done else parameters[step.name]
        if not asked and _is_current(run, step, done, settings):
            if not chosen:
                print(f"{step.name}: unchanged, skipped")
            continue
        if chosen and not asked:
            if ran:
                print(f"{step.name}: out of date; the report waits for: {run.command('--from', step.name)}")
                return None
            raise StepError(
                f"Step {step.name} comes before the one asked for and is not done, or its code or inputs have "
                f"changed. Run it first: {run.command('--from', step.name)}"
            )
        if record.get("complete") and not overwrite and not (asked and done and done["parameters"] == settings):
            raise StepError(_kept(run, step, done, settings))
        record["complete"] = False
        record["parameters"] = kept_parameters(run) | {name: parameters[name] for name in chosen or parameters}
        _run_step(run, step, settings, record)
        ran = True
    return _finish(run, record, ran)


def _settings(step: Step, kept: Parameters) -> Parameters:
    """The parameters that a step was done with; by default where it had none of that name yet.

    Raises:
        ParameterError: one is of another type.
    """
    return {name: convert(name, kept.get(name, default), kind) for name, (kind, default, _) in schema(step).items()}


def _kept(run: Run, step: Step, done: dict[str, Any] | None, settings: Parameters) -> str:
    if done and done["parameters"] == settings and _is_made_alike(run, step, done, settings):
        return (
            f"{run.path(_changed_files(run, step, done)[0])} is not as step {step.name} left it: missing, damaged or "
            "changed. The run is complete, and nothing in it is replaced unasked; make the step anew, with the same "
            f"parameters: {run.command('--only', step.name)}"
        )
    then = done or {"parameters": {}}
    changed = differences({step.name: then["parameters"]}, {step.name: settings})
    changed += [
        f"{package} {version} → {versions()[package]}"
        for package, version in then.get("versions", {}).items()
        if versions().get(package, version) != version
    ]
    what = ", ".join(changed) or "its code, its inputs or its files have changed"
    return (
        f"The run {run.folder} is complete, and step {step.name} would now be another one ({what}). It is kept. "
        "Give another --name (make: NAME=…), or ask for it to be replaced with --overwrite (make: OVERWRITE=1)."
    )


def _run_step(run: Run, step: Step, settings: Parameters, record: dict[str, Any]) -> None:
    """Execute one notebook and write what it was made from into ``run.json``."""
    stamp = fingerprint(run, step, settings)  # before the step, in case the code is edited while it runs
    made_with, commit = _versions(), _git_commit()
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
        "files": {file: file_digest(run.path(file)) for file in (*step.writes, f"notebooks/{step.notebook}")},
        "seconds": round(time.perf_counter() - begun, 2),
        "finished": _now(),
        "versions": made_with,
        "git_commit": commit,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
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
    running, failed = target.with_suffix(RUNNING), target.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    print(f"{step.name}: notebooks/{step.notebook}", flush=True)
    try:
        with _working_on(run), _kernel(step) as kernel:
            papermill.execute_notebook(
                str(NOTEBOOKS / step.notebook),
                str(running),
                settings,
                kernel_name="python3",
                km=kernel,
                stderr_file=sys.stderr,  # the progress bars of the cells
                extra_arguments=[
                    "--log-level=ERROR",  # each kernel warns of TCP, though it only talks to this process
                    f"--IPKernelApp.exec_lines=__import__('tblib.processes').processes.begin_kernel({os.getpid()})",
                ],
            )
        os.replace(running, target)
    except PapermillExecutionError as error:
        os.replace(running, failed)
        raise StepError(_stopped(step, error, failed)) from error
    except DeadKernelError as error:
        raise StepError(f"The process of step {step.name} died, {WANT}") from error
    except RuntimeError as error:  # nbclient's, of a kernel that died before it answered, or did not answer in time
        if not str(error).startswith("Kernel "):
            raise
        raise StepError(f"The process of step {step.name} could not be started ({error}), {WANT}") from error
    except OSError as error:
        told = shortage(error, running)
        raise StepError(f"Step {step.name} stopped. {told}") if told else error from error
    finally:
        running.unlink(missing_ok=True)


def _stopped(step: Step, error: PapermillExecutionError, failed: Path) -> str:
    """What to say of a cell that stopped: of a shortage without its code, which is not to blame."""
    if error.ename == "CellExecutionError" and not error.evalue:  # papermill's, of a kernel that could not even tell
        return f"The process of step {step.name} could not say what stopped it, {WANT}"
    told = error.evalue if error.ename == "ShortageError" else shortage_in(f"{error.ename}: {error.evalue}")
    if told:
        return f"Step {step.name} stopped. {told}"
    return (
        f"Step {step.name} stopped in this cell of {step.notebook}:\n\n{_indented(error.source)}\n\n"
        f"{error.ename}: {error.evalue}\n\nThe notebook as far as it came: {failed}\n"
        "When the cause is mended, the same command goes on from here."
    )


@contextmanager
def _working_on(run: Run) -> Iterator[None]:
    """Let the notebooks that are started inside the block know that this workflow runs them (`tblib.notebooks`)."""
    os.environ[BY_WORKFLOW] = str(run.folder)
    try:
        yield
    finally:
        del os.environ[BY_WORKFLOW]


@contextmanager
def _kernel(step: Step) -> Iterator[AsyncKernelManager]:
    """Manages the kernel of one notebook, started inside the block: ended in order, or at once after Ctrl-C."""
    file = str(scratch() / f"{step.name}.json")  # by itself it would lie among everybody's temporary files
    manager, at_once = AsyncKernelManager(kernel_name="python3", connection_file=file), False
    try:
        yield manager
    except KeyboardInterrupt:
        at_once = True  # it may be busy for long
        raise
    finally:
        if manager.has_kernel and manager.provisioner:
            if not at_once:
                run_sync(_end_in_order)(manager.provisioner)
            run_sync(manager.shutdown_kernel)(now=True)


async def _end_in_order(kernel: KernelProvisionerBase) -> None:
    """By SIGTERM: asked to shut down, a kernel waits for the tracker of its workers' memory, which ignores signals."""
    await kernel.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(kernel.wait(), END)


def _indented(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines())


def _is_current(run: Run, step: Step, done: dict[str, Any] | None, settings: Parameters) -> bool:
    """Whether the step was done with this code, these parameters and inputs, and its files are as it left them."""
    return done is not None and not _changed_files(run, step, done) and _is_made_alike(run, step, done, settings)


def _is_made_alike(run: Run, step: Step, done: dict[str, Any], settings: Parameters) -> bool:
    """Whether the step was done with this code, these parameters and inputs."""
    there = all(run.path(file).is_file() for file in step.reads)
    return there and bool(done["fingerprint"] == fingerprint(run, step, settings))


def _changed_files(run: Run, step: Step, done: dict[str, Any]) -> list[str]:
    """Files that are not as the step left them; its executed notebook need only be whole, as it may be saved anew."""
    from tblib.report import ReportError, executed

    changed = [
        file
        for file in step.writes
        if not run.path(file).is_file() or done["files"].get(file) != file_digest(run.path(file))
    ]
    try:
        executed(run.path(f"notebooks/{step.notebook}"))
    except ReportError:
        changed.append(f"notebooks/{step.notebook}")
    return changed


def fingerprint(run: Run, step: Step, settings: Parameters) -> str:
    """SHA-256 over all that a step's numbers depend on.

    That is the notebook's code, the tblib modules it uses and the packages under them, its parameters, the files of the
    run that it reads, and the films and tables that it takes from elsewhere.
    """
    cells = nbformat.read(NOTEBOOKS / step.notebook, as_version=4).cells
    sources = [cell.source for cell in cells]
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    parts = [step.name, json.dumps(sources), json.dumps(settings, sort_keys=True), code_digest(modules_used(code))]
    parts += [file_digest(run.path(file)) for file in step.reads]
    parts += _stamps_from_elsewhere(run, step, settings)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _stamps_from_elsewhere(run: Run, step: Step, settings: Parameters) -> list[str]:
    """What changes when databases that a step reads are replaced where they lie, or a table that it compares with."""
    if step.name == "eda":
        truth = data_path(settings["films_read"])
        return [
            _stamp(_open(settings).path),
            _stamp(data_path(settings["beside"])) if settings["beside"] else "",
            file_digest(truth) if truth.is_file() else "",
        ]
    if step.name == "shortcuts":  # its lung masks and films come from the database itself
        databases = [run.facts("catalogue.json")["path"], *settings["external"].split(",")]
        return [_stamp(data_path(path)) for path in databases if path]
    return []


def modules_used(code: str) -> set[str]:
    """Names of the tblib modules that `code` imports, directly or through one another."""
    found: set[str] = set()
    waiting = set(_imported(code))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting |= _imported((ROOT / "tblib" / f"{name}.py").read_text(encoding="utf-8"))
    return found | {"__init__"}


@cache
def _imported(code: str) -> frozenset[str]:
    """Modules imported at the top; what a function imports when it is called is left to the notebooks to name."""
    names: set[str] = set()
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, module = node.module.partition(".")
            if package == "tblib":
                names |= {module} if module else {alias.name for alias in node.names}
    return frozenset(name for name in names if (ROOT / "tblib" / f"{name}.py").is_file())


def _stamp(path: Path) -> str:
    """What changes when a database does, without reading it."""
    return files_of(path).stamp() if path.exists() else ""


def _open(settings: Parameters) -> Database:
    """The database that the parameters of the first step name."""
    path = find_data(settings["data"], settings["demo_films"], settings["demo_seed"], settings["demo_preset"])
    return open_database(path, settings["negative"], settings["positive"])


def _finish(run: Run, record: dict[str, Any], ran: bool) -> Path:
    """Complete ``run.json``, if anything was done, and build the report."""
    from tblib.report import build_report

    record["steps"] = {step.name: record["steps"][step.name] for step in STEPS}
    if ran or not record.get("complete"):
        outcome = run.facts("training.json")
        record |= {name: outcome[name] for name in ("device", "precision", "threads")} | {
            "name": run.folder.name,
            "complete": True,
            "database": run.facts("catalogue.json")["digest"],
            "finished": max(done["finished"] for done in record["steps"].values()),
        }
    for step in STEPS:
        file = f"notebooks/{step.notebook}"
        if record["steps"][step.name]["files"].get(file, "") != file_digest(run.path(file)):
            print(
                f"{file} was changed after step {step.name} was run, and is shown in the report as it is now; to make "
                f"it anew: {run.command('--only', step.name)}"
            )
    path = build_report(run, record)
    write_json(run.path("run.json"), record)
    return path


def _versions() -> dict[str, str]:
    own = {package: importlib.metadata.version(package) for package in ("tblib", "papermill", "matplotlib")}
    return {"python": platform.python_version()} | own | versions()


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
