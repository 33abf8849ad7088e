"""Artefacts added to films on purpose, at known pixels: markers, rectangles, borders, tint, exports.

Every edit takes a film and its strength, size and position, and returns the edited film with a mask of the pixels that
it may have changed; no others change. The demo samples the parameters (`tblib.phantoms.phantom`); an audit sets them
(`tblib.audit.conclusion`).

Films are uint8 (H, W) or (H, W, 3) red-green-blue, 0 black … 255 white.
"""

import io
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy.ndimage import distance_transform_edt, uniform_filter

from tblib.arrays import Mask, Pixels, TblibError
from tblib.films.boxes import Box, Widths, box_around

Colour = tuple[float, float, float]  # shares of red, green, blue, 0 … 1


SIDE = 512  # px: the side for which lengths are given
SPARE = 3  # px around a detected marker or box that are painted over, too
BEIGE: Colour = (0.93, 0.88, 0.76)  # of a table beneath a film


class EditError(TblibError):
    """An edit that is impossible on this film, with the reason in a sentence."""


@dataclass(frozen=True)
class Edited:
    """A film after one edit.

    Attributes:
        pixels: uint8 (H, W) or (H, W, 3).
        own: bool (H, W), True where the edit may have changed the film; it is unchanged elsewhere.
    """

    pixels: Pixels
    own: Mask

    @property
    def box(self) -> Box:
        """The smallest box around the edit's own pixels; its sides are 0 if there are none."""
        return box_around(self.own)


def length(film: Pixels, pixels: float) -> int:
    """Convert a length at `SIDE` px per side to pixels of a film uint8 (H, W); at least 1."""
    return max(1, round(pixels * film.shape[0] / SIDE))


def around(box: Box, film: Pixels) -> Box:
    """A detected box with a margin of `SPARE` px, clipped to the film."""
    rows, columns = box.widened(SPARE)
    return Box(rows.start, columns.start, min(rows.stop, film.shape[0]), min(columns.stop, film.shape[1]))


class Tint(NamedTuple):
    """The colours that a light box and a camera give a grey film.

    Attributes:
        dark: colour of black.
        bright: colour of white; grey levels between are interpolated linearly.
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
    """Uint8 (H, W, 3), R = G = B, from a one-channel film; a three-channel film is returned unchanged."""
    return film if film.ndim == 3 else np.repeat(film[:, :, None], 3, axis=2)


def tinted(grey: Pixels, tint: Tint, unevenness: float = 0.0, centre: tuple[float, float] = (0.5, 0.5)) -> Edited:
    """A one-channel film as photographed on a coloured light box.

    Args:
        grey: uint8 (H, W).
        tint: colours of black and white.
        unevenness: share of light missing in the corner farthest from `centre`, 0 … 1.
        centre: brightest point of the light box: down, across, as shares of the film's sides.
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


class Marker(NamedTuple):
    """A laterality marker.

    Attributes:
        letter: the side, e.g. L, R, or Cyrillic Л, П; or a word on its own, e.g. PORTABLE.
        style: a key of `MARKER_STYLES`.
        size: height of the letter, pixels.
        word: small text below the letter.
        turn: rotation of the letter about its middle, degrees counter-clockwise.
        mirrored: as if the film lay on the light box with its back up.
        strength: opacity of the ink, 0 … 1.
    """

    letter: str
    style: str = "solid"
    size: int = 30
    word: str = ""
    turn: float = 0.0
    mirrored: bool = False
    strength: float = 1.0


class MarkerStyle(NamedTuple):
    """How a marker is drawn.

    Attributes:
        font: file name of one of matplotlib's fonts, without extension.
        stroke: width of an outline around the letter, share of its size.
        hollow: only the outline is drawn.
        ink: grey level of the letter.
        plate: grey level of a plate behind it, or None.
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
    """Add a laterality marker whose ink begins at row `top`, column `left`.

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


def marked_within(film: Pixels, marker: Marker, top: int, left: int) -> Edited:
    """`marked`, with the marker moved onto the film if necessary.

    Raises:
        EditError: the marker is larger than the film, or its style is unknown.
    """
    height, width = marker_size(marker)
    down, across = (
        min(max(at, 0), room) for at, room in ((top, film.shape[0] - height), (left, film.shape[1] - width))
    )
    return marked(film, marker, down, across)


def marker_size(marker: Marker) -> tuple[int, int]:
    """Height and width in pixels of what `marked` draws."""
    height, width = _lettering(marker)[0].shape
    return height, width


def _lettering(marker: Marker) -> tuple[Pixels, Pixels]:
    """Coverage of each pixel, 0 … 255, and the grey level of the covering ink or plate; both cropped to the ink."""
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
    """The letter and the word below it, white on black, cropped to the ink."""
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


CAPITAL = 0.73  # height of a capital letter in these fonts, em


@lru_cache(maxsize=64)
def letter_font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """One of matplotlib's fonts, by file name without extension; `size` in pixels per em."""
    return ImageFont.truetype(_fonts() / f"{name}.ttf", size)


@cache
def _fonts() -> Path:
    """The folder of matplotlib's fonts. Matplotlib itself is not imported, for which a prediction would wait."""
    return Path(str(distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")))


def white_rectangle(film: Pixels, box: Box, level: int = 255) -> Edited:
    """Paint a block white, or at `level`, as if to hide a name.

    Raises:
        EditError: the box reaches beyond the film or is empty.
    """
    return _painted(film, box, level)


def black_box(film: Pixels, box: Box, level: int = 0) -> Edited:
    """Paint a block black, or at `level`, like the space of a film's name plate.

    Raises:
        EditError: the box reaches beyond the film or is empty.
    """
    return _painted(film, box, level)


def retouched(film: Pixels, box: Box) -> Edited:
    """Paint over a block with its surroundings, as if nothing had ever been there.

    The block becomes a linear blend of the lines next to its four sides (a Coons patch without corners), with the grain
    of the film beside it.

    Raises:
        EditError: the box reaches beyond the film or is empty.
    """
    own = _own(film, box)
    pixels = film.copy()
    pixels[box.top : box.bottom, box.left : box.right] = _from_beside(film, box)
    return Edited(pixels, own)


GRAIN = 8  # px beside a block that are averaged for its blend


def _from_beside(film: Pixels, box: Box) -> Pixels:
    """Uint8 (h, w) or (h, w, 3): a block blended from its surroundings, without sides at the film's edge."""
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
    """A block of the same size, as near to `box` as possible: above, below, left or right."""
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
    """The placebo of an edit: its own pixels, bool (H, W), get the texture beside them instead of ink.

    They become what `retouched` makes of the edit's box; if that is the whole film (a border), each pixel becomes its
    mirror image at the inner edge of the edit's own pixels.
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
    """Bool (H, W), True in the box; raises EditError if it reaches beyond the film or is empty."""
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
    """A film that ends inside the picture, optionally tilted.

    Args:
        film: uint8 (H, W) or (H, W, 3).
        widths: how far the picture reaches beyond the film on each side, pixels.
        colour: of the border: black, bare light box, a beige table; a one-channel film gets its luma.
        tilt: rotation of the film's edges about the picture's middle, degrees counter-clockwise.

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


def equalised(film: Pixels, strength: float = 1.0) -> Edited:
    """Histogram equalisation, full (1) or partial (0 … 1), channel by channel; pixels of one level change alike."""
    even = np.asarray(ImageOps.equalize(Image.fromarray(film)))
    pixels = even if strength == 1 else np.asarray(Image.blend(Image.fromarray(film), Image.fromarray(even), strength))
    return Edited(pixels, _everywhere(film))


def blurred(film: Pixels, sigma: float) -> Edited:
    """A film out of focus: Gaussian blur of `sigma` pixels."""
    return Edited(np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(sigma))), _everywhere(film))


def compressed(film: Pixels, quality: int) -> Edited:
    """A film compressed as JPEG, quality 1 (8 x 8 pixel blocks are visible) … 95 (hardly a trace)."""
    buffer = io.BytesIO()
    Image.fromarray(film).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return Edited(np.asarray(picture), _everywhere(film))


def _everywhere(film: Pixels) -> Mask:
    return np.ones(film.shape[:2], bool)


def _nowhere(film: Pixels) -> Mask:
    return np.zeros(film.shape[:2], bool)
