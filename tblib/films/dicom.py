"""DICOM files: decoding to grey or colour pixels; only pixels and the elements that describe them are read."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tblib.films.codecs import register
from tblib.films.depth import WHOLE, Depth, Scaled, Values, eight_bits
from tblib.films.greys import DicomError, grey_levels
from tblib.films.pictures import PictureError, need_small

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

PREFIX, PREAMBLE = b"DICM", 128  # the prefix after each DICOM file's preamble (PS3.10, 7.1)
BARE = (b"\2\0", b"\x08\0", b"\0\x08")  # group with which a file without preamble begins
META = len(PREFIX) + PREAMBLE + 12  # end of the element that states the length of the file's meta information
DEFLATED = b"\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"  # the element of this transfer syntax, and
EXPLICIT = DEFLATED.replace(b".99", b"\0\0\0")  # that of the inflated file
GREY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
ALLOCATED = 32  # maximum bits per pixel, of which `WHOLE` may be stored: films have 8 to 16, more is dose or depth
INFLATED = 5  # maximum bytes of an inflated file per allowed pixel: the pixel's four, and texts
TABLES = [f"{kind}PaletteColorLookupTable" for kind in ("Red", "Green", "Blue")]
RESCALING, WINDOW = ("RescaleSlope", "RescaleIntercept"), ("WindowCenter", "WindowWidth", "VOILUTFunction")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
IN_GROUPS = {"PixelValueTransformationSequence": RESCALING, "FrameVOILUTSequence": WINDOW}
FRACTIONS = ("FloatPixelData", "DoubleFloatPixelData")
TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", *FRACTIONS),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *(*RESCALING, "ModalityLUTSequence", *WINDOW, "VOILUTSequence", *GROUPS),
    *(f"{table}Descriptor" for table in TABLES),
    *(f"{prefix}{table}Data" for prefix in ("", "Segmented") for table in TABLES),
)
CODESTREAMS = {  # first bytes of a compressed frame, or its frame header (FFxx) -> its transfer syntax
    b"\xff\x4f\xff\x51": "1.2.840.10008.1.2.4.90",
    b"\xff\xc0": "1.2.840.10008.1.2.4.50",
    b"\xff\xc1": "1.2.840.10008.1.2.4.51",
    b"\xff\xc3": "1.2.840.10008.1.2.4.70",
    b"\xff\xf7": "1.2.840.10008.1.2.4.80",
}


def is_dicom(content: bytes) -> bool:
    """Whether the content is a DICOM file, with or without preamble."""
    if content[PREAMBLE : PREAMBLE + len(PREFIX)] == PREFIX or content.startswith(PREFIX):
        return True
    if not content.startswith(BARE):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "Rows" in _read(content, ["Rows"])
    except Exception:  # any error of the parser on other files
        return False


def dicom_pixels(content: bytes, most: int, least: int = 8) -> tuple[str, Scaled]:
    """Photometric interpretation and first frame of a DICOM file; white is 255 whatever it was in the file.

    Grey frames are rendered as by a viewer (`greys`). Without a window they are scaled by the range of the stored bits;
    if all sixteen are stored, which holds any depth, the depth is guessed, as in other files. Elements that are often
    missing get their usual values. Only elements in `TAGS` are decoded: nothing about a patient.

    Args:
        content: the file's bytes.
        most: pixels a frame may have.
        least: minimum bit depth for scaling values of sixteen stored bits.

    Returns:
        The interpretation; and uint8 (H, W) for grey ones, uint8 (H, W, 3) red-green-blue for the others, with the bit
        depth used for scaling.

    Raises:
        DicomError: no picture, of an unsupported kind, damaged, or compressed without a decoder on this machine.
        PictureError: it is too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings about small faults quote the file
        try:
            data = _read(_inflated(content, most), list(TAGS))
            _complete(data)
            kind = _judged(data, most)
            return kind, _frame(data, kind, least)
        except (DicomError, PictureError):
            raise
        except Exception as error:  # pydicom and its decoders raise errors of every kind on damaged files
            raise DicomError(
                f"is a DICOM file that does not decode ({said(error)}); export it again, or convert it to PNG."
            ) from error


def said(error: BaseException) -> str:
    """An error's message in one line without a full stop, or its type if the message is empty."""
    return " ".join((str(error) or type(error).__name__).split()).rstrip(".:")[:300]


def _read(content: bytes, tags: list[str]) -> Dataset:
    from pydicom import dcmread  # slow to import, and only needed for DICOM files

    whole = b"\0" * PREAMBLE + content if content.startswith(PREFIX) else content
    return dcmread(io.BytesIO(whole), specific_tags=tags, force=True)


def _inflated(content: bytes, most: int) -> bytes:
    """Inflate a deflated file with a size limit, which pydicom does not have."""
    if DEFLATED not in content[:1024]:
        return content
    begin = META + int.from_bytes(content[META - 4 : META], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content[begin:], most * INFLATED)
    if inflater.unconsumed_tail:
        raise DicomError(f"inflates to more than {most * INFLATED // 1_000_000} MB; export it again, not deflated.")
    return content[:begin].replace(DEFLATED, EXPLICIT) + inflated


def _take_from(group: Dataset, data: Dataset) -> None:
    """Copy slope and window from a functional group to the film."""
    for sequence, names in IN_GROUPS.items():
        for item in group.get(sequence) or ():
            found = filter(None, map(item.get_item, names))
            data.update({element.tag: element for element in found})


def _complete(data: Dataset) -> None:
    """Add elements that the file lacks, or has elsewhere, if their values are beyond doubt."""
    from pydicom import Dataset

    for group in GROUPS:  # of multi-frame files; elements of the first frame take precedence over shared ones
        _take_from(next(iter(data.get(group) or ()), Dataset()), data)
    kind = re.sub(r"\s+", " ", str(data.get("PhotometricInterpretation") or "").strip().upper())
    samples = int(data.get("SamplesPerPixel") or 1)
    data.PhotometricInterpretation = "RGB" if kind in GREY and samples == 3 else kind
    data.SamplesPerPixel = samples
    if not data.get("NumberOfFrames"):
        data.NumberOfFrames = 1
    if data.get("BitsAllocated"):
        high = data.get("HighBit")
        data.BitsStored = int(data.get("BitsStored") or (data.BitsAllocated if high is None else high + 1))
        data.HighBit = int(data.BitsStored - 1 if high is None else high)
    data.PixelRepresentation = int(data.get("PixelRepresentation") or 0)
    if samples > 1 and data.get("PlanarConfiguration") is None:
        data.PlanarConfiguration = 0
    if "PixelData" in data and not data.file_meta.get("TransferSyntaxUID"):
        data.file_meta.TransferSyntaxUID = _guessed_syntax(data)


def _guessed_syntax(data: Dataset) -> UID:
    from pydicom.encaps import generate_frames
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = data.original_encoding
    if data["PixelData"].is_undefined_length:
        frame = next(generate_frames(data.PixelData, number_of_frames=1))
        found = next((syntax for begin, syntax in CODESTREAMS.items() if begin in frame[:4096]), None)
        if found is None:
            raise DicomError("does not tell its transfer syntax, and its frame is packed; export it again.")
        return UID(found)
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _judged(data: Dataset, most: int) -> str:
    """The photometric interpretation, if the file can be decoded here."""
    if any(name in data for name in FRACTIONS):
        raise DicomError("holds fractions rather than the grey levels of a film; convert it to PNG.")
    if not data.get("PixelData"):
        raise DicomError("is a DICOM file without a picture (a report, a plan or the like).")
    missing = [name for name in ("Rows", "Columns", "BitsAllocated") if not data.get(name)]
    if missing:
        raise DicomError(f"is a DICOM file that does not tell its {' and '.join(missing)}; export it again.")
    need_small(data.Columns, data.Rows, data.SamplesPerPixel * data.BitsAllocated / 8, most)
    kind = str(data.PhotometricInterpretation)
    if kind not in (*GREY, *COLOUR, PALETTE):
        what = (
            f"has the photometric interpretation {kind}" if kind else "does not tell whether its values rise to white"
        )
        raise DicomError(f"{what}, which is not read; convert it to PNG.")
    if data.BitsAllocated > ALLOCATED or data.BitsStored > WHOLE:
        raise DicomError(f"has {data.BitsStored} bits a pixel, more than a film's {WHOLE}; convert it to PNG.")
    _need_decoder(data)
    return kind


def _need_decoder(data: Dataset) -> None:
    from pydicom.pixels import get_decoder

    register()
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


def _frame(data: Dataset, kind: str, least: int) -> Scaled:
    from pydicom.pixels import pixel_array

    stored = _aligned(pixel_array(data, index=0, correct_unused_bits=False), data)
    if kind in GREY:
        return grey_levels(stored, data, least)
    if kind == PALETTE:
        return Scaled(_coloured(stored, data))
    bits = int(data.BitsStored)
    return eight_bits(stored, Depth(bits, bits) if 8 <= bits < WHOLE else None, least) if bits > 8 else Scaled(stored)


def _aligned(stored: Values, data: Dataset) -> Values:
    """Shift pixels to their lowest stored bit and extend the sign; the bits beside may have been an overlay."""
    held = 8 * stored.dtype.itemsize
    bits, high = int(data.BitsStored), int(data.HighBit)
    if bits >= held:
        return stored
    above = held - 1 - high if bits - 1 <= high < held else held - bits
    if data.file_meta.TransferSyntaxUID.is_encapsulated:  # decompressed pixels are always aligned
        above = held - bits
    np.left_shift(stored, above, out=stored)
    return np.right_shift(stored, held - bits, out=stored)


def _coloured(stored: Values, data: Dataset) -> Any:
    """Uint8 (H, W, 3) of palette entries, which may be 8-bit colours in 16-bit words."""
    from pydicom.pixels import apply_color_lut

    count = int(data.RedPaletteColorLookupTableDescriptor[0]) or 2**WHOLE
    first = int(data.RedPaletteColorLookupTableDescriptor[1])
    palette = apply_color_lut(np.arange(first, first + count), data)[..., :3]
    if palette.max() > 255:
        palette = palette >> 8
    return palette.astype(np.uint8)[(stored.astype(np.int32) - first).clip(0, count - 1)]
