"""Picture files other than DICOM: decoding to grey or colour pixels by imagecodecs, tifffile and Pillow."""

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

from tblib.arrays import Pixels, TblibError
from tblib.films.depth import SLAB, WHOLE, Depth, Scaled, Values, bit_depth, by_parts, eight_bits

BYTES = 4  # per decoded pixel, for a film of the maximum size
FORMATS = (  # Pillow's names; others run programs, or contain no films
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "SGI", "TGA", "TIFF"),
    "WEBP",
)
READ = "PNG, JPEG, TIFF, JPEG 2000, BMP, GIF, WebP, AVIF, PCX, PPM, PGM, TGA"  # their usual names
PNG = b"\x89PNG\r\n\x1a\n"  # first bytes of PNG files
PNG_COLOURS = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}  # colour type -> Pillow's mode
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PAGES = 32  # pages of a TIFF file among which the largest is chosen
SCANS = 32  # maximum scans of a progressive JPEG of the most pixels: each is a pass over the film; ten are usual
LONG = 1_000_000  # bytes of a PNG's compressed rows from which inflating may take seconds
SCAN = b"\xff\xda"
CODESTREAM, SIZE_BYTE = b"\xff\x4f\xff\x51", 42  # start of JPEG 2000, and place of its bits per sample (15444-1, A.5)
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # more than eight bits per pixel
ORIENTATION = 0x0112  # tag of EXIF and TIFF, and the effect of its values
TURNS = {  # from 2 on
    value: Image.Transpose[name]
    for value, name in enumerate(
        ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2
    )
}
MAX_SAMPLE_VALUE = 281  # tag of TIFF files


class PictureError(TblibError):
    """A picture file that cannot be used; the message continues after the file's name."""


def picture_pixels(content: bytes, most: int, least: int = 8) -> tuple[str, Scaled]:
    """Pillow's mode and the pixels of a picture file: uint8 (H, W), or (H, W, 3) red-green-blue.

    Palettes are resolved, transparency is composited on black, and the EXIF orientation is applied. Of an animation the
    first frame is used, of a TIFF file the largest page, as small previews may precede it.

    Args:
        content: the file's bytes.
        most: maximum number of pixels.
        least: minimum bit depth for scaling files of more than eight bits that do not state their depth.

    Raises:
        PictureError: it is not a picture, or is too large.
        Exception: it is damaged; decoders raise errors of every kind.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about small faults; our own limit of pixels is stricter than Pillow's
        if content.startswith(PNG):
            return _png(content, most, least)
        if content.startswith(TIFF):
            return _tiff(content, most, least)
        return _by_pillow(content, most, least)


def need_small(width: int, height: int, size: float, most: int) -> None:
    """Check a film's size before it is decoded, to limit the memory used.

    Args:
        width, height: in pixels.
        size: bytes per decoded pixel.
        most: maximum number of pixels of four bytes; fewer if they are larger.

    Raises:
        PictureError: the film is too large.
    """
    if width * height > most or width * height * size > BYTES * most:
        raise _too_large(most)


def _too_large(most: int) -> PictureError:
    return PictureError(
        f"has more than {most:,} pixels, or {BYTES * most // 1_000_000} MB of them; shrink it first (this limit guards "
        "against decompression bombs)."
    )


def _png(content: bytes, most: int, least: int) -> tuple[str, Scaled]:
    """Decode with imagecodecs' libpng, which takes four fifths of Pillow's time and reports missing rows."""
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
    """A PNG file without optional chunks: texts that inflate to any size, and causes of libpng's warnings."""
    kept = [content[at - 8 : end + 4] for kind, at, end in chunks(content) if kind[:1].isupper() or kind == b"tRNS"]
    return PNG + b"".join(kept)


def _need_no_more(content: bytes, rows: int) -> None:
    """Raise an error if a PNG inflates to far more than its rows, `rows` bytes: libpng would inflate it all."""
    if len(content) < LONG:
        return
    parts = [content[at:end] for kind, at, end in chunks(content) if kind == b"IDAT"]
    inflater = zlib.decompressobj()
    inflater.decompress(b"".join(parts), 2 * rows + LONG)  # interlaced rows are slightly longer
    if inflater.unconsumed_tail:
        raise PictureError("holds more rows than it says, packed; save it again (it may be a decompression bomb).")


def _png_depth(content: bytes, bits: int) -> Depth | None:
    at = next((at for kind, at, _ in chunks(content) if kind == b"sBIT"), 0) if bits == WHOLE else 0
    return Depth(content[at], content[at]) if at and 8 <= content[at] < WHOLE else None


def chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each chunk of a PNG file."""
    place = len(PNG)
    while place + 12 <= len(content):
        kind, end = content[place + 4 : place + 8], place + 8 + int.from_bytes(content[place : place + 4], "big")
        yield kind, place + 8, end
        if kind == b"IEND":
            return
        place = end + 4  # after the checksum


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
    alpha = alpha if channels == 2 else alpha[..., None]
    on_black = by_parts(lambda c, a: (c.astype(np.uint16) * a + 127) // 255, scaled.pixels, alpha)
    return scaled._replace(pixels=on_black)


def _tiff(content: bytes, most: int, least: int) -> tuple[str, Scaled]:
    """Decode more than eight bits per sample by tifffile; other files, of many colour spaces, by Pillow."""
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its messages on damaged files do not name them
    try:
        with TiffFile(io.BytesIO(content)) as file:
            pages: list[Any] = [page for _, page in zip(range(PAGES), file.pages, strict=False)]
            areas = [page.imagewidth * page.imagelength for page in pages]
            number = areas.index(max(areas))
            deep = pages[number].bitspersample > 8
    except Exception:  # tifffile raises many kinds of errors; Pillow decides on files it cannot read
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
    """Raise an error on a page whose parts decode to more than its size allows: they would be decoded in full."""
    held = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample // 8
    if page.is_tiled and page.tilewidth * page.tilelength > 4 * max(page.imagewidth * page.imagelength, 512 * 512):
        raise PictureError("is a TIFF file of tiles that are larger than its picture; save it as PNG.")
    if page.compression == 1 and held > size:
        raise ValueError("it ends before its last row")


def _tiff_depth(bits: int, white: object) -> Depth | None:
    """Depth by bits per sample, or by the largest value if that is the white of a depth and not just the film's own."""
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
            return mode, _upright(scaled, _turn(image))  # Pillow itself turns TIFF files
    except UnidentifiedImageError:
        raise PictureError(
            f"is not a picture that can be read (DICOM, {READ}); convert it to PNG or leave it out."
        ) from None
    except Image.DecompressionBombError:
        raise _too_large(most) from None


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decoded(image: Image.Image, content: bytes, least: int) -> Scaled:
    mode = image.mode
    if mode in DEEP_MODES:
        own = _own_depth(image, content)
        return eight_bits(np.asarray(image), own, least)
    if mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # only Adobe's programs write inverted inks; Pillow assumes this for all
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return Scaled(_converted(image, "RGBa", grey=mode in ("L", "LA", "La")))  # RGBa: colours times opacity
    wanted = "L" if mode in ("1", "L") else "RGB"
    return Scaled(np.asarray(image) if mode == wanted else _converted(image, wanted, grey=wanted == "L"))


def _converted(image: Image.Image, mode: str, grey: bool) -> Pixels:
    """Uint8 (H, W) or (H, W, 3) of a picture in another mode, some rows at a time, to halve the memory."""
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
    """The depth that a file of more than eight bits states, read before decoding, or None.
    Sixteen bits state nothing: they may hold any depth."""
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
    """The orientation stated by a picture; 1, upright, if its EXIF data are damaged, as its pixels are not."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises errors of every kind on damaged EXIF data
        return 1


def _upright(scaled: Scaled, orientation: object) -> Scaled:
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return scaled
    return scaled._replace(pixels=np.asarray(Image.fromarray(scaled.pixels).transpose(turn)))
