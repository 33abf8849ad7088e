"""Parameters: those declared by notebooks, given by a user, and used by a run."""

import ast
import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import papermill
import yaml

from tblib.arrays import TblibError
from tblib.catalogue import WORDS
from tblib.classifiers.imported import is_python_path
from tblib.films.database import data_path
from tblib.run import STEPS, Run, Step, run_folder
from tblib.system.files import ROOT

NOTEBOOKS = ROOT / "notebooks"
TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
NONE = ("", "none", "null")  # texts for None if a parameter is optional
OURS = ("run", "data")  # set by --name and --data, not by -p
# Parameters that name files -> values that are not paths
NO_PATHS: dict[str, tuple[str, ...]] = WORDS | {"beside": (), "external": (), "films_read": (), "spec": ()}

RANGES: dict[str, tuple[float, float]] = {  # parameter -> minimum and maximum
    **dict.fromkeys(("seed", "demo_seed"), (0, 2**32 - 1)),  # what NumPy takes
    **dict.fromkeys(("films_shown", "samples_each"), (1, 100)),
    **dict.fromkeys(("mistakes_shown", "validations"), (1, 1_000)),
    **dict.fromkeys(("dropout", "warm_up", "low_resolution_share"), (0, 0.99)),
    **dict.fromkeys(("shift", "brightness", "contrast"), (0, 1)),
    "scale": (0, 0.9),
    "demo_films": (2, 1_000_000),
    "spectra_films": (1, 1_000_000),
    "replicates": (40, 1_000_000),  # fewer have none beyond the limits of a 95 % interval
    "size": (32, 1024),
    "channels": (1, 3),
    "epochs": (1, 100_000),
    "lr": (1e-9, 10),
    "batch_size": (2, 100_000),
    "width": (1, 1_024),
    "pos_weight": (1e-6, 1e6),
    "patience": (0, 100_000),
    "factor": (0.001, 0.999),
    "threads": (1, 256),
}
CHOICES: dict[str, tuple[str, ...]] = {  # parameter -> allowed values
    "schedule": ("plateau", "cosine"),
    "padding": ("edge", "black"),
    "precision": ("auto", "fp32", "bf16"),
    "operating_point": ("0.5", "sensitivity_90", "sensitivity_95"),
}
Parameters = dict[str, Any]


class Kind(NamedTuple):
    """Kind of a parameter: its type, and whether it may be None."""

    type: type
    optional: bool = False


class ParameterError(TblibError):
    """An unknown or wrongly typed parameter."""


def schema(step: Step) -> dict[str, tuple[Kind, Any, str]]:
    """Declarations of a notebook's parameters cell: name -> (kind, default, comment)."""
    declared = papermill.inspect_notebook(str(NOTEBOOKS / step.notebook))
    return {
        name: (_kind(found["inferred_type_name"]), ast.literal_eval(found["default"]), found["help"])
        for name, found in declared.items()
    }


def _kind(declared: str) -> Kind:
    inner = declared.removeprefix("Optional[").removesuffix("]")
    return Kind(TYPES[inner], inner != declared)


def read_parameters(path: Path) -> Parameters:
    """Read a flat ``name: value`` mapping from a YAML file.

    Raises:
        ParameterError: the file does not exist, or is not such a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"The parameter file {path} cannot be read: {error}") from error
    if not isinstance(content, dict) or any(isinstance(value, dict | list) for value in content.values()):
        raise ParameterError(f"The parameter file {path} must hold lines of the form name: value, and nothing else.")
    return {str(name): value for name, value in content.items()}


def check_parameters(given: Parameters, kept: dict[str, Parameters] | None = None) -> dict[str, Parameters]:
    """Step -> all parameters of its notebook in their declared types: from `given`, else `kept`, else the defaults.

    `given` is by name, for every notebook that declares it; `kept` is by step and name, from a run (`kept_parameters`).

    Raises:
        ParameterError: no notebook declares a name, or a value has the wrong type; the message names the right ones.
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
    """Reject a parameter that would have no effect because its steps are not run.

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
    """Step -> the parameters that a run was made with, or that were requested; empty if there is no such run.

    For a run whose files were made without such a record, only the database and its class names are known.
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
    """Starting point of a command: the database, the given parameters, and those kept from the run called `name`.

    Without ``--data`` (or if `going_on`: with ``--from`` or ``--only``) a command starts from the run's own parameters,
    updated by `file` (``--params``) and then by `pairs` (``-p``). Otherwise it starts from `file`, or from the default
    parameters of the demo or of any other database.

    Raises:
        ParameterError: `file` cannot be read, or the run's own parameters are not valid in this version.
    """
    run = Run(run_folder(name))
    kept = kept_parameters(run) if data is None or going_on else {}
    data = data or kept.get("eda", {}).get("data", "demo")
    try:
        check_parameters({}, kept)
    except ParameterError as error:
        raise ParameterError(
            f"The run {run.name} was made with parameters that this version does not take. {error} Make the run anew, "
            f"with its own --params: {run.command('--overwrite', '--data', data)}"
        ) from error
    default = NOTEBOOKS / "parameters" / ("demo.yml" if data == "demo" else "kaggle.yml")
    given = read_parameters(file or default) if file or not kept else {}
    return data, given | pairs, kept


def spec_example() -> str:
    """A spec of somebody else's model that explains each key."""
    from tblib.classifiers.spec import EXAMPLE

    return EXAMPLE


def model_parameters(model: str | None, spec: str | None) -> dict[str, str]:
    """The parameters by which a run audits a model of somebody else.

    Raises:
        ParameterError: no model is named.
        ClassifierError, SpecError, ModelError: it cannot be used.
    """
    if not model:
        raise ParameterError(
            "Name a model: python -m tblib audit model.onnx --spec model.yml --data films.zip --name …"
        )
    from tblib.classifiers.opened import open_given  # imports torch
    from tblib.classifiers.protocol import channels_of

    channels = channels_of(open_given(model, spec).classifier)
    return {"model": model, "spec": spec or "none", "channels": str(channels)}


def differences(kept: dict[str, Parameters], now: dict[str, Parameters]) -> list[str]:
    """One line per step whose parameters differ from the run's: ``training: epochs 8 → 20``."""
    lines = []
    for step, settings in now.items():
        then = kept.get(step, {})
        changed = [
            f"{name} {then[name]} → {value}" for name, value in settings.items() if then.get(name, value) != value
        ]
        lines += [f"{step}: {', '.join(changed)}"] if changed else []
    return lines


def with_whole_paths(settings: Parameters) -> Parameters:
    """The parameters with absolute paths, so that they mean the same wherever the run is resumed."""
    whole = dict(settings)
    for name, words in NO_PATHS.items():
        if settings.get(name):
            parts = settings[name].split(",") if name == "external" else [settings[name]]
            whole[name] = ",".join(part if part in words else str(data_path(part)) for part in map(str.strip, parts))
    if (model := settings.get("model")) and not is_python_path(model):
        whole["model"] = str(data_path(model))
    return whole


def convert(name: str, value: Any, kind: Kind) -> Any:
    """Convert `value` to `kind`; text (from the command line, or YAML's ``1e-3``) is parsed, ``8.0`` counts as an int.

    Raises:
        ParameterError: it has the wrong type, or is not among the allowed values.
    """
    if kind.optional and (value is None or str(value).lower() in NONE):
        return None
    converted = _converted(value, kind.type)
    if converted is not None:
        _need_possible(name, converted)
        return converted
    wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind.type]
    raise ParameterError(f"Parameter {name} must be {wanted}{' or none' if kind.optional else ''}, not {value!r}.")


def _need_possible(name: str, value: Any) -> None:
    least, most = RANGES.get(name, (value, value))
    if not least <= value <= most:
        raise ParameterError(f"Parameter {name} must be between {least:,} and {most:,}, not {value}.")
    if name == "size" and value % 16:
        raise ParameterError(f"Parameter size must be a multiple of 16, not {value}: the CNN halves it four times.")
    if name == "channels" and value == 2:
        raise ParameterError("Parameter channels must be 1, films in grey, or 3, films in colour, not 2.")
    if name in CHOICES and value not in CHOICES[name]:
        choices = " or ".join(repr(choice) for choice in CHOICES[name])
        raise ParameterError(f"Parameter {name} must be {choices}, not {value!r}.")


def _converted(value: Any, kind: type) -> Any:
    """`value` as `kind`, or None if it cannot be converted."""
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
