"""What a film carries besides lungs: channels, tint, grey levels, rectangles, borders, markers.

A first version, tuned by eye on the Kaggle TB Chest X-ray Database (512×512). What it leaves out on purpose: rectangles
that are grey or light blue (painted before a tint, or with a paler brush), black boxes that touch the edge of the film,
and letters written in black. A strip along a whole side is border, never a rectangle.

Shapes are looked for on a copy whose long side is at most `WORK_SIDE`, the database's own size: their limits in pixels
mean pixels of that copy, and the boxes found are scaled back to the film.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from tblib.box import Box, Widths
from tblib.film import Film, Pixels

Mask = npt.NDArray[np.bool_]
Sums = npt.NDArray[np.int32]  # how many pixels of a mask lie above and left of each corner
Labels = npt.NDArray[np.int32]  # 0, or the number of the component
Levels = npt.NDArray[np.int16]
Region = tuple[slice, slice]  # rows, columns

TINT_VISIBLE = 4.0  # grey levels of mean |R−B|: below, a tint is not seen on a screen; no Normal has any
BLACK, WHITE = 5, 250  # clipped, with a little room for what JPEG does to 0 and 255
NEAR_BLACK, NEAR_WHITE = 30, 235  # what around a box would make it part of something larger of its own level
EDGE_SHARE = 0.02  # the frame that cropping a film for display usually removes
WORK_SIDE = 512  # px: shapes are sought at the database's own size, whatever the film's

RECTANGLE = (12, 30)  # px, short and long side: the least block that hides a name; bones clipped to white are thinner
SOLID = 0.97  # share of a line or window at the box's level: JPEG frays rims, but 29 of 30 lines are not enough
SPARED = 4  # px from a box's side to the line beside it: beyond the blur of the rim
RIM = 2  # px around a found box that are taken away with it: the frayed rim must not come up as a box of its own
LEAK = 0.2  # at most this share of the surroundings may have the box's level, or it is a clipped part of the body
MOST_BOXES = 8  # a film with more solid blocks than this is clipped, not painted
SEEDS = 8  # windows per orientation from which a box is grown; a union of boxes needs one in each

DARK_STRIP, BRIGHT_STRIP = 25, 200  # film edge; bare light box or white frame. A line of the body spans more
STRIP = 0.95  # share of a line of a border that is dark or bright; the rest is dust, writing or a slightly turned film
STRIP_GAP = 2  # px of blur allowed between the nested strips of one border
BORDER_LEAST = 3  # px: thinner edges are left over from resampling
STEP, STEP_SHARE = 20, 0.3  # grey levels at the inner end of a border, over this share of it: air fades, film ends

# Markers are sought at half the working size, where a letter's stroke is 1 to 8 px wide: pixels below are of that size.
STROKE = 9  # px, side of the top-hat's square: wider than a stroke, narrower than what bones and shoulders add up to
LETTER = (4, 34)  # px, short and long side: from one letter of PORTABLE to that word or an arrow
LEAST_CONTRAST = 18.0  # grey levels: what bones stand out by in a flat film; the least taken
PEAK, EDGE = 1.8, 1.6  # times the contrast of the film's bones; bones near the shoulders reach about 1.4 and 1.3
DARKER = 0.7  # share of a ring around a letter that is darker than it; bones go on beyond the ring


@dataclass(frozen=True)
class Artefacts:
    """What one film carries; grey levels are 0 black … 255 white, grey is the luma of ITU-R BT.601.

    Attributes:
        one_channel: the file has one channel.
        equal_channels: R = G = B in every pixel; True for one channel.
        tint_strength: mean of |R−B|, grey levels; 0 for one channel.
        tint_balance: mean of R−B, grey levels; below 0 blue or cyan, above 0 beige.
        tint_spread: standard deviation of R−B, grey levels.
        hue: of the film's mean colour in HSV, degrees 0 … 360; nan where it has no colour.
        chroma: of the film's mean colour, (max − min) / 255 of its R, G, B: HSV's saturation times its value, 0 … 1.
        grey_mean: mean grey level.
        grey_sd: standard deviation of the grey levels.
        share_black: share of pixels at or below `BLACK`.
        share_white: share of pixels at or above `WHITE`.
        equalised: 1 − the largest distance between the cumulative grey histogram and the straight line
            (Kolmogorov's); 1 is a flat histogram, 0 a film of one level, black or white.
        bytes_per_pixel: size of the file over the number of pixels; compression feels noise and earlier JPEG.
        border_mean: mean grey level of the outermost `EDGE_SHARE` of the film, all four sides.
        border_sd: standard deviation there.
        white_rectangles: solid blocks at or above `WHITE`, at least `RECTANGLE`; where they overlap, their pieces.
        black_boxes: the same at or below `BLACK`, only where they stand free of the edge and of dark air.
        border: widths in pixels of the uniform dark or bright strips (top, right, bottom, left); 0 where there is none.
        markers: laterality markers, letters and arrows brighter than what lies around them.
    """

    one_channel: bool
    equal_channels: bool
    tint_strength: float
    tint_balance: float
    tint_spread: float
    hue: float
    chroma: float
    grey_mean: float
    grey_sd: float
    share_black: float
    share_white: float
    equalised: float
    bytes_per_pixel: float
    border_mean: float
    border_sd: float
    white_rectangles: tuple[Box, ...]
    black_boxes: tuple[Box, ...]
    border: Widths
    markers: tuple[Box, ...]


FACT_COLUMNS = (
    "one_channel",
    "equal_channels",
    "tint_strength",
    "tint_balance",
    "tint_spread",
    "grey_mean",
    "grey_sd",
    "share_black",
    "share_white",
    "bytes_per_pixel",
    "border_mean",
    "border_sd",
)


def artefacts(film: Film, n_bytes: int) -> Artefacts:
    """Describe one film of any size; `n_bytes` is the size of its file."""
    grey = film.grey
    small = _working_copy(grey)
    border = _border(small)
    white, black = small >= WHITE, small <= BLACK
    rectangles = _painted(_inside(white, border), small >= NEAR_WHITE, border)
    boxes = _painted(_free_of_edge(black), small <= NEAR_BLACK, border)
    markers = _markers(small, border, rectangles)
    scale = (grey.shape[0] / small.shape[0], grey.shape[1] / small.shape[1])
    return Artefacts(
        **_colour(film.pixels),
        **_grey_levels(grey),
        bytes_per_pixel=n_bytes / grey.size,
        white_rectangles=_scaled(rectangles, scale),
        black_boxes=_scaled(boxes, scale),
        border=_scaled_widths(border, scale),
        markers=_scaled(markers, scale),
    )


def facts(found: Artefacts) -> dict[str, float | bool]:
    """The scalars of `found`, and whether it has a white_rectangle, a black_box, a marker, or is bordered."""
    scalars = {f.name: getattr(found, f.name) for f in fields(found) if f.type in ("bool", "float")}
    return scalars | {
        "white_rectangle": bool(found.white_rectangles),
        "black_box": bool(found.black_boxes),
        "bordered": any(found.border),
        "marker": bool(found.markers),
    }


def carries_colour_cue(one_channel: Any, tint_strength: Any) -> Any:
    """The rule "one channel, or visibly tinted ⇒ tuberculosis", which looks at no lung.

    Args:
        one_channel: bool, or an array or column (N,) of them.
        tint_strength: mean |R−B| in grey levels, float or (N,).

    Returns:
        Bool or (N,) of the kind that was passed, True where the rule says tuberculosis.
    """
    return one_channel | (tint_strength > TINT_VISIBLE)


# --- numbers -------------------------------------------------------------------------------------


def _colour(pixels: Pixels) -> dict[str, Any]:
    if pixels.ndim == 2:
        no_tint = dict.fromkeys(("tint_strength", "tint_balance", "tint_spread", "chroma"), 0.0)
        return {"one_channel": True, "equal_channels": True, "hue": math.nan} | no_tint
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    difference = red - blue
    mean_colour = [float(channel.mean()) / 255 for channel in (red, green, blue)]
    chroma = max(mean_colour) - min(mean_colour)
    return {
        "one_channel": False,
        "equal_channels": not difference.any() and bool((red == green).all()),
        "tint_strength": float(np.abs(difference).mean()),
        "tint_balance": float(difference.mean()),
        "tint_spread": float(difference.std()),
        "hue": 360 * colorsys.rgb_to_hsv(*mean_colour)[0] if chroma else math.nan,
        "chroma": chroma,
    }


def _grey_levels(grey: Pixels) -> dict[str, Any]:
    histogram = np.bincount(grey.ravel(), minlength=256)
    frame = _frame(grey)
    cumulative = histogram.cumsum() / grey.size
    mean, sd = _mean_sd(histogram)
    border_mean, border_sd = _mean_sd(np.bincount(frame, minlength=256))
    return {
        "grey_mean": mean,
        "grey_sd": sd,
        "share_black": float(cumulative[BLACK]),
        "share_white": float(1 - cumulative[WHITE - 1]),
        "equalised": 1 - float(np.abs(cumulative - np.arange(1, 257) / 256).max()),
        "border_mean": border_mean,
        "border_sd": border_sd,
    }


def _mean_sd(histogram: npt.NDArray[np.int64]) -> tuple[float, float]:
    levels, share = np.arange(256), histogram / histogram.sum()
    mean = float(levels @ share)
    return mean, math.sqrt(max(float(share @ (levels - mean) ** 2), 0.0))


def _frame(grey: Pixels) -> Pixels:
    """Uint8 (n,): the pixels of the outermost `EDGE_SHARE` of the short side, at least one pixel wide."""
    width = max(1, round(EDGE_SHARE * min(grey.shape)))
    inner = np.zeros(grey.shape, bool)
    inner[width:-width, width:-width] = True
    return grey[~inner]


# --- shapes --------------------------------------------------------------------------------------


def _working_copy(grey: Pixels) -> Pixels:
    height, width = grey.shape
    shrink = WORK_SIDE / max(height, width)
    if shrink >= 1:
        return grey
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))


def _scaled(boxes: Iterable[Box], scale: tuple[float, float]) -> tuple[Box, ...]:
    rows, columns = scale
    corners = ((box.top * rows, box.left * columns, box.bottom * rows, box.right * columns) for box in boxes)
    return tuple(Box(*map(round, corner)) for corner in corners)


# --- borders


def _border(grey: Pixels) -> Widths:
    """Widths of the uniform strips, in pixels of `grey`, uint8 (H, W)."""
    sides = (grey, grey.T[::-1], grey[::-1], grey.T)  # each side in turn as the first rows: top, right, bottom, left
    top, right, bottom, left = (_strip(lines) for lines in sides)
    return Widths(top, right, bottom, left)


def _strip(lines: Pixels) -> int:
    """How many of the first rows of `lines`, uint8 (H, W), are film border or bare light box."""
    dark, bright = (lines <= DARK_STRIP).mean(1), (lines >= BRIGHT_STRIP).mean(1)
    uniform = np.flatnonzero(np.maximum(dark, bright) >= STRIP)
    broken = np.flatnonzero(np.diff(uniform, prepend=-1) > STRIP_GAP + 1)
    run = uniform[: broken[0]] if broken.size else uniform
    width = int(run[-1]) + 1 if run.size else 0
    within = width + STRIP_GAP
    if width < BORDER_LEAST or within >= len(lines):
        return 0
    step = np.abs(lines[within].astype(np.int16) - lines[width - 1])
    return width if (step >= STEP).mean() >= STEP_SHARE else 0


def _scaled_widths(border: Widths, scale: tuple[float, float]) -> Widths:
    (top, right, bottom, left), (rows, columns) = border, scale
    return Widths(round(top * rows), round(right * columns), round(bottom * rows), round(left * columns))


# --- rectangles


def _painted(mask: Mask, near: Mask, border: Widths) -> list[Box]:
    """The blocks of `mask`, bool (H, W), that stand out from their surroundings on every side.

    Args:
        mask: pixels of the box's level.
        near: pixels near that level; a clipped part of the body fades through it, a painted box does not.
        border: widths of the film border, which is no surroundings.
    """
    blocks = _blocks(mask)
    while blocks:  # the worst goes first: a slice of a clipped disc is seen as such once the slice beside it is gone
        leaks = [_leak(near, block, blocks, border) for block in blocks]
        if max(leaks) <= LEAK:
            break
        del blocks[leaks.index(max(leaks))]
    return blocks


def _blocks(mask: Mask) -> list[Box]:
    """The largest solid rectangles of `mask`, bool (H, W), one after the other, at most `MOST_BOXES`."""
    left, found = mask.copy(), list[Box]()
    while len(found) < MOST_BOXES and left.sum() >= SOLID * RECTANGLE[0] * RECTANGLE[1]:
        sums = np.pad(left.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        grown = [_grown(sums, seed, rows_first) for seed in _seeds(sums) for rows_first in (True, False)]
        if not grown:
            break
        found.append(max(grown, key=lambda box: box.area))
        left[found[-1].widened(RIM)] = False
    return found


def _seeds(sums: Sums) -> list[Box]:
    """Solid windows of the least size, evenly drawn from all there are.

    `sums`, here and below: int32 (H+1, W+1) of the mask.
    """
    seeds = []
    for height, width in (RECTANGLE, RECTANGLE[::-1]):
        within = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        corners = np.argwhere(within >= SOLID * height * width)
        for top, left in corners[np.linspace(0, len(corners) - 1, min(SEEDS, len(corners)), dtype=int)].tolist():
            seeds.append(Box(top, left, top + height, left + width))
    return seeds


def _grown(sums: Sums, box: Box, rows_first: bool) -> Box:
    """`box` widened while the rows and columns beside it are solid over its width and height."""
    top, left, bottom, right = box.top, box.left, box.bottom, box.right
    before = None
    while before != (before := (top, left, bottom, right)):
        for rows in (rows_first, not rows_first):
            if rows:
                top, bottom = _solid_run(np.diff(sums[:, right] - sums[:, left]), right - left, top, bottom)
            else:
                left, right = _solid_run(np.diff(sums[bottom] - sums[top]), bottom - top, left, right)
    return Box(top, left, bottom, right)


def _solid_run(counts: npt.NDArray[np.int32], length: int, first: int, end: int) -> tuple[int, int]:
    """The lines first … end−1 and the solid ones next to them; `counts`: the mask's pixels in each line."""
    gaps = np.flatnonzero(counts < SOLID * length)
    before, after = gaps[gaps < first], gaps[gaps >= end]
    return int(before[-1]) + 1 if before.size else 0, int(after[0]) if after.size else len(counts)


def _leak(near: Mask, block: Box, blocks: list[Box], border: Widths) -> float:
    """The share of `near` on the lines `SPARED` px outside `block`, other blocks and film border left out."""
    top, right, bottom, left = border
    height, width = near.shape
    rows, columns = slice(block.top, block.bottom), slice(block.left, block.right)
    near = near.copy()
    for other in blocks:
        near[other.widened(SPARED)] &= other == block
    lines = []
    if block.top - SPARED >= top:
        lines.append(near[block.top - SPARED, columns])
    if block.bottom + SPARED <= height - bottom:
        lines.append(near[block.bottom + SPARED - 1, columns])
    if block.left - SPARED >= left:
        lines.append(near[rows, block.left - SPARED])
    if block.right + SPARED <= width - right:
        lines.append(near[rows, block.right + SPARED - 1])
    return float(np.concatenate(lines).mean()) if lines else 1.0


def _free_of_edge(mask: Mask) -> Mask:
    """`mask`, bool (H, W), without the parts that are connected to the edge of the film."""
    labels, count = ndimage.label(mask)
    touching = np.zeros(count + 1, bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[line] = True
    return mask & ~touching[labels]


def _inside(mask: Mask, border: Widths) -> Mask:
    """`mask`, bool (H, W), False in the film border."""
    top, right, bottom, left = border
    inner = np.zeros_like(mask)
    rows, columns = slice(top, mask.shape[0] - bottom), slice(left, mask.shape[1] - right)
    inner[rows, columns] = mask[rows, columns]
    return inner


# --- markers


def _markers(grey: Pixels, border: Widths, rectangles: list[Box]) -> list[Box]:
    """Small bright strokes in the outer zones that stand out more than the film's own bones do.

    A white top-hat keeps what is brighter than its surroundings and narrower than a letter's stroke. Bones pass
    it too, but softer: a letter's peak and its edges must exceed the top-hat of the bones in the film's centre.
    """
    half = np.asarray(Image.fromarray(grey).reduce(2)).astype(np.int16)
    hat = half - ndimage.grey_opening(half, size=(STROKE, STROKE))
    bones = _bone_contrast(hat)
    outside = np.asarray(_inside(np.ones(grey.shape, bool), border))
    for box in rectangles:
        outside[box.widened(SPARED)] = False
    hat[~outside[::2, ::2]] = 0
    labels, _ = ndimage.label(hat >= bones, structure=np.ones((3, 3)))
    letters = [
        region
        for number, region in enumerate(ndimage.find_objects(labels), start=1)
        if _letter_sized(region)
        and _in_outer_zone(region, half.shape)
        and _stands_out(half, hat, labels, number, region, bones)
    ]
    height, width = grey.shape
    return [Box(2 * r.start, 2 * c.start, min(2 * r.stop, height), min(2 * c.stop, width)) for r, c in letters]


def _bone_contrast(hat: npt.NDArray[np.int16]) -> float:
    """Grey levels by which ribs and spine stand out in the middle of the film, where no marker is put."""
    height, width = hat.shape
    middle = hat[height * 3 // 10 : height * 8 // 10, width // 5 : width * 4 // 5]
    return max(float(np.percentile(middle, 99)), LEAST_CONTRAST) if middle.size else LEAST_CONTRAST


def _letter_sized(region: Region) -> bool:
    sides = [side.stop - side.start for side in region]
    return LETTER[0] <= min(sides) and max(sides) <= LETTER[1]


def _in_outer_zone(region: Region, shape: tuple[int, ...]) -> bool:
    """Whether the middle of a region lies where markers are put: along the sides and the top."""
    down, across = ((side.start + side.stop) / 2 / length for side, length in zip(region, shape, strict=True))
    aside = abs(across - 0.5)
    return down < 0.12 or aside > 0.37 or (down < 0.3 and aside > 0.22)


def _stands_out(half: Levels, hat: Levels, labels: Labels, number: int, region: Region, bones: float) -> bool:
    """Whether component `number` is brighter and sharper than bones, and darker all round.

    Args:
        half: int16 (H, W), the film at half the working size.
        hat: int16 (H, W), its white top-hat.
        labels: int32 (H, W), numbers of the components.
        number: of the component asked about.
        region: its rows and columns.
        bones: contrast of the film's bones, grey levels.
    """
    window = tuple(slice(max(side.start - 3, 0), side.stop + 3) for side in region)
    letter, grey, tops = labels[window] == number, half[window], hat[window]
    peak = np.percentile(tops[letter], 90)
    edge = np.percentile(ndimage.morphological_gradient(grey, size=3)[letter], 75)
    ring = ndimage.binary_dilation(letter, np.ones((7, 7))) & ~ndimage.binary_dilation(letter, np.ones((3, 3)))
    darker = (grey < np.median(grey[letter]) - np.median(tops[letter]) / 2)[ring]
    return bool(peak >= PEAK * bones and edge >= EDGE * bones and darker.sum() >= DARKER * max(darker.size, 1))
