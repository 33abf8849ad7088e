"""The demo database: synthetic chest films whose lesions and artefacts are known exactly.

A chest (`tblib.chest`) gets what the films of its class carry besides lungs (`tblib.edits`), each
artefact as often as a preset says, and the truth about all of it is written down beside the film.

Films lie as on a light box: the patient's left is on the viewer's right.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from tblib import TblibError, box, chest, edits
from tblib.box import Box, Widths
from tblib.chest import SIDE, radiograph
from tblib.edits import TINTS, Marker, Mask
from tblib.film import Pixels
from tblib.processes import workers
from tblib.run import replacing

CLASSES = ("Normal", "Tuberculosis")
FILMS_PER_TUBERCULOSIS = 6  # the Kaggle balance: 700 of 4,200
FEWEST_WITH_TWINS = 60  # a smaller demo has no films to spare
TWINS = {2: 1, 4: 3, 6: 5}  # Tuberculosis number -> the film it repeats; neighbours, as in the Kaggle database
NEAR_TWINS = (4, 6)  # exported again, a little brighter; the other twin is a byte-for-byte copy
LEAST_SEVERE = 0.05  # of films with tuberculosis: barely visible; half of them are above 0.75

Generator = np.random.Generator


class DemoError(TblibError):
    """A demo database that cannot be made, with the reason in a sentence."""


# --- presets -------------------------------------------------------------------------------------


class Prevalence(NamedTuple):
    """The share of each class's films that carry something, 0 … 1."""

    normal: float
    tuberculosis: float


Preset = Mapping[str, Prevalence]

COLOURS = ("one_channel", *TINTS, "neutral")  # a film has one of these or none: three equal channels
MARKERS = ("initials", "plain", "portable", "cyrillic", "outline", "plate", "handwritten")  # or none
BORDERS = {"black_border": (0.01, 0.01, 0.01), "white_border": (1.0, 1.0, 1.0), "beige_border": (0.93, 0.88, 0.76)}

# Channels, tints and white rectangles were counted on the Kaggle database; markers, borders and black boxes by eye on
# the films of tests/real_films.csv; the last three are estimates. Artefacts are drawn independently within a class. In
# the real database they are not: its tinted films of tuberculosis carry the white rectangles, the one-channel ones the
# markers.
KAGGLE: Preset = {
    "one_channel": Prevalence(0.00, 0.44),
    "blue": Prevalence(0.00, 0.26),
    "cyan": Prevalence(0.00, 0.20),
    "green": Prevalence(0.00, 0.03),
    "beige": Prevalence(0.00, 0.04),
    "neutral": Prevalence(0.00, 0.03),
    "initials": Prevalence(0.78, 0.01),
    "plain": Prevalence(0.08, 0.06),
    "portable": Prevalence(0.04, 0.00),
    "cyrillic": Prevalence(0.00, 0.20),
    "outline": Prevalence(0.01, 0.01),
    "plate": Prevalence(0.07, 0.01),
    "handwritten": Prevalence(0.00, 0.00),
    "black_border": Prevalence(0.13, 0.36),
    "white_border": Prevalence(0.17, 0.25),
    "beige_border": Prevalence(0.00, 0.08),
    "tilt": Prevalence(0.11, 0.33),
    "white_rectangle": Prevalence(0.00, 0.34),
    "black_box": Prevalence(0.02, 0.06),
    "equalised": Prevalence(0.85, 0.05),
    "blur": Prevalence(0.05, 0.45),
    "jpeg": Prevalence(0.10, 0.40),
}
CLEAN: Preset = {name: Prevalence(sum(share) / 2, sum(share) / 2) for name, share in KAGGLE.items()}
# What an audit has to find; all else is alike in both classes.
PLANTED: Preset = {**CLEAN, **{name: KAGGLE[name] for name in (*COLOURS, "white_rectangle")}}
PRESETS = {"kaggle": KAGGLE, "clean": CLEAN, "planted": PLANTED}


def read_preset(name: str) -> Preset:
    """The preset of a name in `PRESETS`, or the one in a CSV file: a line an artefact, artefact,normal,tuberculosis.

    Artefacts that the file leaves out are carried by no film.

    Raises:
        DemoError: there is no such preset or file, or a line of it is wrong.
    """
    if name in PRESETS:
        return PRESETS[name]
    try:
        with Path(name).expanduser().open(newline="", encoding="utf-8-sig") as file:  # Excel puts a mark before UTF-8
            rows = [_preset_row(name, row) for row in csv.DictReader(file)]
    except (OSError, RuntimeError, ValueError, csv.Error) as error:
        raise DemoError(
            f"There is no preset {name!r}: give {', '.join(PRESETS)} or a CSV file (artefact,normal,tuberculosis)."
        ) from error
    if not rows:
        raise DemoError(
            f"{name} names no artefact; give a line for each, under the header artefact,normal,tuberculosis."
        )
    table = dict.fromkeys(KAGGLE, Prevalence(0, 0)) | dict(rows)
    for group in (COLOURS, MARKERS, tuple(BORDERS)):
        for index, label in enumerate(CLASSES):
            if (total := sum(table[artefact][index] for artefact in group)) > 1 + 1e-9:
                raise DemoError(
                    f"{name}: a film has at most one of {', '.join(group)}; for {label} they add up to {total:g}."
                )
    return table


def _preset_row(name: str, row: dict[str, str]) -> tuple[str, Prevalence]:
    try:
        artefact, share = row["artefact"], Prevalence(float(row["normal"]), float(row["tuberculosis"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DemoError(
            f"{name}: every line needs artefact,normal,tuberculosis with two numbers, not {row}."
        ) from error
    if artefact not in KAGGLE:
        raise DemoError(f"{name}: there is no artefact {artefact!r}; there are {', '.join(KAGGLE)}.")
    if not all(0 <= value <= 1 for value in share):
        raise DemoError(
            f"{name}: shares lie between 0 and 1; those of {artefact} are {share.normal:g} and {share.tuberculosis:g}."
        )
    return artefact, share


# --- the truth about one film --------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """All that one film carries; "", 0 and None mean: nothing of the kind.

    Attributes:
        label: one of `CLASSES`.
        seed: `phantom_film(label, seed, preset)` draws this film again.
        severity: of the lesions: 0 none, just above 0 barely visible, 1 plain.
        signs: of tuberculosis, and look-alikes, as in `tblib.chest.Radiograph`, joined by "; ".
        one_channel: the file has mode L; otherwise RGB.
        tint: a key of `TINTS`, or "neutral" for a colour too faint to see.
        unevenness: of the light box, 0 … 1 (`edits.tinted`).
        marker: its letter, or the word that stands alone.
        marker_word: what is written below it.
        marker_kind: one of `MARKERS`.
        marker_style: a key of `edits.MARKER_STYLES`.
        marker_size: height of its letter, pixels.
        marker_turn: degrees counter-clockwise.
        marker_mirrored: it is seen from behind.
        marker_strength: of its ink, 0 … 1.
        border: how far the picture reaches beyond the film, before it was turned.
        border_colour: a key of `BORDERS`; tilted films have one even if all widths are 0.
        tilt: degrees counter-clockwise of the film's edges.
        equalised: how far the grey levels were spread evenly, 0 … 1.
        blur: sigma, pixels.
        jpeg: quality 1 … 95 of an export in between; 0 for none.
    """

    label: str
    seed: int
    severity: float
    signs: str
    one_channel: bool
    tint: str
    unevenness: float
    marker: str
    marker_word: str
    marker_kind: str
    marker_style: str
    marker_size: int
    marker_box: Box | None
    marker_turn: float
    marker_mirrored: bool
    marker_strength: float
    white_rectangle: Box | None
    black_box: Box | None
    border: Widths | None
    border_colour: str
    tilt: float
    equalised: float
    blur: float
    jpeg: int


@dataclass(frozen=True)
class Phantom:
    """One synthetic film.

    Attributes:
        pixels: uint8 (SIDE, SIDE) when `truth.one_channel`, else (SIDE, SIDE, 3) red-green-blue; 0 black … 255 white.
        lungs: bool (SIDE, SIDE), True where lung is seen: not behind the heart, not below the diaphragm.
        lesions: bool (SIDE, SIDE), True where tuberculosis is seen.
        truth: what the film carries, and where.
    """

    pixels: Pixels
    lungs: Mask
    lesions: Mask
    truth: Truth


def phantom_film(label: str, seed: int, table: Preset = KAGGLE) -> Phantom:
    """Draw one film of a class. The same seed gives the other class the same chest, without or with lesions."""
    return _film(label, seed, table, exported_again=False)


def phantom_truth(label: str, seed: int, table: Preset = KAGGLE) -> Truth:
    """What `phantom_film(label, seed, table)` carries, found without drawing it; only `signs` stays empty."""
    rng = np.random.default_rng([seed, CLASSES.index(label)])
    share = {name: prevalence[CLASSES.index(label)] for name, prevalence in table.items()}
    severity = 0.0 if label == CLASSES[0] else round(max(LEAST_SEVERE, float(rng.random() ** 0.4)), 3)
    carried = (
        _colour(rng, share) | _marker(rng, share) | _border(rng, share) | _blocks(rng, share) | _export(rng, share)
    )
    return Truth(label, seed, severity, "", **carried)


def carried(grey: Pixels, truth: Truth) -> Pixels:
    """A bare film, uint8 (SIDE, SIDE), with all that `truth` says: (SIDE, SIDE) if one channel, else (SIDE, SIDE, 3).

    Export and marker come first, then the light box around the film and the camera's colours, and last the blocks
    that hide a name, which are therefore exactly black and white. No block hides a marker.
    """
    film = edits.blurred(grey, truth.blur).pixels if truth.blur else grey
    film = edits.equalised(film, truth.equalised).pixels if truth.equalised else film
    film = edits.compressed(film, truth.jpeg).pixels if truth.jpeg else film
    if truth.marker_box is not None:
        film = edits.marked(film, _marker_of(truth), truth.marker_box.top, truth.marker_box.left).pixels
    if truth.border is not None:
        film = edits.bordered(film, truth.border, BORDERS[truth.border_colour], truth.tilt).pixels
    if truth.tint:
        tint = TINTS.get(truth.tint, edits.NEUTRAL)
        film = edits.tinted(film, tint, truth.unevenness).pixels
    elif not truth.one_channel:
        film = edits.three_channels(film)
    for block, paint in ((truth.black_box, edits.black_box), (truth.white_rectangle, edits.white_rectangle)):
        film = film if block is None else paint(film, block).pixels
    return film


def _film(label: str, seed: int, table: Preset, exported_again: bool) -> Phantom:
    truth = phantom_truth(label, seed, table)
    film = radiograph(seed, truth.severity)
    grey = _exported_again(film.grey) if exported_again else film.grey
    truth = replace(truth, signs="; ".join(film.signs))
    return Phantom(carried(grey, truth), film.lungs, film.lesions, truth)


def _exported_again(grey: Pixels) -> Pixels:
    """The same film from another export: slightly brighter, and once through JPEG."""
    brighter = np.clip(np.round(1.02 * grey + 3), 0, 250).astype(np.uint8)
    return edits.compressed(brighter, quality=85).pixels


# --- what is drawn by lot ------------------------------------------------------------------------


def _one_of(rng: Generator, names: tuple[str, ...], share: Mapping[str, float]) -> str:
    """One of `names`, each with its share, or "" with what is left."""
    place = int(np.searchsorted(np.cumsum([share[name] for name in names]), rng.random(), side="right"))
    return names[place] if place < len(names) else ""


def _colour(rng: Generator, share: Mapping[str, float]) -> dict[str, Any]:
    kind, uneven = _one_of(rng, COLOURS, share), round(float(rng.choice([0, rng.uniform(0.1, 0.6)])), 3)
    tint = "" if kind == "one_channel" else kind
    return {"one_channel": kind == "one_channel", "tint": tint, "unevenness": uneven if tint in TINTS else 0.0}


class MarkerKind(NamedTuple):
    """How a hospital marks its films: what one marker of it is drawn from.

    Attributes:
        styles: keys of `edits.MARKER_STYLES`.
        letters: what it says; sides are put on their side of the film.
        size: height of the letter, pixels: from, up to but not including.
        strength: of the ink, from … to.
        initials: how many letters of a name stand below it.
        lying: share that lie turned by a quarter, a half or three quarters.
        mirrored: share that are seen from behind.
    """

    styles: tuple[str, ...]
    letters: tuple[str, ...]
    size: tuple[int, int]
    strength: tuple[float, float]
    initials: int = 0
    lying: float = 0.0
    mirrored: float = 0.0


MARKER_KINDS = {
    "initials": MarkerKind(
        ("solid", "thin", "solid"), ("L", "L", "L", "R"), (14, 27), (0.6, 1.0), initials=2, lying=0.35
    ),
    "plain": MarkerKind(("solid", "serif"), ("L", "R"), (18, 37), (0.6, 1.0), lying=0.15),
    "portable": MarkerKind(("thin", "solid"), ("PORTABLE", "AP", "PA"), (9, 15), (0.8, 1.0)),
    "cyrillic": MarkerKind(("thin", "outline"), ("Λ", "Л", "П"), (34, 57), (0.35, 0.9)),
    "outline": MarkerKind(("outline",), ("L", "R"), (30, 57), (0.5, 1.0)),
    "plate": MarkerKind(("plate",), ("L", "R"), (18, 31), (0.8, 1.0)),
    "handwritten": MarkerKind(("dark",), ("L", "R"), (24, 49), (0.7, 1.0)),
}
RIGHT_SIDED = ("R", "П")  # letters of the patient's right, on the viewer's left
CLEAR = 40  # px at most between an ordinary border and the picture's edge: a marker lies inside of it


NO_MARKER: dict[str, Any] = {
    "marker": "",
    "marker_word": "",
    "marker_kind": "",
    "marker_style": "",
    "marker_size": 0,
    "marker_box": None,
    "marker_turn": 0.0,
    "marker_mirrored": False,
    "marker_strength": 0.0,
}


def _marker(rng: Generator, share: Mapping[str, float]) -> dict[str, Any]:
    name = _one_of(rng, MARKERS, share)
    if not name:
        return dict(NO_MARKER)
    kind = MARKER_KINDS[name]
    letter, style = str(rng.choice(kind.letters)), str(rng.choice(kind.styles))
    turn = round(float(rng.choice([90, 180, 270]) if rng.random() < kind.lying else 0) + float(rng.normal(0, 3)), 1)
    word = "".join(rng.choice(list("ABCDEFGHJKMNSTW"), kind.initials)) if rng.random() < 0.8 else ""
    mirrored, strength = bool(rng.random() < kind.mirrored), round(float(rng.uniform(*kind.strength)), 3)
    marker = Marker(letter, style, int(rng.integers(*kind.size)), word, turn, mirrored, strength)
    height, width = edits.marker_size(marker)
    top = int(rng.integers(120, 200) if rng.random() < 0.08 else rng.integers(CLEAR, 90))
    inset = int(rng.integers(CLEAR, 80))
    left = inset if letter in RIGHT_SIDED else SIDE - inset - width
    return {
        "marker": letter,
        "marker_word": word,
        "marker_kind": name,
        "marker_style": style,
        "marker_size": marker.size,
        "marker_box": Box(top, left, top + height, left + width),
        "marker_turn": turn,
        "marker_mirrored": marker.mirrored,
        "marker_strength": marker.strength,
    }


def _marker_of(truth: Truth) -> Marker:
    """What `edits.marked` needs to draw the marker of a film."""
    return Marker(
        truth.marker,
        truth.marker_style,
        truth.marker_size,
        truth.marker_word,
        truth.marker_turn,
        truth.marker_mirrored,
        truth.marker_strength,
    )


def _border(rng: Generator, share: Mapping[str, float]) -> dict[str, Any]:
    """4 … 20 pixels on some sides, at least one."""
    colour = _one_of(rng, tuple(BORDERS), share)
    tilt = round(float(rng.choice([-1, 1]) * rng.uniform(0.8, 4)), 2) if rng.random() < share["tilt"] else 0.0
    sides = rng.random(4) < 0.6
    sides[rng.integers(4)] = True  # at least one
    widths = sides * rng.integers(4, 21, size=4)
    if not colour and not tilt:
        return {"border": None, "border_colour": "", "tilt": 0.0}
    border = Widths(*map(int, widths)) if colour else Widths(0, 0, 0, 0)
    return {"border": border, "border_colour": colour or str(rng.choice(list(BORDERS)[:2])), "tilt": tilt}


def _blocks(rng: Generator, share: Mapping[str, float]) -> dict[str, Any]:
    """A white rectangle lies low or in the middle of a side, a black box at the top between the markers' places."""
    white = black = None
    height, width = int(rng.integers(16, 65)), int(rng.integers(60, 241))
    if rng.random() < 0.85:
        top, left = SIDE - height - int(rng.integers(0, 25)), int(rng.integers(0, SIDE - width + 1))
    else:
        width //= 2
        top, left = int(rng.integers(340, 446)), int(rng.choice([0, SIDE - width]))
    if rng.random() < share["white_rectangle"]:
        white = Box(top, left, top + height, left + width)
    height, width = int(rng.integers(14, 33)), int(rng.integers(50, 111))
    top, left = int(rng.integers(0, 12)), int(rng.integers(170, 300 - width))
    if rng.random() < share["black_box"]:
        black = Box(top, left, top + height, left + width)
    return {"white_rectangle": white, "black_box": black}


def _export(rng: Generator, share: Mapping[str, float]) -> dict[str, Any]:
    strength = {"equalised": rng.uniform(0.5, 1), "blur": rng.uniform(0.6, 1.8), "jpeg": rng.uniform(15, 70)}
    drawn = {name: value if rng.random() < share[name] else 0.0 for name, value in strength.items()}
    return {"equalised": round(drawn["equalised"], 3), "blur": round(drawn["blur"], 2), "jpeg": round(drawn["jpeg"])}


# --- the database --------------------------------------------------------------------------------


def write_demo(path: Path, films: int = 600, seed: int = 0, table: Preset = KAGGLE) -> Path:
    """Draw a database of films at the Kaggle balance and write it as one zip file.

    The zip holds `demo/<class>/<class>-<n>.png`, the films; `demo/lungs/<class>-<n>.png` and
    `demo/lesions/<class>-<n>.png`, their 1-bit masks; `demo/truth.csv`, a line a film, with boxes as
    "top,left,bottom,right" and widths as "top,right,bottom,left" in pixels; and `demo/SYNTHETIC.json`, which
    tells readers that no patient is in it. The same films, seed and table give the same bytes.

    Args:
        path: where the zip goes; what is there is replaced only once the new one is whole.
        films: 2 or more; every sixth has tuberculosis, and from 60 on three of those repeat others (`TWINS`).
        seed: of the whole database.
        table: how often films of either class carry what (`read_preset`).

    Returns:
        `path`.

    Raises:
        DemoError: too few films, or the folder cannot be made.
        ShortageError: there is no room or no right to write the file.
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
    """A file name for a demo; another table or other code gives another name, and leaves the old file alone."""
    return f"demo-{films}-{seed}-{_digest(table)[:8]}.zip"


def demo_is_current(path: Path, films: int, seed: int, table: Preset = KAGGLE) -> bool:
    """Whether `path` holds what `write_demo(path, films, seed, table)` would write, judged by its SYNTHETIC.json."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(json.loads(archive.read("demo/SYNTHETIC.json")) == _provenance(films, seed, table))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return False


def _provenance(films: int, seed: int, table: Preset) -> dict[str, object]:
    return {"synthetic": True, "films": films, "seed": seed, "made_by": "tblib.phantom", "digest": _digest(table)}


def _digest(table: Preset) -> str:
    """SHA-256 of the code that draws and of the table."""
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (box, chest, edits))
    return hashlib.sha256(code + Path(__file__).read_bytes() + repr(sorted(table.items())).encode()).hexdigest()


class _Entry(NamedTuple):
    """One film of the database, before it is drawn."""

    label: str
    number: int
    repeats: int  # the number of the film that it is a twin of; its own if it is no twin
    seed: int


def _plan(films: int, seed: int) -> Iterator[_Entry]:
    """Name and seed of every film; a seed depends on nothing but the name, so films can be drawn in any order."""
    tuberculosis = max(1, films // FILMS_PER_TUBERCULOSIS)
    for index, count in enumerate((films - tuberculosis, tuberculosis)):
        twins = TWINS if CLASSES[index] == "Tuberculosis" and films >= FEWEST_WITH_TWINS else {}
        for number in range(1, count + 1):
            repeats = twins.get(number, number)
            state = np.random.SeedSequence([seed, index, repeats]).generate_state(1, np.uint64)[0]
            yield _Entry(CLASSES[index], number, repeats, int(state >> np.uint64(1)))  # 63 bits fit a table's int64


def _write_zip(path: Path, films: int, seed: int, table: Preset) -> None:
    lines = io.StringIO()
    columns = ["file", *(field.name for field in fields(Truth)), "twin_of"]
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
    entry = zipfile.ZipInfo(name)  # stored, as PNGs are compressed already, and dated 1980-01-01 whatever the day
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # as if made on Unix, whatever the system
    archive.writestr(entry, content)


def _drawn(entry: _Entry, table: Preset) -> tuple[dict[str, bytes], dict[str, str]]:
    """One film's PNGs by the folders they belong in, and its line of the truth."""
    is_twin = entry.number != entry.repeats
    film = _film(entry.label, entry.seed, table, exported_again=is_twin and entry.number in NEAR_TWINS)
    row = {field.name: _cell(getattr(film.truth, field.name)) for field in fields(Truth)}
    row["file"] = f"{entry.label}/{entry.label}-{entry.number}.png"
    row["twin_of"] = f"{entry.label}/{entry.label}-{entry.repeats}.png" if is_twin else ""
    return {entry.label: _png(film.pixels), "lungs": _mask_png(film.lungs), "lesions": _mask_png(film.lesions)}, row


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _png(pixels: Pixels) -> bytes:
    """A film as a PNG file whose lines all have filter 2, Up: choosing among five for each line takes twice as long."""
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
