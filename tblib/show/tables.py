"""Tables as HTML, in notebooks and in the report: one style for numbers, no row numbers, a caption of their own."""

from typing import Any

import pandas as pd
from markupsafe import Markup, escape
from pandas.api.types import is_integer_dtype

from tblib.show.text import MINUS, NONE

UNNAMED = "measure"  # head of an index without a name


def html(table: pd.DataFrame) -> Markup:
    """The table as HTML, its cells escaped save those that are `Markup`; the index is shown only if it holds names."""
    named = not is_integer_dtype(table.index.dtype)
    cells = table.rename_axis(columns=None).rename(columns=escape)
    if named:
        cells = cells.reset_index(names=escape(table.index.name or table.columns.name or UNNAMED))
    with pd.option_context("display.max_colwidth", None):  # or long texts would be shortened
        made: str = cells.map(cell).to_html(index=False, border=0, justify="left", classes="tblib", escape=False)
    caption = escape(table.attrs.get("caption", ""))
    return Markup(made.replace("<thead>", f"<caption>{caption}</caption>\n<thead>", 1) if caption else made)


def cell(value: Any) -> Markup:
    """A value as a cell, escaped unless it is `Markup`: yes and no, a dash for nothing, four digits, a true minus."""
    if isinstance(value, Markup):
        return value
    return escape(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return NONE
    if isinstance(value, float):
        value = f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4g}"
    elif isinstance(value, int) or hasattr(value, "__index__"):
        value = f"{int(value):,}"
    return MINUS.sub("−", str(value))


def use_in_notebooks() -> None:
    """Have notebooks show every table as `html` does."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is not None and shell.display_formatter is not None:
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, html)
