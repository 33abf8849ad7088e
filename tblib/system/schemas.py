"""Schemas of a run's JSON and CSV files; files are validated here and nowhere else."""

import json
import math
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import fastjsonschema
import numpy as np
import pandas as pd

Schema = dict[str, Any]  # JSON Schema, https://json-schema.org/draft/2020-12
LARGEST = 2**63  # limit of whole numbers: NumPy and torch accept none beyond it


class SchemaError(ValueError):
    """A violation of a schema, as the end of a sentence."""


def _object(fields: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(fields), "properties": fields | (optional or {})}


def _named(names: str, value: Schema) -> dict[str, Schema]:
    return dict.fromkeys(names.split(), value)


def _each(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


ANY: Schema = {}
NUMBER: Schema = {"type": "number"}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "pattern": r"\S"}
TRUTH: Schema = {"type": "boolean"}
SIZE: Schema = {"type": "integer", "minimum": 32, "multipleOf": 16}
BITS: Schema = {"type": "integer", "minimum": 1, "maximum": 32}
VERDICT: Schema = {"enum": ["AVAILABLE", "USED", "DECISIVE", "NOT SHOWN", "UNDECIDED"]}
KNOWN = _object(_named("value low high", NUMBER)) | {"maxProperties": 3}
ESTIMATE = _object(_named("value low high", {"type": ["number", "null"]})) | {"maxProperties": 3}
THREE = {"minProperties": 3, "maxProperties": 3}
RATES = _named("sensitivity specificity ppv npv balanced_accuracy f1 mcc accuracy_at_3500_700", ESTIMATE)
RATES |= {"accuracy": KNOWN, "ppv_at_prevalence": _each(ESTIMATE)}
POINT = _object({"threshold": SHARE, "confusion": _each(COUNT), **RATES})
POINTS = "sensitivity_90 sensitivity_95"  # besides the model's own, named by its threshold
PROBED = _object({"auroc": KNOWN, "accuracy": KNOWN, "accuracy_at_3500_700": ESTIMATE})
PARAMETERS = _each({"type": ["string", "number", "boolean", "null"]})
STEP = _object(
    _named("fingerprint finished git_commit machine", TEXT)
    | {"seconds": NUMBER, "files": _each(TEXT), "versions": _each(TEXT), "parameters": PARAMETERS}
)
JSON: dict[str, Schema] = {
    "run.json": _object(
        {"steps": _each(STEP), "complete": TRUTH},
        {"parameters": _each(PARAMETERS), "headline": TEXT}
        | {"sets": _object(_named("chose reported", _list(TEXT)))},  # films of other hospitals
    )
    | {
        "if": _object({"complete": {"const": True}}),
        "then": _object(_named("name database finished device precision", TEXT) | {"threads": COUNT}),
    },
    "catalogue.json": _object(
        _named("database digest", TEXT)
        | _named("path negative positive", NAME)
        | {"synthetic": TRUTH, "films": _each(COUNT) | {"minProperties": 1}, "notes": _list(TEXT)}
        | {"left_out": _list(_object(_named("file problem", TEXT)))},
        {"bits": BITS, "passed_over": _each(COUNT)},
    ),
    "preparation.json": _object(
        _named("negative positive", NAME) | {"size": SIZE, "mean": NUMBER, "sd": POSITIVE},
        _named("database lungs", TEXT)
        | {"bits": BITS, "mitigation": {"type": ["string", "null"]}, "seed": NUMBER, "parts": _each(_each(COUNT))},
    ),
    "training.json": _object(
        _named("epochs threads", COUNT)
        | _named("best_epoch films_per_second", NUMBER)
        | _named("schedule device precision", TEXT)
        | {"pos_weight": POSITIVE},
        {"chosen_by": _object({"set": TEXT, "n": COUNT, "films": _list(TEXT)}) | {"type": ["object", "null"]}},
    ),
    "model.json": _object(
        _named("name kind model digest", NAME)
        | _named("folder trained_on seen", TEXT)
        | {"channels": {"enum": [1, 3]}, "threshold": SHARE, "spec": _object({})}
        | {"about": _each(TEXT), "operators": _each(COUNT)}
    ),
    "metrics.json": _object(
        RATES
        | _named("n positives", COUNT)
        | _named("auroc average_precision ece brier", ESTIMATE)
        | {
            "majority_accuracy": SHARE,
            "thresholds": _object(_named(POINTS, SHARE)) | {"additionalProperties": SHARE} | THREE,
            "operating_points": _object(_named(POINTS, POINT)) | {"additionalProperties": POINT} | THREE,
            "inverted": TRUTH,
            "model": {"type": ["object", "null"]},
            "calibration": _object(
                {
                    "shift": NUMBER,
                    "temperature": POSITIVE,
                    "note": TEXT,
                    "before": _object(_named("ece brier", ESTIMATE)),
                }
            ),
        }
    ),
    "likeness.json": _object(
        {"weights": _list(NUMBER) | {"minItems": 768, "maxItems": 768}}
        | {"offset": NUMBER}
        | _named("darkest brightest", _list(NUMBER) | {"minItems": 2, "maxItems": 2})
    )
    | {"additionalProperties": False},
    "shortcuts.json": _object(
        {
            "baselines": _each(_object(_named("all test", PROBED))),
            "cnn": PROBED,
            "held_out": _object({"films": COUNT, "auroc": KNOWN}),
            "verdicts": _list(_object(_named("cue reason note", TEXT) | {"verdict": VERDICT})),
            "region_ablation": _list(
                _object(
                    {"region": TEXT, "seeds": COUNT, "sd": {"type": ["number", "null"]}}  # of one training: null
                    | _named("mean low high", NUMBER)
                )
            ),
            "saliency": _object(
                {
                    "gate": _object({"open": TRUTH, "correlation": NUMBER, "limit": NUMBER})
                    | {"type": ["object", "null"]}  # null of a model without gradients
                }
            ),
            "external": _object({"sets": _list(_object({"set": TEXT, "auroc": ESTIMATE}, {"chose": TRUTH}))}),
        }
    ),
}


def parsed(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises:
        SchemaError: not JSON, nested too deeply, or with a number that is not finite or too large.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_int=_countable, parse_constant=_finite)
    except SchemaError:
        raise
    except (ValueError, RecursionError) as error:  # including bytes that are not UTF-8
        raise SchemaError(f"it is no JSON, or only a part of it ({error})") from error


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise SchemaError(f"{text} is no finite number")
    return number


def _countable(text: str) -> int:
    if len(text) > len(str(-LARGEST)) or abs(number := int(text)) >= LARGEST:
        raise SchemaError(f"{text[:20]}… is too large a number")
    return number


def check_facts(file: str, content: Any) -> None:
    """Validate the content of a run's JSON `file`; files without a schema may be any object.

    Raises:
        SchemaError: it is invalid; the message names the field.
    """
    try:
        _validator(file)(content)
    except fastjsonschema.JsonSchemaValueException as error:
        field = ".".join(map(str, error.path[1:])) or "it"  # the first is called "data"
        if error.rule == "required":
            lacking = next(name for name in error.definition["required"] if name not in error.value)
            raise SchemaError(f"{field} has no {lacking}") from error
        told = textwrap.shorten(repr(error.value), 60)
        raise SchemaError(f"{field}{error.message.removeprefix(str(error.name))}, and is {told}") from error


@cache
def _validator(file: str) -> Callable[[Any], Any]:
    validator: Callable[[Any], Any] = fastjsonschema.compile(JSON.get(file, _object({})), use_default=False)
    return validator


class Column(NamedTuple):
    """Type of a column: a test of all cells, and a description of valid ones."""

    holds: Callable[[pd.Series], Any]
    wanted: str


def _numbers(cells: pd.Series) -> pd.Series:
    return pd.to_numeric(cells, errors="coerce").astype(float)


def _one_of(*values: str | int) -> Column:
    return Column(lambda cells: cells.isin(values), " or ".join(map(str, values)))


_WHOLE = Column(lambda cells: (_numbers(cells) >= 0) & (_numbers(cells) % 1 == 0), "a whole number")
_NUMBER = Column(lambda cells: np.isfinite(_numbers(cells)), "a number")
_NUMBER_OR_NONE = Column(lambda cells: cells.isna() | np.isfinite(_numbers(cells)), "a number")
_SHARE = Column(lambda cells: _numbers(cells).between(0, 1), "a number within 0 … 1")
_TRUTH = Column(lambda cells: cells.astype(str).isin(["True", "False"]), "True or False")
_TEXT = Column(lambda cells: np.ones(len(cells), bool), "text")
_NAME = Column(lambda cells: cells.astype(str).str.strip() != "", "a name")
_BOXES = Column(lambda cells: cells.str.fullmatch(r"(-?\d+(,-?\d+){3}(;(?=.)|$))*"), "boxes")
_BORDER = Column(lambda cells: cells.str.fullmatch(r"-?\d+(,-?\d+){3}"), "four widths")
_PREPARED = {
    **dict.fromkeys(("image", "duplicate_group"), _WHOLE),
    **dict.fromkeys(("file", "label", "cues"), _NAME),
    "part": _one_of("train", "val", "test"),
    "target": _one_of(0, 1),
}
_MEASURED = (
    *("tint_strength", "tint_balance", "tint_spread", "chroma", "grey_mean", "grey_sd", "share_black", "share_white"),
    *("equalised", "sharpness", "blockiness", "bytes_per_pixel", "border_mean", "border_sd", "border_tilt"),
    *("white_rectangle_score", "black_box_score", "marker_score", "bordered_score"),
)
_DETECTED = ("one_channel", "equal_channels", "white_rectangle", "black_box", "marker", "bordered")
TABLES: dict[str, dict[str, Column]] = {
    "catalogue.csv": {
        **dict.fromkeys(("file", "label", "mode"), _NAME),
        **dict.fromkeys(("sha256", "pixels_sha256", "marker_letter", "marker_style", "claimed_source"), _TEXT),
        **dict.fromkeys(("bytes", "width", "height", "bits", "duplicate_group"), _WHOLE),
        **dict.fromkeys(_DETECTED, _TRUTH),
        **dict.fromkeys(_MEASURED, _NUMBER),
        **dict.fromkeys(("tint_evenness", "hue"), _NUMBER_OR_NONE),  # none for grey films
        **dict.fromkeys(("white_rectangles", "black_boxes", "markers"), _BOXES),
        "border": _BORDER,
    },
    "passed_over.csv": {"file": _NAME, "why": _NAME},
    "split.csv": _PREPARED,
    "predictions.csv": _PREPARED | {"logit": _NUMBER, "probability": _SHARE, "calibrated": _SHARE},
    "external.csv": {
        **dict.fromkeys(("set", "file"), _NAME),
        "target": _one_of(0, 1),
        "group": _WHOLE,
        "logit": _NUMBER,
    },
    "history.csv": dict.fromkeys(
        ("epoch", "lr", "train_loss", "train_accuracy", "train_f1", "val_loss", "val_accuracy", "val_f1"), _NUMBER
    ),
}


def check_table(file: str, table: pd.DataFrame) -> None:
    """Validate a run's CSV `file`; in the catalogue only the rows of films that decode.

    Raises:
        SchemaError: it is invalid; the message names column and row.
    """
    columns = TABLES.get(file, {})
    lacking = [name for name in columns if name not in table]
    if file == "catalogue.csv" and "problem" not in table:
        lacking.append("problem")
    if lacking:
        raise SchemaError(f"it has no column {lacking[0]}")
    if columns and table.empty and file not in ("passed_over.csv", "external.csv"):
        raise SchemaError("it has no row")
    rows = table[table["problem"] == ""] if file == "catalogue.csv" else table
    for name, column in columns.items():
        right = np.asarray(column.holds(rows[name]), dtype=bool)
        if not right.all():
            first = int(np.argmin(right))
            cell = rows[name].iloc[first]
            raise SchemaError(f"{name} is {cell!r} in row {rows.index[first] + 1}, not {column.wanted}")
    if file == "split.csv" and table["image"].tolist() != list(range(len(table))):
        raise SchemaError("image does not number the rows from 0")
