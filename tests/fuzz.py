"""Mutated picture files of every format, each of which must become a film or a sentence.

python -m tests.fuzz --files 200000 --seed 0    prints how many did what, and the worst time of a file
"""

from __future__ import annotations

import argparse
import io
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import tifffile
from joblib import Parallel, delayed
from PIL import Image, features

from tblib.films.film import FilmError, open_film
from tblib.films.pictures import PNG, chunks

SIDE = 24  # of the films that are mutated: small, so that many are tried
BLOCK = 500  # files of one task
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
DICOMS = ("MR_small", "MR_small_RLE", "MR_small_jp2klossless", "SC_rgb_small_odd_jpeg", "CT_small",
          "MR_small_bigendian", "image_dfl", "SC_rgb_rle", "JPEG2000")  # fmt: skip


def film() -> np.ndarray:
    """Uint8 (SIDE, SIDE)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return (90 + 100 * np.exp(-(((x - SIDE / 2) / 4) ** 2)) + 2 * y).clip(0, 255).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values: np.ndarray, **options: object) -> bytes:
    """The bytes of a TIFF file."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def seeds() -> dict[str, bytes]:
    """Whole files of every format that is read."""
    grey = film()
    deep, colour = grey.astype(np.uint16) << 4, np.stack([grey] * 3, 2)
    image, exif = Image.fromarray(grey), Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010F] = 6, 72.0, "a maker"
    found = {f"{kind} {mode}": saved(image.convert(mode), kind) for kind, modes in {
        "PNG": ("L", "RGB", "P", "RGBA", "LA", "1"), "JPEG": ("L", "RGB", "CMYK"), "BMP": ("L", "RGB", "1"),
        "GIF": ("L",), "TIFF": ("L", "RGB", "P", "CMYK", "1"), "WEBP": ("RGB",), "JPEG2000": ("L", "RGB"),
        "PCX": ("L", "RGB"), "PPM": ("L", "RGB", "1"), "TGA": ("L", "RGB", "P"), "SGI": ("L",), "ICO": ("L",),
    }.items() for mode in modes}  # fmt: skip
    if features.check("avif"):
        found["AVIF"] = saved(image, "AVIF")
    found |= {f"{kind} exif": saved(image, kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP", "TIFF")}
    found |= {f"TIFF {name}": saved(image, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")}
    found |= {
        "PNG 16": imagecodecs.png_encode(deep),
        "PNG 16 colour": imagecodecs.png_encode(np.stack([deep] * 3, 2)),
        "TIFF 16": tiff(deep), "TIFF 16 zlib": tiff(deep, compression="zlib", predictor=True),
        "TIFF 16 lzw": tiff(deep, compression="lzw"), "TIFF float": tiff(deep.astype(np.float32)),
        "TIFF 16 colour": tiff(np.stack([deep] * 3, 2), photometric="rgb"), "TIFF big": tiff(deep, bigtiff=True),
        "TIFF tiled": tiff(deep, tile=(16, 16)), "TIFF pages": tiff(np.stack([colour] * 3)),
        "JPEG progressive": saved(image, "JPEG", progressive=True),
    }  # fmt: skip
    return found | {f"DICOM {name}": (SHIPPED / f"{name}.dcm").read_bytes() for name in DICOMS}


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """A file with bytes changed, cut out, doubled, swapped with extremes, or cut off."""
    changed = bytearray(content)
    for _ in range(1 + random.geometric(0.4)):
        place = int(random.integers(max(len(changed), 1)) * random.choice([1, 1, 0.1]))  # heads matter most
        how = random.integers(6)
        if how == 0 and changed:
            changed[place] ^= 1 << random.integers(8)
        elif how == 1:
            changed[place : place + 4] = random.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
        elif how == 2:
            changed[place : place + int(random.integers(1, 64))] = b""
        elif how == 3:
            changed[place:place] = changed[place : place + int(random.integers(1, 64))]
        elif how == 4:
            changed[place : place + 8] = random.bytes(8)
        else:
            del changed[max(place, 1) :]
    return checked(bytes(changed)) if random.integers(2) else bytes(changed)


def checked(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what is in them now, so that decoders look at it; others as they are."""
    if not content.startswith(PNG):
        return content
    fixed = bytearray(content)
    for kind, at, end in chunks(content):
        if end + 4 <= len(content):
            fixed[end : end + 4] = struct.pack(">I", zlib.crc32(kind + content[at:end]))
    return bytes(fixed)


def told(content: bytes) -> str:
    """What became of a file: a film, a sentence, or the error that must not be."""
    try:
        opened = open_film(content, "film")
    except FilmError as error:
        return "sentence" if str(error).startswith("film ") and "\n" not in str(error) else f"odd sentence: {error}"
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
    whole = opened.pixels.dtype == np.uint8 and opened.pixels.ndim in (2, 3) and opened.grey.size > 0
    return "film" if whole else "odd film"


def tried(kind: str, content: bytes, files: int, seed: list[int]) -> tuple[str, Counter[str], float]:
    """What became of `files` mutations of a file, and the longest time that one of them took."""
    random, found, slowest = np.random.default_rng(seed), Counter[str](), 0.0
    for _ in range(files):
        changed = mutated(content, random)
        begun = time.perf_counter()
        found[told(changed)] += 1
        slowest = max(slowest, time.perf_counter() - begun)
    return kind, found, slowest


def fuzz(files: int, seed: int) -> Iterator[tuple[str, Counter[str], float]]:
    """What became of about so many mutated files, by kind, as tasks end."""
    whole = seeds()
    each = max(1, round(files / len(whole)))
    jobs = (
        delayed(tried)(kind, content, min(BLOCK, each - start), [seed, number, start])
        for number, (kind, content) in enumerate(whole.items())
        for start in range(0, each, BLOCK)
    )
    yield from Parallel(n_jobs=-1, return_as="generator_unordered")(jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found, slow, total = dict[str, Counter[str]](), dict[str, float](), Counter[str]()
    for kind, outcome, slowest in fuzz(options.files, options.seed):
        found.setdefault(kind, Counter()).update(outcome)
        slow[kind] = max(slow.get(kind, 0.0), slowest)
        total.update(outcome)
    for kind, outcome in found.items():
        print(f"{kind:28} slowest {slow[kind]:6.2f} s  {dict(outcome.most_common(6))}")
    print(f"{total.total():,} files: {dict(total.most_common())}")
    bad = {what: count for what, count in total.items() if what not in ("film", "sentence")}
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
