"""How deep a film's values are, and how they become eight bits: by what its file tells, else by a guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]

DEPTHS = (8, 10, 12, 14, 16)  # bits that films are taken with
DEEPEST = 32
SLAB = 4_000_000  # numbers that are converted at a time
WHOLE = 16  # bits that a value is kept in if it has more than eight
FEW = 0.005  # share of a film's pixels that may be brighter than its depth allows: letters burnt in at the file's white


class Depth(NamedTuple):
    """What a file says of its depth: the bits of its values, and the bits over which those are spread once decoded."""

    bits: int
    spread: int


class Scaled(NamedTuple):
    """Uint8 pixels, 0 black … 255 white; the depth in bits by which they were scaled, and whether it was guessed."""

    pixels: Pixels
    bits: int = 8
    guessed: bool = False


def bit_depth(highest: float, least: int = 8) -> int:
    """The least of `least`, `DEPTHS` and 32 bits that hold this level."""
    return next((bits for bits in (least, *DEPTHS) if highest < 2**bits), DEEPEST)


def guessed_depth(values: Values, least: int = 8, signed: bool = False) -> int:
    """The least of `least`, `DEPTHS` and 32 bits that hold all but `FEW` of these whole numbers.

    One burnt-in white pixel, or one that is a level brighter than the others, therefore changes nothing.

    Args:
        values: numbers; none of them below zero unless they are `signed`.
        least: bits.
        signed: one of the bits is the sign's.
    """
    sizes, most = np.maximum(values, -1 - values) if signed else values, int(FEW * values.size)
    fitting = (bits for bits in (least, *DEPTHS) if np.count_nonzero(sizes >= 2 ** (bits - signed)) <= most)
    return next(fitting, DEEPEST)


def guessed_range(values: Values, least: int = 8) -> tuple[float, float, int]:
    """Black, white and depth of whole numbers whose file does not tell them; those below zero have a sign bit."""
    signed = bool(values.size and values.min() < 0)
    bits = guessed_depth(values, least, signed)
    black = -(2.0 ** (bits - 1)) if signed else 0.0
    return black, black + 2.0**bits - 1, bits


def stretched(values: Values, black: float, white: float) -> Pixels:
    """Uint8 of values of any type between two levels; what lies outside becomes black or white."""

    def of(part: Values) -> Values:
        """Float32, 0 … 255, of some of the rows."""
        scaled = part.astype(np.float32)
        scaled -= np.float32(black)
        scaled *= np.float32(255 / ((white - black) or 1))
        return np.rint(scaled, out=scaled).clip(0, 255, out=scaled)

    return by_parts(of, values)


def by_parts(function: Callable[..., Values], values: Values, *others: Values) -> Pixels:
    """Uint8 of the shape of `values`: the function of these and `others`, some rows at a time, to spare memory."""
    found = np.empty(values.shape, np.uint8)
    rows = max(1, SLAB * len(values) // max(values.size, 1))
    for top in range(0, len(values), rows):
        found[top : top + rows] = function(*(each[top : top + rows] for each in (values, *others)))
    return found


def eight_bits(deep: Values, own: Depth | None, least: int) -> Scaled:
    """Scale whole numbers by their bit depth, fractions by what they are fractions of.

    A 12-bit film in a 16-bit file is divided by 16: its darkest and brightest parts stay apart, and two films of one
    scanner stay comparable, which a stretch to each film's own range would undo.

    Args:
        deep: (H, W) or (H, W, channels), of any type of number.
        own: what the file says.
        least: bits of a file that says nothing.

    Raises:
        ValueError: a value is no number.
    """
    if np.issubdtype(deep.dtype, np.floating):
        return _of_fractions(deep, least)
    if deep.min() < 0:
        black, white, bits = guessed_range(deep, least)
        return Scaled(stretched(deep, black, white), bits, True)
    fits = own is not None and guessed_depth(deep, own.spread) == own.spread
    if own and not fits and _is_spread(deep, own.bits):
        own, fits = Depth(own.bits, WHOLE), True
    if own and fits:
        return Scaled(_shifted(deep, own.spread - 8), own.bits, False)
    bits = guessed_depth(deep, least)
    return Scaled(_shifted(deep, bits - 8), bits, True)


def _of_fractions(values: Values, least: int) -> Scaled:
    """Floats: of 1 where none is above it, else of a bit depth; where some are below zero, of their own range."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers")
    low, high = float(values.min()), float(values.max())
    if low < 0:
        return Scaled(stretched(values, low, high), 8, True)
    bits = 8 if high <= 1 else guessed_depth(values, least)
    return Scaled(stretched(values, 0, 1.0 if high <= 1 else 2.0**bits - 1), bits, True)


def _shifted(deep: Values, by: int) -> Pixels:
    return by_parts(lambda part: np.minimum(np.right_shift(part, by), 255), deep)


def _is_spread(deep: Values, bits: int) -> bool:
    """Whether values of so many bits fill sixteen, as a PNG's should: followed by zeros, or by their own first bits."""
    rest = deep & (2 ** (WHOLE - bits) - 1)
    return bool((rest == 0).all() or (rest == deep >> bits).all())
