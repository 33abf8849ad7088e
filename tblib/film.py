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

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 100_000_000  # 10,000 x 10,000: a full-size digital film has about 20 million
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
        mode: the file's own Pillow mode, e.g. ``L`` (one channel), ``RGB``, ``P``, ``I;16``.
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
    """Decode the bytes of a picture file; `name` is only used in messages.

    Palettes are looked up, transparency is laid on black, the EXIF orientation is applied, of an
    animation the first frame is taken, and files with more than eight bits a pixel are scaled to
    eight (`_eight_bits`) rather than clipped, as Pillow's own conversion would.

    Raises:
        FilmError: an empty file, a file that is no picture, a damaged one, or one above `MAX_PIXELS`.
    """
    if not content:
        raise FilmError(f"{name} is empty (0 bytes); copy or download it again.")
    plain = _plain_png(content)
    if plain:
        return plain
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
            with Image.open(io.BytesIO(content)) as image:
                return _decode(image, name)
    except UnidentifiedImageError:
        raise FilmError(f"{name} is not a picture that Pillow can read; convert it to PNG or leave it out.") from None
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
    upright = ImageOps.exif_transpose(image)
    if mode in DEEP_MODES:
        return Film(mode, _eight_bits(np.asarray(upright)))
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    return Film(mode, np.asarray(upright.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")))


def _eight_bits(deep: npt.NDArray[np.generic]) -> Pixels:
    """Scale whole numbers by the least bit depth that holds the largest one, fractions by their range.

    A 12-bit film in a 16-bit file is divided by 16: its darkest and brightest parts stay apart, and
    two films of one scanner stay comparable, which a stretch to each film's own range would undo.
    """
    values = deep.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers")
    if np.issubdtype(deep.dtype, np.floating) or values.min() < 0:
        low, high = float(values.min()), float(values.max())
        return np.round((values - low) * (255.0 / max(high - low, 1e-12))).astype(np.uint8)
    depth = next(d for d in (8, 10, 12, 14, 16, 32) if values.max() < 2**d)
    return np.floor(values / 2 ** (depth - 8)).astype(np.uint8)
