"""Broken and odd files, and what the panel must make of each; run as a program, it gives them to a panel.

python odd_files.py MODEL FOLDER    prints JSON: what the panel said of each file, and the peak memory
"""

import io
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from dicom_files import dicom, palette_elements, repacked
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from tblib.films.codecs import is_available

SAME, ANY = "same", "any"  # the plain film's probability; an answer. All else: what the sentence must hold
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
LARGE = 8_000
Odd = tuple[str, bytes, str]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def raw_png(width: int, height: int, bits: int, colour: int, packed: bytes) -> bytes:
    """A PNG of what its head says (bits a sample; colour 0 grey, 2 red-green-blue) with these rows, compressed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def claims(side: int) -> bytes:
    """A whole PNG of side × side grey pixels, all black."""
    packer, row = zlib.compressobj(1), b"\0" * (side + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return raw_png(side, side, 8, 0, packed)


def broken(film: Image.Image) -> Iterator[Odd]:
    png, jpg = saved(film, "PNG"), saved(film, "JPEG")
    yield "empty.png", b"", "is empty"
    yield "text.png", b"this is a note", "is not a picture"
    yield "page.jpg", b"<html><body>Not found</body></html>", "is not a picture"
    yield "drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"
    yield "report.pdf", b"%PDF-1.4\n%%EOF", "is not a picture"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("film.png", png)
    yield "films.png", buffer.getvalue(), "is not a picture"
    yield "zeros.png", b"\0" * 5000, "is not a picture"
    yield "head.png", png[:8], "head.png"
    yield "half.png", png[: len(png) // 2], "is damaged"
    yield "half.jpg", jpg[: len(jpg) // 2], "is damaged"
    yield "half.tif", saved(film, "TIFF")[:5000], "half.tif"
    yield "half.jp2", saved(film, "JPEG2000")[:3000], "half.jp2"
    yield "flipped.png", png[:3000] + b"\xff" * 50 + png[3050:], "is damaged"
    nan = np.asarray(film, np.float32)
    nan = np.where(nan > 200, np.nan, nan).astype(np.float32)
    yield "nan.tif", saved(Image.fromarray(nan), "TIFF"), "not numbers"
    yield "vast.png", claims(20_000), "more than 64,000,000 pixels"


def odd(film: Image.Image) -> Iterator[Odd]:
    grey = np.asarray(film)
    png, colour = saved(film, "PNG"), film.convert("RGB")
    yield "plain.png", png, SAME
    yield "named.jpg", png, SAME
    yield "named.dcm", png, SAME
    yield "nameless", png, SAME
    yield "<img src=x onerror=alert(1)>.png", png, SAME
    yield "rgb.png", saved(colour, "PNG"), SAME
    yield "rgba.png", saved(film.convert("RGBA"), "PNG"), SAME
    yield "la.png", saved(film.convert("LA"), "PNG"), SAME
    yield "clear.png", saved(Image.new("RGBA", film.size, (9, 9, 9, 0)), "PNG"), ANY
    yield "palette.png", saved(film.convert("P"), "PNG"), SAME
    yield "one_bit.png", saved(film.convert("1"), "PNG"), ANY
    yield "one_bit.tif", saved(film.convert("1"), "TIFF", compression="group4"), ANY
    yield "deep.png", saved(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"), SAME
    yield "deep.tif", saved(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"), SAME
    yield "deeper.tif", saved(Image.fromarray(grey.astype(np.int32) << 8), "TIFF"), SAME
    yield "float.tif", saved(Image.fromarray(grey.astype(np.float32)), "TIFF"), ANY
    yield "cmyk.jpg", saved(colour.convert("CMYK"), "JPEG"), ANY
    yield "cmyk.tif", saved(colour.convert("CMYK"), "TIFF"), SAME
    yield "lab.tif", saved(colour.convert("LAB"), "TIFF"), ANY
    yield "ycbcr.tif", saved(colour.convert("YCbCr"), "TIFF", compression="tiff_lzw"), ANY
    others = [film.transpose(Image.Transpose.ROTATE_180)]
    for kind in ("GIF", "PNG", "TIFF"):
        yield f"moving.{kind.lower()}", saved(film, kind, save_all=True, append_images=others), SAME
    yield "moving.webp", saved(film, "WEBP", save_all=True, append_images=others, lossless=True), SAME
    exif = Image.Exif()
    exif[0x0112] = 8  # turn a quarter counter-clockwise to see it upright
    yield "turned.png", saved(film.transpose(Image.Transpose.ROTATE_270), "PNG", exif=exif), SAME
    yield "dot.png", saved(film.resize((1, 1)), "PNG"), ANY
    yield "wide.png", saved(film.resize((600, 1)), "PNG"), ANY
    yield "tall.png", saved(film.resize((1, 600)), "PNG"), ANY
    for kind in ("BMP", "PCX", "PPM", "TGA"):
        yield f"plain.{kind.lower()}", saved(film, kind), SAME
    yield "plain.jp2", saved(film, "JPEG2000"), SAME
    yield "plain.jpg", saved(film, "JPEG"), ANY
    yield "large_rgba.png", saved(film.resize((LARGE, LARGE)).convert("RGBA"), "PNG", compress_level=1), ANY
    deep = Image.fromarray(np.asarray(film.resize((LARGE, LARGE))).astype(np.uint16) << 8)
    yield "large_deep.png", saved(deep, "PNG", compress_level=1), ANY
    yield "large_cmyk.jpg", saved(film.resize((LARGE, LARGE)).convert("RGB").convert("CMYK"), "JPEG"), ANY


def medical(film: Image.Image) -> Iterator[Odd]:
    grey = np.asarray(film)
    colour, flat = np.stack([grey] * 3, axis=2), np.full_like(grey, 128)
    ramp = np.stack([np.arange(256, dtype=np.uint16) * 257] * 3, axis=1)
    yield "mono2.dcm", dicom(grey), SAME
    yield "mono2.png", dicom(grey), SAME
    yield "mono1.dcm", dicom(255 - grey, "MONOCHROME1"), SAME
    yield "deep.dcm", dicom(grey.astype(np.uint16) << 4, BitsStored=12, HighBit=11), ANY
    yield "window.dcm", dicom(grey.astype(np.uint16) * 4, WindowCenter=510, WindowWidth=1020), ANY
    yield "rgb.dcm", dicom(colour, "RGB"), SAME
    yield "ybr.dcm", dicom(np.stack([grey, flat, flat], axis=2), "YBR_FULL"), SAME
    yield "palette.dcm", dicom(grey, "PALETTE COLOR", **palette_elements(ramp)), SAME
    yield "lab.dcm", dicom(grey, "CIELAB"), "photometric interpretation CIELAB"
    yield "half.dcm", dicom(grey)[:-5000], "does not decode"
    yield "vast.dcm", dicom(grey, Rows=20_000, Columns=20_000), "more than 64,000,000 pixels"
    yield "prefix.dcm", b"\0" * 128 + b"DICM", "is a DICOM file"
    for name in ("MR_small_RLE", "SC_rgb_small_odd_jpeg", "JPEG2000", "SC_ybr_full_422_uncompressed"):
        yield f"{name}.dcm", (SHIPPED / f"{name}.dcm").read_bytes(), ANY
    packed = (SHIPPED / "MR_small_RLE.dcm").read_bytes()
    for syntax in (uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.HTJ2KLossless):
        told = "does not decode" if is_available(syntax) else "for which no decoder is installed"
        yield f"{syntax}.dcm", repacked(packed, syntax), told
    lossless = encapsulate([imagecodecs.ljpeg_encode(grey, bitspersample=8)])
    yield "lossless.dcm", dicom(grey, syntax=uid.JPEGLosslessSV1, PixelData=lossless), SAME
    yield "film.mpeg.dcm", repacked(packed, uid.MPEG2MPML), "is packed as MPEG2 Main Profile / Main Level"
    yield "deflated.dcm", (SHIPPED / "image_dfl.dcm").read_bytes(), ANY
    yield "plan.dcm", (SHIPPED / "rtplan.dcm").read_bytes(), "without a picture"


def odd_files(film: Image.Image) -> Iterator[Odd]:
    """Name, bytes and what must come of it: SAME, ANY, or a part of the sentence."""
    for kind in (broken, odd, medical):
        yield from kind(film)


def main(model: Path, folder: Path) -> None:
    from tblib.predict.panel import prediction_panel
    from tblib.predict.predictor import open_predictor

    panel, said = prediction_panel(open_predictor(model), {}), []
    for path in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        name, content = path.read_bytes().split(b"\n", 1)
        batch = {"view": "view", "batch": int(path.name), "turn": 0}
        message = batch | {"kind": "part", "name": name.decode(), "place": 0, "last": True, "count": 1}
        panel.drop._handle_custom_msg(message, [content])
        panel.controls["border"].value = 0.05
        panel.reset.click()
        said.append({**panel.table.rows[-1], "page": panel.told.value + panel.answer.value + panel.outcome.value})
    print(json.dumps({"said": said, "peak": peak_memory()}))


def peak_memory() -> float:
    """Of this process in GB, by Linux; `resource` would tell that of the process that started it, if that is larger."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**20


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
