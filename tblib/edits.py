"""Artefacts put on a film on purpose, each with known pixels: markers, rectangles, borders, tint, exports.

Every edit takes a film and numbers that say how strong, how large and where, and returns the edited
film with the pixels that are the edit's own. No pixel outside them changes. The demo draws its numbers
at random (`tblib.phantom`); a study of a model sets them (`tblib.shortcuts`).

Films are uint8 (H, W) or (H, W, 3) red-green-blue, 0 black … 255 white.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import distance_transform_edt, uniform_filter

from tblib import TblibError
from tblib.box import Box, Widths
from tblib.film import Pixels

Mask = npt.NDArray[np.bool_]
Colour = tuple[float, float, float]  # shares of red, green, blue, 0 … 1


class EditError(TblibError):
    """An edit that cannot be made on this film, with the reason in a sentence."""


@dataclass(frozen=True)
class Edited:
    """A film after one edit.

    Attributes:
        pixels: uint8 (H, W) or (H, W, 3).
        own: bool (H, W), True where the edit may have changed the film; everywhere else it did not.
    """

    pixels: Pixels
    own: Mask

    @property
    def box(self) -> Box:
        """The smallest box around the edit's own pixels; its sides are 0 where there are none."""
        rows, columns = np.flatnonzero(self.own.any(1)), np.flatnonzero(self.own.any(0))
        if not rows.size:
            return Box(0, 0, 0, 0)
        return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


# --- colour --------------------------------------------------------------------------------------


class Tint(NamedTuple):
    """What a light box and a camera make of a grey film.

    Attributes:
        dark: colour of black.
        bright: colour of white; levels between lie on the straight line from one to the other.
    """

    dark: Colour
    bright: Colour


TINTS = {
    "blue": Tint((0.00, 0.02, 0.06), (0.66, 0.83, 1.00)),
    "cyan": Tint((0.00, 0.02, 0.02), (0.60, 0.93, 0.97)),
    "green": Tint((0.02, 0.05, 0.02), (0.74, 0.96, 0.83)),
    "beige": Tint((0.07, 0.04, 0.00), (0.98, 0.92, 0.76)),
}
NEUTRAL = Tint((0, 0, 0), (1, 1, 0.985))  # a colour too faint to be seen on a screen


def three_channels(film: Pixels) -> Pixels:
    """Uint8 (H, W, 3), R = G = B, of a one-channel film; a film of three channels as it is."""
    return film if film.ndim == 3 else np.repeat(film[:, :, None], 3, axis=2)


def tinted(grey: Pixels, tint: Tint, unevenness: float = 0.0, centre: tuple[float, float] = (0.5, 0.5)) -> Edited:
    """A one-channel film as photographed on a coloured light box.

    Args:
        grey: uint8 (H, W).
        tint: the colours of black and white.
        unevenness: how much light the corner farthest from `centre` lacks, 0 (none) … 1 (all).
        centre: where the light box is brightest: down, across, as shares of the film's sides.
    """
    levels = np.arange(256)[:, None] / 255
    colours = 255 * (np.array(tint.dark) * (1 - levels) + np.array(tint.bright) * levels)
    pixels = np.round(colours).astype(np.uint8)[grey]  # (H, W, 3)
    if unevenness:
        down, across = (
            np.linspace(0, 1, side, dtype=np.float32) - at for side, at in zip(grey.shape, centre, strict=True)
        )
        squared = down[:, None] ** 2 + across[None] ** 2
        light = 1 - np.float32(unevenness) * squared / squared.max()
        pixels = (pixels * light[:, :, None] + np.float32(0.5)).astype(np.uint8)
    return Edited(pixels, _everywhere(grey))


# --- what lies on the film -----------------------------------------------------------------------


class Marker(NamedTuple):
    """A laterality marker as it is put on a film.

    Attributes:
        letter: the side, e.g. L, R, or Cyrillic Л, П; or a word that stands alone, e.g. PORTABLE.
        style: a key of `MARKER_STYLES`.
        size: height of the letter, pixels.
        word: small text below the letter.
        turn: degrees, counter-clockwise; the letter turns in its place.
        mirrored: the film was laid on the light box with its back up.
        strength: share of the way from the film's level to the ink's, 0 … 1.
    """

    letter: str
    style: str = "solid"
    size: int = 30
    word: str = ""
    turn: float = 0.0
    mirrored: bool = False
    strength: float = 1.0


class MarkerStyle(NamedTuple):
    """How a marker is drawn: a font of matplotlib's own, the stroke's width in shares of the size, ink and plate.

    Attributes:
        font: file name without its ending.
        stroke: what is added around the letter, share of its size.
        hollow: only the stroke is drawn.
        ink: grey level of the letter.
        plate: grey level of a plate behind it; None for none.
    """

    font: str
    stroke: float = 0.0
    hollow: bool = False
    ink: int = 250  # below the 255 of a rectangle that hides a name
    plate: int | None = None


MARKER_STYLES = {
    "solid": MarkerStyle("DejaVuSans-Bold"),
    "thin": MarkerStyle("DejaVuSans"),
    "outline": MarkerStyle("DejaVuSans-Bold", stroke=0.06, hollow=True),
    "serif": MarkerStyle("DejaVuSerif-Bold"),
    "plate": MarkerStyle("DejaVuSans-Bold", ink=20, plate=235),
    "dark": MarkerStyle("DejaVuSans-Oblique", stroke=0.02, ink=5),
}


def marked(film: Pixels, marker: Marker, top: int, left: int) -> Edited:
    """A film with a laterality marker whose ink begins at row `top`, column `left`.

    Raises:
        EditError: the marker does not fit on the film there, or its style is unknown.
    """
    cover, level = _lettering(marker)  # uint8 (h, w) each
    height, width = cover.shape
    if top < 0 or left < 0 or top + height > film.shape[0] or left + width > film.shape[1]:
        raise EditError(
            f"The marker {marker.letter!r} of {width} x {height} pixels does not fit at row {top}, column {left} "
            f"of a film of {film.shape[1]} x {film.shape[0]}; make it smaller or move it."
        )
    area = np.s_[top : top + height, left : left + width]
    share = cover * np.float32(marker.strength / 255)
    behind, ink = film[area], level.astype(np.float32)
    if film.ndim == 3:
        share, ink = share[:, :, None], ink[:, :, None]
    pixels, own = film.copy(), _nowhere(film)
    pixels[area] = np.round(behind + (ink - behind) * share).astype(np.uint8)
    own[area] = cover > 0
    return Edited(pixels, own)


def marker_size(marker: Marker) -> tuple[int, int]:
    """Height and width in pixels of what `marked` puts on the film."""
    height, width = _lettering(marker)[0].shape
    return height, width


def _lettering(marker: Marker) -> tuple[Pixels, Pixels]:
    """How far each pixel is covered, 0 … 255, and the grey level of what covers it; both cut to the ink."""
    if marker.style not in MARKER_STYLES:
        raise EditError(f"There is no marker style {marker.style!r}; there are {', '.join(MARKER_STYLES)}.")
    style = MARKER_STYLES[marker.style]
    letters = _letters(marker, style)
    cover, level = letters, Image.new("L", letters.size, style.ink)
    if style.plate is not None:
        margin = max(2, marker.size // 5)
        cover = ImageOps.expand(Image.new("L", letters.size, 255), margin, 255)
        letters = ImageOps.expand(letters, margin)
        level = Image.composite(Image.new("L", cover.size, style.ink), Image.new("L", cover.size, style.plate), letters)
    cover, level = (_turned(layer, marker) for layer in (cover, level))
    ink = cover.getbbox()
    return np.asarray(cover.crop(ink)), np.asarray(level.crop(ink))


def _letters(marker: Marker, style: MarkerStyle) -> Image.Image:
    """The letter, and the word below it, white on black and cut to the ink."""
    size = marker.size
    canvas = Image.new("L", (size * (2 + max(len(marker.letter), len(marker.word))), 4 * size))
    draw = ImageDraw.Draw(canvas)
    stroke = max(1, round(style.stroke * size)) if style.stroke else 0
    font = letter_font(style.font, size / CAPITAL)
    draw.text((size, size), marker.letter, 0 if style.hollow else 255, font, "lt", stroke_width=stroke, stroke_fill=255)
    if marker.word:
        small = letter_font("DejaVuSans", max(size / 2, 9) / CAPITAL)
        draw.text((size, round(2.2 * size)), marker.word, 255, small, "lt")
    return canvas.crop(canvas.getbbox())


def _turned(layer: Image.Image, marker: Marker) -> Image.Image:
    mirrored = ImageOps.mirror(layer) if marker.mirrored else layer
    return mirrored.rotate(marker.turn, Image.Resampling.BILINEAR, expand=True) if marker.turn else mirrored


CAPITAL = 0.73  # height of a capital of these fonts, em


@lru_cache(maxsize=64)
def letter_font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib, by its file name without ending; `size` in pixels an em."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def white_rectangle(film: Pixels, box: Box, level: int = 255) -> Edited:
    """A film on which a block was painted white, or as light as `level`, to hide a name.

    Raises:
        EditError: the box reaches beyond the film or is empty.
    """
    return _painted(film, box, level)


def black_box(film: Pixels, box: Box, level: int = 0) -> Edited:
    """The same in black, as a film's name plate leaves.

    Raises:
        EditError: the box reaches beyond the film or is empty.
    """
    return _painted(film, box, level)


def retouched(film: Pixels, box: Box) -> Edited:
    """A film on which a block was painted over with what lies beside it, as if nothing had ever been there.

    The block becomes a straight blend of the lines next to its four sides (a Coons patch without corners), with the
    grain of the film beside it.

    Raises:
        EditError: the box reaches beyond the film or is empty.
    """
    own = _own(film, box)
    pixels = film.copy()
    pixels[box.top : box.bottom, box.left : box.right] = _from_beside(film, box)
    return Edited(pixels, own)


GRAIN = 8  # px beside a block that its blend takes its sides from


def _from_beside(film: Pixels, box: Box) -> Pixels:
    """Uint8 (h, w) or (h, w, 3): a block's blend of its surroundings; a side at the film's edge gives nothing."""
    grey, shape = film.astype(np.float32), (box.height, box.width)
    down, across = (np.arange(1, length + 1, dtype=np.float32) / (length + 1) for length in shape)
    near = {"top": 1 - down[:, None], "bottom": down[:, None], "left": 1 - across[None], "right": across[None]}
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    beside_it = {
        "top": grey[max(box.top - GRAIN, 0) : box.top, columns],
        "bottom": grey[box.bottom : box.bottom + GRAIN, columns],
        "left": grey[rows, max(box.left - GRAIN, 0) : box.left],
        "right": grey[rows, box.right : box.right + GRAIN],
    }
    on = [side for side, strip in beside_it.items() if strip.size]
    if not on:
        return film[rows, columns]
    lines = [beside_it[side].mean(int(side in ("left", "right")), keepdims=True) for side in on]
    weights = np.stack([np.broadcast_to(near[side] ** 2, shape) for side in on])
    colours = [np.broadcast_to(line, (*shape, *film.shape[2:])) for line in lines]
    weights = weights.reshape(weights.shape + (1,) * (film.ndim - 2))
    blend = (weights * np.stack(colours)).sum(0) / weights.sum(0)
    beside = _beside(film, box).astype(np.float32)
    grain = beside - uniform_filter(beside, (5, 5, 1)[: film.ndim])
    return (blend + grain).round().clip(0, 255).astype(np.uint8)


def _beside(film: Pixels, box: Box) -> Pixels:
    """A block of the same size as near to `box` as there is room for beside it: above, below, left or right."""
    height, width = film.shape[:2]
    places = [
        (box.top - box.height, box.left),
        (box.bottom, box.left),
        (box.top, box.left - box.width),
        (box.top, box.right),
    ]
    fitting = [
        (t, left)
        for t, left in places
        if t >= 0 and left >= 0 and t + box.height <= height and left + box.width <= width
    ]
    top, left = fitting[0] if fitting else (box.top, box.left)
    return film[top : top + box.height, left : left + box.width]


def replaced(film: Pixels, own: Mask) -> Edited:
    """The placebo of an edit: its own pixels, bool (H, W), take the texture beside them in place of its ink.

    They become what `retouched` makes of the edit's box; where that is the whole film (a border), each gets the
    pixel that mirrors it at the inner edge of the edit's own pixels.
    """
    box = Edited(film, own).box
    pixels = film.copy()
    if not box.area:
        return Edited(pixels, own)
    whole = box.height == film.shape[0] and box.width == film.shape[1]
    if whole:
        _, (rows, columns) = distance_transform_edt(own, return_indices=True)
        down, across = np.indices(own.shape)
        mirrored = (2 * rows - down).clip(0, own.shape[0] - 1), (2 * columns - across).clip(0, own.shape[1] - 1)
        pixels[own] = film[mirrored][own]
    else:
        inside = own[box.top : box.bottom, box.left : box.right]
        pixels[box.top : box.bottom, box.left : box.right][inside] = _from_beside(film, box)[inside]
    return Edited(pixels, own)


def _own(film: Pixels, box: Box) -> Mask:
    """Bool (H, W), True in the box.

    Raises:
        EditError: it reaches beyond the film or is empty.
    """
    height, width = film.shape[:2]
    if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
        raise EditError(
            f"The box {tuple(box)} (top, left, bottom, right) is empty or beyond the film's {width} x {height}."
        )
    own = _nowhere(film)
    own[box.top : box.bottom, box.left : box.right] = True
    return own


def _painted(film: Pixels, box: Box, level: int) -> Edited:
    own = _own(film, box)
    pixels = film.copy()
    pixels[own] = level
    return Edited(pixels, own)


def bordered(film: Pixels, widths: Widths, colour: Colour, tilt: float = 0.0) -> Edited:
    """A film that ends inside its picture, and may lie askew in it.

    Args:
        film: uint8 (H, W) or (H, W, 3).
        widths: how far the picture reaches beyond the film on each side, pixels.
        colour: of what is seen there: black, bare light box, a beige table; a one-channel film takes its luma.
        tilt: degrees counter-clockwise by which the film's edges are turned about the picture's middle.

    Raises:
        EditError: the borders leave no film.
    """
    height, width = film.shape[:2]
    if widths.top + widths.bottom >= height or widths.left + widths.right >= width:
        raise EditError(
            f"Borders of {tuple(widths)} (top, right, bottom, left) leave nothing of {width} x {height} pixels."
        )
    own = ~_inside(height, width, widths, tilt)
    red, green, blue = (round(255 * share) for share in colour)
    pixels = film.copy()
    pixels[own] = (red, green, blue) if film.ndim == 3 else round(0.299 * red + 0.587 * green + 0.114 * blue)
    return Edited(pixels, own)


def _inside(height: int, width: int, widths: Widths, tilt: float) -> Mask:
    """Bool (height, width), True on the film."""
    angle = np.radians(tilt)
    cos, sin = np.cos(angle), np.sin(angle)
    down, across = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width)[None] - (width - 1) / 2
    row, column = cos * down + sin * across + (height - 1) / 2, cos * across - sin * down + (width - 1) / 2
    half = 0.5 - 1e-9  # a pixel belongs to the film if its middle does
    return (
        (row >= widths.top - half)
        & (row <= height - 1 - widths.bottom + half)
        & (column >= widths.left - half)
        & (column <= width - 1 - widths.right + half)
    )


# --- how it was exported -------------------------------------------------------------------------


def equalised(film: Pixels, strength: float = 1.0) -> Edited:
    """A film whose grey levels are spread evenly, wholly (1) or in part (0 … 1); pixels of one level move alike.

    A film of three channels is equalised channel by channel.
    """
    even = np.asarray(ImageOps.equalize(Image.fromarray(film)))
    pixels = even if strength == 1 else np.asarray(Image.blend(Image.fromarray(film), Image.fromarray(even), strength))
    return Edited(pixels, _everywhere(film))


def blurred(film: Pixels, sigma: float) -> Edited:
    """A film that is out of focus: Gaussian blur of `sigma` pixels."""
    return Edited(np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(sigma))), _everywhere(film))


def compressed(film: Pixels, quality: int) -> Edited:
    """A film that was once a JPEG of a quality 1 (blocks of 8 x 8 pixels are seen) … 95 (hardly a trace)."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return Edited(np.asarray(picture), _everywhere(film))


def _everywhere(film: Pixels) -> Mask:
    return np.ones(film.shape[:2], bool)


def _nowhere(film: Pixels) -> Mask:
    return np.zeros(film.shape[:2], bool)
