"""Detection of laterality markers: positions of letters, words and arrows, and the side that a letter names.

Candidates are strokes that are brighter or darker than their surroundings. Each is compared with letters rendered from
fonts, upright, rotated by quarters and mirrored; its score combines how sharply it stands out and its similarity to
letters. Neighbouring candidates form one marker.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from tblib.arrays import Mask, Pixels
from tblib.films.boxes import Box
from tblib.films.edits import letter_font

Floats = npt.NDArray[np.float32]
Levels = npt.NDArray[np.int16]
Region = tuple[slice, slice]  # rows, columns
# Strokes are detected at half the film's size, where they are 1 to 8 px wide; pixels in this block refer to that size.
STROKE = 9  # px, side of the top-hat's square: wider than a stroke, narrower than overlapping bones and shoulders
LETTER = (3, 36)  # px, short and long side: from one small letter to the word PORTABLE or an arrow
LEAST_SIDE = 5  # px: of the long side
LEAST_CONTRAST = 8.0  # grey levels: contrast of bones in a flat film; the minimum used
CUTS = {False: (0.6, 1.0, 2.0), True: (1.0,)}  # thresholds for bright and for dark ink, times the bones' contrast
LEAST_PEAK = 1.2  # contrast of a stroke's brightest pixel, times that of the film's bones
MOST_READ = 16  # candidates compared with letters, the sharpest first
GLYPH = 24  # px per side of the square in which strokes and letters are compared
DRAWN = 96  # px per side of the square in which a letter is drawn; none leaves it when it is turned
SIDES = {"L": "L", "R": "R", "Л": "Л", "Λ": "Л", "П": "П"}  # glyph -> side letter; Л is often cast as Λ
OTHERS = "ABCDEFGHJKMNOPQSTUVWXYZ123456789↑-/"  # other characters of strokes
FONTS = ("DejaVuSans-Bold", "DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono-Bold")
QUARTERS, SLANTS = (0, 90, 180, 270), (-12, 0, 12)  # degrees
LEGIBLE = 0.5  # similarity from which a side letter is reported
MARGIN = 12  # px of the film: strokes nearer to its edge may belong to the edge
APART = 10  # px of the film: strokes nearer than this belong to one marker
# Weights of a logistic regression over the features of `Candidate`, fitted by tests/fit_markers.py.
WEIGHTS = (1.135, 0.27, 12.439, 10.283, -7.036, 0.218, 11.193, -5.223, -3.162, 2.79, 0.369)
INTERCEPT = -30.491
LEAST_SCORE = 0.5


@dataclass(frozen=True)
class FoundMarker:
    """A detected marker.

    Attributes:
        box: around all its strokes.
        letter: the side it names, L, R, Л or П; "" if no stroke is legible as one of them.
        style: dark (ink darker than the film), outline, or solid.
        score: 0 … 1, certainty that it is a marker.
    """

    box: Box
    letter: str
    style: str
    score: float


class Candidate(NamedTuple):
    """A stroke that may be part of a marker, and its features.

    Attributes:
        box: in pixels of the film.
        dark: its ink is darker than the film.
        peak: log2 of its contrast over that of the film's bones.
        edge: log2 of the steepness of its outline over the contrast of the film's bones.
        free: share of its surroundings that differ from its level.
        even: its median contrast over its peak: letters are uniform, bones are brightest in their middle.
    """

    box: Box
    dark: bool
    peak: float
    edge: float
    free: float
    even: float


class Reading(NamedTuple):
    """Similarity of a stroke to letters.

    Attributes:
        letter: the most similar side letter.
        outline: the outlined form of that letter is more similar.
        likeness: correlation with it, −1 … 1.
        other: correlation with the most similar other character.
    """

    letter: str
    outline: bool
    likeness: float
    other: float


def find_markers(grey: Pixels, film: Mask) -> tuple[FoundMarker, ...]:
    """Markers of a film, grey uint8 (H, W), about 512 pixels per side, most certain first.
    `film` is bool (H, W), True on film: not on borders, not on painted blocks."""
    read = candidates_of(grey, film)
    parts = [(*one, score) for one in read if (score := _score(*one, grey.shape)) >= LEAST_SCORE]
    markers = [_joined(group) for group in _groups(parts)]
    return tuple(sorted(markers, key=lambda marker: -marker.score))


def candidates_of(grey: Pixels, film: Mask) -> list[tuple[Candidate, Reading]]:
    """The strokes that stand out, and the similarity of each to letters; arguments as for `find_markers`."""
    candidates = _candidates(grey, film)
    return list(zip(candidates, _read([_ink(grey, candidate) for candidate in candidates]), strict=True))


def _candidates(grey: Pixels, film: Mask) -> list[Candidate]:
    half = np.asarray(Image.fromarray(grey).reduce(2)).astype(np.int16)
    inside = ndimage.binary_erosion(
        np.asarray(Image.fromarray(film).convert("L").reduce(2)) == 255, iterations=2, border_value=1
    )
    steep = _extreme(half, 3, np.maximum) - _extreme(half, 3, np.minimum)
    found: dict[Box, Candidate] = {}
    for dark, levels in ((False, half), (True, 255 - half)):
        hat = levels - _extreme(_extreme(levels, STROKE, np.minimum), STROKE, np.maximum)  # white top-hat
        bones = _bone_contrast(hat)
        hat[~inside] = 0
        for cut in CUTS[dark]:
            for candidate in _strokes(levels, hat, steep, cut * bones, bones, dark):
                found.setdefault(candidate.box, candidate)
    return sorted(found.values(), key=lambda stroke: -stroke.edge - stroke.free)[:MOST_READ]


def _extreme(levels: Levels, size: int, of_two: np.ufunc) -> Levels:
    """Minimum or maximum filter with a square of `size` (odd), four times as fast as scipy's.
    A window of twice the length is made of two overlapping ones, along the columns and then along the rows."""
    for _ in range(2):
        lines = np.pad(levels, ((size // 2, size // 2), (0, 0)), mode="edge")
        length = 1
        while length < size:
            step = min(length, size - length)
            lines = of_two(lines[:-step], lines[step:])
            length += step
        levels = np.ascontiguousarray(lines.T)
    return levels


def _bone_contrast(hat: Levels) -> float:
    """Contrast of ribs and spine in grey levels, in the middle of the film, where no marker is placed."""
    height, width = hat.shape
    middle = hat[height * 3 // 10 : height * 8 // 10, width // 5 : width * 4 // 5]
    return max(float(np.percentile(middle, 98)), LEAST_CONTRAST) if middle.size else LEAST_CONTRAST


def _strokes(levels: Levels, hat: Levels, steep: Levels, cut: float, bones: float, dark: bool) -> Iterator[Candidate]:
    """The letter-sized connected parts of `hat` >= `cut` in the outer zones of the film."""
    labels, _ = ndimage.label(hat >= cut, structure=np.ones((3, 3)))
    for number, region in enumerate(ndimage.find_objects(labels), start=1):
        sides = sorted(side.stop - side.start for side in region)
        if sides[0] < LETTER[0] or not LEAST_SIDE <= sides[1] <= LETTER[1] or not _in_outer_zone(region, hat.shape):
            continue
        if hat[region].max() < LEAST_PEAK * bones:
            continue
        window = tuple(slice(max(side.start - 3, 0), side.stop + 3) for side in region)
        stroke, around = labels[window] == number, levels[window]
        tops, own, edges = np.sort(hat[window][stroke]), np.sort(around[stroke]), np.sort(steep[window][stroke])
        beside = around[~stroke]
        (top, bottom), (left, right) = ((2 * side.start, 2 * side.stop) for side in region)
        yield Candidate(
            Box(top, left, bottom, right),
            dark,
            peak=math.log2(tops[int(0.9 * (len(tops) - 1))] / bones),
            edge=math.log2(max(edges[int(0.75 * (len(edges) - 1))], 1) / bones),
            even=tops[len(tops) // 2] / max(tops[int(0.9 * (len(tops) - 1))], 1),
            free=float((beside < own[len(own) // 2] - tops[len(tops) // 2] / 2).mean()) if beside.size else 0.0,
        )


def _in_outer_zone(region: Region, shape: tuple[int, ...]) -> bool:
    """Whether the middle of a region lies where markers are placed: along the sides and the top."""
    down, across = ((side.start + side.stop) / 2 / length for side, length in zip(region, shape, strict=True))
    aside = abs(across - 0.5)
    return down < 0.14 or aside > 0.34 or (down < 0.3 and aside > 0.2)


def _ink(grey: Pixels, candidate: Candidate) -> Floats:
    """Float (h, w): the largest stroke in the candidate's box, from 0, the level around it, to 1, its own."""
    rows, columns = candidate.box.widened(6)
    around = grey[rows, columns].astype(np.float32)
    if candidate.dark:
        around = 255 - around
    top, left = candidate.box.top - rows.start, candidate.box.left - columns.start
    box = np.zeros(around.shape, bool)
    box[top : top + candidate.box.height, left : left + candidate.box.width] = True
    behind, own = np.sort(around[~box]), np.sort(around[box])
    level = float(behind[len(behind) // 2])
    ink = (around - level) / max(float(own[int(0.92 * (len(own) - 1))]) - level, 1.0)
    labels, count = ndimage.label((ink > 0.5) & box, np.ones((3, 3)))
    if not count:
        return np.zeros((1, 1), np.float32)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    down, across = np.flatnonzero(largest.any(1)), np.flatnonzero(largest.any(0))
    part = np.s_[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    return np.where(largest[part] | (ink[part] < 0.5), ink[part], 0).clip(0, 1)


def _read(inks: list[Floats]) -> list[Reading]:
    if not inks:
        return []
    glyphs, letters, outlines = _alphabet()
    likeness = np.stack([_glyph(Image.fromarray(ink)) for ink in inks]) @ glyphs.T  # (strokes, glyphs)
    side = letters != ""
    best = np.where(side, likeness, -1).argmax(1)
    others = likeness[:, ~side].max(1)
    return [
        Reading(str(letters[at]), bool(outlines[at]), float(row[at]), float(other))
        for at, row, other in zip(best, likeness, others, strict=True)
    ]


def _glyph(ink: Image.Image) -> Floats:
    """Float (GLYPH²,): the stroke, a picture of floats, centred in a square, with mean 0 and length 1, so that
    products are correlations."""
    width, height = ink.size
    scale = (GLYPH - 2) / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    square = Image.new("F", (GLYPH, GLYPH))
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    square.paste(ink.resize(size, resample), ((GLYPH - size[0]) // 2, (GLYPH - size[1]) // 2))
    values = np.asarray(square).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length else values


@lru_cache(maxsize=1)
def _alphabet() -> tuple[Floats, npt.NDArray[np.str_], Mask]:
    """Glyphs to compare with (n, GLYPH²), the side letter of each ("" for none), and whether it is an outline."""
    glyphs, letters, outlines = [], [], []
    for picture, letter, outline, slants in _pictures():
        for mirrored in (picture, ImageOps.mirror(picture)):
            slanted = [mirrored.rotate(slant, Image.Resampling.BILINEAR) for slant in slants]
            for turned in (each.rotate(quarter) for quarter in QUARTERS for each in slanted):
                glyphs.append(_glyph(turned.crop(turned.getbbox()).convert("F")))
                letters.append(letter)
                outlines.append(outline)
    return np.stack(glyphs), np.array(letters), np.array(outlines)


def _pictures() -> Iterator[tuple[Image.Image, str, bool, tuple[int, ...]]]:
    """Every upright character: its picture, its side letter, whether it is an outline, its possible slants."""
    for font in FONTS:
        for glyph, letter in SIDES.items():
            for narrow in (1.0, 0.75):
                yield _picture(glyph, font, narrow), letter, False, SLANTS
        if font == FONTS[0]:
            for glyph, letter in SIDES.items():
                yield _picture(glyph, font, 1.0, outline=4), letter, True, SLANTS
            for glyph in OTHERS:
                yield _picture(glyph, font, 1.0), "", False, (0,)


def _picture(glyph: str, font: str, narrow: float, outline: int = 0) -> Image.Image:
    picture = Image.new("L", (DRAWN, DRAWN))
    drawn, middle = ImageDraw.Draw(picture), (DRAWN // 2, DRAWN // 2)
    fill = 0 if outline else 255
    drawn.text(middle, glyph, fill, letter_font(font, 64), "mm", stroke_width=outline, stroke_fill=255)
    return ImageOps.pad(picture.resize((round(DRAWN * narrow), DRAWN)), picture.size) if narrow != 1 else picture


def features(candidate: Candidate, reading: Reading, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Features of a stroke's score, in the order of `WEIGHTS`."""
    box = candidate.box
    aside = abs((box.left + box.right) / 2 / shape[1] - 0.5)
    long = max(box.bottom - box.top, box.right - box.left)
    margin = min(box.top, box.left, shape[0] - box.bottom, shape[1] - box.right, MARGIN)
    of_ink = (
        candidate.peak,
        candidate.edge,
        candidate.free,
        reading.likeness,
        max(reading.other - reading.likeness, 0),
    )
    return *of_ink, float(np.log2(long)), aside, box.top / shape[0], float(candidate.dark), candidate.even, margin


def _score(candidate: Candidate, reading: Reading, shape: tuple[int, ...]) -> float:
    return float(1 / (1 + np.exp(-INTERCEPT - np.dot(WEIGHTS, features(candidate, reading, shape)))))


_Part = tuple[Candidate, Reading, float]


def _groups(parts: list[_Part]) -> list[list[_Part]]:
    groups: list[list[_Part]] = []
    for part in parts:
        near = [group for group in groups if any(_near(part[0].box, other[0].box) for other in group)]
        groups = [group for group in groups if group not in near] + [[part, *(p for group in near for p in group)]]
    return groups


def _near(one: Box, other: Box) -> bool:
    apart = (
        max(one.top, other.top) - min(one.bottom, other.bottom),
        max(one.left, other.left) - min(one.right, other.right),
    )
    return max(apart) <= APART


def _joined(parts: list[_Part]) -> FoundMarker:
    """Join strokes into one marker; its letter is that of the most letter-like stroke."""
    boxes: list[Box] = []
    for candidate, _, _ in sorted(parts, key=lambda part: -part[1].likeness):
        if not any(box.holds(candidate.box) or candidate.box.holds(box) for box in boxes):
            boxes.append(candidate.box)  # extracted at another contrast, it may also contain a bone's end
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    box = Box(min(tops), min(lefts), max(bottoms), max(rights))
    candidate, reading, _ = max(parts, key=lambda part: part[1].likeness)
    legible = reading.likeness >= LEGIBLE and reading.likeness >= reading.other - 0.05
    style = "dark" if candidate.dark else "outline" if reading.outline else "solid"
    return FoundMarker(box, reading.letter if legible else "", style, max(score for _, _, score in parts))
