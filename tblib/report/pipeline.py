"""The workflow: the notebooks in order through papermill, with checked parameters, skipping unchanged steps."""

import importlib.metadata
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tblib.audit.choice import names
from tblib.report.checks import refuse_early
from tblib.report.declared import schema
from tblib.report.notebook import read_record, working_alone
from tblib.report.parameters import (
    Parameters,
    check_parameters,
    convert,
    differences,
    kept_parameters,
    with_whole_paths,
)
from tblib.report.stale import changed_files, fingerprint, is_current, is_made_alike, page_digest
from tblib.run import GIVEN, GIVEN_STEPS, STEPS, Run, Step, StepError, open_run
from tblib.system.code import versions
from tblib.system.files import ROOT, file_digest, write_json
from tblib.system.processes import clear_parts, clear_scratch
from tblib.system.shortages import allow_open_files
from tblib.system.text import did_you_mean


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
        name: name of the run, a folder in ``reports/``; or a path.
        data: ``demo``, ``kaggle``, or a zip or folder of films.
        given: parameters of any of the notebooks.
        first: run this step and all later ones, changed or not; the earlier ones must be done.
        only: run only this step, changed or not.
        overwrite: replace steps of a complete run that was made with other settings.
        kept: parameters by step that are used unless given (`tblib.report.parameters.kept_parameters`).

    Returns:
        The report's path, or None while steps after `only` have not been run.

    Raises:
        ParameterError: see `check_parameters`.
        TblibError: what `tblib.report.checks.refuse_early` refuses.
        RunError: the run folder cannot be used.
        ShortageError: there is no room for the demo or a file of the run, or too few files may be open.
        StepError: a notebook failed; a complete run would be replaced; or another process is working on it.
    """
    allow_open_files()
    parameters, chosen = check_parameters(given, kept), chosen_steps(first, only)
    running = chosen or {step.name for step in STEPS}
    refuse_early(parameters, running, data)
    run = open_run(name)  # after that, so that no folder is made for a wrong path
    parameters["eda"]["data"] = data
    parameters = {step: with_whole_paths(settings | {"run": run.name}) for step, settings in parameters.items()}
    with working_alone(run, "give another --name"):
        _clear(run)
        return _run_steps(run, parameters, chosen, overwrite)


def _clear(run: Run) -> None:
    """Remove partial files of killed commands: of this run, in ``data/`` and among temporary files."""
    from tblib.report.kernel import RUNNING

    for folder in (run.folder, run.path("audit"), ROOT / "data"):
        clear_parts(folder)
    for notebook in run.path("notebooks").glob(f"*{RUNNING}"):
        notebook.unlink()
    clear_scratch()


def chosen_steps(first: str | None, only: str | None) -> set[str]:
    """Names of the steps to run whether changed or not.

    Raises:
        StepError: there is no such step.
    """
    names = [step.name for step in STEPS]
    for name in (first, only):
        if name is not None and name not in names:
            hint = did_you_mean(name, names)
            raise StepError(f"There is no step {name!r}; the steps are: {', '.join(names)}.{hint}")
    if only:
        return {only}
    return set(names[names.index(first) :]) if first else set()


def _run_steps(run: Run, parameters: dict[str, Parameters], chosen: set[str], overwrite: bool) -> Path | None:
    record, ran = read_record(run), False
    steps = GIVEN_STEPS if parameters["training"]["model"] else STEPS
    for line in differences(kept_parameters(run), {step: parameters[step] for step in chosen or parameters}):
        print(f"other than in the run so far: {line}")
    for step in steps:
        done, asked = record["steps"].get(step.name), step.name in chosen
        settings = _settings(step, done["parameters"]) if chosen and not asked and done else parameters[step.name]
        if not asked and done and is_current(run, step, done, settings):
            if not chosen:
                ran |= _show_anew(run, step, settings, record)
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


def _computed(run: Run) -> dict[str, Any]:
    """Device, precision and threads of the training, or of a given model."""
    if run.path(GIVEN).is_file():
        return {"device": run.facts(GIVEN)["about"].get("computed by", "cpu"), "precision": "its own", "threads": 0}
    outcome = run.facts("training.json")
    return {name: outcome[name] for name in ("device", "precision", "threads")}


def _show_anew(run: Run, step: Step, settings: Parameters, record: dict[str, Any]) -> bool:
    """Execute a step's notebook again if only its figures or words have changed; return whether that was so.

    Its numbers stay the same, so this is allowed in a complete run, and later steps stay up to date.
    """
    done, page = record["steps"][step.name], page_digest(step)
    if done.get("page") == page:
        print(f"{step.name}: unchanged, skipped")
        return False
    print(f"{step.name}: its numbers are unchanged, its figures or words are shown anew")
    from tblib.report.kernel import execute

    execute(run, step, settings, shown_anew=True)
    done |= {"page": page, "files": _digests(run, step)}
    write_json(run.path("run.json"), record)
    return True


def _settings(step: Step, kept: Parameters) -> Parameters:
    """The parameters of a finished step, with defaults for new ones; raises `ParameterError` for a wrong type."""
    return {name: convert(name, kept.get(name, default), kind) for name, (kind, default, _) in schema(step).items()}


def _kept(run: Run, step: Step, done: dict[str, Any] | None, settings: Parameters) -> str:
    if done and done["parameters"] == settings and is_made_alike(run, step, done, settings):
        return (
            f"{run.path(changed_files(run, step, done)[0])} is not as step {step.name} left it: missing, damaged or "
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
    """Execute one notebook and record in ``run.json`` what it was made from."""
    from tblib.report.kernel import execute  # papermill takes two seconds, which a mistyped value need not wait for

    # Before the step, in case the code is edited while it runs.
    stamps = {"fingerprint": fingerprint(run, step, settings), "page": page_digest(step)}
    made_with, commit = _versions(), _git_commit()
    record["steps"].pop(step.name, None)
    write_json(run.path("run.json"), record)  # an interrupted step must not look done
    begun = time.perf_counter()
    execute(run, step, settings)
    missing = [file for file in step.writes if not run.path(file).is_file()]
    if missing:
        raise StepError(f"Step {step.name} ended without writing {', '.join(missing)}; see {step.notebook}.")
    record["steps"][step.name] = {
        **stamps,
        "parameters": settings,
        "files": _digests(run, step),
        "seconds": round(time.perf_counter() - begun, 2),
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "versions": made_with,
        "git_commit": commit,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    write_json(run.path("run.json"), record)


def _digests(run: Run, step: Step) -> dict[str, str]:
    return {file: file_digest(run.path(file)) for file in (*step.writes, f"notebooks/{step.notebook}")}


def _finish(run: Run, record: dict[str, Any], ran: bool) -> Path:
    """Complete ``run.json`` if anything was run, and build the report."""
    from tblib.report.page import build_report

    record["steps"] = {step.name: record["steps"][step.name] for step in STEPS}
    if ran or not record.get("complete"):
        record |= _computed(run) | {
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
    record["headline"] = build_report(run, record)
    record["sets"] = names(run.facts("shortcuts.json")["external"])
    write_json(run.path("run.json"), record)
    return run.path("report.html")


def _versions() -> dict[str, str]:
    own = {package: importlib.metadata.version(package) for package in ("tblib", "papermill", "matplotlib")}
    return {"python": platform.python_version()} | own | versions()


def _git_commit() -> str:
    """Commit of the checkout, marked if files have been changed since."""
    try:
        asked = [["rev-parse", "HEAD"], ["status", "--porcelain"]]
        commit, changes = (
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "not reported"
    return commit.strip() + (" with uncommitted changes" if changes.strip() else "")
