"""The demo database: synthetic chest films whose lesions and artefacts are known exactly.

A phantom is made as a radiograph is: the thickness of everything the beam crosses is added up, the
beam is weakened by Beer-Lambert's law, and a film's characteristic curve turns what is left into
grey. Then the film gets what the Kaggle database's films carry besides lungs, each artefact as often
as `KAGGLE` says for its class, and the truth about all of it is written down.

Films lie as on a light box: the patient's left is on the viewer's right. Fields of the anatomy are
float (GRID, GRID) over x, -1 … 1 from the patient's right to left, and y, -1 … 1 downwards.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm import tqdm

from tblib import TblibError
from tblib.box import Box, Widths
from tblib.film import Pixels
from tblib.run import replacing

Mask = npt.NDArray[np.bool_]
Field = npt.NDArray[np.floating[Any]]

SIDE = 512  # pixels a side of every film, as in the Kaggle database
GRID = SIDE // 2  # anatomy is smooth: drawn at half the size, it costs a quarter of the time
CLASSES = ("Normal", "Tuberculosis")
FILMS_PER_TUBERCULOSIS = 6  # the Kaggle balance: 700 of 4,200
FEWEST_WITH_TWINS = 60  # a smaller demo has no films to spare
TWINS = {2: 1, 4: 3, 6: 5}  # Tuberculosis number -> the film it repeats; neighbours, as in the Kaggle database
NEAR_TWINS = (4, 6)  # exported again, a little brighter; the other twin is a byte-for-byte copy


class DemoError(TblibError):
    """A demo database that cannot be made, with the reason in a sentence."""


class Prevalence(NamedTuple):
    """The share of each class's films that carry something, 0 … 1."""

    normal: float
    tuberculosis: float


# Channels, tint and white rectangles were counted on the Kaggle database; the other shares are estimates.
KAGGLE: dict[str, Prevalence] = {
    "one_channel": Prevalence(0.00, 0.44),
    "tint": Prevalence(0.00, 0.53),
    "neutral": Prevalence(0.00, 0.03),  # RGB, and nearly but not exactly R = G = B; with none of these three, exactly
    "equalised": Prevalence(0.85, 0.00),
    "marker": Prevalence(0.80, 0.35),
    "border": Prevalence(0.05, 0.25),
    "dark_box": Prevalence(0.01, 0.10),
    "white_rectangle": Prevalence(0.00, 0.34),
}

# What a light box and a camera leave of red, green and blue.
TINTS = {
    "blue": (0.66, 0.83, 1.00),
    "cyan": (0.60, 0.93, 0.97),
    "green": (0.74, 0.96, 0.83),
    "beige": (0.98, 0.92, 0.76),
}
NEARLY_NEUTRAL = (1.00, 1.00, 0.985)

MARKER_INK = 250  # bright, yet below the 255 of a white rectangle


class MarkerStyle(NamedTuple):
    """How a hospital marks its films."""

    size: tuple[int, int]  # of the letter in pixels: from, up to but not including
    outline: int  # stroke width in pixels of a letter in outline; 0 means a solid letter
    words: tuple[str, ...]  # one of these stands below the letter


MARKER_STYLES = {
    "Normal": MarkerStyle((20, 31), 0, ("", "", "AP", "PORTABLE")),
    "Tuberculosis": MarkerStyle((44, 65), 2, ("",)),
}


@dataclass(frozen=True)
class Truth:
    """What one film carries; None and "" mean: nothing of the kind.

    Attributes:
        label: one of `CLASSES`.
        seed: `phantom_film(label, seed)` draws this film again.
        severity: of the lesions: 0 none, just above 0 barely visible, 1 plain.
        one_channel: the file has mode L; otherwise RGB.
        tint: a key of `TINTS`, or "neutral" for a colour too faint to see.
        marker: its text, e.g. "L PORTABLE".
        equalised: the grey levels were histogram-equalised.
    """

    label: str
    seed: int
    severity: float
    one_channel: bool
    tint: str
    marker: str
    marker_box: Box | None
    white_rectangle: Box | None
    dark_box: Box | None
    border: Widths | None
    equalised: bool


@dataclass(frozen=True)
class Radiograph:
    """A chest before anything was done to the film.

    Attributes:
        grey: uint8 (SIDE, SIDE), 0 black (much radiation) … 255 white (none).
        lungs: bool (SIDE, SIDE), True where lung is seen: not behind the heart, not below the diaphragm.
    """

    grey: Pixels
    lungs: Mask


@dataclass(frozen=True)
class Phantom:
    """One synthetic film.

    Attributes:
        pixels: uint8 (SIDE, SIDE) when `truth.one_channel`, else (SIDE, SIDE, 3) red-green-blue; 0 black … 255 white.
        lungs: bool (SIDE, SIDE), as in `Radiograph`.
        truth: what the film carries, and where.
    """

    pixels: Pixels
    lungs: Mask
    truth: Truth


def phantom_film(label: str, seed: int) -> Phantom:
    """Draw one film of a class. The same seed gives the other class the same chest, without or with lesions."""
    return _film(label, seed, exported_again=False)


def phantom_truth(label: str, seed: int) -> Truth:
    """What `phantom_film(label, seed)` carries, found without drawing its chest."""
    return with_artefacts(np.zeros((SIDE, SIDE), np.uint8), label, seed)[1]


def _film(label: str, seed: int, exported_again: bool) -> Phantom:
    chest = radiograph(seed, _severity(label, seed))
    grey = _exported_again(chest.grey) if exported_again else chest.grey
    pixels, truth = with_artefacts(grey, label, seed)
    return Phantom(pixels, chest.lungs, truth)


def _severity(label: str, seed: int) -> float:
    return 0.0 if label == "Normal" else round(float(_stream(seed, "severity").uniform(0.05, 1)), 3)


def _stream(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose, so that a lesion moves no rib and a marker no lesion."""
    return np.random.default_rng([seed, ("chest", "lesions", "severity", "artefacts").index(purpose)])


# --- the chest -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Build:
    """One person's build, in half picture sides."""

    cage: float  # half-width of the rib cage at its widest
    apex: float  # y of the lungs' tips
    domes: tuple[float, float]  # y of the diaphragm's domes: patient's right, left
    heart: float  # long half-axis
    breasts: float  # thickness, in chest depths


def radiograph(seed: int, severity: float) -> Radiograph:
    """Draw the chest that belongs to a seed, with tuberculosis of a severity 0 (none) … 1 (plain)."""
    rng = _stream(seed, "chest")
    x, y = _stance(rng)
    right_dome = rng.uniform(0.36, 0.60)
    build = Build(
        cage=rng.uniform(0.68, 0.80),
        apex=rng.uniform(-0.84, -0.74),
        domes=(right_dome, right_dome + rng.uniform(0.02, 0.09)),
        heart=rng.uniform(0.36, 0.46),
        breasts=rng.choice([0.0, rng.uniform(0.08, 0.2)]),
    )
    edge = np.maximum(_inside_lung(x, y, -1, build), _inside_lung(x, y, 1, build))  # > 0 inside either lung
    heart = _heart(x, y, build)
    air = _round(edge / 0.32) * (1 - 0.9 * _round(heart))  # what the heart fills holds no air
    water = _body(x, y, build) - 0.72 * air - _hollows(x, y, build)
    soft = water + air * (_vessels(rng) + 0.035 * _cloud(rng, coarsest=16))
    lesions = _lesions(x, y, air, _stream(seed, "lesions"))
    attenuation = rng.uniform(2.5, 3.1) * (soft + _bones(x, y, build, rng) + severity * lesions)
    return Radiograph(_developed(attenuation, rng), _enlarged(np.minimum(edge, -heart)) > 0)


def _stance(rng: np.random.Generator) -> tuple[Field, Field]:
    """The body's x and y at each grid point: people stand a little off-centre, tilted, near or far."""
    line = np.linspace(-1, 1, GRID, dtype=np.float32)
    x, y = np.meshgrid(line - np.float32(rng.normal(0, 0.025)), line - np.float32(rng.normal(0.02, 0.04)))
    tilt, size = np.float32(rng.normal(0, 0.025)), np.float32(rng.uniform(0.95, 1.18))
    return (x + tilt * y) / size, (y - tilt * x) / size


def _round(inside: Field) -> Field:
    """Thickness of a round body, from 0 at its outline (`inside` = 0) to 1 at its core (`inside` ≥ 1)."""
    depth = np.clip(inside, 0, 1)
    return np.sqrt(depth * (2 - depth))


def _step(value: Field, at: float, width: float) -> Field:
    """From 0 to 1, half-way `at`, within about four widths."""
    return 1 / (1 + np.exp(np.clip((at - value) / width, -30, 30)))


def _ellipse(x: Field, y: Field, centre: tuple[float, float], axes: tuple[float, float], turn: float = 0.0) -> Field:
    """1 at the centre, 0 on the outline, negative outside; `turn` in radians, clockwise as seen."""
    u, v = x - centre[0], y - centre[1]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return 1 - np.hypot((cos * u + sin * v) / axes[0], (cos * v - sin * u) / axes[1])


def _cage(y: Field, build: Build) -> Field:
    """Half-width of the rib cage at each y: a superellipse from the apex to below the diaphragm."""
    height = np.clip(np.abs(y - 0.45) / (0.45 - build.apex), 0, 1)
    return build.cage * (1 - height**2.4) ** (1 / 2.4)


def _inside_lung(x: Field, y: Field, side: int, build: Build) -> Field:
    """Distance to the nearest lung border, negative outside; `side` -1 is the patient's right lung, 1 the left."""
    out = side * x
    dome = build.domes[(side + 1) // 2]
    lateral = _cage(y, build) - out
    medial = out - 0.13 - 0.05 * np.exp(-(((y + 0.1) / 0.25) ** 2))
    floor = 0.9 * (dome + 1.1 * (out - 0.32) ** 2 - y)  # highest near the middle, lowest in the costophrenic angle
    ceiling = y - build.apex - 0.05 - 4 * np.maximum(0.34 - out, 0) ** 2  # rounds the tip off towards the neck
    return np.minimum(np.minimum(lateral, medial), np.minimum(floor, ceiling))


def _heart(x: Field, y: Field, build: Build) -> Field:
    """1 at the core, 0 on the outline: the heart, its apex to the patient's left, and the aortic knob."""
    base = sum(build.domes) / 2
    chambers = _ellipse(x, y, (0.13, base - 0.22), (build.heart, 0.72 * build.heart), turn=0.6)
    return np.maximum(chambers, _ellipse(x, y, (0.13, base - 0.80), (0.12, 0.12)))


def _body(x: Field, y: Field, build: Build) -> Field:
    """Water from front to back in chest depths: neck, shoulders, trunk, arms and breasts."""
    shoulders = _step(y, -0.74, 0.045)
    half_width = 0.27 + 0.95 * shoulders - (1.08 - build.cage) * _step(y, -0.15, 0.1) + 0.1 * _step(y, 0.5, 0.15)
    depth = 0.45 + 0.2 * shoulders + 0.35 * _step(y, -0.5, 0.12) + 0.1 * _step(y, 0.5, 0.1)
    trunk = depth * _round(1.6 * (1 - np.abs(x) / half_width))
    out = np.abs(x)
    arms = 0.5 * _round(_ellipse(out, y, (1.22, 0.2), (0.2, 0.85), turn=-0.08))
    breasts = build.breasts * _round(_ellipse(out, y, (0.42, 0.42), (0.32, 0.28)))
    return np.maximum(trunk, arms) + breasts


def _hollows(x: Field, y: Field, build: Build) -> Field:
    """Air outside the lungs, in chest depths: the windpipe, and the gas bubble of the stomach."""
    windpipe = 0.12 * _round(1 - np.abs(x) / 0.055) * (1 - _step(y, -0.3, 0.03))
    stomach = 0.2 * _round(_ellipse(x, y, (0.36, build.domes[1] + 0.17), (0.15, 0.08), turn=0.2))
    return windpipe + stomach


def _bones(x: Field, y: Field, build: Build, rng: np.random.Generator) -> Field:
    """Bone in chest depths of water that would weaken the beam as much."""
    out = np.abs(x)
    spine = 0.11 * _round(1 - out / 0.1) * (1 + 0.25 * np.cos(2 * np.pi * (y + rng.uniform()) / 0.135))
    slope = rng.uniform(0.08, 0.2)
    bend = np.float32(slope) * out + 0.03 * np.sin(5 * out)
    clavicles = 0.2 * _tube((y - build.apex - 0.19 + bend) / 0.038) * _step(out, 0.09, 0.008) * _step(-out, -0.85, 0.02)
    scapulae = 0.08 * _round(_ellipse(out, y, (0.84, -0.33), (0.17, 0.36), turn=0.25))
    humeri = 0.12 * _round(_ellipse(out, y, (1.05, -0.52), (0.14, 0.16)))
    return spine + clavicles + scapulae + humeri + _ribs(out, y, build, rng)


def _tube(across: Field) -> Field:
    """A long bone crossed at a distance from its axis (1 = its radius): a dense wall around softer marrow."""
    return _round(1 - np.abs(across)) - 0.45 * _round(1 - np.abs(across) / 0.75)


def _ribs(out: Field, y: Field, build: Build, rng: np.random.Generator) -> Field:
    """Each rib leaves the spine, falls to the side wall and comes back to the front, lower and fainter."""
    reach = np.clip(out / np.maximum(_cage(y, build) + 0.02, 0.05), 0, 1)  # 0 at the spine, 1 at the side wall
    turn = 1 - np.sqrt(1 - 0.97 * reach**2)
    spacing, start = rng.uniform(0.145, 0.175), rng.uniform()
    in_cage = (reach < 1) * _step(y, build.apex + 0.1, 0.025) * _step(-y, -0.6, 0.06)

    def row(fall: Field) -> Field:
        """All ribs of one kind, which lie `fall` below their start at each point."""
        phase = (y - fall) / spacing + start
        return _tube((phase - np.round(phase)) * spacing / 0.032)

    behind = 0.15 * row(0.04 * reach + 0.24 * turn) * _step(out, 0.1, 0.02)
    front = 0.06 * row(0.55 - 0.3 * reach - 0.1 * turn) * _step(reach, 0.45, 0.06)
    return in_cage * (behind + front)


def _vessels(rng: np.random.Generator) -> Field:
    """Vessels branching from both hila, in chest depths; drawn as lines that thin out as they walk away."""
    canvas = Image.new("L", (GRID, GRID))
    draw = ImageDraw.Draw(canvas)
    for side in (-1, 1):
        for heading in np.linspace(-1.25, 1.35, 13) + rng.normal(0, 0.1, 13):
            point = np.array([side * 0.2, -0.08 + 0.09 * heading])
            for width in np.linspace(rng.uniform(3, 5), 0.6, 16):
                heading += rng.normal(0, 0.14)
                end = point + rng.uniform(0.03, 0.05) * np.array([side * np.cos(heading), np.sin(heading)])
                corners = [tuple((corner + 1) * GRID / 2) for corner in (point, end)]
                draw.line(corners, fill=int(50 * width), width=max(1, round(width)))
                point = end
    return 0.17 * np.asarray(canvas.reduce(2).resize((GRID, GRID), Image.Resampling.BICUBIC), np.float32) / 255


def _cloud(rng: np.random.Generator, coarsest: int) -> Field:
    """Irregular texture of mean 0 and sd about 1: random grids, each twice as fine and 0.6 times as strong."""
    total = np.zeros((GRID, GRID), np.float32)
    for octave, cells in enumerate((coarsest, 2 * coarsest, 4 * coarsest)):
        total += np.float32(0.6**octave) * _resized(rng.standard_normal((cells, cells), np.float32), GRID)
    return total


def _lesions(x: Field, y: Field, air: Field, rng: np.random.Generator) -> Field:
    """Tuberculosis of severity 1, in chest depths: a clouded patch, nodules around it, often a cavity.

    It sits in the upper zone of one lung, or less often of both, as reactivated tuberculosis does.
    """
    lesions = np.zeros_like(x)
    sides = rng.choice([-1, 1], size=1 + int(rng.random() < 0.35), replace=False)
    for side in sides:
        upper = np.argwhere((side * x > 0.2) & (y < -0.1) & (air > 0.5))
        row, column = upper[rng.integers(len(upper))]
        cx, cy = float(x[row, column]), float(y[row, column])
        patch = _round(_ellipse(x, y, (cx, cy), tuple(rng.uniform(0.18, 0.34, 2)), rng.uniform(0, np.pi)))
        lesions += 0.3 * patch**2 * np.clip(0.6 + 0.6 * _cloud(rng, coarsest=12), 0, 2)
        for _ in range(rng.integers(4, 14)):
            radius = rng.uniform(0.018, 0.04)
            lesions += 3.5 * radius * _round(_ellipse(x, y, tuple(rng.normal((cx, cy), 0.13)), (radius, radius)))
        if rng.random() < 0.5:
            radius = rng.uniform(0.07, 0.13)
            ball = _ellipse(x, y, (cx, cy), (radius, radius * rng.uniform(0.8, 1.2)))
            hole = _round(3 * (ball - 0.25))
            lesions = lesions * (1 - 0.8 * hole) + 0.2 * (_round(ball) - hole)
    return np.clip(lesions, 0, None) * np.clip(2 * air, 0, 1)


def _developed(attenuation: Field, rng: np.random.Generator) -> Pixels:
    """Uint8 (SIDE, SIDE) from attenuation (GRID, GRID): Beer-Lambert's law, then the film's S-shaped curve.

    Exposure is counted in that which gives middle grey. Mottle is added to the full-size film, where it
    keeps large areas from being of one exact grey level.
    """
    middle, contrast = rng.uniform(1.35, 1.75), rng.uniform(1.25, 1.9)
    exposure = np.exp(middle - np.maximum(_enlarged(attenuation), 0))
    grey = 250 / (1 + exposure ** np.float32(contrast))
    grey += np.float32(rng.uniform(1.5, 3)) * rng.standard_normal(grey.shape, np.float32)
    return np.clip(np.round(grey), 0, 250).astype(np.uint8)


def _enlarged(field: Field) -> Field:
    return _resized(field, SIDE)


def _resized(field: Field, side: int) -> Field:
    return np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC))


def _exported_again(grey: Pixels) -> Pixels:
    """The same film from another export: slightly brighter, and once through JPEG."""
    brighter = np.clip(np.round(1.02 * grey + 3), 0, 250).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(brighter).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer))


# --- what the film carries besides the chest -----------------------------------------------------


def with_artefacts(grey: Pixels, label: str, seed: int) -> tuple[Pixels, Truth]:
    """Give a film what films of its class carry, as often as `KAGGLE` says.

    Scanner and marker come first, then the light box around the film and the camera's colours, and
    last the boxes that hide a name, which are therefore exactly black and white. A marker lies in an
    upper corner, a dark box at the top between them, a white rectangle lower down: none hides another.

    Args:
        grey: uint8 (SIDE, SIDE).
        label: one of `CLASSES`.
        seed: decides what is carried, and where.

    Returns:
        The pixels, uint8 (SIDE, SIDE) or (SIDE, SIDE, 3), and the truth about them.
    """
    rng = _stream(seed, "artefacts")
    share = {name: prevalence[CLASSES.index(label)] for name, prevalence in KAGGLE.items()}
    pixels, is_equalised = equalised(grey, rng, share["equalised"])
    pixels, text, marker_box = marker(pixels, rng, share["marker"], MARKER_STYLES[label])
    pixels, widths = border(pixels, rng, share["border"])
    pixels, tint = coloured(pixels, rng, share["one_channel"], share["tint"], share["neutral"])
    pixels, dark = dark_box(pixels, rng, share["dark_box"])
    pixels, white = white_rectangle(pixels, rng, share["white_rectangle"])
    return pixels, Truth(
        label=label,
        seed=seed,
        severity=_severity(label, seed),
        one_channel=pixels.ndim == 2,
        tint=tint,
        marker=text,
        marker_box=marker_box,
        white_rectangle=white,
        dark_box=dark,
        border=widths,
        equalised=is_equalised,
    )


def equalised(grey: Pixels, rng: np.random.Generator, share: float) -> tuple[Pixels, bool]:
    """With probability `share`, spread the grey levels evenly, which brings their mean near 128."""
    if rng.random() >= share:
        return grey, False
    return np.asarray(ImageOps.equalize(Image.fromarray(grey))), True


def marker(grey: Pixels, rng: np.random.Generator, share: float, style: MarkerStyle) -> tuple[Pixels, str, Box | None]:
    """With probability `share`, a bright L in the upper right corner or R in the upper left, perhaps with a word."""
    if rng.random() >= share:
        return grey, "", None
    letter, word = str(rng.choice(["L", "R"], p=[0.85, 0.15])), str(rng.choice(style.words))
    ink = _lettering(letter, word, int(rng.integers(*style.size)), style.outline)  # (h, w)
    height, width = ink.shape
    top, inset = (int(offset) for offset in rng.integers(24, 49, size=2))  # clear of any border
    left = SIDE - inset - width if letter == "L" else inset
    area = np.s_[top : top + height, left : left + width]
    marked = grey.copy()
    marked[area] = np.maximum(grey[area], ink)
    return marked, f"{letter} {word}".strip(), Box(top, left, top + height, left + width)


def _lettering(letter: str, word: str, size: int, outline: int) -> Pixels:
    """Uint8 (h, w), 0 where no ink is, cut to the ink: a letter of `size` pixels and a small word below it."""
    canvas = Image.new("L", (8 * size, 3 * size))
    draw = ImageDraw.Draw(canvas)
    font, small = ImageFont.load_default(size), ImageFont.load_default(0.55 * size)
    draw.text((9, 9), letter, 0 if outline else MARKER_INK, font, stroke_width=outline, stroke_fill=MARKER_INK)
    draw.text((9, 12 + 1.1 * size), word, MARKER_INK, small)
    return np.asarray(canvas.crop(canvas.getbbox()))


def border(grey: Pixels, rng: np.random.Generator, share: float) -> tuple[Pixels, Widths | None]:
    """With probability `share`, the film ends inside the picture: 4 … 20 pixels of black or of bare light box.

    It is drawn before the tint, so that the bare light box of a beige film is beige.
    """
    if rng.random() >= share:
        return grey, None
    sides = rng.random(4) < 0.6
    sides[rng.integers(4)] = True  # at least one
    widths = Widths(*(int(width) for width in sides * rng.integers(4, 21, size=4)))
    framed = np.full_like(grey, 4 if rng.random() < 0.5 else rng.integers(225, 246))
    inner = np.s_[widths.top : SIDE - widths.bottom, widths.left : SIDE - widths.right]
    framed[inner] = grey[inner]
    return framed, widths


def coloured(
    grey: Pixels, rng: np.random.Generator, one_channel: float, tinted: float, neutral: float
) -> tuple[Pixels, str]:
    """Leave one channel, tint, or tint too faintly to see, with these probabilities; else RGB with R = G = B."""
    kind = rng.random()
    if kind < one_channel:
        return grey, ""
    if kind < one_channel + tinted:
        tint = list(TINTS)[rng.integers(len(TINTS))]
        gains = np.array(TINTS[tint]) * rng.uniform(0.96, 1, size=3)
    elif kind < one_channel + tinted + neutral:
        tint, gains = "neutral", np.array(NEARLY_NEUTRAL)
    else:
        return np.repeat(grey[:, :, None], 3, axis=2), ""
    levels = np.round(np.arange(256)[:, None] * gains).astype(np.uint8)  # (256, 3)
    return levels[grey], tint


def dark_box(pixels: Pixels, rng: np.random.Generator, share: float) -> tuple[Pixels, Box | None]:
    """With probability `share`, a black block at the top, as a film's name plate leaves."""
    if rng.random() >= share:
        return pixels, None
    height, width = int(rng.integers(14, 33)), int(rng.integers(50, 111))
    top, left = int(rng.integers(0, 12)), int(rng.integers(170, 340 - width))
    return _filled(pixels, Box(top, left, top + height, left + width), 0)


def white_rectangle(pixels: Pixels, rng: np.random.Generator, share: float) -> tuple[Pixels, Box | None]:
    """With probability `share`, a white block over a name: mostly at the bottom, else at one side."""
    if rng.random() >= share:
        return pixels, None
    height, width = int(rng.integers(16, 65)), int(rng.integers(60, 241))
    if rng.random() < 0.85:
        top, left = SIDE - height - int(rng.integers(0, 25)), int(rng.integers(0, SIDE - width + 1))
    else:
        width //= 2
        top, left = int(rng.integers(160, 340)), int(rng.choice([0, SIDE - width]))
    return _filled(pixels, Box(top, left, top + height, left + width), 255)


def _filled(pixels: Pixels, box: Box, level: int) -> tuple[Pixels, Box]:
    filled = pixels.copy()
    filled[box.top : box.bottom, box.left : box.right] = level
    return filled, box


# --- the database --------------------------------------------------------------------------------


def write_demo(path: Path, films: int = 600, seed: int = 0) -> Path:
    """Draw a database of films at the Kaggle balance and write it as one zip file.

    The zip holds `demo/<class>/<class>-<n>.png`, the films; `demo/lungs/<class>-<n>.png`, their 1-bit
    lung masks; `demo/truth.csv`, a line a film, with boxes as "top,left,bottom,right" and widths as
    "top,right,bottom,left" in pixels; and `demo/SYNTHETIC.json`, which tells readers that no patient is in
    it. The same films and seed give the same bytes.

    Args:
        path: where the zip goes; what is there is replaced only once the new one is whole.
        films: 2 or more; every sixth has tuberculosis, and from 60 on three of those repeat others (`TWINS`).
        seed: of the whole database.

    Returns:
        `path`.

    Raises:
        DemoError: too few films, or the file cannot be written.
    """
    if films < len(CLASSES):
        raise DemoError(f"A demo of {films} films cannot hold both classes; ask for {len(CLASSES)} or more.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            _write_zip(part, films, seed)
    except OSError as error:
        raise DemoError(f"The demo could not be written to {path} ({error.strerror or error}).") from error
    return path


def demo_name(films: int, seed: int) -> str:
    """A file name for a demo; another version of this module gives another name, and leaves the old file alone."""
    return f"demo-{films}-{seed}-{_digest()[:8]}.zip"


def demo_is_current(path: Path, films: int, seed: int) -> bool:
    """Whether `path` holds what `write_demo(path, films, seed)` would write, judged by its SYNTHETIC.json."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(json.loads(archive.read("demo/SYNTHETIC.json")) == _provenance(films, seed))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return False


def _provenance(films: int, seed: int) -> dict[str, object]:
    return {"synthetic": True, "films": films, "seed": seed, "made_by": "tblib.phantom", "digest": _digest()}


def _digest() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


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


def _write_zip(path: Path, films: int, seed: int) -> None:
    table = io.StringIO()
    columns = ["file", *(field.name for field in fields(Truth)), "twin_of"]
    truth = csv.DictWriter(table, columns, lineterminator="\n")
    truth.writeheader()
    jobs = (delayed(_drawn)(entry) for entry in _plan(films, seed))
    with zipfile.ZipFile(path, "w") as archive, closing(Parallel(n_jobs=-1, return_as="generator")(jobs)) as drawn:
        for film, lungs, row in tqdm(drawn, total=films, desc="drawing the demo", unit=" films"):
            _add(archive, f"demo/{row['file']}", film)
            _add(archive, f"demo/lungs/{Path(row['file']).name}", lungs)
            truth.writerow(row)
        _add(archive, "demo/truth.csv", table.getvalue().encode())
        _add(archive, "demo/SYNTHETIC.json", json.dumps(_provenance(films, seed), indent=1).encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name)  # stored, as PNGs are compressed already, and dated 1980-01-01 whatever the day
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # as if made on Unix, whatever the system
    archive.writestr(entry, content)


def _drawn(entry: _Entry) -> tuple[bytes, bytes, dict[str, str]]:
    """One film's PNG, its lung mask's PNG, and its line of the truth."""
    is_twin = entry.number != entry.repeats
    film = _film(entry.label, entry.seed, exported_again=is_twin and entry.number in NEAR_TWINS)
    row = {field.name: _cell(getattr(film.truth, field.name)) for field in fields(Truth)}
    row["file"] = f"{entry.label}/{entry.label}-{entry.number}.png"
    row["twin_of"] = f"{entry.label}/{entry.label}-{entry.repeats}.png" if is_twin else ""
    return _png(film.pixels), _png(film.lungs), row


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _png(pixels: Pixels | Mask) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)  # higher levels are slower but hardly smaller
    return buffer.getvalue()
