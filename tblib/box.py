"""Rectangles and border widths on a film, in pixels, and how a cell of a table carries them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle of pixels, half-open: rows top … bottom−1, columns left … right−1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def area(self) -> int:
        """Pixels inside."""
        return self.height * self.width

    def holds(self, other: Box) -> bool:
        """Whether all of another box lies inside."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and other.bottom <= self.bottom
            and other.right <= self.right
        )

    def widened(self, by: int) -> tuple[slice, slice]:
        """Rows and columns of the box with a margin of `by` px, cut off at 0."""
        rows = slice(max(self.top - by, 0), self.bottom + by)
        return rows, slice(max(self.left - by, 0), self.right + by)


class Widths(NamedTuple):
    """How far a film border reaches into the picture from each side, in pixels; 0 where there is none."""

    top: int
    right: int
    bottom: int
    left: int


def boxes_text(boxes: Iterable[Box]) -> str:
    """Boxes as one cell of a table: "top,left,bottom,right;…", empty for none."""
    return ";".join(",".join(map(str, box)) for box in boxes)


def boxes_from_text(text: str) -> tuple[Box, ...]:
    """The boxes that `boxes_text` wrote."""
    return tuple(Box(*map(int, part.split(","))) for part in text.split(";") if part)


def widths_text(widths: Widths) -> str:
    """Widths as one cell of a table: "top,right,bottom,left"."""
    return ",".join(map(str, widths))


def widths_from_text(text: str) -> Widths:
    """The widths that `widths_text` wrote."""
    return Widths(*map(int, text.split(",")))
