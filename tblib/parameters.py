"""Parameters: what the notebooks declare, what a person gives, and what a run was made with."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import papermill
import yaml

from tblib import TblibError
from tblib.catalogue import data_path
from tblib.phantom import PRESETS
from tblib.run import ROOT, STEPS, Run, Step, run_folder

NOTEBOOKS = ROOT / "notebooks"
TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
OURS = ("run", "data")  # set by --name and --data, not by -p
NO_PATHS: dict[str, tuple[str, ...]] = {  # parameters that name files -> values that are no paths
    "data": ("demo", "kaggle"),
    "beside": (),
    "demo_preset": tuple(PRESETS),
    "external": (),
    "films_read": (),
}

SEEDS = (0, 2**32 - 1)  # what NumPy takes
RANGES: dict[str, tuple[float, float]] = {  # parameter -> the least and the most that it may be
    "demo_films": (2, 1_000_000),
    "demo_seed": SEEDS,
    "seed": SEEDS,
    "films_shown": (1, 100),
    "spectra_films": (1, 1_000_000),
    "mistakes_shown": (1, 1_000),
    "samples_each": (1, 100),
    "replicates": (20, 1_000_000),  # fewer give no interval at 95 %
    "size": (32, 1024),
    "epochs": (0, 100_000),
    "lr": (0, 10),
    "batch_size": (0, 100_000),
    "pos_weight": (0, 1e6),
    "dropout": (-1, 0.99),
    "patience": (0, 100_000),
    "factor": (0.001, 0.999),
    "shift": (0, 1),
    "scale": (0, 0.9),
    "brightness": (0, 1),
    "contrast": (0, 1),
    "threads": (0, 256),
}
CHOICES: dict[str, tuple[str, ...]] = {  # parameter -> all that it may be
    "recipe": ("reference", "fast"),
    "outside": ("", "edge", "black"),
    "precision": ("auto", "fp32", "bf16"),
    "operating_point": ("0.5", "sensitivity_90", "sensitivity_95"),
}

Parameters = dict[str, Any]


class ParameterError(TblibError):
    """An unknown or wrongly typed parameter."""


def schema(step: Step) -> dict[str, tuple[type, Any, str]]:
    """What a notebook's parameters cell declares: name -> (type, default, comment)."""
    declared = papermill.inspect_notebook(str(NOTEBOOKS / step.notebook))
    return {
        name: (TYPES[found["inferred_type_name"]], ast.literal_eval(found["default"]), found["help"])
        for name, found in declared.items()
    }


def read_parameters(path: Path) -> Parameters:
    """The flat ``name: value`` mapping of a YAML file.

    Raises:
        ParameterError: there is no such file, or it is no such mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"The parameter file {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or any(isinstance(value, dict | list) for value in content.values()):
        raise ParameterError(f"The parameter file {path} must hold lines of the form name: value, and nothing else.")
    return {str(name): value for name, value in content.items()}


def check_parameters(given: Parameters, kept: dict[str, Parameters] | None = None) -> dict[str, Parameters]:
    """Step -> all parameters of its notebook: as `given`, else as `kept`, else by default; of their declared types.

    Args:
        given: by name, for every notebook that declares it.
        kept: by step and name, what a run was made with (`kept_parameters`).

    Raises:
        ParameterError: a name that no notebook declares, or a value of another type; the message names the right ones.
    """
    declared = {step.name: schema(step) for step in STEPS}
    known = sorted({name for names in declared.values() for name in names} - set(OURS))
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ParameterError(f"There is no parameter {name!r}.{hint} The parameters are: {', '.join(known)}.")
    return {
        step: {
            name: convert(name, (given if name in given else (kept or {}).get(step, {})).get(name, default), kind)
            for name, (kind, default, _) in names.items()
        }
        for step, names in declared.items()
    }


def refuse_idle(names: Iterable[str], chosen: set[str]) -> None:
    """Tell of a parameter that was set for steps which are not run: it would change nothing.

    Raises:
        ParameterError: none of the `chosen` steps has a parameter of one of these names.
    """
    declared = {step.name: schema(step) for step in STEPS}
    for name in names:
        having = [step for step, own in declared.items() if name in own]
        if having and chosen and not chosen.intersection(having):
            raise ParameterError(
                f"Parameter {name} belongs to {' and '.join(having)}, which --from or --only leaves out; it would "
                f"change nothing. Leave it out, or start earlier: --from {having[0]}"
            )


def kept_parameters(run: Run) -> dict[str, Parameters]:
    """Step -> the parameters that a run was made with, or asked to be; empty where there is no such run.

    Of a run whose files were made without a record of it, the database and its class names are known.
    """
    if run.path("run.json").is_file():
        record = run.facts("run.json")
        done = {step: one["parameters"] for step, one in record["steps"].items()}
        return done | dict(record.get("parameters", {}))
    if run.path("catalogue.json").is_file():
        made = run.facts("catalogue.json")
        return {"eda": {"data": made["path"], "negative": made["negative"], "positive": made["positive"]}}
    return {}


def asked_parameters(
    name: str, data: str | None, file: Path | None, pairs: Parameters, going_on: bool
) -> tuple[str, Parameters, dict[str, Parameters]]:
    """Where a command starts from: the database, what is given, and what is kept of the run of that name.

    Without a database of its own (or where it goes on with some steps of a run) a command starts from what the run was
    made with, then takes the file, then the pairs. Otherwise it starts from the file, or from the parameters that come
    with the demo or with any other database.

    Args:
        name: of the run.
        data: of ``--data``, if it was given.
        file: of ``--params``, if it was given.
        pairs: of ``-p``.
        going_on: ``--from`` or ``--only`` was given.
    """
    kept = kept_parameters(Run(run_folder(name))) if data is None or going_on else {}
    data = data or kept.get("eda", {}).get("data", "demo")
    default = NOTEBOOKS / "parameters" / ("demo.yml" if data == "demo" else "kaggle.yml")
    given = read_parameters(file or default) if file or not kept else {}
    return data, given | pairs, kept


def differences(kept: dict[str, Parameters], now: dict[str, Parameters]) -> list[str]:
    """A line a step whose parameters are other than the run's: ``training: epochs 8 → 20``."""
    lines = []
    for step, settings in now.items():
        then = kept.get(step, {})
        changed = [
            f"{name} {then[name]} → {value}" for name, value in settings.items() if then.get(name, value) != value
        ]
        lines += [f"{step}: {', '.join(changed)}"] if changed else []
    return lines


def with_whole_paths(settings: Parameters) -> Parameters:
    """The parameters with paths as they are seen from here, so that they mean the same wherever the run goes on."""
    whole = dict(settings)
    for name, words in NO_PATHS.items():
        if name in settings:
            parts = settings[name].split(",") if name == "external" else [settings[name]]
            whole[name] = ",".join(
                part if part in ("", *words) else str(data_path(part)) for part in map(str.strip, parts)
            )
    return whole


def convert(name: str, value: Any, kind: type) -> Any:
    """`value` as `kind`: text (of the command line, or YAML's ``1e-3``) is read, a whole number may be a float.

    Raises:
        ParameterError: it is of another type, or none of those that the parameter may be.
    """
    converted = _converted(value, kind)
    if converted is not None:
        _need_possible(name, converted)
        return converted
    wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
    raise ParameterError(f"Parameter {name} must be {wanted}, not {value!r}.")


def _need_possible(name: str, value: Any) -> None:
    least, most = RANGES.get(name, (value, value))
    if not least <= value <= most:
        raise ParameterError(f"Parameter {name} must be between {least:,} and {most:,}, not {value}.")
    if name == "size" and value % 16:
        raise ParameterError(f"Parameter size must be a multiple of 16, not {value}: the CNN halves it four times.")
    if name in CHOICES and value not in CHOICES[name]:
        choices = " or ".join(repr(choice) for choice in CHOICES[name])
        raise ParameterError(f"Parameter {name} must be {choices}, not {value!r}.")


def _converted(value: Any, kind: type) -> Any:
    """`value` as `kind`, or None where it is no such thing."""
    if kind is str:
        return value if isinstance(value, str) else None
    if kind is bool:
        return {"true": True, "false": False}.get(str(value).lower())
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if isinstance(value, bool) or not math.isfinite(number):
        return None
    if kind is int:
        return int(number) if number.is_integer() else None
    return number
