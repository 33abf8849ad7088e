"""Tables on a terminal: cells are wrapped to its width, or left whole where the output goes into a file or a pipe."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tblib.system.text import printable

UNBOUND = 10_000  # columns of a line that is not shown on a terminal


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], whole: Sequence[str] = ()) -> None:
    """Print a table; a row of a single cell is the heading of those behind it. No cell can move the cursor.

    Args:
        columns: names of the columns.
        rows: cells of each row.
        whole: columns that are wrapped only if there is no room for them alone.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, ratio=None, no_wrap=name in whole, overflow="fold")
    for number, cells in enumerate(rows):
        if len(cells) == 1 and number:
            table.add_row()
        table.add_row(*(Text(printable(cell), style="bold" if len(cells) == 1 else "") for cell in cells))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else UNBOUND, highlight=False)
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))
