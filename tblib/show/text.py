"""Numbers as text, sentences and tables for notebooks and the report."""

import re
from typing import Any

import pandas as pd
from markupsafe import escape

from tblib.metrics import Estimate

LABELS = {  # names of metrics in tables
    "auroc": "AUROC",
    "average_precision": "average precision",
    "accuracy_at_3500_700": "accuracy at 3,500 : 700",
    "balanced_accuracy": "balanced accuracy",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "mcc": "MCC",
}


def say(*sentences: str) -> None:
    """Show sentences as one paragraph of a notebook, verbatim: names are not read as markup or formulas."""
    from IPython.display import display

    told = MINUS.sub("−", " ".join(sentence for sentence in sentences if sentence))
    html = f'<p class="tex2jax_ignore mathjax_ignore"><strong>Finding.</strong> {escape(told)}</p>'
    display({"text/plain": f"Finding. {told}", "text/html": html}, raw=True)


def percent(share: float, digits: int = 1) -> str:
    """A share as text: ``85.7 %``."""
    return f"{100 * share:.{digits}f} %"


def estimate(value: dict[str, float | None], in_percent: bool = False) -> str:
    """An estimate with value, low and high as text."""
    return Estimate(**value).text(in_percent)


def estimates_table(
    rows: dict[str, dict[str, Any]], of: str, caption: str, in_percent: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Row name -> {column -> estimate} as a table of texts with a caption; columns `in_percent` are in per cent.
    The column of the row names is headed `of`."""
    cells = {
        name: {LABELS.get(column, column): estimate(value, column in in_percent) for column, value in row.items()}
        for name, row in rows.items()
    }
    return captioned(pd.DataFrame.from_dict(cells, orient="index").rename_axis(of), caption)


NONE = "–"
MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # a hyphen that stands for a minus


def how_many(count: int, what: str) -> str:
    """A count of things as text: ``1 time``, ``2 times``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def mean_sd(row: dict[str, Any]) -> str:
    """Mean ± sd as text; of a single value, which has no sd, the value."""
    if row["mean"] is None:
        return NONE
    return f"{row['mean']:.3f}" + ("" if row["sd"] is None else f" ± {row['sd']:.3f}")


def mean_and_interval(row: dict[str, Any]) -> str:
    """`mean_sd` over trainings with the 95 % interval over films, as text."""
    return mean_sd(row) if row["low"] is None else f"{mean_sd(row)} ({row['low']:.3f} to {row['high']:.3f})"


def of_trainings(seeds: int) -> str:
    """What `mean_sd` is of, as text: ``1 training`` or ``mean ± sd of 3 trainings``."""
    return ("" if seeds == 1 else "mean ± sd of ") + how_many(seeds, "training")


def captioned(table: pd.DataFrame, caption: str) -> pd.DataFrame:
    """The table with a caption, which `tblib.show.tables.html` shows."""
    table.attrs["caption"] = caption
    return table


def by_name(table: pd.DataFrame, column: str, caption: str) -> pd.DataFrame:
    """The table with one column as its index, and with a caption."""
    return captioned(table.set_index(column), caption)


def interval_of(values: dict[str, Any]) -> dict[str, Any]:
    """Only the value and limits of a row."""
    return {name: values[name] for name in ("value", "low", "high")}


def signed(value: Estimate) -> str:
    """An estimate as text, with signs."""
    if value.value is None or value.low is None or value.high is None:
        return NONE
    return f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"


def listed(names: list[str]) -> str:
    """Names as an English list."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def own_point(points: dict[str, Any]) -> str:
    """Name of the model's own operating point, the first one: its threshold."""
    return next(iter(points))


def point_text(name: str) -> str:
    """An operating point by its name: a threshold, or the sensitivity that it was chosen for."""
    return (
        f"{name.split('_')[1]} % sensitivity on validation" if name.startswith("sensitivity") else f"threshold {name}"
    )
