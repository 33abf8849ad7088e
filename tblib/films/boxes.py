"""Rectangles and border widths on a film, in pixels, and their text form in tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tblib.arrays import Mask


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
        """Whether another box lies entirely inside."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and other.bottom <= self.bottom
            and other.right <= self.right
        )

    def widened(self, by: int) -> tuple[slice, slice]:
        """Rows and columns of the box with a margin of `by` px, clipped at 0."""
        rows = slice(max(self.top - by, 0), self.bottom + by)
        return rows, slice(max(self.left - by, 0), self.right + by)


def box_around(mask: Mask) -> Box:
    """The smallest box around all that is True in a mask, bool (H, W); its sides are 0 if nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return Box(0, 0, 0, 0)
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


class Widths(NamedTuple):
    """Widths of a film border on each side of the picture, in pixels; 0 where there is none."""

    top: int
    right: int
    bottom: int
    left: int


def boxes_text(boxes: Iterable[Box]) -> str:
    """Boxes as a table cell: "top,left,bottom,right;…", empty for none."""
    return ";".join(",".join(map(str, box)) for box in boxes)


def boxes_from_text(text: str) -> tuple[Box, ...]:
    """Parse the output of `boxes_text`."""
    return tuple(Box(*map(int, part.split(","))) for part in text.split(";") if part)


def widths_text(widths: Widths) -> str:
    """Widths as a table cell: "top,right,bottom,left"."""
    return ",".join(map(str, widths))


def widths_from_text(text: str) -> Widths:
    """Parse the output of `widths_text`."""
    return Widths(*map(int, text.split(",")))
