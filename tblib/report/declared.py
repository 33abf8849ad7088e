"""What notebooks declare: their parameters' names, types, defaults and meanings, and the values that may be given.

Cells are read as JSON and Python: papermill and nbformat say the same, and take more than a second to import.
"""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tblib.arrays import TblibError
from tblib.system.files import ROOT
from tblib.system.text import did_you_mean

if TYPE_CHECKING:
    from tblib.run import Step

NOTEBOOKS = ROOT / "notebooks"
TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
OURS = ("run", "data")  # set by --name and --data, not by -p

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


class Kind(NamedTuple):
    """Kind of a parameter: its type, and whether it may be None."""

    type: type
    optional: bool = False

    def __str__(self) -> str:
        """For people: "a whole number or none"."""
        return TYPE_NAMES[self.type] + (" or none" if self.optional else "")


class ParameterError(TblibError):
    """An unknown or wrongly typed parameter."""


class Cell(NamedTuple):
    """One cell of a notebook: ``code`` or ``markdown``, its text, and its tags."""

    kind: str
    source: str
    tags: tuple[str, ...]


def cells_of(notebook: str) -> list[Cell]:
    """The cells of one of the study's notebooks, called ``01_eda.ipynb``."""
    content = json.loads((NOTEBOOKS / notebook).read_text(encoding="utf-8"))
    return [
        Cell(cell["cell_type"], "".join(cell["source"]), tuple(cell["metadata"].get("tags", [])))
        for cell in content["cells"]
    ]


def schema(step: "Step") -> dict[str, tuple[Kind, Any, str]]:
    """Declarations of a notebook's parameters cell: name -> (kind, default, comment)."""
    return _declared(step.notebook)


def _declared(notebook: str) -> dict[str, tuple[Kind, Any, str]]:
    source = next(cell.source for cell in cells_of(notebook) if "parameters" in cell.tags)
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            behind = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :].decode()
            comment = behind.strip().removeprefix("#").strip()
            found[node.target.id] = (_kind(ast.unparse(node.annotation)), ast.literal_eval(node.value), comment)
    return found


def _kind(declared: str) -> Kind:
    inner = declared.removeprefix("Optional[").removesuffix("]")
    return Kind(TYPES[inner], inner != declared)


def by_step() -> dict[str, dict[str, tuple[Kind, Any, str]]]:
    """Step -> what its notebook declares, for all steps in order; a notebook is called after its step."""
    notebooks = sorted(path.name for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return {Path(notebook).stem.partition("_")[2]: _declared(notebook) for notebook in notebooks}


def choices_of(name: str) -> tuple[str, ...]:
    """The values of which a parameter takes one, or `mitigation` several joined by "+"; empty for all others."""
    if name == "budget":
        from tblib.audit.budgets import BUDGETS

        return tuple(BUDGETS)
    if name == "mitigation":
        from tblib.mitigation import NAMES

        return NAMES
    return CHOICES.get(name, ())


def allowed(name: str) -> str:
    """What may be given for a parameter besides its type, for people: its range, or its choices."""
    if name in RANGES:
        least, most = RANGES[name]
        return f"{_number(least)} … {_number(most)}"
    return (" + " if name == "mitigation" else ", ").join(choices_of(name))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def explained(wanted: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Rows of a table of parameters: name, type, default, allowed values, meaning; each step's name is a row before.

    Raises:
        ParameterError: one of `wanted` is neither a step nor a parameter; without any, all are explained.
    """
    steps = by_step()
    known = [*steps, *(name for own in steps.values() for name in own if name not in OURS)]
    for word in wanted:
        if word not in known:
            what = f"There is no step or parameter {word!r}.{did_you_mean(word, known)}"
            raise ParameterError(f"{what} The steps are: {', '.join(steps)}. All parameters: python -m tblib params")
    rows: list[tuple[str, ...]] = []
    for step, own in steps.items():
        named = [name for name in own if name not in OURS and (not wanted or {step, name} & set(wanted))]
        rows += [(step,)] if named else []
        for name in named:
            kind, default, meaning = own[name]
            rows.append((name, str(kind), "none" if default is None else str(default), allowed(name), meaning))
    return rows
