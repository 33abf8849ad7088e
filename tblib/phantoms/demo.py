"""The demo database: synthetic chest films whose lesions and artefacts are known exactly.

Artefacts (`tblib.films.edits`) are added to a synthetic chest (`tblib.phantoms.anatomy`) with the prevalences of a
preset, and the ground truth is saved with the films. Films are shown as on a light box: the patient's left is on the
viewer's right.
"""

import csv
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from tblib.arrays import Mask, Pixels
from tblib.phantoms.phantom import Truth, drawn_film
from tblib.phantoms.presets import CLASSES, KAGGLE, DemoError, Preset
from tblib.system.code import code_digest
from tblib.system.files import replacing
from tblib.system.processes import workers

FILMS_PER_TUBERCULOSIS = 3  # twice as many as in the Kaggle database: few films have to teach a network
FEWEST_WITH_DUPLICATES = 60  # a smaller demo cannot spare any films
DUPLICATES = {2: 1, 4: 3, 6: 5}  # Tuberculosis number -> the film it repeats; neighbours, as in the Kaggle database
NEAR_DUPLICATES = (4, 6)  # exported again, slightly brighter; the other one is a byte-for-byte copy


def write_demo(path: Path, films: int = 600, seed: int = 0, table: Preset = KAGGLE) -> Path:
    """Generate a database, a third of it tuberculosis, as one zip file, and return its path.

    The zip holds `demo/<class>/<class>-<n>.png`, the films; `demo/lungs/<class>-<n>.png` and
    `demo/lesions/<class>-<n>.png`, their 1-bit masks; `demo/truth.csv`, one row per film, with boxes as
    "top,left,bottom,right" and widths as "top,right,bottom,left" in pixels; and `demo/SYNTHETIC.json`, which states
    that no patient is in it. The same films, seed and table give the same bytes.

    Args:
        path: of the zip; an existing file is replaced only once the new one is complete.
        films: 2 or more; every third has tuberculosis, and from 60 on three of those repeat others (`DUPLICATES`).
        seed: of the whole database.
        table: prevalence of artefacts in either class (`read_preset`).

    Raises:
        DemoError: too few films, or the folder cannot be created.
        ShortageError: no space or permission to write the file.
    """
    if films < len(CLASSES):
        raise DemoError(f"A demo of {films} films cannot hold both classes; ask for {len(CLASSES)} or more.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            _write_zip(part, films, seed, table)
    except OSError as error:
        raise DemoError(f"The demo could not be written to {path} ({error.strerror or error}).") from error
    return path


def demo_name(films: int, seed: int, table: Preset = KAGGLE) -> str:
    """A file name for a demo; another table or version of the code gives another name, so old files are kept."""
    return f"demo-{films}-{seed}-{_digest(table)[:8]}.zip"


def demo_is_current(path: Path, films: int, seed: int, table: Preset = KAGGLE) -> bool:
    """Whether `path` holds what `write_demo(path, films, seed, table)` would write, judged by its SYNTHETIC.json."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(json.loads(archive.read("demo/SYNTHETIC.json")) == _provenance(films, seed, table))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return False


def _provenance(films: int, seed: int, table: Preset) -> dict[str, object]:
    made = {"synthetic": True, "films": films, "seed": seed, "made_by": "tblib.phantoms", "digest": _digest(table)}
    return made | {"shares": {name: list(share) for name, share in table.items()}}


def _digest(table: Preset) -> str:
    return hashlib.sha256(
        (code_digest("tblib.phantoms.demo.write_demo") + repr(sorted(table.items()))).encode()
    ).hexdigest()


class _Entry(NamedTuple):
    label: str
    number: int
    repeats: int  # number of the film that it is a near-duplicate of, or its own
    seed: int


def _plan(films: int, seed: int) -> Iterator[_Entry]:
    """Name and seed of every film; seeds depend only on the name, so films can be drawn in any order."""
    tuberculosis = max(1, films // FILMS_PER_TUBERCULOSIS)
    for index, count in enumerate((films - tuberculosis, tuberculosis)):
        duplicates = DUPLICATES if CLASSES[index] == "Tuberculosis" and films >= FEWEST_WITH_DUPLICATES else {}
        for number in range(1, count + 1):
            repeats = duplicates.get(number, number)
            state = np.random.SeedSequence([seed, index, repeats]).generate_state(1, np.uint64)[0]
            yield _Entry(CLASSES[index], number, repeats, int(state >> np.uint64(1)))  # 63 bits fit a table's int64


def _write_zip(path: Path, films: int, seed: int, table: Preset) -> None:
    lines = io.StringIO()
    columns = ["file", *(field.name for field in fields(Truth)), "duplicate_of"]
    truth = csv.DictWriter(lines, columns, lineterminator="\n")
    truth.writeheader()
    jobs = (delayed(_drawn)(entry, table) for entry in _plan(films, seed))
    cores = Parallel(n_jobs=-1, return_as="generator", **workers())
    with zipfile.ZipFile(path, "w") as archive, closing(cores(jobs)) as drawn:
        for pictures, row in tqdm(drawn, total=films, desc="drawing the demo", unit=" films"):
            for folder, picture in pictures.items():
                _add(archive, f"demo/{folder}/{Path(row['file']).name}", picture)
            truth.writerow(row)
        _add(archive, "demo/truth.csv", lines.getvalue().encode())
        _add(archive, "demo/SYNTHETIC.json", json.dumps(_provenance(films, seed, table), indent=1).encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name)  # stored, as PNGs are already compressed, and dated 1980-01-01 for reproducible bytes
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # as if made on Unix, on any system
    archive.writestr(entry, content)


def _drawn(entry: _Entry, table: Preset) -> tuple[dict[str, bytes], dict[str, str]]:
    """One film's PNGs by their folders, and its row of the truth table."""
    is_duplicate = entry.number != entry.repeats
    film = drawn_film(entry.label, entry.seed, table, exported_again=is_duplicate and entry.number in NEAR_DUPLICATES)
    row = {field.name: _cell(getattr(film.truth, field.name)) for field in fields(Truth)}
    row["file"] = f"{entry.label}/{entry.label}-{entry.number}.png"
    row["duplicate_of"] = f"{entry.label}/{entry.label}-{entry.repeats}.png" if is_duplicate else ""
    return {entry.label: _png(film.pixels), "lungs": _mask_png(film.lungs), "lesions": _mask_png(film.lesions)}, row


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _png(pixels: Pixels) -> bytes:
    """A film as PNG with filter 2 (Up) in all lines: choosing among five filters per line takes twice as long."""
    height, width = pixels.shape[:2]
    lines = pixels.reshape(height, -1)
    filtered = np.full((height, lines.shape[1] + 1), 2, np.uint8)
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _mask_png(mask: Mask) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
