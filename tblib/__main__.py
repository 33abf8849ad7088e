"""The command line: ``python -m tblib run`` and ``python -m tblib predict``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tblib import RESEARCH_USE, TblibError, __version__


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 after an error, 130 after Ctrl-C. Errors are sentences on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except TblibError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. What is finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tblib", description="What is a TB classifier's accuracy made of?")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the study's notebooks and write the report")
    run.add_argument("--data", default="demo", help="demo (default), kaggle, or a zip or folder of films")
    run.add_argument("--name", help="the run's folder in reports/ (default: demo, or the name of the data)")
    run.add_argument("--params", type=Path, help="parameter file (default: demo.yml or kaggle.yml)")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set one parameter")
    steps = run.add_mutually_exclusive_group()
    steps.add_argument("--from", dest="first", metavar="STEP", help="run this step and all behind it again")
    steps.add_argument("--only", metavar="STEP", help="run this one step again")
    run.add_argument("--overwrite", action="store_true", help="replace a complete run made with something else")
    run.set_defaults(command=_run)
    predict = commands.add_parser("predict", help="what a trained model says of picture files")
    predict.add_argument("--model", type=Path, required=True, help="a run's model.safetensors")
    predict.add_argument("--point", default="0.5", help="operating point: 0.5, sensitivity_90 or sensitivity_95")
    predict.add_argument("--csv", type=Path, help="also write the table to this file")
    predict.add_argument("files", nargs="+", type=Path, metavar="FILE")
    predict.set_defaults(command=_predict)
    return parser


def _run(options: argparse.Namespace) -> int:
    from tblib.workflow import NOTEBOOKS, read_parameters, run_study

    default = NOTEBOOKS / "parameters" / ("demo.yml" if options.data == "demo" else "kaggle.yml")
    given = read_parameters(options.params or default) | dict(options.p)
    name = options.name or Path(options.data).absolute().stem
    report = run_study(name, options.data, given, options.first, options.only, options.overwrite)
    if report:
        print(f"The report: {report}")
    return 0


def _predict(options: argparse.Namespace) -> int:
    from tblib.predict import PredictionError, open_predictor, predict_files
    from tblib.run import write_table

    table = predict_files(open_predictor(options.model), options.files, options.point)
    if options.csv and options.csv.exists():
        raise PredictionError(f"{options.csv} is there already; name another file.")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}", na_rep="–"))
    print(RESEARCH_USE)
    if options.csv:
        write_table(options.csv, table)
    return 1 if (table["problem"] != "").any() else 0


if __name__ == "__main__":
    sys.exit(main())
