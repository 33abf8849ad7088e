"""What a film carries besides lungs: channels, tint, grey levels, markers, rectangles, borders, traces of export.

How often each detector is right is measured on films of known truth, by `tblib.readings`.

Shapes are looked for on a copy whose long side is at most `WORK_SIDE`, the Kaggle database's own size: their limits in
pixels mean pixels of that copy, and what is found is scaled back to the film.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.measure import blur_effect

from tblib.box import Box, Widths
from tblib.edits import Mask, bordered
from tblib.film import Film, Pixels
from tblib.markers import FoundMarker, find_markers

Sums = npt.NDArray[np.int32]  # how many pixels of a mask lie above and left of each corner
Floats = npt.NDArray[np.float64]

TINT_VISIBLE = 4.0  # grey levels of mean |R−B|: below, a tint is not seen on a screen; no Normal has any
EQUALISED = 0.8  # evenness of the grey histogram from which a film is called equalised
ASKEW = 0.7  # degrees from which a film is said to lie askew: 3 px over half a side
BLACK, WHITE = 5, 250  # clipped, with a little room for what JPEG does to 0 and 255
PAINTED_BLACK = 2  # of a black box: the darkest air is seldom that black
NEAR_BLACK, NEAR_WHITE = 8, 235  # what around a box would make it part of something larger of its own level
EDGE_SHARE = 0.02  # the frame that cropping a film for display usually removes
WORK_SIDE = 512  # px: shapes are sought at the database's own size, whatever the film's

RECTANGLE = (12, 30)  # px, short and long side: the least block that hides a name; bones clipped to white are thinner
HALF_RECTANGLE = (5, 14)  # the same at half the size, less the rim
SOLID = 0.97  # share of a line or window at the box's level: JPEG frays rims, but 29 of 30 lines are not enough
SPARED = 4  # px from a box's side to the line beside it: beyond the blur of the rim
RIM = 2  # px at half the size around a found box that are taken away with it: its frayed rim is no box of its own
WHITE_LEAK, BLACK_LEAK = 0.2, 0.1  # share of the surroundings of a block's level, at most, or it is a part of the body
WHOLE_SIDE = 0.98  # of a side of the film: a block as long is border
MOST_BOXES = 8  # a film with more solid blocks than this is clipped, not painted
SEEDS = 8  # windows per orientation from which a box is grown; a union of boxes needs one in each

BORDER_REACH = 0.62  # share of the film that a border may cover: a film can lie in a corner of its picture
SAME_LEVEL = 40  # grey levels from a border's own at which it ends: half-way to the film, if the edge is soft
BARE = 0.25  # of a border's length: the most that may be bare of it, or it is a block at the edge of the film
PLAIN = 10  # grey levels: a border that lies along this side and the next is plain, film is not
ACROSS = 8  # px between the rows that are looked at for it
ON_LINE = 1.6  # px between a border's inner edge and a straight line; the body's outline is not straight
STEEPEST = math.tan(math.radians(6))  # of a film's edge against the picture's
STRAIGHT = 0.55  # share of a border's inner edge that lies on a line
STEP_REACH = 2  # px to either side of the inner edge: a film ends within so many, a half-shadow does not
STEP, STEP_SHARE = 20, 0.5  # grey levels at the inner edge, over this share of it: air fades, film ends
BORDER_LEAST = 3  # px, where it is widest: thinner edges are left over from resampling
WEDGE = 0.35  # of a side: the least that a border of a turned film covers
PAIRS = 24  # pairs of points, evenly spaced, that a straight line is tried through

BLOCK = 8  # px, side of JPEG's blocks
LEAST_STEP = 0.1  # grey levels: the mean step inside the blocks of a film of flat blocks
EVEN_GRID = 8  # parts a side in which a tint's evenness is measured


class FoundBlock(NamedTuple):
    """A painted rectangle: where, its mean grey level, and as score 1 − the share of its surroundings of that level."""

    box: Box
    level: float
    score: float


class FoundBorder(NamedTuple):
    """Where the picture reaches beyond the film.

    Attributes:
        widths: on each side, at the middle of it, pixels; 0 where the film reaches the picture's edge.
        tilt: degrees counter-clockwise by which the film's edges lie askew.
        level: mean grey level of the border; nan where there is none.
        score: share of the border's inner edge that is straight, of its straightest side, 0 … 1.
    """

    widths: Widths
    tilt: float
    level: float
    score: float

    @property
    def present(self) -> bool:
        """Whether there is a border."""
        return self.score > 0


NO_BORDER = FoundBorder(Widths(0, 0, 0, 0), 0.0, math.nan, 0.0)


@dataclass(frozen=True)
class Artefacts:
    """What one film carries; grey levels are 0 black … 255 white, grey is the luma of ITU-R BT.601.

    Attributes:
        one_channel: the file has one channel.
        equal_channels: R = G = B in every pixel; True for one channel.
        tint_strength: mean of |R−B|, grey levels; 0 for one channel.
        tint_balance: mean of R−B, grey levels; below 0 blue or cyan, above 0 beige.
        tint_spread: standard deviation of R−B, grey levels.
        tint_evenness: 1 where the tint is the same all over the film, 0 where its parts differ as much as it is strong:
            1 − sd over mean of |R−B|, over `EVEN_GRID`² parts; nan where there is no tint.
        hue: of the film's mean colour in HSV, degrees 0 … 360; nan where it has no colour.
        chroma: of the film's mean colour, (max − min) / 255 of its R, G, B: HSV's saturation times its value, 0 … 1.
        grey_mean: mean grey level.
        grey_sd: standard deviation of the grey levels.
        share_black: share of pixels at or below `BLACK`.
        share_white: share of pixels at or above `WHITE`.
        equalised: 1 − the largest distance between the cumulative grey histogram and the straight line
            (Kolmogorov's); 1 is a flat histogram, 0 a film of one level, black or white.
        sharpness: 1 − the blur that re-blurring shows (Crete and others, "The blur effect", 2007), 0 … 1.
        blockiness: how much more grey levels change between JPEG's 8 px blocks than elsewhere, as a share; 0 no blocks.
        bytes_per_pixel: size of the file over the number of pixels; compression feels noise and earlier JPEG.
        border_mean: mean grey level of the outermost `EDGE_SHARE` of the film, all four sides.
        border_sd: standard deviation there.
        white_rectangles: solid blocks at or above `WHITE`, at least `RECTANGLE`; where they overlap, their pieces.
        black_boxes: the same at or below `PAINTED_BLACK`, only where they stand free of dark air.
        border: what of the picture lies beyond the film's straight edges.
        markers: laterality markers, the surest first.
    """

    one_channel: bool
    equal_channels: bool
    tint_strength: float
    tint_balance: float
    tint_spread: float
    tint_evenness: float
    hue: float
    chroma: float
    grey_mean: float
    grey_sd: float
    share_black: float
    share_white: float
    equalised: float
    sharpness: float
    blockiness: float
    bytes_per_pixel: float
    border_mean: float
    border_sd: float
    white_rectangles: tuple[FoundBlock, ...]
    black_boxes: tuple[FoundBlock, ...]
    border: FoundBorder
    markers: tuple[FoundMarker, ...]


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
    small = shrunk(grey, Image.Resampling.BOX)
    border, rectangles, boxes, inside = _parts(small)
    scale = (grey.shape[0] / small.shape[0], grey.shape[1] / small.shape[1])
    return Artefacts(
        **_colour(film.pixels),
        **_grey_levels(grey),
        sharpness=_sharpness(small),
        blockiness=_blockiness(grey),
        bytes_per_pixel=n_bytes / grey.size,
        white_rectangles=tuple(block._replace(box=_scaled(block.box, scale)) for block in rectangles),
        black_boxes=tuple(block._replace(box=_scaled(block.box, scale)) for block in boxes),
        border=border._replace(widths=_scaled_widths(border.widths, scale)),
        markers=tuple(replace(found, box=_scaled(found.box, scale)) for found in find_markers(small, inside)),
    )


def facts(found: Artefacts) -> dict[str, Any]:
    """What a row of the catalogue says of `found`: its numbers, and what is there, with the surest's score.

    Besides the bool and float attributes: white_rectangle, black_box, marker, bordered (bool), *_score (0 where there
    is none), marker_letter and marker_style (of the surest marker that has a letter, else of the surest), border_tilt.
    """
    scalars = {f.name: getattr(found, f.name) for f in fields(found) if f.type in ("bool", "float")}
    row: dict[str, Any] = {}
    for name, things in (
        ("white_rectangle", found.white_rectangles),
        ("black_box", found.black_boxes),
        ("marker", found.markers),
    ):
        row |= {name: bool(things), f"{name}_score": max((thing.score for thing in things), default=0.0)}
    named = [marker for marker in found.markers if marker.letter] or list(found.markers)
    return (
        scalars
        | row
        | {
            "marker_letter": named[0].letter if named else "",
            "marker_style": named[0].style if named else "",
            "bordered": found.border.present,
            "bordered_score": found.border.score,
            "border_tilt": found.border.tilt,
        }
    )


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
        return {"one_channel": True, "equal_channels": True, "hue": math.nan, "tint_evenness": math.nan} | no_tint
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
        "tint_evenness": _evenness(difference),
        "hue": 360 * colorsys.rgb_to_hsv(*mean_colour)[0] if chroma else math.nan,
        "chroma": chroma,
    }


def _evenness(difference: npt.NDArray[np.int16]) -> float:
    size = (min(EVEN_GRID, difference.shape[1]), min(EVEN_GRID, difference.shape[0]))
    small = Image.fromarray(np.abs(difference).astype(np.float32)).resize(size, Image.Resampling.BOX)
    parts = np.asarray(small)
    return max(1 - float(parts.std() / parts.mean()), 0.0) if parts.any() else math.nan


def _sharpness(grey: Pixels) -> float:
    """Of the middle ninth of a film, where the lungs meet the heart and no border is."""
    height, width = grey.shape
    middle = grey[height // 3 : height - height // 3, width // 3 : width - width // 3].astype(np.float32)
    return 1 - float(blur_effect(middle / 255)) if min(middle.shape) > 11 and np.ptp(middle) else 0.0


def _blockiness(grey: Pixels) -> float:
    """How far the mean step between neighbours at the grid's likeliest place exceeds the median; of two directions."""
    if min(grey.shape) <= BLOCK:
        return 0.0
    excess = []
    for lines in (grey, grey.T):
        steps = np.abs(np.diff(lines.astype(np.int16), axis=1)).mean(0)
        steps = steps[: len(steps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(0)  # (BLOCK,), a place in the block each
        rest = float(np.median(steps))
        excess.append((float(steps.max()) - rest) / max(rest, LEAST_STEP))
    return min(excess)


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


def _parts(grey: Pixels) -> tuple[FoundBorder, list[FoundBlock], list[FoundBlock], Mask]:
    """Border, white rectangles and black boxes of a film, uint8 (H, W), and where none of them is, bool (H, W)."""
    border = _border(grey)
    inside = ~_beyond(border, grey.shape)
    everywhere = np.ones_like(inside)  # only a border of its own level hides a block
    on = inside if border.level >= NEAR_WHITE else everywhere
    rectangles = _painted((grey >= WHITE) & on, grey >= NEAR_WHITE, WHITE_LEAK, on, grey)
    on = inside if border.level <= NEAR_BLACK else everywhere
    boxes = _painted((grey <= PAINTED_BLACK) & on, grey <= NEAR_BLACK, BLACK_LEAK, on, grey)
    for block in (*rectangles, *boxes):
        inside[block.box.widened(SPARED)] = False
    return border, rectangles, boxes, inside


def film_area(grey: Pixels) -> Mask:
    """Bool (H, W), True where a picture of at most `WORK_SIDE` shows film: no border, no painted block."""
    return _parts(grey)[3]


def shrunk(pixels: Pixels, filtered: Image.Resampling) -> Pixels:
    """A film, uint8 (H, W) or (H, W, 3), with its long side at most `WORK_SIDE`."""
    height, width = pixels.shape[:2]
    shrink = WORK_SIDE / max(height, width)
    if shrink >= 1:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(Image.fromarray(pixels).resize(size, filtered))


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    rows, columns = scale
    return Box(round(box.top * rows), round(box.left * columns), round(box.bottom * rows), round(box.right * columns))


# --- borders


def _border(grey: Pixels) -> FoundBorder:
    """What lies beyond the film in a picture, uint8 (H, W)."""
    views = (grey, grey.T[::-1], grey[::-1], grey.T)  # each side in turn as the first rows: top, right, bottom, left
    edges = [_edge(lines) for lines in views]
    if not any(edges):
        return NO_BORDER
    turned = [
        math.degrees(math.atan(sign * edge.slope)) for sign, edge in zip((-1, -1, 1, 1), edges, strict=True) if edge
    ]
    return FoundBorder(
        Widths(*(max(round(edge.depth), 0) if edge else 0 for edge in edges)),
        tilt=round(float(np.median(turned)), 2),
        level=float(np.mean([edge.level for edge in edges if edge])),
        score=max(edge.straight for edge in edges if edge),
    )


class _Edge(NamedTuple):
    """One straight edge of a film: depth at the side's middle, px; slope, px per px; its border's grey level."""

    depth: float
    slope: float
    level: float
    straight: float


def _edge(lines: Pixels) -> _Edge | None:
    """The straight inner edge of the border along the first rows of `lines`, uint8 (H, W), if there is one."""
    across = lines.shape[1]
    reach = int(BORDER_REACH * len(lines))
    if reach < 8 or across < 8:
        return None
    levels = lines[1 : reach + 3].astype(np.int16)  # the outermost pixel is often blended
    best: _Edge | None = None
    for level in sorted({int(np.median(part)) // 4 * 4 + 2 for part in np.array_split(levels[1], 3)}):
        other = np.abs(levels[:reach] - level) > SAME_LEVEL
        other[1] &= other[2]  # a speck of dust
        other[-1] = True
        edge = _straight(other.argmax(0), reach, levels, level)
        if edge and (best is None or edge.straight > best.straight):
            best = edge
        if best and best.straight > 0.9:
            break
    return best


def _straight(depth: npt.NDArray[np.int64], reach: int, levels: npt.NDArray[np.int16], level: int) -> _Edge | None:
    """The straight line nearest to most of `depth` (W,), at which each column of a border of one level ends."""
    place = np.arange(len(depth)) - (len(depth) - 1) / 2
    across = (np.abs(levels[:reach:ACROSS] - level) <= PLAIN).all(0)  # lie in a border of the neighbouring side
    ends = np.flatnonzero((depth >= 1) & ~across)
    if len(ends) < WEDGE * (~across).sum() or len(ends) < 8:
        return None
    lines = _lines(place[ends], depth[ends])
    at = lines[:, :1] * place + lines[:, 1:]  # (lines, W)
    covered = (at >= 1.5) & ~across
    hits = (np.abs(depth - at) <= ON_LINE) & covered
    straight = hits.sum(1) / np.maximum(covered.sum(1), WEDGE * (~across).sum())
    best = int(straight.argmax())
    on = np.flatnonzero(hits[best])
    if straight[best] < STRAIGHT:
        return None
    slope, middle = np.polyfit(place[on], depth[on], 1) if np.ptp(on) > len(depth) / 4 else lines[best]
    edge = np.round(at[best]).astype(int)
    inner, outer = (np.clip(edge + away, 0, len(levels) - 1)[on] for away in (STEP_REACH - 1, -STEP_REACH))
    bare = (depth < 1) & covered[best]
    if at[best].max() < BORDER_LEAST or bare.sum() > BARE * covered[best].sum():
        return None
    step = np.abs(levels[inner, on] - levels[outer, on])
    if (step >= STEP).mean() < STEP_SHARE:
        return None
    return _Edge(float(middle) + 1, float(slope), level, float(straight[best]))


def _lines(place: npt.NDArray[np.floating[Any]], depth: npt.NDArray[np.int64]) -> Floats:
    """Slope and depth at the middle (n, 2) of lines through pairs of points, and of level ones through one point."""
    one = np.linspace(0, len(place) - 1, PAIRS).astype(int)
    lines = [np.stack([np.zeros(PAIRS), depth[one]], 1)]
    for apart in (len(place) // 4, len(place) // 2):
        first = one[one + apart < len(place)]
        second = first + apart
        slope = (depth[second] - depth[first]) / (place[second] - place[first])
        lines.append(np.stack([slope, depth[first] - slope * place[first]], 1))
    candidates = np.concatenate(lines)
    return candidates[np.abs(candidates[:, 0]) <= STEEPEST]


def _beyond(border: FoundBorder, shape: tuple[int, int]) -> Mask:
    """Bool (H, W), True on the border."""
    if border.tilt:
        return bordered(np.zeros(shape, np.uint8), border.widths, (1, 1, 1), border.tilt).own
    beyond = np.ones(shape, bool)
    top, right, bottom, left = border.widths
    beyond[top : shape[0] - bottom, left : shape[1] - right] = False
    return beyond


def _scaled_widths(border: Widths, scale: tuple[float, float]) -> Widths:
    (top, right, bottom, left), (rows, columns) = border, scale
    return Widths(round(top * rows), round(right * columns), round(bottom * rows), round(left * columns))


# --- rectangles


def _painted(mask: Mask, near: Mask, leak: float, inside: Mask, grey: Pixels) -> list[FoundBlock]:
    """The blocks of `mask`, bool (H, W), that stand out from their surroundings on every side.

    Args:
        mask: pixels of the block's level, on the film.
        near: pixels near that level; a clipped part of the body fades through it, a painted block does not.
        leak: the largest share of `near` around a block.
        inside: the film without its border, which is no surroundings.
        grey: uint8 (H, W), the film.
    """
    film = int(inside.any(1).sum()), int(inside.any(0).sum())
    blocks = [block for block in _blocks(mask) if _hides_a_name(block, film)]
    leaks = [0.0]
    while blocks:  # the worst goes first: a slice of a clipped disc is seen as such once the slice beside it is gone
        leaks = [_leak(near, block, blocks, inside) for block in blocks]
        if max(leaks) <= leak:
            break
        del blocks[leaks.index(max(leaks))]
    means = (float(grey[block.widened(0)].mean()) for block in blocks)
    return [FoundBlock(block, mean, 1 - share) for block, mean, share in zip(blocks, means, leaks, strict=False)]


def _blocks(mask: Mask) -> list[Box]:
    """The largest solid rectangles of `mask`, bool (H, W), one after the other, at most `MOST_BOXES`.

    They are looked for at half the size, which is four times as fast, and grown to their sides at full size.
    """
    left, halves = _halved(mask), list[Box]()
    while len(halves) < MOST_BOXES and np.count_nonzero(left) >= SOLID * HALF_RECTANGLE[0] * HALF_RECTANGLE[1]:
        sums = _sums(left)
        grown: list[Box] = []
        for seed in _seeds(sums):
            if not any(box.holds(seed) for box in grown):
                grown += [_grown(sums, seed, rows_first) for rows_first in (True, False)]
        if not grown:
            break
        halves.append(max(grown, key=lambda box: box.area))
        left[halves[-1].widened(RIM)] = False
    if not halves:
        return []
    full = _sums(mask)
    return [_sharpened(full, Box(*(2 * side for side in half))) for half in halves]


def _sharpened(sums: Sums, rough: Box) -> Box:
    """A block found at half the size, grown to its sides at full size, which are at most 3 px away."""
    grown, most = _grown(sums, rough, rows_first=True), 3
    return Box(
        max(grown.top, rough.top - most),
        max(grown.left, rough.left - most),
        min(grown.bottom, rough.bottom + most),
        min(grown.right, rough.right + most),
    )


def _hides_a_name(box: Box, shape: tuple[int, int]) -> bool:
    """Whether a block is as large as a name, and no border along a whole side of a film of `shape` (height, width)."""
    short, long = sorted((box.height, box.width))
    whole_side = box.height >= WHOLE_SIDE * shape[0] or box.width >= WHOLE_SIDE * shape[1]
    return short >= RECTANGLE[0] and long >= RECTANGLE[1] and not whole_side


def _halved(mask: Mask) -> Mask:
    """Bool (H // 2, W // 2), True where all four pixels are."""
    height, width = (side // 2 * 2 for side in mask.shape)
    rows = mask[0:height:2] & mask[1:height:2]
    return rows[:, 0:width:2] & rows[:, 1:width:2]


def _sums(mask: Mask) -> Sums:
    """Int32 (H+1, W+1) of a mask, bool (H, W)."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(mask, 0, np.int32), 1, out=sums[1:, 1:])
    return sums


def _seeds(sums: Sums) -> list[Box]:
    """Solid windows of the least size, evenly drawn from all there are; of a mask at half the size."""
    seeds = []
    for height, width in (HALF_RECTANGLE, HALF_RECTANGLE[::-1]):
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


def _leak(near: Mask, block: Box, blocks: list[Box], inside: Mask) -> float:
    """The share of `near` on the lines `SPARED` px outside `block`, other blocks and film border left out."""
    around = near.copy()
    for other in blocks:
        around[other.widened(SPARED)] &= other == block
    rows, columns = slice(block.top, block.bottom), slice(block.left, block.right)
    lines: list[tuple[int | slice, int | slice]] = [
        (row, columns) for row in (block.top - SPARED, block.bottom + SPARED - 1) if 0 <= row < near.shape[0]
    ]
    lines += [
        (rows, column) for column in (block.left - SPARED, block.right + SPARED - 1) if 0 <= column < near.shape[1]
    ]
    beside = np.concatenate([around[line][inside[line]] for line in lines]) if lines else np.ones(0, bool)
    return float(beside.mean()) if beside.size else 1.0
