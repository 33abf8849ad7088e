"""One film: from the bytes of a picture file to grey pixels, whatever the file's mode."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from imagecodecs import PngError, png_decode
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from tblib import TblibError
from tblib.dicom import DicomError, Pixels, bit_depth, dicom_pixels, is_dicom

MAX_PIXELS = 64_000_000  # 8,000 x 8,000: a full-size digital film has about 20 million; decoding takes 1 GB at most
SLAB = 4_000_000  # pixels that are converted at a time
IMAGE_ENDINGS = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".jp2",
    ".pcx",
    ".ppm",
    ".pgm",
    ".tga",
    ".dcm",
)
PNG = b"\x89PNG\r\n\x1a\n"  # what each PNG file begins with
PNG_MODES = {b"\x08\x00": "L", b"\x08\x02": "RGB"}  # bit depth and colour type -> Pillow's mode
PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND", b"bKGD", b"cHRM", b"gAMA", b"pHYs", b"sBIT", b"sRGB", b"tIME"})
WHOLE = 16  # bits that a value is kept in if it has more than eight
CODESTREAM, SIZE_BYTE = b"\xff\x4f\xff\x51", 42  # how JPEG 2000 begins, and where its bits a sample are (15444-1, A.5)
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # tags of a TIFF file
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than eight bits a pixel


class Depth(NamedTuple):
    """What a file says of its depth: the bits of its values, and the bits over which those are spread once decoded."""

    bits: int
    spread: int


class FilmError(TblibError):
    """A picture file that cannot be used, with the reason in a sentence."""


@dataclass(frozen=True)
class Film:
    """A decoded picture file.

    Attributes:
        mode: the file's own Pillow mode, e.g. ``L`` (one channel), ``RGB``, ``P``, ``I;16``; of a DICOM file its
            photometric interpretation, e.g. ``MONOCHROME2``.
        pixels: uint8 (H, W) for one-channel files, uint8 (H, W, 3) red-green-blue for the others; 0 black … 255 white.
        bits: the depth by which a file of more than eight bits was scaled to eight. 8 for all that was not scaled by
            one: files of eight bits, DICOM windows, and fractions or values below zero, which take their own range.
        guessed: the file does not say how deep it is; `bits` is the least that holds its brightest pixel, or the least
            that was asked for.
    """

    mode: str
    pixels: Pixels
    bits: int = 8
    guessed: bool = False

    @property
    def grey(self) -> Pixels:
        """Uint8 (H, W): the pixels, or their luma by ITU-R BT.601 where there are three channels."""
        if self.pixels.ndim == 2:
            return self.pixels
        return np.asarray(Image.fromarray(self.pixels).convert("L"))


def open_film(content: bytes, name: str, bits: int = 8) -> Film:
    """Decode the bytes of a picture file, DICOM among them (`tblib.dicom`); `name` is only used in messages.

    What the file holds counts, not how its name ends. Palettes are looked up, transparency is laid on black, the EXIF
    orientation is applied, of an animation the first frame is taken, and files with more than eight bits a pixel are
    scaled to eight (`_eight_bits`) rather than clipped, as Pillow's own conversion would. They are scaled by the depth
    that the file tells; where it tells none, by the least one that holds the film's brightest pixel, but no less than
    `bits`: one dark film alone looks like one of fewer bits (`tblib.catalogue.shared_depth`).

    Raises:
        FilmError: an empty file, a file that is no picture, a damaged one, or one above `MAX_PIXELS`.
    """
    if not content:
        raise FilmError(f"{name} is empty (0 bytes); copy or download it again.")
    if is_dicom(content):
        return _dicom(content, name, bits)
    plain = _plain_png(content)
    if plain:
        return plain
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
            with Image.open(io.BytesIO(content)) as image:
                return _decode(image, content, name, bits)
    except UnidentifiedImageError:
        raise FilmError(
            f"{name} is not a picture that can be read (neither DICOM nor one of Pillow's kinds); convert it to PNG or "
            "leave it out."
        ) from None
    except Image.DecompressionBombError:
        raise FilmError(_too_large(name)) from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        MemoryError,
    ) as error:  # what Pillow's decoders raise
        raise FilmError(f"{name} is damaged and does not decode ({error}); copy or download it again.") from error


def _dicom(content: bytes, name: str, bits: int) -> Film:
    try:
        return Film(*dicom_pixels(content, MAX_PIXELS, bits))
    except DicomError as error:
        raise FilmError(f"{name} {error}") from error


def _plain_png(content: bytes) -> Film | None:
    """A whole PNG of 8 bits, grey or red-green-blue, that needs no more than decoding; None for any other file.

    imagecodecs' libpng undoes a PNG's filters in four fifths of the time that Pillow takes, to the same pixels.
    What it refuses is left to Pillow, so that there is one judge of damaged files.
    """
    mode = PNG_MODES.get(content[24:26])
    if not content.startswith(PNG) or mode is None or not PLAIN_CHUNKS.issuperset(kind for kind, _ in _chunks(content)):
        return None
    width, height = struct.unpack_from(">II", content, 16)
    if width * height > MAX_PIXELS:
        return None
    try:
        return Film(mode, png_decode(content))
    except PngError:
        return None


def _chunks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and place of the content of each chunk of a PNG file up to its end; kind b"" where it is cut off before."""
    place = len(PNG)
    while place + 12 <= len(content):
        kind = content[place + 4 : place + 8]
        yield kind, place + 8
        if kind == b"IEND":
            return
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    yield b"", len(content)


def resized(grey: Pixels, size: int) -> Pixels:
    """Uint8 (size, size) from uint8 (H, W): each pixel the triangle-weighted mean of the area below it.

    A film that is not square is squashed, as the Kaggle database's own films were: padding would
    add the very borders that this project looks for.
    """
    if grey.shape == (size, size):
        return grey
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR))


def _too_large(name: str) -> str:
    return (
        f"{name} has more than {MAX_PIXELS:,} pixels; shrink it first (this limit guards against decompression bombs)."
    )


def _decode(image: Image.Image, content: bytes, name: str, bits: int) -> Film:
    if image.width * image.height > MAX_PIXELS:
        raise FilmError(_too_large(name))
    mode = image.mode
    own = _own_depth(image, content) if mode in DEEP_MODES else None
    ImageOps.exif_transpose(image, in_place=True)
    if mode in DEEP_MODES:
        return Film(mode, *_eight_bits(np.asarray(image), own, bits))
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return Film(mode, _converted(image, "RGBa", grey=mode in ("L", "LA", "La")))  # RGBa: colours times opacity
    wanted = "L" if mode in ("1", "L") else "RGB"
    return Film(mode, np.asarray(image) if mode == wanted else _converted(image, wanted, grey=wanted == "L"))


def _converted(image: Image.Image, mode: str, grey: bool) -> Pixels:
    """Uint8 (H, W) or (H, W, 3) of a picture in another mode, some rows at a time: whole, it takes memory twice."""
    width, height = image.size
    pixels = np.empty((height, width) if grey else (height, width, 3), np.uint8)
    rows = max(1, SLAB // width)
    for top in range(0, height, rows):
        slab = image.crop((0, top, width, min(top + rows, height)))
        if mode == "RGBa":
            slab = slab.convert("RGBA")
        part = np.asarray(slab.convert(mode))  # (rows, width) for L, otherwise with 3 or 4 channels
        pixels[top : top + rows] = part if part.ndim == 2 else part[..., 0] if grey else part[..., :3]
    return pixels


def _own_depth(image: Image.Image, content: bytes) -> Depth | None:
    """What a file with more than eight bits says of its depth, before its pixels are decoded; None if it says nothing.

    Sixteen bits are no such word: they are what any depth is kept in.
    """
    bits, spread = WHOLE, WHOLE
    if image.format == "JPEG2000":  # Pillow spreads its values
        at = content.find(CODESTREAM)
        bits = (content[at + SIZE_BYTE] & 127) + 1 if at >= 0 else WHOLE
    elif isinstance(image, PpmImageFile) and image.tile and isinstance(image.tile[0].args, tuple):
        bits = bit_depth(int(image.tile[0].args[-1]))  # its white; Pillow spreads these, too
    elif isinstance(image, TiffImageFile):
        bits = spread = _tiff_depth(image)
    elif image.format == "PNG":
        at = next((at for kind, at in _chunks(content) if kind == b"sBIT"), 0)
        bits = spread = content[at] if at else WHOLE
    return Depth(bits, spread) if 8 <= bits < WHOLE else None


def _tiff_depth(image: TiffImageFile) -> int:
    """Bits a sample, or those of the largest value where that is the white of a depth rather than the film's own."""
    bits, highest = (image.tag_v2.get(tag, (WHOLE,)) for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
    if bits[0] == WHOLE:
        return next((depth for depth in (10, 12, 14) if highest == (2**depth - 1,)), WHOLE)
    return int(bits[0])


def _eight_bits(deep: npt.NDArray[np.generic], own: Depth | None, least: int) -> tuple[Pixels, int, bool]:
    """Scale whole numbers by their bit depth, fractions by their range.

    A 12-bit film in a 16-bit file is divided by 16: its darkest and brightest parts stay apart, and
    two films of one scanner stay comparable, which a stretch to each film's own range would undo.

    Args:
        deep: (H, W).
        own: what the file says.
        least: bits of a file that says nothing.

    Returns:
        Uint8 (H, W), the depth, and whether that was guessed.
    """
    if not np.isfinite(deep).all():
        raise ValueError("it holds values that are not numbers")
    low, high = float(deep.min()), float(deep.max())
    if np.issubdtype(deep.dtype, np.floating) or low < 0:
        scaled = deep.astype(np.float32)
        scaled -= low
        scaled *= 255.0 / max(high - low, 1e-12)
        return np.round(scaled, out=scaled).astype(np.uint8), 8, False
    if own and own.spread < WHOLE and _is_spread(deep, own.bits):
        own = Depth(own.bits, WHOLE)
    if own and high < 2**own.spread:
        return np.right_shift(deep, own.spread - 8).astype(np.uint8), own.bits, False
    bits = bit_depth(high, least)
    return np.right_shift(deep, bits - 8).astype(np.uint8), bits, True


def _is_spread(deep: npt.NDArray[Any], bits: int) -> bool:
    """Whether values of so many bits fill sixteen, as a PNG's should: followed by zeros, or by their own first bits."""
    rest = deep & (2 ** (WHOLE - bits) - 1)
    return bool((rest == 0).all() or (rest == deep >> bits).all())
