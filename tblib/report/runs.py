"""The runs under ``reports/``: which there are, how far each is, and the newest one that is complete."""

import os
import webbrowser
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tblib.arrays import TblibError
from tblib.run import GIVEN, STEPS, Run, run_folder
from tblib.show.text import NONE
from tblib.system.files import ROOT
from tblib.system.text import did_you_mean, printable

REPORT = "report.html"
MADE = ("run.json", "catalogue.json")  # a folder with one of these is a run's
TIME = "%Y-%m-%d %H:%M:%S UTC"
SHOWN = 12  # names of runs in a message
FIRST = "Make one first: python -m tblib run"


class NoRunError(TblibError):
    """A run, or its report, that is not there."""


class Listed(NamedTuple):
    """One run for people.

    Attributes:
        data: name of its database.
        finished: when it was completed, or else when its last step was.
        state: complete, at which step it stands, or damaged.
        headline: its result in a sentence, or what is wrong with its files.
    """

    run: Run
    data: str = NONE
    finished: datetime | None = None
    state: str = "damaged"
    headline: str = NONE

    @property
    def complete(self) -> bool:
        """Whether all steps are done and the report is built."""
        return self.state == "complete"


def listed() -> list[Listed]:
    """All runs under ``reports/``, the newest first; those without a time come last, by name."""
    found = [_listed(Run(folder)) for folder in _folders()]
    return sorted(found, key=lambda one: (-one.finished.timestamp() if one.finished else 0.0, one.run.name))


def _folders() -> Iterator[Path]:
    """Folders of runs, also behind links; one that may not be looked into may be a run's."""
    try:
        entries = sorted(os.scandir(ROOT / "reports"), key=lambda entry: entry.name)
    except FileNotFoundError:  # of a checkout in which nothing has been run
        return
    except OSError as error:
        raise NoRunError(f"{ROOT / 'reports'} cannot be read ({error.strerror or error}).") from error
    for entry in entries:
        try:
            if entry.is_dir() and any(name in MADE for name in os.listdir(entry.path)):
                yield Path(entry.path)
        except PermissionError:  # `_listed` says so
            yield Path(entry.path)
        except OSError:  # a link to itself, or a folder that has just been removed
            continue


def _listed(run: Run) -> Listed:
    try:
        if "run.json" not in os.listdir(run.folder):
            return Listed(run, _data(run, {}), state="no record", headline=f"Go on with it: {run.command()}")
        record = run.facts("run.json")
        steps = record["steps"]
        times = [record["finished"]] if record["complete"] else [done["finished"] for done in steps.values()]
        waiting = next((f"at {step.name}" for step in STEPS if step.name not in steps), "at the report")
        if not record["complete"]:  # a headline would be that of a former report
            return Listed(run, _data(run, record), _latest(times), waiting)
        headline = " ".join(record.get("headline", "").split()) or NONE
        return Listed(run, _data(run, record), _latest(times), "complete", headline)
    except (TblibError, OSError) as error:
        return Listed(run, headline=str(error))


def _data(run: Run, record: dict[str, Any]) -> str:
    """Name of a run's database; that of the demo says so."""
    if run.path("catalogue.json").is_file():
        facts = run.facts("catalogue.json")
        return f"{facts['database']} (SYNTHETIC)" if facts["synthetic"] else str(facts["database"])
    asked = str(record.get("parameters", {}).get("eda", {}).get("data", "")) or NONE
    return "demo (SYNTHETIC)" if asked == "demo" else Path(asked).name


def _latest(times: list[str]) -> datetime | None:
    """The latest of these times; None if there is none, or one is no time."""
    try:
        return max((datetime.strptime(time, TIME) for time in times), default=None)
    except ValueError:
        return None


def print_runs() -> None:
    """Print one row per run, the newest first."""
    from tblib.report.terminal import print_table  # no other command waits for it

    rows = [
        (one.run.name, one.data, f"{one.finished:%Y-%m-%d %H:%M}" if one.finished else NONE, one.state, one.headline)
        for one in listed()
    ]
    if rows:
        print_table(("run", "data", "finished (UTC)", "state", "headline"), rows, whole=("finished (UTC)", "state"))
    else:
        print(f"There is no run in {ROOT / 'reports'} yet. {FIRST}")


def existing(name: str) -> Run:
    """The run called `name`.

    Raises:
        NoRunError: it has no folder; the message names the runs there are.
        RunError: see `tblib.run.run_folder`.
    """
    run = Run(run_folder(name))
    if os.path.isdir(run.folder):
        return run
    names = [folder.name for folder in _folders()]
    if not names:
        raise NoRunError(f"There is no run {name!r}, and no other one yet. {FIRST}")
    more = f" and {len(names) - SHOWN} more (python -m tblib list)" if len(names) > SHOWN else ""
    hint = did_you_mean(name, names)
    raise NoRunError(
        f"There is no run {name!r}.{printable(hint)} The runs are: "
        f"{', '.join(printable(one) for one in names[:SHOWN])}{more}."
    )


def newest() -> Listed:
    """The complete run that was finished last.

    Raises:
        NoRunError: there is none.
    """
    found = listed()
    complete = next((one for one in found if one.complete), None)
    if complete:
        return complete
    told = "; ".join(f"{printable(one.run.name)} is {one.state}" for one in found[:SHOWN]) or "there is none at all"
    raise NoRunError(f"There is no complete run in {ROOT / 'reports'} ({told}). {FIRST}")


def report_of(name: str | None) -> Path:
    """The report of the run called `name`, or of the `newest` one.

    Raises:
        NoRunError: there is no such run, or it has no report yet.
    """
    run = newest().run if name is None else existing(name)
    if not run.path(REPORT).is_file():
        raise NoRunError(printable(f"The run {run.name} has no {REPORT} yet. Build it: {run.command()}"))
    return run.path(REPORT)


def open_report(name: str | None) -> None:
    """Print the path of a run's report, and show it in the web browser.

    Raises:
        NoRunError: see `report_of`, or there is no browser.
    """
    path = report_of(name)
    print(printable(str(path)), flush=True)
    try:
        shown = webbrowser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        shown = False
    if not shown:
        raise NoRunError("No web browser could be started here. Open that file in one yourself.")


def described(one: Listed, model: Path) -> str:
    """Which model of which run answers, in a line: its name, what it was trained on, its date, its file."""
    facts = one.run.facts(GIVEN) if model.name == GIVEN else None
    name = f"{facts['name']}, a model of somebody else" if facts else f"the CNN trained on {one.data}"
    when = f"{one.finished:%Y-%m-%d %H:%M} UTC" if one.finished else "not finished"
    return printable(f"The model: {name}; run {one.run.name}, {when}; {model}")


def described_run(name: str | None) -> Listed:
    """The run called `name`, or the `newest` one, with what `listed` says of it; raises `NoRunError` without one."""
    return newest() if name is None else _listed(existing(name))
