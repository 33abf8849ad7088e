# PYTHON_ARGCOMPLETE_OK
"""The command line: ``python -m tblib run``, ``audit``, ``list``, ``open``, ``predict`` and the others of ``--help``.

What takes long to import is imported by the command that needs it: help, completion and typos are answered at once.
"""

import argparse
import importlib.metadata
import io
import itertools
import re
import signal
import sys
from pathlib import Path
from typing import Any

from tblib import TblibError
from tblib.report.completion import completed, offer
from tblib.system.processes import end_without_search, no_collection, signals_as_ctrl_c
from tblib.system.shortages import shortage
from tblib.system.text import RESEARCH_USE, did_you_mean

Commands = dict[str, argparse.ArgumentParser]
OPTION = re.compile(r"--?[A-Za-z][\w-]+")  # one of a single letter is left to argparse
NEGATIVE = re.compile(r"-(\d|\.\d|inf|nan)")  # argparse itself takes -1e-3 for an option
KEPT = "What is finished is kept; the same command continues from there."


def main(arguments: list[str] | None = None) -> int:
    """Run one command and print errors as sentences on stderr.
    The exit status is 0 on success, 1 after an error, 2 for a command line that is no command, 130 after Ctrl-C and 143
    after SIGTERM (128 + signal number)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack characters of file names
    parser, commands = _parser()
    offer(parser)
    given = _unmistakable(sys.argv[1:] if arguments is None else arguments)
    _refuse_mistyped(parser, commands, given)
    options, others = parser.parse_known_args(given)
    if hasattr(options, "arguments"):
        options.arguments = others
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        with signals_as_ctrl_c():
            return int(options.command(options))
    except TblibError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        number = signal.Signals(stop.args[0] if stop.args else signal.SIGINT)
        print(f"\nInterrupted by {number.name}. {KEPT}", file=sys.stderr)
        return 128 + number
    except Exception as error:
        told = shortage(error)
        if told is None:
            raise
        print(f"Error: {told}", file=sys.stderr)
        return 1


def _unmistakable(arguments: list[str]) -> list[str]:
    """Keep what begins with a dash from being parsed as an option: a film called ``-x.png``, as a shell pattern may
    expand to, and the number behind ``-p lr``."""
    if arguments[:1] == ["predict"]:
        return [f"./{one}" if one.startswith("-") and Path(one).is_file() else one for one in arguments]
    behind = ["", "", *arguments]
    return [
        f" {one}" if option == "-p" and NEGATIVE.match(one) else one
        for option, one in zip(behind, arguments, strict=False)
    ]


def _refuse_mistyped(parser: argparse.ArgumentParser, commands: Commands, arguments: list[str]) -> None:
    """Exit with a hint at the command, or the option, that was probably meant."""
    name = arguments[0] if arguments else "-"
    if name.startswith("-"):
        return
    if name not in commands:
        parser.error(f"There is no command {name!r}.{did_you_mean(name, commands)} They are: {', '.join(commands)}.")
    command = commands[name]
    known = list(command._option_string_actions)
    for one in itertools.takewhile(lambda one: one != "--", arguments[1:]):
        option = OPTION.match(one)
        if not option or any(each.startswith(option[0]) for each in known):
            continue
        passes_on = command.get_default("arguments") is not None  # what it does not know, to the program it starts
        hint = did_you_mean(option[0], known, 0.8 if passes_on else 0.5)
        if hint or not passes_on:
            command.error(f"There is no option {option[0]}.{hint}")


def _parser() -> tuple[argparse.ArgumentParser, Commands]:
    """The parser, and those of its commands by name."""
    parser = argparse.ArgumentParser(prog="python -m tblib", description="What is a TB classifier's accuracy made of?")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("tblib"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_study_commands(commands)
    _add_run_commands(commands)
    _add_model_commands(commands)
    _add_servers(commands)
    for command in commands.choices.values():
        for action in command._actions:
            completed(action)
    return parser, dict(commands.choices)


def _add_study_commands(commands: Any) -> None:
    """Commands that make a report: run, audit; and what they take."""
    run = commands.add_parser("run", help="run the study's notebooks and write the report")
    _add_settings(run)
    steps = run.add_mutually_exclusive_group()
    steps.add_argument("--from", dest="first", metavar="STEP", help="run this step and all behind it again")
    steps.add_argument("--only", metavar="STEP", help="run this one step again")
    run.set_defaults(command=_run)
    audit = commands.add_parser(
        "audit",
        help="the same for a model of somebody else: nothing is trained but what its audit needs",
        description="Audit a model of somebody else. Loading an ONNX file runs no code of its author; a Python path "
        "(package.module:object) does.",
    )
    audit.add_argument("model", nargs="?", help="an ONNX file, package.module:object, or a model.safetensors of tblib")
    audit.add_argument("--spec", help="YAML file: what the model does to a film, and what its output means")
    audit.add_argument("--example", action="store_true", help="print a spec that explains each key, and stop")
    audit.add_argument("--external", help="films of other hospitals: zips or folders, separated by commas")
    _add_settings(audit)
    audit.set_defaults(command=_audit)
    params = commands.add_parser("params", help="the parameters of each step: type, default, allowed values, meaning")
    params.add_argument("wanted", nargs="*", metavar="STEP|NAME", help="steps or parameters (default: all)")
    params.set_defaults(command=_params)


def _add_run_commands(commands: Any) -> None:
    """Commands on runs that are there: list, open, card, compare."""
    listing = commands.add_parser("list", help="the runs in reports/, the newest first, with their headlines")
    listing.set_defaults(command=_list)
    show = commands.add_parser("open", help="a run's report in the web browser")
    show.add_argument("--name", help="the run (default: the complete one that was finished last)")
    show.set_defaults(command=_open)
    card = commands.add_parser("card", help="a run's model card, datasheet, Croissant metadata and checklists as files")
    card.add_argument("--name", help="the run (default: the complete one that was finished last)")
    card.add_argument("--overwrite", action="store_true", help="replace what was written before")
    card.set_defaults(command=_card)
    compare = commands.add_parser("compare", help="several runs side by side: one page and one CSV file")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="names of runs, or their folders")
    compare.add_argument("--out", type=Path, help="folder for both files (default: reports/comparison)")
    compare.add_argument("--overwrite", action="store_true", help="replace what is there")
    compare.set_defaults(command=_compare)


def _add_model_commands(commands: Any) -> None:
    """Commands on models that are there: predict, export."""
    predict = commands.add_parser("predict", help="what a trained model says of picture files")
    which = predict.add_mutually_exclusive_group()
    which.add_argument(
        "--model", type=Path, help="a run's model.safetensors or model.json, or an ONNX file with --spec"
    )
    which.add_argument("--name", help="the run whose model answers (default: the complete one finished last)")
    predict.add_argument("--spec", help="YAML file of a model of somebody else")
    predict.add_argument(
        "--point", help="operating point: sensitivity_90, sensitivity_95, or (default) the model's own"
    )
    predict.add_argument("--warnings", action="store_true", help="also say what is odd about each film (slower)")
    predict.add_argument("--csv", type=Path, help="also write the table to this file")
    predict.add_argument(
        "files", nargs="+", metavar="FILE", help="picture files, folders of them, or patterns as *.png"
    )
    predict.set_defaults(command=_predict)
    export = commands.add_parser("export", help="a run's CNN as an ONNX file with its spec, in the run's folder")
    export.add_argument("--name", default="demo", help="the run (default: demo)")
    export.add_argument("--overwrite", action="store_true", help="replace what was exported before")
    export.set_defaults(command=_export)


def _add_servers(commands: Any) -> None:
    """Commands that serve pages until they are stopped: lab, app."""
    lab = commands.add_parser("lab", help="JupyterLab on the notebooks; other arguments are passed on to it")
    lab.add_argument("--folder", type=Path, help="what to open (default: the notebooks; say yours if you copied them)")
    lab.set_defaults(command=_lab, arguments=[])
    app = commands.add_parser("app", help="the prediction panel as a page; other arguments are passed on to Voila")
    app.add_argument("--name", default="demo", help="the run whose model answers (default: demo)")
    app.set_defaults(command=_app, arguments=[])


def _add_settings(command: argparse.ArgumentParser) -> None:
    """What every command takes that makes a report."""
    command.add_argument("--data", help="demo, kaggle, or a zip or folder of films (default: the run's, or demo)")
    command.add_argument("--name", help="the run's folder in reports/ (default: demo, or the name of the data)")
    command.add_argument(
        "--params", type=Path, help="parameter file (default: the run's own, or demo.yml or kaggle.yml)"
    )
    command.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        type=lambda text: text.removeprefix(" "),  # of `_unmistakable`
        metavar=("NAME", "VALUE"),
        help="set one parameter; python -m tblib params explains them",
    )
    command.add_argument("--overwrite", action="store_true", help="replace a complete run made with something else")


def _audit(options: argparse.Namespace) -> int:
    from tblib.report.checks import refuse_values
    from tblib.report.parameters import check_parameters, model_parameters, read_parameters, spec_example

    if options.example:
        print(spec_example(), end="")
        return 0
    given = read_parameters(options.params) if options.params else {}
    refuse_values(check_parameters(given | dict(options.p)))  # before the model is opened, which takes seconds
    asked = model_parameters(options.model, options.spec)
    asked |= {"external": options.external} if options.external else {}
    options.p = [*asked.items(), *options.p]
    options.name = options.name or Path(options.model.rpartition(":")[2]).stem
    options.first = options.only = None
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from tblib.report.parameters import asked_parameters, refuse_idle
    from tblib.report.pipeline import chosen_steps, run_study

    name = options.name or (Path(options.data).absolute().stem if options.data else "demo")
    pairs, chosen = dict(options.p), chosen_steps(options.first, options.only)
    refuse_idle(pairs, chosen)
    data, given, kept = asked_parameters(name, options.data, options.params, pairs, bool(chosen))
    report = run_study(name, data, given, options.first, options.only, options.overwrite, kept)
    if report:
        print(f"The report: {report}")
    return 0


def _params(options: argparse.Namespace) -> int:
    from tblib.report.declared import explained
    from tblib.report.terminal import print_table

    columns = ("parameter", "type", "default", "allowed", "meaning")
    print_table(columns, explained(options.wanted), whole=("parameter",))
    return 0


def _list(_: argparse.Namespace) -> int:
    from tblib.report.runs import print_runs

    print_runs()
    return 0


def _open(options: argparse.Namespace) -> int:
    from tblib.report.runs import open_report

    open_report(options.name)
    return 0


def _model_of(options: argparse.Namespace) -> Path:
    """The model file that answers: the one named, or that of a run, which is told."""
    if options.model:
        return Path(options.model)
    from tblib.report.runs import NoRunError, described, described_run

    if options.spec:
        raise NoRunError("--spec belongs to a model file of somebody else; name that, too: --model model.onnx")
    found = described_run(options.name)
    from tblib.predict.predictor import model_file  # imports torch

    path = model_file(found.run)
    print(described(found, path), file=sys.stderr)
    return path


def _predict(options: argparse.Namespace) -> int:
    with no_collection():  # torch alone makes 280,000 objects
        model = _model_of(options)
        from tblib.predict.answers import told
        from tblib.predict.files import films_named, need_new_file, predict_files
        from tblib.predict.predictor import open_predictor
        from tblib.system.files import write_table

    if options.csv:
        need_new_file(options.csv)
    predictor = open_predictor(model, options.spec)
    predictor.threshold(options.point or predictor.own_point)  # raises if there is none
    table = predict_files(predictor, films_named(options.files), options.point, options.warnings)
    print(told(table))
    print(RESEARCH_USE)
    if options.csv:
        write_table(options.csv, table)
    return 1 if (table["problem"] != "").any() else 0


def _export(options: argparse.Namespace) -> int:
    from tblib.report.runs import existing

    existing(options.name)
    from tblib.predict.predictor import export_run  # imports torch

    model, spec = export_run(options.name, options.overwrite)
    print(f"The model: {model}\nIts spec: {spec}")
    return 0


def _card(options: argparse.Namespace) -> int:
    from tblib.report.runs import existing, newest

    run = existing(options.name) if options.name else newest().run
    from tblib.report.review.reviewers import write_cards

    for path in write_cards(run.name, options.overwrite):
        print(path)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from tblib.report.runs import existing

    for name in options.runs:
        existing(name)
    from tblib.report.compare import compare, default_folder

    page, table = compare(options.runs, options.out or default_folder(), options.overwrite)
    print(f"The page: {page}\nThe table: {table}")
    return 0


def _lab(options: argparse.Namespace) -> int:
    from tblib.report.declared import NOTEBOOKS
    from tblib.report.serve import lab

    return lab(options.folder or NOTEBOOKS, options.arguments)


def _app(options: argparse.Namespace) -> int:
    from tblib.report.runs import existing

    existing(options.name)
    from tblib.report.serve import app  # imports Jupyter

    return app(options.name, options.arguments)


if __name__ == "__main__":
    end_without_search()
    sys.exit(main())
