"""Bit depth of a film, stated by its file or guessed, and scaling to eight bits."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tblib.arrays import Pixels

Values = npt.NDArray[Any]
DEPTHS = (8, 10, 12, 14, 16)  # bits of films
DEEPEST = 32
SLAB = 4_000_000  # numbers converted at a time
WHOLE = 16  # bits that store values of more than eight bits
FEW = 0.005  # share of a film's pixels that may exceed its depth: letters burnt in at the file's white


class Depth(NamedTuple):
    """The depth stated by a file: bits of its values, and bits over which they are spread once decoded."""

    bits: int
    spread: int


class Scaled(NamedTuple):
    """Uint8 pixels, 0 black … 255 white; the depth in bits used for scaling, and whether it was guessed."""

    pixels: Pixels
    bits: int = 8
    guessed: bool = False


def bit_depth(highest: float, least: int = 8) -> int:
    """The least of `least`, `DEPTHS` and 32 bits that can represent this level."""
    return next((bits for bits in (least, *DEPTHS) if highest < 2**bits), DEEPEST)


def guessed_depth(values: Values, least: int = 8, signed: bool = False) -> int:
    """The least of `least`, `DEPTHS` and 32 bits that can represent all but `FEW` of these integers.

    Tolerates single burnt-in white pixels, or ones slightly brighter than the others. Values may be below zero only if
    `signed`, which means that one of the bits is the sign.
    """
    sizes, most = np.maximum(values, -1 - values) if signed else values, int(FEW * values.size)
    fitting = (bits for bits in (least, *DEPTHS) if np.count_nonzero(sizes >= 2 ** (bits - signed)) <= most)
    return next(fitting, DEEPEST)


def guessed_range(values: Values, least: int = 8) -> tuple[float, float, int]:
    """Black, white and depth of integers whose file does not state them; negative values imply a sign bit."""
    signed = bool(values.size and values.min() < 0)
    bits = guessed_depth(values, least, signed)
    black = -(2.0 ** (bits - 1)) if signed else 0.0
    return black, black + 2.0**bits - 1, bits


def stretched(values: Values, black: float, white: float) -> Pixels:
    """Map values of any type between two levels to uint8; values outside become black or white."""

    def of(part: Values) -> Values:
        """Float32 of the same shape, 0 at black and 255 at white."""
        scaled = part.astype(np.float32)
        scaled -= np.float32(black)
        scaled *= np.float32(255 / ((white - black) or 1))
        return np.rint(scaled, out=scaled).clip(0, 255, out=scaled)

    return by_parts(of, values)


def by_parts(function: Callable[..., Values], values: Values, *others: Values) -> Pixels:
    """Apply a function to `values` and `others` some rows at a time, to save memory; uint8 of the shape of `values`."""
    found = np.empty(values.shape, np.uint8)
    rows = max(1, SLAB * len(values) // max(values.size, 1))
    for top in range(0, len(values), rows):
        found[top : top + rows] = function(*(each[top : top + rows] for each in (values, *others)))
    return found


def eight_bits(deep: Values, own: Depth | None, least: int) -> Scaled:
    """Scale integers by their bit depth, floats by their range.

    A 12-bit film in a 16-bit file is divided by 16: its darkest and brightest parts stay distinct, and films of one
    scanner stay comparable, which stretching each film to its own range would undo.

    Args:
        deep: (H, W) or (H, W, channels), of any numeric type.
        own: depth stated by the file.
        least: bits assumed at least if the file states none.

    Raises:
        ValueError: a value is not finite.
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
    """Scale floats: by 1 if none is above it, else by a bit depth; with negative values, by their own range."""
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
    """Whether values of so many bits fill sixteen, as they should in a PNG: padded with zeros or their first bits."""
    rest = deep & (2 ** (WHOLE - bits) - 1)
    return bool((rest == 0).all() or (rest == deep >> bits).all())


FEW_FILMS = 20  # with fewer films of unknown depth, each of them counts


def shared_depth(films: Iterable[tuple[int, bool]]) -> int:
    """Depth in bits of a database's films that do not state their own: the least that holds most of them.

    It holds all but a twentieth, so that one film with a burnt-in white does not turn all others black; with fewer than
    20 such films it holds all, and films that do state their depth count, too. Each film is given by its `bits` and
    `guessed` (`tblib.films.film.Film`), opened without a least depth.
    """
    films = list(films)
    guesses = [bits for bits, guessed in films if guessed]
    if not guesses:
        return 8
    if len(guesses) < FEW_FILMS:
        guesses += [bits for bits, guessed in films if not guessed and bits > 8]
    return next(
        (depth for depth in DEPTHS if sum(bits > depth for bits in guesses) <= len(guesses) // FEW_FILMS), DEPTHS[-1]
    )
