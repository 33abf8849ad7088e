"""Picture files other than DICOM: from their bytes to grey or colour pixels, by imagecodecs, tifffile and Pillow."""

from __future__ import annotations

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from imagecodecs import png_decode
from PIL import Image, ImageChops, UnidentifiedImageError
from PIL.PpmImagePlugin import PpmImageFile

from tblib import TblibError
from tblib.depth import SLAB, WHOLE, Depth, Pixels, Scaled, Values, bit_depth, by_parts, eight_bits

BYTES = 4  # of a decoded pixel, where a film has as many as are allowed
FORMATS = (  # Pillow's names; others run programs, or hold what is no film
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "SGI", "TGA", "TIFF"),
    "WEBP",
)
READ = "PNG, JPEG, TIFF, JPEG 2000, BMP, GIF, WebP, AVIF, PCX, PPM, PGM, TGA"  # what people know them as
PNG = b"\x89PNG\r\n\x1a\n"  # what each PNG file begins with
PNG_COLOURS = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}  # colour type -> Pillow's mode
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PAGES = 32  # of a TIFF file among which the largest is sought
SCANS = 32  # of a progressive JPEG file of the most pixels: decoders pass over the film for each; ten are usual
LONG = 1_000_000  # bytes of a PNG's packed rows from which they may take seconds to unpack
SCAN = b"\xff\xda"
CODESTREAM, SIZE_BYTE = b"\xff\x4f\xff\x51", 42  # how JPEG 2000 begins, and where its bits a sample are (15444-1, A.5)
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than eight bits a pixel
ORIENTATION = 0x0112  # EXIF's and TIFF's tag, and what its values ask for
TURNS = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
)
MAX_SAMPLE_VALUE = 281  # tag of a TIFF file


class PictureError(TblibError):
    """A picture file that cannot be used; its text goes on behind the file's name."""


def picture_pixels(content: bytes, most: int, least: int = 8) -> tuple[str, Scaled]:
    """Pillow's mode and the pixels of a picture file: uint8 (H, W), or (H, W, 3) red-green-blue.

    Palettes are looked up, transparency is laid on black, the EXIF orientation is applied, of an animation the first
    frame is taken and of a TIFF file's pages the largest, before which there may be small previews of it.

    Args:
        content: the file's bytes.
        most: pixels that it may have.
        least: bit depth by which a file of more than eight bits is scaled at least, if it does not tell its own.

    Raises:
        PictureError: it is no picture, or too large.
        Exception: it is damaged; decoders raise what they like.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small faults; our own limit of pixels is stricter than Pillow's
        if content.startswith(PNG):
            return _png(content, most, least)
        if content.startswith(TIFF):
            return _tiff(content, most, least)
        return _by_pillow(content, most, least)


def need_small(width: int, height: int, size: float, most: int) -> None:
    """Refuse a film that would take too much memory, before it is decoded.

    Args:
        width, height: in pixels.
        size: bytes of a decoded pixel.
        most: pixels that it may have, each of four bytes or more of fewer.

    Raises:
        PictureError: it is larger.
    """
    if width * height > most or width * height * size > BYTES * most:
        raise _too_large(most)


def _too_large(most: int) -> PictureError:
    return PictureError(
        f"has more than {most:,} pixels, or {BYTES * most // 1_000_000} MB of them; shrink it first (this limit guards "
        "against decompression bombs)."
    )


def _png(content: bytes, most: int, least: int) -> tuple[str, Scaled]:
    """imagecodecs' libpng undoes a PNG's filters in four fifths of the time that Pillow takes, and misses no rows."""
    head = content[16:26]
    if len(head) < 10:
        raise ValueError("it ends within its head")
    width, height, bits, colour = struct.unpack(">IIBB", head)
    channels = {"RGB": 3, "P": 4, "LA": 2, "RGBA": 4}.get(PNG_COLOURS.get(colour, "L"), 1)
    need_small(width, height, channels * max(bits / 8, 1), most)
    bare = _bare(content)
    _need_no_more(bare, height * (width * channels * bits // 8 + 2))
    pixels = png_decode(bare)
    scaled = _without_alpha(pixels, _png_depth(content, bits), least)
    mode = PNG_COLOURS[colour]
    named = "1" if bits == 1 and mode == "L" else "I;16" if bits == WHOLE and mode == "L" else mode
    turned = any(kind in (b"eXIf", b"iTXt") for kind, _, _ in chunks(content))
    return named, _upright(scaled, _orientation(content)) if turned else scaled


def _bare(content: bytes) -> bytes:
    """A PNG file without what its pixels do not need: texts that inflate to any size, and what libpng would warn of."""
    kept = [content[at - 8 : end + 4] for kind, at, end in chunks(content) if kind[:1].isupper() or kind == b"tRNS"]
    return PNG + b"".join(kept)


def _need_no_more(content: bytes, rows: int) -> None:
    """Refuse a PNG whose packed rows inflate to far more than its rows: libpng would inflate all of it.

    Args:
        content: of the file.
        rows: their bytes.
    """
    if len(content) < LONG:
        return
    parts = [content[at:end] for kind, at, end in chunks(content) if kind == b"IDAT"]
    inflater = zlib.decompressobj()
    inflater.decompress(b"".join(parts), 2 * rows + LONG)  # interlaced rows are a little longer
    if inflater.unconsumed_tail:
        raise PictureError("holds more rows than it says, packed; save it again (it may be a decompression bomb).")


def _png_depth(content: bytes, bits: int) -> Depth | None:
    at = next((at for kind, at, _ in chunks(content) if kind == b"sBIT"), 0) if bits == WHOLE else 0
    return Depth(content[at], content[at]) if at and 8 <= content[at] < WHOLE else None


def chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk of a PNG file, and where its content begins and ends."""
    place = len(PNG)
    while place + 12 <= len(content):
        kind, end = content[place + 4 : place + 8], place + 8 + int.from_bytes(content[place : place + 4], "big")
        yield kind, place + 8, end
        if kind == b"IEND":
            return
        place = end + 4  # behind the checksum


def _without_alpha(pixels: Values, own: Depth | None, least: int) -> Scaled:
    """Pixels (H, W) or (H, W, 1 … 4) in eight bits; a second or fourth channel is opacity, over black."""
    pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    opaque = channels in (2, 4)
    colours = pixels[..., 0] if channels == 2 else pixels[..., :3] if channels == 4 else pixels
    scaled = Scaled(colours) if colours.dtype == np.uint8 else eight_bits(colours, own, least)
    if not opaque:
        return scaled._replace(pixels=np.ascontiguousarray(scaled.pixels))
    alpha = pixels[..., -1] if pixels.dtype == np.uint8 else eight_bits(pixels[..., -1], own, 8).pixels
    laid = by_parts(_laid_on_black, scaled.pixels, alpha if channels == 2 else alpha[..., None])
    return scaled._replace(pixels=laid)


def _laid_on_black(colours: Pixels, alpha: Pixels) -> Values:
    return (colours.astype(np.uint16) * alpha + 127) // 255


def _tiff(content: bytes, most: int, least: int) -> tuple[str, Scaled]:
    """Files of more than eight bits a sample by tifffile; the others, of many colour spaces, by Pillow."""
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says of damaged files names none of them
    try:
        with TiffFile(io.BytesIO(content)) as file:
            pages: list[Any] = [page for _, page in zip(range(PAGES), file.pages, strict=False)]
            areas = [page.imagewidth * page.imagelength for page in pages]
            number = areas.index(max(areas))
            deep = pages[number].bitspersample > 8
    except Exception:  # tifffile raises errors of many kinds; Pillow judges what it cannot read
        number, deep = 0, False
    return _deep_tiff(content, number, most, least) if deep else _by_pillow(content, most, least, number)


def _deep_tiff(content: bytes, number: int, most: int, least: int) -> tuple[str, Scaled]:
    from tifffile import PHOTOMETRIC, TiffFile

    with TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages[number]
        need_small(page.imagewidth, page.imagelength, page.samplesperpixel * page.dtype.itemsize, most)
        colours = {PHOTOMETRIC.MINISWHITE: "L", PHOTOMETRIC.MINISBLACK: "L", PHOTOMETRIC.RGB: "RGB"}
        mode = colours.get(page.photometric)
        if mode is None or page.samplesperpixel > 4:
            raise PictureError(
                f"is a TIFF file of {page.bitspersample} bits in colours that are not read; save it as PNG."
            )
        _need_held(page, len(content))
        pixels = page.asarray(maxworkers=1)
        samples, height, width = page.samplesperpixel, page.imagelength, page.imagewidth
        pixels = pixels.reshape((samples, height, width) if page.planarconfig == 2 else (height, width, samples))
        pixels = np.moveaxis(pixels, 0, -1) if page.planarconfig == 2 else pixels
        white = page.tags.valueof(MAX_SAMPLE_VALUE)
        own = _tiff_depth(page.bitspersample, white)
        orientation = page.tags.valueof(ORIENTATION)
        inverted = page.photometric == PHOTOMETRIC.MINISWHITE
    scaled = _without_alpha(pixels if mode == "RGB" or samples == 2 else pixels[..., 0], own, least)
    if inverted:
        np.subtract(255, scaled.pixels, out=scaled.pixels)
    named = "F" if pixels.dtype.kind == "f" else "I" if pixels.dtype.itemsize > 2 else "I;16"
    return named if mode == "L" else "RGBA" if samples == 4 else "RGB", _upright(scaled, orientation)


def _need_held(page: Any, size: int) -> None:
    """Refuse a page whose parts decode to more than a film of its size could have: they would be decoded whole."""
    held = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample // 8
    if page.is_tiled and page.tilewidth * page.tilelength > 4 * max(page.imagewidth * page.imagelength, 512 * 512):
        raise PictureError("is a TIFF file of tiles that are larger than its picture; save it as PNG.")
    if page.compression == 1 and held > size:
        raise ValueError("it ends before its last row")


def _tiff_depth(bits: int, white: object) -> Depth | None:
    """Bits a sample, or those of the largest value where that is the white of a depth rather than the film's own."""
    if isinstance(white, tuple):
        white = white[0]
    if bits == WHOLE:
        bits = next((depth for depth in (10, 12, 14) if white == 2**depth - 1), WHOLE)
    return Depth(bits, bits) if 8 <= bits < WHOLE else None


def _by_pillow(content: bytes, most: int, least: int, number: int = 0) -> tuple[str, Scaled]:
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            if number:
                image.seek(number)
            need_small(image.width, image.height, 4 if image.mode in ("I", "F") else len(image.getbands()), most)
            if image.format in ("JPEG", "MPO") and content.count(SCAN) * image.width * image.height > SCANS * most:
                raise PictureError(f"is a JPEG file of {content.count(SCAN)} passes over the film; save it again.")
            mode, scaled = image.mode, _decoded(image, content, least)
            return mode, _upright(scaled, _turn(image))  # Pillow turns a TIFF file itself as it decodes it
    except UnidentifiedImageError:
        raise PictureError(
            f"is not a picture that can be read (DICOM, {READ}); convert it to PNG or leave it out."
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(most) from None


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this machine's Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decoded(image: Image.Image, content: bytes, least: int) -> Scaled:
    mode = image.mode
    if mode in DEEP_MODES:
        own = _own_depth(image, content)
        return eight_bits(np.asarray(image), own, least)
    if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # only Adobe's programs write inks turned over; Pillow takes all for theirs
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return Scaled(_converted(image, "RGBa", grey=mode in ("L", "LA", "La")))  # RGBa: colours times opacity
    wanted = "L" if mode in ("1", "L") else "RGB"
    return Scaled(np.asarray(image) if mode == wanted else _converted(image, wanted, grey=wanted == "L"))


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
    bits = WHOLE
    if image.format == "JPEG2000":  # Pillow spreads its values
        at = content.find(CODESTREAM)
        bits = (content[at + SIZE_BYTE] & 127) + 1 if at >= 0 else WHOLE
    elif isinstance(image, PpmImageFile) and image.tile and isinstance(image.tile[0][3], tuple):
        bits = bit_depth(int(image.tile[0][3][-1]))  # its white; Pillow spreads these, too
    return Depth(bits, WHOLE) if 8 <= bits < WHOLE else None


def _orientation(content: bytes) -> object:
    with Image.open(io.BytesIO(content), formats=_formats()) as image:
        return _turn(image)


def _turn(image: Image.Image) -> object:
    """The orientation that a picture asks for; 1, upright, where its EXIF data are damaged: its pixels are not."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises errors of every kind on damaged EXIF data
        return 1


def _upright(scaled: Scaled, orientation: object) -> Scaled:
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return scaled
    return scaled._replace(pixels=np.asarray(Image.fromarray(scaled.pixels).transpose(turn)))
