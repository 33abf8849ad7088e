"""Detection of borders and painted blocks on a film."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.films.boxes import Box, Widths
from tblib.films.edits import bordered

Sums = npt.NDArray[np.int32]  # number of a mask's pixels above and left of each corner
BLACK, WHITE = 5, 250  # clipped, with a tolerance for JPEG's changes of 0 and 255
PAINTED_BLACK = 2  # of a black box: the darkest air is seldom that black
NEAR_BLACK, NEAR_WHITE = 8, 235  # levels around a box that make it part of something larger
WORK_SIDE = 512  # px: shapes are detected at the Kaggle database's size, whatever the film's
RECTANGLE = (12, 30)  # px, short and long side: the least block that hides a name; bones clipped to white are thinner
HALF_RECTANGLE = (5, 14)  # the same at half the size, without the rim
SOLID = 0.97  # share of a line or window at the box's level: JPEG frays rims, but 29 of 30 lines are not enough
SPARED = 4  # px from a box's side to the line beside it: beyond the blur of the rim
RIM = 2  # px at half the size removed around a detected box: its frayed rim is not another box
WHITE_LEAK, BLACK_LEAK = 0.2, 0.1  # maximum share of a block's surroundings at its level; above, it is part of the body
WHOLE_SIDE = 0.98  # of the film's side: blocks this long are borders
MOST_BOXES = 8  # a film with more solid blocks is clipped, not painted
SEEDS = 8  # windows per orientation from which a box is grown; a union of boxes needs one in each
BORDER_REACH = 0.62  # maximum share of the film covered by a border: a film can lie in a corner of its picture
SAME_LEVEL = 40  # grey levels from a border's own at which it ends: half-way to the film, if the edge is soft
BARE = 0.25  # maximum share of a border's length without border; above, it is a block at the film's edge
PLAIN = 10  # grey levels: a border along this side and the next is this uniform, film is not
ACROSS = 8  # px between the rows examined for it
ON_LINE = 1.6  # px between a border's inner edge and a straight line; the body's outline is not straight
STEEPEST = math.tan(math.radians(6))  # slope of a film's edge against the picture's
STRAIGHT = 0.55  # share of a border's inner edge that lies on a line
STEP_REACH = 2  # px on either side of the inner edge within which a film ends; a penumbra is wider
STEP, STEP_SHARE = 20, 0.5  # grey levels at the inner edge, over this share of it: air fades, film ends
BORDER_LEAST = 3  # px, where it is widest: thinner edges are left over from resampling
WEDGE = 0.35  # of a side: the least share covered by the border of a tilted film
PAIRS = 24  # pairs of evenly spaced points through which straight lines are tried


class FoundBlock(NamedTuple):
    """A painted rectangle: box, mean grey level, and score: 1 − the share of its surroundings at that level."""

    box: Box
    level: float
    score: float


class FoundBorder(NamedTuple):
    """The border of the picture beyond the film.

    Attributes:
        widths: at the middle of each side, pixels; 0 where the film reaches the picture's edge.
        tilt: of the film's edges, degrees counter-clockwise.
        level: mean grey level of the border; nan if there is none.
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


def parts(grey: Pixels) -> tuple[FoundBorder, list[FoundBlock], list[FoundBlock], Mask]:
    """Border, white rectangles and black boxes of a film, uint8 (H, W), and the mask of the rest, bool (H, W)."""
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
    return parts(grey)[3]


def shrunk(pixels: Pixels, filtered: Image.Resampling) -> Pixels:
    """A film, uint8 (H, W) or (H, W, 3), reduced to a long side of at most `WORK_SIDE`."""
    height, width = pixels.shape[:2]
    shrink = WORK_SIDE / max(height, width)
    if shrink >= 1:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(Image.fromarray(pixels).resize(size, filtered))


def _border(grey: Pixels) -> FoundBorder:
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
    """A straight edge of a film: depth at the side's middle, px; slope, px per px; its border's grey level."""

    depth: float
    slope: float
    level: float
    straight: float


def _edge(lines: Pixels) -> _Edge | None:
    """The straight inner edge of the border along the first rows of `lines`, uint8 (H, W), or None."""
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


def _straight(depth: Ints, reach: int, levels: npt.NDArray[np.int16], level: int) -> _Edge | None:
    """The straight line that fits most of `depth` (W,), the columns' depths of a border of one level."""
    place = np.arange(len(depth)) - (len(depth) - 1) / 2
    across = (np.abs(levels[:reach:ACROSS] - level) <= PLAIN).all(0)  # in a border of the neighbouring side
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


def _lines(place: npt.NDArray[np.floating[Any]], depth: Ints) -> Floats:
    """Slope and depth at the middle (n, 2) of lines through pairs of points, and of level lines through one point."""
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
    if border.tilt:
        return bordered(np.zeros(shape, np.uint8), border.widths, (1, 1, 1), border.tilt).own
    beyond = np.ones(shape, bool)
    top, right, bottom, left = border.widths
    beyond[top : shape[0] - bottom, left : shape[1] - right] = False
    return beyond


def _painted(mask: Mask, near: Mask, leak: float, inside: Mask, grey: Pixels) -> list[FoundBlock]:
    """The blocks of `mask`, bool (H, W), True at their level, that stand out on every side of a film uint8 (H, W).

    At most a share `leak` of a block's surroundings may be `near` its level; a clipped part of the body fades through
    such levels, a painted block does not. `inside` is the film without its border, which is no surroundings.
    """
    film = int(inside.any(1).sum()), int(inside.any(0).sum())
    blocks = [block for block in _blocks(mask) if _hides_a_name(block, film)]
    leaks = [0.0]
    while blocks:  # the worst first: a slice of a clipped disc is only recognised once the slice beside it is removed
        leaks = [_leak(near, block, blocks, inside) for block in blocks]
        if max(leaks) <= leak:
            break
        del blocks[leaks.index(max(leaks))]
    means = (float(grey[block.widened(0)].mean()) for block in blocks)
    return [FoundBlock(block, mean, 1 - share) for block, mean, share in zip(blocks, means, leaks, strict=False)]


def _blocks(mask: Mask) -> list[Box]:
    """The largest solid rectangles of `mask`, bool (H, W), one after the other, at most `MOST_BOXES`.
    They are detected at half the size, which is four times as fast, and grown to their sides at full size."""
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
    """Grow a block detected at half the size to its sides at full size, which are at most 3 px away."""
    grown, most = _grown(sums, rough, rows_first=True), 3
    return Box(
        max(grown.top, rough.top - most),
        max(grown.left, rough.left - most),
        min(grown.bottom, rough.bottom + most),
        min(grown.right, rough.right + most),
    )


def _hides_a_name(box: Box, shape: tuple[int, int]) -> bool:
    """Whether a block is large enough for a name, and not a border along a whole side of a film of `shape`."""
    short, long = sorted((box.height, box.width))
    whole_side = box.height >= WHOLE_SIDE * shape[0] or box.width >= WHOLE_SIDE * shape[1]
    return short >= RECTANGLE[0] and long >= RECTANGLE[1] and not whole_side


def _halved(mask: Mask) -> Mask:
    """Bool (H // 2, W // 2), True where all four pixels are."""
    height, width = (side // 2 * 2 for side in mask.shape)
    rows = mask[0:height:2] & mask[1:height:2]
    return rows[:, 0:width:2] & rows[:, 1:width:2]


def _sums(mask: Mask) -> Sums:
    """Summed-area table of a mask, bool (H, W): int32 (H+1, W+1)."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    inner = sums[1:, 1:]
    np.cumsum(np.cumsum(mask, 1, np.int32, out=inner), 0, out=inner)  # along the rows first: three times as fast
    return sums


def _seeds(sums: Sums) -> list[Box]:
    """Solid windows of the least size, evenly sampled from all there are; of a mask at half the size."""
    seeds = []
    for height, width in (HALF_RECTANGLE, HALF_RECTANGLE[::-1]):
        within = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        corners = np.argwhere(within >= SOLID * height * width)
        for top, left in corners[np.linspace(0, len(corners) - 1, min(SEEDS, len(corners)), dtype=int)].tolist():
            seeds.append(Box(top, left, top + height, left + width))
    return seeds


def _grown(sums: Sums, box: Box, rows_first: bool) -> Box:
    """Widen `box` while the rows and columns beside it are solid over its width and height."""
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
    before, after = gaps.searchsorted(first), gaps.searchsorted(end)
    return int(gaps[before - 1]) + 1 if before else 0, int(gaps[after]) if after < len(gaps) else len(counts)


def _leak(near: Mask, block: Box, blocks: list[Box], inside: Mask) -> float:
    """The share of `near` on the lines `SPARED` px outside `block`, without other blocks and film border."""
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
