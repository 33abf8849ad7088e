"""Parameters: those given by a user, checked against what notebooks declare, and those used by a run."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tblib.report.declared import CHOICES, NOTEBOOKS, OURS, RANGES, Kind, ParameterError, schema
from tblib.run import STEPS, Run, run_folder
from tblib.system.text import did_you_mean

NONE = ("", "none", "null")  # texts for None if a parameter is optional
# They name files, or are words of `find_data`.
PATHS = ("data", "demo_preset", "beside", "external", "selection", "chosen_by", "films_read", "spec")
Parameters = dict[str, Any]


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
            hint = did_you_mean(name, known)
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
    # Imported here, as they take half a second, which a mistyped parameter need not wait for.
    from tblib.catalogue import WORDS
    from tblib.classifiers.imported import is_python_path
    from tblib.films.database import data_path

    whole = dict(settings)
    for name in PATHS:
        if settings.get(name):
            words = WORDS.get(name, ())
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
    raise ParameterError(f"Parameter {name} must be {kind}, not {value!r}.")


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
        raise ParameterError(f"Parameter {name} must be {choices}, not {value!r}.{did_you_mean(value, CHOICES[name])}")


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
