"""Grey levels of a DICOM film: stored values through the standard's transforms (PS3.3, C.11), with what files lack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tblib import TblibError
from tblib.depth import WHOLE, Pixels, Scaled, Values, bit_depth, guessed_range, stretched

if TYPE_CHECKING:
    from pydicom import Dataset

Floats = npt.NDArray[np.float64]

LINEAR, EXACT = "LINEAR", "LINEAR_EXACT"
FUNCTIONS = (LINEAR, EXACT, "SIGMOID")  # how a window may be meant (C.11.2.1.3)
TEXT = ("DS", "IS", "LO", "SH", "UN", None)  # value representations in which a number is written with letters


class DicomError(TblibError):
    """A DICOM file without usable pixels; its text goes on behind the file's name."""


class Table(NamedTuple):
    """A lookup table: uint16 entries, the value that the first one is for, and the bits of an entry."""

    first: int
    entries: npt.NDArray[np.uint16]
    bits: int

    def of(self, levels: Values) -> npt.NDArray[np.uint16]:
        """What becomes of levels; those outside the table get its first or last entry."""
        places = np.rint(levels).astype(np.int64) - self.first
        return self.entries[places.clip(0, len(self.entries) - 1)]


class Levels(NamedTuple):
    """What becomes of each stored value before it is scaled to eight bits.

    Attributes:
        shown: float (n,), a level for each value; they fall where the file turns the film over.
        black, white: levels of the darkest and the brightest that the film could hold.
        bits, guessed: as in `tblib.depth.Scaled`.
    """

    shown: Values
    black: float
    white: float
    bits: int = 8
    guessed: bool = False


def grey_levels(stored: Values, data: Dataset, least: int) -> Scaled:
    """Stored values (H, W), of `data.BitsStored` bits, as grey levels.

    The modality's table (or its slope and intercept) comes first, then the first table of values of interest or the
    first window, then the inversion of MONOCHROME1. Padding is black and counts for nothing.

    Args:
        stored: whole numbers, aligned to their lowest bit.
        data: of the film; its elements may be empty or missing.
        least: bit depth by which values of sixteen stored bits without a window are scaled at least.

    Raises:
        DicomError: a number or a window's function in the file is none.
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
    """The level of each value that may be stored, of which the film's own are `used`."""
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
    """Levels of a film of sixteen stored bits, which any depth is kept in, by the least depth that holds it.

    That is counted in stored values, unless those go below zero and rescaled ones do not.
    """
    rescaled = used.size and used.min() < 0 <= slope * used.min() + intercept and slope > 0
    shown, used = (values * slope + intercept, used * slope + intercept) if rescaled else (values, used)
    black, white, bits = guessed_range(used, least)
    if slope < 0:  # the film is turned over
        shown, black, white = -shown, -white, -black
    return Levels(shown, black, white, bits, True)


def _windowed(levels: Floats, data: Dataset) -> Floats | None:
    """Levels 0 … 1 within the first window, or None where the file gives none that has a width."""
    center, width = first_number(data, "WindowCenter"), first_number(data, "WindowWidth")
    if center is None or not width or width < 0:
        return None
    from pydicom import Dataset
    from pydicom.pixels import apply_windowing

    function = str(data.get("VOILUTFunction") or LINEAR).strip().upper()
    if function not in FUNCTIONS:
        raise DicomError(f"has a window of the function {function}, which is not read; convert it to PNG.")
    window = Dataset()  # nothing but the window: pydicom would scale by the other elements, whatever they hold
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 1, 0
    window.VOILUTFunction = EXACT if function == LINEAR and width < 1 else function
    window.WindowCenter, window.WindowWidth = center, width
    shown: Floats = apply_windowing(levels, window)
    return shown


def _padding(stored: Values, data: Dataset) -> npt.NDArray[np.bool_] | None:
    """Where the film is padded rather than taken (C.7.5.1.1.2), or None."""
    limits = [_whole(data, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if limits[0] is None:
        return None
    signed, bits = bool(data.PixelRepresentation), int(data.BitsStored)
    ends = [_wrapped(limit, bits, signed) for limit in limits if limit is not None]
    where: npt.NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return where


def _wrapped(value: int, bits: int, signed: bool) -> int:
    """A value as it is after it was cut to so many bits, as the stored ones are."""
    value %= 2**bits
    return value - 2**bits if signed and value >= 2 ** (bits - 1) else value


def _whole(data: Dataset, name: str) -> int | None:
    """An element's first whole number, or None where it is missing or empty."""
    value = data.get(name)
    if value is None or value == "" or value == b"":
        return None
    if isinstance(value, bytes):  # of a representation that pydicom could not tell
        return int.from_bytes(value[:2], "little")
    return int(value[0] if isinstance(value, list) else value)


def first_number(data: Dataset, name: str) -> float | None:
    """An element's first number, also one with a decimal comma; None where the element is missing or empty.

    Raises:
        DicomError: what stands there is no number.
    """
    element = data.get_item(name)
    if element is None or element.value is None:
        return None
    if element.VR in TEXT and isinstance(element.value, bytes):  # as it stands in the file
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
    """The first table of a sequence, or None where it is missing or empty.

    Its bits are those of its largest entry where it claims all sixteen, or fewer than that entry has.
    """
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
