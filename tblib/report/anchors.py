"""Anchors of the report's sections, for the page that sets them and for what links to them."""

import re


def slug(text: str) -> str:
    """The words of a text in lower case, joined by "-": letters and digits of any script, and nothing else."""
    return "-".join(re.findall(r"[^\W_]+", text.lower()))


def anchor(chapter: str, heading: str = "") -> str:
    """The anchor of a heading in a chapter (a step's name), as ``evaluation-ranking``; without one, of the chapter."""
    return f"{chapter}-{slug(heading)}" if heading else chapter
