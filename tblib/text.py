"""Text that came from elsewhere, such as names of files, made fit to be shown and written."""

from __future__ import annotations

import re
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a cell begins that a spreadsheet may compute, or one that we wrote before
QUOTED = re.compile(r"'+[=+\-@\t\r]")


def printable(name: str) -> str:
    """A name in one line that any file and page can hold: control characters and broken letters as \\x0d or \\udcd1."""
    return "".join(
        letter if letter.isprintable() or letter == " " else letter.encode("unicode_escape").decode("ascii")
        for letter in name
    )


def as_cell(value: Any) -> Any:
    """A value of a CSV file; text that a spreadsheet would compute as a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_cell(value: str) -> str:
    """The text that `as_cell` made a cell of."""
    return value[1:] if QUOTED.match(value) else value
