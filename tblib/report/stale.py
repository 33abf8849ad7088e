"""Which steps are out of date: what their numbers and their pages depend on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tblib.films.archive import files_of
from tblib.films.database import Database, data_path, open_database
from tblib.report.declared import cells_of
from tblib.report.parameters import Parameters
from tblib.run import Run, Step
from tblib.system.code import NotebookCode, digest_of, notebook_code
from tblib.system.files import file_digest

NOT_SHOWN = ("report", "system")  # packages that no notebook page depends on


def is_current(run: Run, step: Step, done: dict[str, Any] | None, settings: Parameters) -> bool:
    """Whether the step was run with this code, these parameters and inputs, and its files are unchanged since."""
    return done is not None and not changed_files(run, step, done) and is_made_alike(run, step, done, settings)


def is_made_alike(run: Run, step: Step, done: dict[str, Any], settings: Parameters) -> bool:
    """Whether the step was run with this code, these parameters and inputs."""
    there = all(run.path(file).is_file() for file in step.reads)
    return there and bool(done["fingerprint"] == fingerprint(run, step, settings))


def changed_files(run: Run, step: Step, done: dict[str, Any]) -> list[str]:
    """Files changed since the step; its executed notebook need only be complete, as it may have been saved again."""
    from tblib.report.chapters import ReportError, executed

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
    """SHA-256 of everything that a step's numbers depend on.

    That is what the notebook computes, the code in tblib that it reaches and the packages below that, its parameters,
    the files of the run that it reads, and the films and tables from elsewhere.
    """
    code = _code(step)
    parts = [step.name, code.text, json.dumps(settings, sort_keys=True), digest_of(code.numbers)]
    parts += [file_digest(run.path(file)) for file in step.reads]
    parts += _stamps_from_elsewhere(run, step, settings)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def page_digest(step: Step) -> str:
    """SHA-256 of what else a step's page depends on, besides its numbers: prose, calls, figures, sentences."""
    sources = [cell.source for cell in cells_of(step.notebook)]
    return hashlib.sha256(f"{json.dumps(sources)}{digest_of(_code(step).all, NOT_SHOWN)}".encode()).hexdigest()


def _code(step: Step) -> NotebookCode:
    return notebook_code(
        cell.source
        for cell in cells_of(step.notebook)
        if cell.kind == "code" and "parameters" not in cell.tags  # the settings cover their content
    )


def _stamps_from_elsewhere(run: Run, step: Step, settings: Parameters) -> list[str]:
    """Stamps that change when a database or comparison table that a step reads is replaced in place."""
    if step.name == "eda":
        truth = data_path(settings["films_read"])
        return [
            _stamp(open_named(settings).path),
            _stamp(data_path(settings["beside"])) if settings["beside"] else "",
            file_digest(truth) if truth.is_file() else "",
        ]
    if step.name == "training" and settings["model"]:
        return [_file_stamp(path) for path in (settings["model"], settings["spec"]) if path]
    if step.name == "evaluation":
        return [_stamp(data_path(run.facts("catalogue.json")["path"]))]
    if step.name == "shortcuts":  # its lung masks and films come from the database itself
        databases = [run.facts("catalogue.json")["path"], *(settings["external"] or "").split(",")]
        return [_stamp(data_path(path)) for path in databases if path]
    return []


def _file_stamp(path: str) -> str:
    """The digest of a file; empty for what is none, such as the Python path of a model."""
    return file_digest(data_path(path)) if data_path(path).is_file() else ""


def _stamp(path: Path) -> str:
    """A stamp that changes with the database, without reading it."""
    return files_of(path).stamp() if path.exists() else ""


def open_named(settings: Parameters) -> Database:
    """The database named by the parameters of the first step."""
    from tblib.catalogue import find_data  # takes half a second to import

    path = find_data(settings["data"], settings["demo_films"], settings["demo_seed"], settings["demo_preset"])
    return open_database(path, settings["negative"], settings["positive"])
