"""The run and parameters that a notebook works on, whether the workflow runs it or a user has opened it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from tblib.run import GIVEN_STEPS, STEPS, Run, Step, StepError, open_run, run_folder
from tblib.show.tables import use_in_notebooks
from tblib.system.files import write_json
from tblib.system.processes import end_kernel_with_server

BY_WORKFLOW = "TBLIB_RUN"  # environment variable: folder of the run that the workflow executes notebooks for
SHOWN_ANEW = "TBLIB_SHOWN_ANEW"  # environment variable: set if the numbers exist and only the page is rendered again
ON_A_PAGE = "TBLIB_PAGE"  # environment variable: set by a page's server, which has checked the parameters
LOCK = ".lock"  # in the run folder, held by the process that is working on it
NOTEBOOK = ".notebook.lock"  # held by the kernel that the workflow started, until it exits
PATIENCE = 10  # seconds to wait for that kernel to exit
_held: list[FileLock] = []  # keeps references: an unreferenced lock is released


def read_record(run: Run) -> dict[str, Any]:
    """The content of a run's ``run.json``, or an empty record if there is none yet."""
    if not run.path("run.json").is_file():
        return {"steps": {}, "complete": False}
    return run.facts("run.json")


@contextmanager
def working_alone(run: Run, else_do: str) -> Iterator[None]:
    """Lock a run inside the block, once the kernel of a killed workflow has released it too.

    Raises:
        StepError: another process is working on it; `else_do` completes the message.
    """
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(run.path(LOCK), timeout=0))
            with FileLock(run.path(NOTEBOOK), timeout=PATIENCE):
                pass
        except Timeout:
            raise StepError(f"Another process is working on the run {run.folder}; wait for it, or {else_do}.") from None
        yield


def begin(step: str, cell: dict[str, Any]) -> Run:
    """Open the run named in a notebook's parameters cell.

    Under the workflow that is all, and on a page. In a notebook opened by hand, or run by papermill alone, the
    parameters are checked; if it names a run other than the default, parameters left at their defaults take the run's
    values, and this is printed. A notebook that writes files refuses a run that is complete or in use by another
    process; otherwise its parameters are recorded, so that ``python -m tblib run`` continues with them. `cell` is the
    notebook's ``globals()``, whose parameters may be changed.

    Raises:
        ParameterError: a parameter has the wrong type.
        MissingInputError: a file made by an earlier step is missing.
        RunError: the run folder cannot be used.
        StepError: the run is complete, or another process is working on it.
    """
    pd.options.display.html.use_mathjax = False  # a dollar sign in a table does not start a formula
    pd.options.display.max_colwidth = None  # reasons are sentences, and digests are long
    use_in_notebooks()
    if os.environ.get(BY_WORKFLOW):
        run = replace(open_run(cell["run"]), shown_anew=SHOWN_ANEW in os.environ)
        _held.append(FileLock(run.path(NOTEBOOK)))
        _held[-1].acquire(timeout=PATIENCE)
        return run
    end_kernel_with_server()
    if os.environ.get(ON_A_PAGE):
        return Run(run_folder(cell["run"]))
    steps = Run(run_folder(cell["run"])).steps
    if "model" in cell:  # the notebook that decides it
        steps = GIVEN_STEPS if cell["model"] else STEPS
    return _begin_by_hand(next(one for one in steps if one.name == step), cell)


def _begin_by_hand(step: Step, cell: dict[str, Any]) -> Run:
    # Imported here, as it takes half a second.
    from tblib.report.parameters import convert, kept_parameters, schema, with_whole_paths

    declared, run = schema(step), Run(run_folder(cell["run"]))
    for file in step.reads:
        run.need(file)
    kept = kept_parameters(run).get(step.name, {}) if cell["run"] != declared["run"][1] else {}
    for name, (kind, default, _) in declared.items():
        cell[name] = convert(name, cell[name], kind)
        if name != "run" and cell[name] == default and kept.get(name, default) != default:
            cell[name] = convert(name, kept[name], kind)
            print(f"{name} = {cell[name]!r}, as in the run {run.name}")
    if step.writes:
        settings = with_whole_paths({name: cell[name] for name in declared} | {"run": run.name})
        _record(open_run(cell["run"]), step, settings)
    return run


def _record(run: Run, step: Step, settings: dict[str, Any]) -> None:
    """Record a step run by hand in ``run.json``, and how; raises `StepError` if the run is complete or in use."""
    from tblib.report.parameters import kept_parameters

    with working_alone(run, "name another run in the parameters"):
        record = read_record(run)
        if record.get("complete"):
            raise StepError(_refusal(run, step))
        record["steps"].pop(step.name, None)  # its files will differ from those that the workflow left
        record["parameters"] = kept_parameters(run) | {step.name: settings}
        write_json(run.path("run.json"), record)


def _refusal(run: Run, step: Step) -> str:
    return (
        f"The run {run.name} is complete, and this notebook would replace its {' and '.join(step.writes)}. They are "
        f'kept. Name another run in the parameters cell, as run = "mine", or let the workflow replace them: '
        f"{run.command('--from', step.name)}"
    )
