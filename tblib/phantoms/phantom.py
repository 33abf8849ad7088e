"""Synthetic films: a chest with artefacts, and the ground truth of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tblib.arrays import Mask, Pixels
from tblib.films import edits
from tblib.films.boxes import Box, Widths
from tblib.films.edits import TINTS, Marker
from tblib.phantoms.anatomy import SIDE, radiograph
from tblib.phantoms.presets import BORDERS, CLASSES, COLOURS, KAGGLE, MARKERS, Preset

LEAST_SEVERE = 0.05  # of films with tuberculosis: barely visible; half of them are above 0.75
Generator = np.random.Generator


@dataclass(frozen=True)
class Truth:
    """Ground truth of one film; "", 0 and None mean that it does not have the artefact.

    Attributes:
        label: one of `CLASSES`.
        seed: `phantom_film(label, seed, preset)` reproduces the film.
        severity: of the lesions: 0 none, just above 0 barely visible, 1 plain.
        signs: of tuberculosis, and look-alikes, as in `tblib.phantoms.anatomy.Radiograph`, joined by "; ".
        one_channel: the file has mode L; otherwise RGB.
        tint: a key of `TINTS`, or "neutral" for a colour too faint to see.
        unevenness: of the light box, 0 … 1 (`edits.tinted`).
        marker: its letter, or a word on its own.
        marker_word: text below the letter.
        marker_kind: one of `MARKERS`.
        marker_style: a key of `edits.MARKER_STYLES`.
        marker_size: height of its letter, pixels.
        marker_turn: degrees counter-clockwise.
        marker_mirrored: it is seen from behind.
        marker_strength: of its ink, 0 … 1.
        border: how far the picture reaches beyond the film, before it was tilted.
        border_colour: a key of `BORDERS`; tilted films have one even if all widths are 0.
        tilt: of the film's edges, degrees counter-clockwise.
        equalised: strength of histogram equalisation, 0 … 1.
        blur: sigma, pixels.
        jpeg: quality 1 … 95 of an intermediate export; 0 for none.
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
        lungs: bool (SIDE, SIDE), True on visible lung: not behind the heart, not below the diaphragm.
        lesions: bool (SIDE, SIDE), True on visible tuberculosis.
    """

    pixels: Pixels
    lungs: Mask
    lesions: Mask
    truth: Truth


def phantom_film(label: str, seed: int, table: Preset = KAGGLE) -> Phantom:
    """Draw one film. The same seed gives both classes the same chest, without or with lesions."""
    return drawn_film(label, seed, table, exported_again=False)


def phantom_truth(label: str, seed: int, table: Preset = KAGGLE) -> Truth:
    """Ground truth of `phantom_film(label, seed, table)` without drawing it; only `signs` stays empty."""
    rng = np.random.default_rng([seed, CLASSES.index(label)])
    share = {name: prevalence[CLASSES.index(label)] for name, prevalence in table.items()}
    severity = 0.0 if label == CLASSES[0] else round(max(LEAST_SEVERE, float(rng.random() ** 0.4)), 3)
    carried = (
        _colour(rng, share) | _marker(rng, share) | _border(rng, share) | _blocks(rng, share) | _export(rng, share)
    )
    if rng.random() < share["even_light"]:  # sampled last: a film's other artefacts do not depend on this share
        carried["unevenness"] = 0.0
    return Truth(label, seed, severity, "", **carried)


def carried(grey: Pixels, truth: Truth) -> Pixels:
    """Add the artefacts in `truth` to a bare film uint8 (SIDE, SIDE); the result has a third axis of 3 for RGB.

    Export and marker come first, then the light box around the film and the camera's colours, and last the blocks that
    hide a name, which are therefore exactly black and white. No block hides a marker.
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


def drawn_film(label: str, seed: int, table: Preset, exported_again: bool) -> Phantom:
    """`phantom_film`, optionally exported once more."""
    truth = phantom_truth(label, seed, table)
    film = radiograph(seed, truth.severity)
    grey = _exported_again(film.grey) if exported_again else film.grey
    truth = replace(truth, signs="; ".join(film.signs))
    return Phantom(carried(grey, truth), film.lungs, film.lesions, truth)


def _exported_again(grey: Pixels) -> Pixels:
    """The film from another export: slightly brighter, and compressed as JPEG."""
    brighter = np.clip(np.round(1.02 * grey + 3), 0, 250).astype(np.uint8)
    return edits.compressed(brighter, quality=85).pixels


def _one_of(rng: Generator, names: tuple[str, ...], share: Mapping[str, float]) -> str:
    """Sample one of `names` with its share, or "" with the remaining probability."""
    place = int(np.searchsorted(np.cumsum([share[name] for name in names]), rng.random(), side="right"))
    return names[place] if place < len(names) else ""


def _colour(rng: Generator, share: Mapping[str, float]) -> dict[str, Any]:
    kind, uneven = _one_of(rng, COLOURS, share), round(float(rng.choice([0, rng.uniform(0.1, 0.6)])), 3)
    tint = "" if kind == "one_channel" else kind
    return {"one_channel": kind == "one_channel", "tint": tint, "unevenness": uneven if tint in TINTS else 0.0}


class MarkerKind(NamedTuple):
    """How a hospital marks its films, from which its markers are sampled.

    Attributes:
        styles: keys of `edits.MARKER_STYLES`.
        letters: letters or words; those of a side are placed on that side.
        size: range of the letter's height, pixels, without the upper end.
        strength: range of the ink's strength.
        initials: number of letters of a name below it.
        lying: share turned by a quarter, a half or three quarters.
        mirrored: share seen from behind.
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
CLEAR = 40  # px; largest distance of an ordinary border from the picture's edge: markers lie inside it
NO_MARKER: dict[str, Any] = dict.fromkeys(("marker", "marker_word", "marker_kind", "marker_style"), "") | {
    **{"marker_size": 0, "marker_box": None, "marker_turn": 0.0, "marker_mirrored": False, "marker_strength": 0.0}
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
    """A border of 4 … 20 pixels on at least one side."""
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
    """A white rectangle low or half-way up at a side, a black box at the top between the markers' places."""
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
