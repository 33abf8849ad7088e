"""Tables of the report as HTML."""

import pandas as pd
from markupsafe import Markup

from tblib.show import tables


def html_table(table: pd.DataFrame) -> Markup:
    """A table as HTML, its cells and headings escaped, save those that are `Markup` already."""
    return Markup(tables.html(table))
