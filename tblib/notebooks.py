"""What a notebook works on: its run and its parameters, whether the workflow runs it or a person has opened it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from tblib.processes import end_kernel_with_server
from tblib.run import STEPS, Run, Step, StepError, open_run, run_folder, write_json

BY_WORKFLOW = "TBLIB_RUN"  # environment variable: the folder of the run that the workflow executes notebooks of
LOCK = ".lock"  # in the run folder, held by the process that works on it
NOTEBOOK = ".notebook.lock"  # held by the kernel that the workflow started, as long as it lives
PATIENCE = 10  # seconds for that kernel to end

_held: list[FileLock] = []  # a lock that nothing refers to is let go


def read_record(run: Run) -> dict[str, Any]:
    """The content of a run's ``run.json``, or that of a run which has none yet."""
    if not run.path("run.json").is_file():
        return {"steps": {}, "complete": False}
    return run.facts("run.json")


@contextmanager
def working_alone(run: Run, else_do: str) -> Iterator[None]:
    """Hold a run inside the block, once the kernel of a workflow that was killed has let go of it, too.

    Raises:
        StepError: another process works on it; `else_do` ends the sentence.
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
    """The run that a notebook works on, as its parameters cell names it.

    Under the workflow that is all. A notebook that was opened by hand, or run by papermill alone, has its parameters
    checked; where it names another run than by default, those left at their defaults become the run's own, and it says
    which. A notebook that writes files refuses a complete run, and one that another process works on; otherwise its
    parameters are recorded, so that ``python -m tblib run`` goes on with them.

    Args:
        step: the notebook's.
        cell: the notebook's ``globals()``, with the parameters in it; they may be changed.

    Raises:
        ParameterError: a parameter of another type.
        MissingInputError: a file that an earlier step makes is not there.
        RunError: the run folder cannot be used.
        StepError: the run is complete, or another process works on it.
    """
    pd.options.display.html.use_mathjax = False  # a dollar in a name starts no formula in a table
    if os.environ.get(BY_WORKFLOW):
        run = open_run(cell["run"])
        _held.append(FileLock(run.path(NOTEBOOK)))
        _held[-1].acquire(timeout=PATIENCE)
        return run
    end_kernel_with_server()
    return _begin_by_hand(next(one for one in STEPS if one.name == step), cell)


def _begin_by_hand(step: Step, cell: dict[str, Any]) -> Run:
    from tblib.parameters import convert, kept_parameters, schema, with_whole_paths  # half a second of imports

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
    """Write into ``run.json`` that a step is being done by hand, and with which parameters.

    Raises:
        StepError: the run is complete, or another process works on it.
    """
    from tblib.parameters import kept_parameters

    with working_alone(run, "name another run in the parameters"):
        record = read_record(run)
        if record.get("complete"):
            raise StepError(_refusal(run, step))
        record["steps"].pop(step.name, None)  # its files will be others than the workflow left
        record["parameters"] = kept_parameters(run) | {step.name: settings}
        write_json(run.path("run.json"), record)


def _refusal(run: Run, step: Step) -> str:
    return (
        f"The run {run.name} is complete, and this notebook would replace its {' and '.join(step.writes)}. They are "
        f'kept. Name another run in the parameters cell, as run = "mine", or let the workflow replace them: '
        f"{run.command('--from', step.name)}"
    )
