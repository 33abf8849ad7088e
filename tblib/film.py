"""One film: from the bytes of a picture file to grey pixels, whatever the file's mode."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from imagecodecs import PngError, png_decode
from PIL import Image, ImageOps, UnidentifiedImageError

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
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than eight bits a pixel


class FilmError(TblibError):
    """A picture file that cannot be used, with the reason in a sentence."""


@dataclass(frozen=True)
class Film:
    """A decoded picture file.

    Attributes:
        mode: the file's own Pillow mode, e.g. ``L`` (one channel), ``RGB``, ``P``, ``I;16``; of a DICOM file its
            photometric interpretation, e.g. ``MONOCHROME2``.
        pixels: uint8 (H, W) for one-channel files, uint8 (H, W, 3) red-green-blue for the others; 0 black … 255 white.
    """

    mode: str
    pixels: Pixels

    @property
    def grey(self) -> Pixels:
        """Uint8 (H, W): the pixels, or their luma by ITU-R BT.601 where there are three channels."""
        if self.pixels.ndim == 2:
            return self.pixels
        return np.asarray(Image.fromarray(self.pixels).convert("L"))


def open_film(content: bytes, name: str) -> Film:
    """Decode the bytes of a picture file, DICOM among them (`tblib.dicom`); `name` is only used in messages.

    What the file holds counts, not how its name ends. Palettes are looked up, transparency is laid on black, the EXIF
    orientation is applied, of an animation the first frame is taken, and files with more than eight bits a pixel are
    scaled to eight (`_eight_bits`) rather than clipped, as Pillow's own conversion would.

    Raises:
        FilmError: an empty file, a file that is no picture, a damaged one, or one above `MAX_PIXELS`.
    """
    if not content:
        raise FilmError(f"{name} is empty (0 bytes); copy or download it again.")
    if is_dicom(content):
        return _dicom(content, name)
    plain = _plain_png(content)
    if plain:
        return plain
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
            with Image.open(io.BytesIO(content)) as image:
                return _decode(image, name)
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


def _dicom(content: bytes, name: str) -> Film:
    try:
        return Film(*dicom_pixels(content, MAX_PIXELS))
    except DicomError as error:
        raise FilmError(f"{name} {error}") from error


def _plain_png(content: bytes) -> Film | None:
    """A whole PNG of 8 bits, grey or red-green-blue, that needs no more than decoding; None for any other file.

    imagecodecs' libpng undoes a PNG's filters in four fifths of the time that Pillow takes, to the same pixels.
    What it refuses is left to Pillow, so that there is one judge of damaged files.
    """
    mode = PNG_MODES.get(content[24:26])
    if not content.startswith(PNG) or mode is None or not PLAIN_CHUNKS.issuperset(_chunks(content)):
        return None
    width, height = struct.unpack_from(">II", content, 16)
    if width * height > MAX_PIXELS:
        return None
    try:
        return Film(mode, png_decode(content))
    except PngError:
        return None


def _chunks(content: bytes) -> Iterator[bytes]:
    """The kind of each chunk of a PNG file up to its end; an empty one where it is cut off before."""
    place = len(PNG)
    while place + 12 <= len(content):
        kind = content[place + 4 : place + 8]
        yield kind
        if kind == b"IEND":
            return
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    yield b""


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


def _decode(image: Image.Image, name: str) -> Film:
    if image.width * image.height > MAX_PIXELS:
        raise FilmError(_too_large(name))
    mode = image.mode
    ImageOps.exif_transpose(image, in_place=True)
    if mode in DEEP_MODES:
        return Film(mode, _eight_bits(np.asarray(image)))
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


def _eight_bits(deep: npt.NDArray[np.generic]) -> Pixels:
    """Scale whole numbers by the least bit depth that holds the largest one, fractions by their range.

    A 12-bit film in a 16-bit file is divided by 16: its darkest and brightest parts stay apart, and
    two films of one scanner stay comparable, which a stretch to each film's own range would undo.
    """
    if not np.isfinite(deep).all():
        raise ValueError("it holds values that are not numbers")
    low, high = float(deep.min()), float(deep.max())
    if np.issubdtype(deep.dtype, np.floating) or low < 0:
        scaled = deep.astype(np.float32)
        scaled -= low
        scaled *= 255.0 / max(high - low, 1e-12)
        return np.round(scaled, out=scaled).astype(np.uint8)
    return np.right_shift(deep, bit_depth(high) - 8).astype(np.uint8)
