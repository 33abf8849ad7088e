"""Text that came from elsewhere, such as names of files, made fit to be shown and written."""

from __future__ import annotations


def printable(name: str) -> str:
    """A name in one line that any file and page can hold: control characters and broken letters as \\x0d or \\udcd1."""
    return "".join(
        letter if letter.isprintable() or letter == " " else letter.encode("unicode_escape").decode("ascii")
        for letter in name
    )
