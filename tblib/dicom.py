"""DICOM files: from their bytes to grey or colour pixels; nothing but the pixels and what describes them is read."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tblib import TblibError

if TYPE_CHECKING:
    from pydicom import Dataset

Pixels = npt.NDArray[np.uint8]

PREFIX, PREFIX_AT = b"DICM", 128  # what each DICOM file has behind its preamble (PS3.10, 7.1)
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax whose size is not known before all of it is inflated
GREY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
MOST_BITS = 16  # a pixel: films have 8 to 16; more is dose or depth
TABLES = [f"{kind}PaletteColorLookupTable" for kind in ("Red", "Green", "Blue")]
TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(f"{table}Descriptor" for table in TABLES),
    *(f"{prefix}{table}Data" for prefix in ("", "Segmented") for table in TABLES),
)


class DicomError(TblibError):
    """A DICOM file without usable pixels; its text goes on behind the file's name."""


def bit_depth(highest: float, least: int = 8) -> int:
    """The least of `least`, 8, 10, 12, 14, 16 and 32 bits that hold this level."""
    return next(bits for bits in (least, 8, 10, 12, 14, 16, 32) if highest < 2**bits)


def is_dicom(content: bytes) -> bool:
    """Whether these are the bytes of a DICOM file."""
    return content[PREFIX_AT : PREFIX_AT + len(PREFIX)] == PREFIX


def dicom_pixels(content: bytes, most: int, least: int = 8) -> tuple[str, Pixels, int, bool]:
    """Photometric interpretation and first frame of a DICOM file; white is 255 whatever it was in the file.

    Grey frames pass the modality transform (rescale or table), then the first window or table of values of interest,
    then the inversion of MONOCHROME1 (PS3.3, C.11.1, C.11.2, C.7.6.3.1.2). Where no window is given they are scaled
    by what the stored bits can hold; where those are all sixteen, which any depth is kept in, by the least bit depth
    that holds the largest value, as in other files; below zero, by their range. Only elements in `TAGS` are decoded:
    nothing about a patient is.

    Args:
        content: the file's bytes.
        most: pixels a frame may have.
        least: bit depth by which values of sixteen stored bits are scaled at least.

    Returns:
        The interpretation; uint8 (H, W) for grey ones, uint8 (H, W, 3) red-green-blue for the others; and the bit depth
        by which they were scaled, with whether it was guessed, as in `tblib.film.Film`.

    Raises:
        DicomError: no picture, too large, of a kind that is not read, damaged, or packed in a way that this machine
            has no decoder for.
    """
    if DEFLATED in content[:1024]:
        raise DicomError("is a deflated DICOM file, which is not read; save it uncompressed first.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings of small faults quote the file
        try:
            data = _read(content)
            kind = _judged(data, most)
            return kind, *_frame(data, kind, least)
        except DicomError:
            raise
        except Exception as error:  # pydicom and its decoders raise errors of every kind on damaged files
            raise DicomError(
                f"is a DICOM file that does not decode ({_said(error)}); save it uncompressed, or export it again."
            ) from error


def _read(content: bytes) -> Dataset:
    from pydicom import dcmread  # only those who have DICOM files wait for it

    return dcmread(io.BytesIO(content), specific_tags=list(TAGS))


def _judged(data: Dataset, most: int) -> str:
    """The photometric interpretation, of a file that can be decoded here."""
    if "PixelData" not in data:
        raise DicomError("is a DICOM file without a picture (a report, a plan or the like).")
    if data.Rows * data.Columns > most:
        raise DicomError(f"has more than {most:,} pixels; shrink it first.")
    kind = str(data.PhotometricInterpretation)
    if kind not in (*GREY, *COLOUR, PALETTE):
        raise DicomError(f"has the photometric interpretation {kind}, which is not read; convert it to PNG.")
    if data.BitsAllocated > MOST_BITS:
        raise DicomError(f"has {data.BitsAllocated} bits a pixel, more than a film's {MOST_BITS}; convert it to PNG.")
    _need_decoder(data)
    return kind


def _need_decoder(data: Dataset) -> None:
    from pydicom.pixels import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DicomError(f"is packed as {syntax.name}, which is not read; save it uncompressed first.") from None
    if not decoder.is_available:
        raise DicomError(
            f"is packed as {syntax.name}, for which no decoder is installed. Save it uncompressed first, or install "
            "one of those that pydicom names: pylibjpeg with its plugins, python-gdcm, or pyjpegls."
        )


def _frame(data: Dataset, kind: str, least: int) -> tuple[Pixels, int, bool]:
    from pydicom.pixels import apply_color_lut, pixel_array

    stored = pixel_array(data, index=0)
    if kind in GREY:
        return _grey(stored, data, least)
    if kind == PALETTE:
        stored = apply_color_lut(stored, data)
        return (stored >> 8 * (stored.dtype.itemsize - 1)).astype(np.uint8), 8, False
    bits = max(int(data.BitsStored), 8)
    return (stored >> bits - 8).astype(np.uint8), bits, False


def _grey(stored: npt.NDArray[Any], data: Dataset, least_depth: int) -> tuple[Pixels, int, bool]:
    """Stored values (H, W) through a table that holds what becomes of each of them."""
    bits = int(data.BitsStored)
    if data.PixelRepresentation:
        least = -(2 ** (bits - 1))
        places = (stored.astype(np.int32) - least).clip(0, 2**bits - 1)
    else:
        least, places = 0, stored & np.array(2**bits - 1, stored.dtype)  # bits above may hold an overlay
    values, ends = np.arange(least, least + 2**bits), (int(places.min()), int(places.max()))
    table, depth, guessed = _table(values, *ends, data, least_depth)
    return table[places], depth, guessed


def _table(values: npt.NDArray[np.int64], first: int, last: int, data: Dataset, least: int) -> tuple[Pixels, int, bool]:
    """Uint8 (n,): the grey level of each stored value, of which a frame has those at places `first` … `last`.

    With it come the bit depth by which they were scaled, and whether it was guessed.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    bits, depth, guessed = int(data.BitsStored), 8, False
    levels = np.asarray(apply_modality_lut(values, data), np.float64)
    if data.get("VOILUTSequence"):
        shown = apply_voi_lut(np.rint(levels).astype(np.int64), data)
        low, high = 0.0, 2.0 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif "WindowWidth" in data:
        shown = apply_voi_lut(levels, data)
        low, high = levels.min(), levels.max()  # a window's output has the range of its input (PS3.3, C.11.2.1.2)
    else:
        shown = levels
        low, high = sorted(levels[[first, last]])
        if low >= 0 and bits < MOST_BITS:
            low, high, depth = 0.0, float(levels.max()), max(bits, 8)
        elif low >= 0:
            depth, guessed = bit_depth(high, least), True
            low, high = 0.0, 2.0**depth - 1
    grey = np.rint((shown - low) * (255 / max(high - low, 1e-12))).clip(0, 255).astype(np.uint8)
    return 255 - grey if data.PhotometricInterpretation == "MONOCHROME1" else grey, depth, guessed


def _said(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split()).rstrip(".:")
