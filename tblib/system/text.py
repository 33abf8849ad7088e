"""Text from elsewhere, such as file names, made safe to display and write."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")  # start of a cell that a spreadsheet may evaluate, or that `as_cell` has quoted
QUOTED = re.compile(r"'+[=+\-@\t\r]")

RESEARCH_USE = "Research use only: not a medical device, not for diagnosis."


def printable(name: str) -> str:
    """A name in one line that any file or page can hold: control characters and surrogates as \\x0d or \\udcd1."""
    return "".join(
        letter if letter.isprintable() or letter == " " else letter.encode("unicode_escape").decode("ascii")
        for letter in name
    )


def as_cell(value: Any) -> Any:
    """A value for a CSV file; text that a spreadsheet would evaluate as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def from_cell(value: str) -> str:
    """Undo `as_cell`."""
    return value[1:] if QUOTED.match(value) else value


def did_you_mean(word: str, known: Iterable[str], least: float = 0.6) -> str:
    """A hint to put behind a sentence on a mistyped word: " Did you mean run?"; empty if no known one is like it.
    `least` is the share, 0 … 1, of letters that they must have in common."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=least)
    return f" Did you mean {near[0]}?" if near else ""
