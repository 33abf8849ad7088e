"""Grey levels of DICOM films: the standard's transforms of stored values (PS3.3, C.11), tolerating missing elements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tblib.arrays import Floats, Mask, Pixels, TblibError
from tblib.films.depth import WHOLE, Scaled, Values, bit_depth, guessed_range, stretched

if TYPE_CHECKING:
    from pydicom import Dataset

LINEAR, EXACT = "LINEAR", "LINEAR_EXACT"
FUNCTIONS = (LINEAR, EXACT, "SIGMOID")  # functions of a window (C.11.2.1.3)
TEXT = ("DS", "IS", "LO", "SH", "UN", None)  # value representations that store numbers as text


class DicomError(TblibError):
    """A DICOM file without usable pixels; the message continues after the file's name."""


class Table(NamedTuple):
    """A lookup table: uint16 entries, the value of the first one, and the bits per entry."""

    first: int
    entries: npt.NDArray[np.uint16]
    bits: int

    def of(self, levels: Values) -> npt.NDArray[np.uint16]:
        """Look up levels; those outside the table get its first or last entry."""
        places = np.rint(levels).astype(np.int64) - self.first
        return self.entries[places.clip(0, len(self.entries) - 1)]


class Levels(NamedTuple):
    """The level of each stored value before it is scaled to eight bits.

    Attributes:
        shown: float (n,), a level per value; decreasing if the file inverts the film.
        black, white: the darkest and the brightest level possible.
        bits, guessed: as in `tblib.films.depth.Scaled`.
    """

    shown: Values
    black: float
    white: float
    bits: int = 8
    guessed: bool = False


def grey_levels(stored: Values, data: Dataset, least: int) -> Scaled:
    """Convert stored values (H, W) of `data.BitsStored` bits to grey levels.

    The modality's table (or slope and intercept) comes first, then the first table of values of interest or the first
    window, then the inversion of MONOCHROME1. Padding becomes black and is ignored otherwise.

    Args:
        stored: integers, aligned to their lowest bit.
        data: elements of the film, which may be empty or missing.
        least: minimum bit depth for scaling sixteen stored bits without a window.

    Raises:
        DicomError: a number or a window's function in the file is invalid.
    """
    bits = int(data.BitsStored)
    lowest = -(2 ** (bits - 1)) if data.PixelRepresentation else 0
    values = np.arange(lowest, lowest + 2**bits)
    padding = _padding(stored, data)
    levels = _levels(values, stored if padding is None else stored[~padding], data, least)
    table = stretched(levels.shown, levels.black, levels.white)
    if data.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    grey: Pixels = table[stored.astype(np.int32) - lowest]
    if padding is not None:
        grey[padding] = 0
    return Scaled(grey, levels.bits, levels.guessed)


def _levels(values: Values, used: Values, data: Dataset, least: int) -> Levels:
    """The level of each possible stored value; `used` are those that occur in the film."""
    table = first_table(data, "ModalityLUTSequence")
    slope = 1.0 if table else (first_number(data, "RescaleSlope") or 1.0)
    intercept = 0.0 if table else (first_number(data, "RescaleIntercept") or 0.0)
    levels: Floats = table.of(values).astype(np.float64) if table else values * slope + intercept
    interest = first_table(data, "VOILUTSequence")
    if interest:
        return Levels(interest.of(levels), 0, 2**interest.bits - 1)
    windowed = _windowed(levels, data)
    if windowed is not None:
        return Levels(windowed, 0, 1)
    if table:
        return Levels(levels, 0, 2**table.bits - 1, max(table.bits, 8))
    if data.BitsStored < WHOLE:
        return Levels(levels, levels.min(), levels.max(), max(int(data.BitsStored), 8))
    return _unknown(values, used, slope, intercept, least)


def _unknown(values: Values, used: Values, slope: float, intercept: float, least: int) -> Levels:
    """Levels of a film of sixteen stored bits, which hold any depth, by the least depth that holds them.
    The depth is that of the stored values, unless those include negative ones and the rescaled ones do not."""
    rescaled = used.size and used.min() < 0 <= slope * used.min() + intercept and slope > 0
    shown, used = (values * slope + intercept, used * slope + intercept) if rescaled else (values, used)
    black, white, bits = guessed_range(used, least)
    if slope < 0:  # the film is inverted
        shown, black, white = -shown, -white, -black
    return Levels(shown, black, white, bits, True)


def _windowed(levels: Floats, data: Dataset) -> Floats | None:
    """Levels 0 … 1 within the first window, or None if the file has none with a width."""
    center, width = first_number(data, "WindowCenter"), first_number(data, "WindowWidth")
    if center is None or not width or width < 0:
        return None
    from pydicom import Dataset
    from pydicom.pixels import apply_windowing

    function = str(data.get("VOILUTFunction") or LINEAR).strip().upper()
    if function not in FUNCTIONS:
        raise DicomError(f"has a window of the function {function}, which is not read; convert it to PNG.")
    window = Dataset()  # the window only: pydicom would also apply the other elements, whatever their content
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 1, 0
    window.VOILUTFunction = EXACT if function == LINEAR and width < 1 else function
    window.WindowCenter, window.WindowWidth = center, width
    shown: Floats = apply_windowing(levels, window)
    return shown


def _padding(stored: Values, data: Dataset) -> Mask | None:
    """Mask of the film's padding (C.7.5.1.1.2), or None."""
    limits = [_whole(data, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if limits[0] is None:
        return None
    signed, bits = bool(data.PixelRepresentation), int(data.BitsStored)
    ends = [_wrapped(limit, bits, signed) for limit in limits if limit is not None]
    where: Mask = (stored >= min(ends)) & (stored <= max(ends))
    return where


def _wrapped(value: int, bits: int, signed: bool) -> int:
    """A value truncated to so many bits, as stored ones are."""
    value %= 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def _whole(data: Dataset, name: str) -> int | None:
    """An element's first integer, or None if it is missing or empty."""
    value = data.get(name)
    if value is None or value == "" or value == b"":
        return None
    if isinstance(value, bytes):  # of a representation unknown to pydicom
        return int.from_bytes(value[:2], "little")
    return int(value[0] if isinstance(value, list) else value)


def first_number(data: Dataset, name: str) -> float | None:
    """An element's first number, also with a decimal comma; None if the element is missing or empty.

    Raises:
        DicomError: it is not a number.
    """
    element = data.get_item(name)
    if element is None or element.value is None:
        return None
    if element.VR in TEXT and isinstance(element.value, bytes):  # unparsed
        text = element.value.decode("ascii", "replace").split("\\")[0].strip(" \0")
    else:
        value = data[name].value
        several = hasattr(value, "__iter__") and not isinstance(value, str)
        text = str(next(iter(value), "") if several else "" if value is None else value).strip()
    if not text:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DicomError(f"has a {name} of {text[:40]!r}, which is no number; export it again, or convert it to PNG.")
    return number


def first_table(data: Dataset, name: str) -> Table | None:
    """The first table of a sequence, or None if it is missing or empty.
    If it claims sixteen bits, or fewer than its largest entry needs, it gets the bits of that entry."""
    item = next(iter(data.get(name) or ()), None)
    if item is None or not item.get("LUTDescriptor") or not item.get("LUTData"):
        return None
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    content = item.LUTData
    if isinstance(content, bytes):
        order = "<" if data.original_encoding[1] is not False else ">"
        content = np.frombuffer(content, np.uint8 if len(content) <= (count or 2**16) + 1 else f"{order}u2")
    entries = np.atleast_1d(np.asarray(content, np.int64))[: count or 2**16].astype(np.uint16)
    if data.PixelRepresentation and first >= 2**15:  # written as if it were unsigned
        first -= 2**16
    bits = bits if bits < WHOLE and entries.max() < 2**bits else bit_depth(int(entries.max()))
    return Table(first, entries, bits)
