"""The command line: ``python -m tblib run``, ``audit``, ``predict``, ``export``, ``compare``, ``lab`` and ``app``."""

import argparse
import importlib.metadata
import io
import signal
import sys
from pathlib import Path
from typing import Any

from tblib import TblibError
from tblib.system.processes import end_without_search, signals_as_ctrl_c
from tblib.system.shortages import shortage
from tblib.system.text import RESEARCH_USE

KEPT = "What is finished is kept; the same command continues from there."


def main(arguments: list[str] | None = None) -> int:
    """Run one command and print errors as sentences on stderr.
    The exit status is 0 on success, 1 after an error, 130 after Ctrl-C and 143 after SIGTERM (128 + signal number)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack characters of file names
    parser = _parser()
    options, others = parser.parse_known_args(_with_files(sys.argv[1:] if arguments is None else arguments))
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


def _with_files(arguments: list[str]) -> list[str]:
    """Keep a film called ``-x.png``, as a shell pattern may expand to, from being parsed as an option."""
    if arguments[:1] != ["predict"]:
        return arguments
    return [f"./{one}" if one.startswith("-") and Path(one).is_file() else one for one in arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tblib", description="What is a TB classifier's accuracy made of?")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("tblib"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
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
    _add_model_commands(commands)
    lab = commands.add_parser("lab", help="JupyterLab on the notebooks; other arguments are passed on to it")
    lab.add_argument("--folder", type=Path, help="what to open (default: the notebooks; say yours if you copied them)")
    lab.set_defaults(command=_lab, arguments=[])
    app = commands.add_parser("app", help="the prediction panel as a page; other arguments are passed on to Voila")
    app.add_argument("--name", default="demo", help="the run whose model answers (default: demo)")
    app.set_defaults(command=_app, arguments=[])
    return parser


def _add_model_commands(commands: Any) -> None:
    """Commands on models that are there: predict, export, compare."""
    predict = commands.add_parser("predict", help="what a trained model says of picture files")
    predict.add_argument(
        "--model", type=Path, required=True, help="a run's model.safetensors or model.json, or an ONNX file with --spec"
    )
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
    compare = commands.add_parser("compare", help="several runs side by side: one page and one CSV file")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="names of runs, or their folders")
    compare.add_argument("--out", type=Path, help="folder for both files (default: reports/comparison)")
    compare.add_argument("--overwrite", action="store_true", help="replace what is there")
    compare.set_defaults(command=_compare)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """What every command takes that makes a report."""
    command.add_argument("--data", help="demo, kaggle, or a zip or folder of films (default: the run's, or demo)")
    command.add_argument("--name", help="the run's folder in reports/ (default: demo, or the name of the data)")
    command.add_argument(
        "--params", type=Path, help="parameter file (default: the run's own, or demo.yml or kaggle.yml)"
    )
    command.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set one parameter"
    )
    command.add_argument("--overwrite", action="store_true", help="replace a complete run made with something else")


def _audit(options: argparse.Namespace) -> int:
    from tblib.report.parameters import model_parameters, spec_example

    if options.example:
        print(spec_example(), end="")
        return 0
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


def _predict(options: argparse.Namespace) -> int:
    from tblib.predict.predictor import films_named, need_new_file, open_predictor, predict_files
    from tblib.system.files import write_table

    if options.csv:
        need_new_file(options.csv)
    predictor = open_predictor(options.model, options.spec)
    predictor.threshold(options.point or predictor.own_point)  # raises if there is none
    table = predict_files(predictor, films_named(options.files), options.point, options.warnings)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}", na_rep="–"))
    print(RESEARCH_USE)
    if options.csv:
        write_table(options.csv, table)
    return 1 if (table["problem"] != "").any() else 0


def _export(options: argparse.Namespace) -> int:
    from tblib.predict.predictor import export_run

    model, spec = export_run(options.name, options.overwrite)
    print(f"The model: {model}\nIts spec: {spec}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from tblib.report.compare import compare, default_folder

    page, table = compare(options.runs, options.out or default_folder(), options.overwrite)
    print(f"The page: {page}\nThe table: {table}")
    return 0


def _lab(options: argparse.Namespace) -> int:
    from tblib.report.parameters import NOTEBOOKS
    from tblib.report.serve import lab

    return lab(options.folder or NOTEBOOKS, options.arguments)


def _app(options: argparse.Namespace) -> int:
    from tblib.report.serve import app

    return app(options.name, options.arguments)


if __name__ == "__main__":
    end_without_search()
    sys.exit(main())
