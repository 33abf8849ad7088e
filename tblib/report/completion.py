"""What a shell offers behind the Tab key, by argcomplete; it imports neither pandas nor torch, as it is waited for."""

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from tblib.report.declared import OURS, by_step, choices_of
from tblib.system.files import ROOT

Completer = Callable[..., Iterable[str]]


def offer(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks what may follow, and exit; returns at once if none does."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser, always_complete_options=False)


def run_names(**_: Any) -> list[str]:
    """Names of the runs under ``reports/`` that a command line can hold."""
    return sorted(path.parent.name for path in ROOT.glob("reports/*/run.json") if path.parent.name.isprintable())


def step_names(**_: Any) -> list[str]:
    """Names of the steps."""
    return list(by_step())


def parameter_names(**_: Any) -> dict[str, str]:
    """Parameter -> what it means."""
    return {name: told for own in by_step().values() for name, (_, _, told) in own.items() if name not in OURS}


def steps_and_parameters(**_: Any) -> list[str]:
    """What the command ``params`` takes."""
    return [*step_names(), *parameter_names()]


def pair(prefix: str, **_: Any) -> Iterable[str]:
    """A parameter behind ``-p``, and behind that its value: one of its choices, ``none``, or a path."""
    import argcomplete

    words = argcomplete.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    if words[-1] == "-p":
        return parameter_names()
    name = words[-1]
    kind = next((own[name][0] for own in by_step().values() if name in own), None)
    values = [*choices_of(name), *(["none"] if kind and kind.optional else [])]
    return values or paths(prefix)


def paths(prefix: str, endings: tuple[str, ...] = ()) -> list[str]:
    """Folders, and files with one of these endings, or any."""
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter(endings)(prefix))


def databases(prefix: str, **_: Any) -> list[str]:
    """What ``--data`` takes."""
    return ["demo", "kaggle", *paths(prefix, ("zip",))]


COMPLETERS: dict[str, Completer] = {  # name of an argument within argparse -> what may stand there
    "name": run_names,
    "first": step_names,
    "only": step_names,
    "wanted": steps_and_parameters,
    "p": pair,
    "data": databases,
    "runs": run_names,
}


def completed(action: argparse.Action) -> None:
    """Tell argcomplete what may stand for an argument, if it is among `COMPLETERS`; it offers files for others."""
    if action.dest in COMPLETERS:
        action.completer = COMPLETERS[action.dest]  # type: ignore[attr-defined]
