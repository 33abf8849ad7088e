"""Properties of a film besides lungs: channels, tint, grey levels, markers, rectangles, borders, export artefacts.

The accuracy of each detector is measured on films with ground truth by `tblib.eda.detectors`. Shapes are detected on
a copy whose long side is at most `WORK_SIDE`, the size of the Kaggle database: limits in pixels refer to that copy,
and results are scaled back to the film.
"""

import colorsys
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.measure import blur_effect

from tblib.arrays import Ints, Pixels
from tblib.films.boxes import Box, Widths
from tblib.films.film import Film
from tblib.films.markers import FoundMarker, find_markers
from tblib.films.shapes import BLACK, WHITE, FoundBlock, FoundBorder, parts, shrunk

TINT_VISIBLE = 4.0  # grey levels of mean |R−B|: tints below are invisible on a screen; no Normal film has any
EQUALISED = 0.92  # evenness of the grey histogram from which a film counts as equalised
TAILS = (2, 98)  # percentiles that are stretched to black and white before evenness is measured
ASKEW = 0.7  # degrees from which a film counts as tilted: 3 px over half a side
EDGE_SHARE = 0.02  # the frame usually removed by cropping a film for display
BLOCK = 8  # px, side of JPEG's blocks
LEAST_STEP = 0.1  # grey levels: the least mean step assumed inside blocks, for films of flat blocks
EVEN_GRID = 8  # parts per side over which a tint's evenness is measured


@dataclass(frozen=True)
class Artefacts:
    """Properties of one film; grey levels are 0 black … 255 white, grey is the luma of ITU-R BT.601.

    Attributes:
        one_channel: the file has one channel.
        equal_channels: R = G = B in every pixel; True for one channel.
        tint_strength: mean of |R−B|, grey levels; 0 for one channel.
        tint_balance: mean of R−B, grey levels; below 0 blue or cyan, above 0 beige.
        tint_spread: standard deviation of R−B, grey levels.
        tint_evenness: 1 for a uniform tint, 0 where its parts differ as much as it is strong: 1 − sd over mean of
            |R−B|, over `EVEN_GRID`² parts; nan without a tint.
        hue: of the film's mean colour in HSV, degrees 0 … 360; nan if it has no colour.
        chroma: of the film's mean colour, (max − min) / 255 of its R, G, B: HSV's saturation times its value, 0 … 1.
        grey_mean: mean grey level.
        grey_sd: standard deviation of the grey levels.
        share_black: share of pixels at or below `BLACK`.
        share_white: share of pixels at or above `WHITE`.
        equalised: evenness of the grey histogram, 1 − the largest distance between the cumulative histogram and the
            straight line (Kolmogorov's); 1 is a flat histogram, 0 a film of one level. Borders and painted blocks are
            left out and `TAILS` stretched to black and white, so that neither they nor a tint change it.
        sharpness: 1 − the blur measured by re-blurring (Crete and others, "The blur effect", 2007), 0 … 1.
        blockiness: relative excess of grey level changes between JPEG's 8 px blocks over those elsewhere; 0 no blocks.
        bytes_per_pixel: file size over number of pixels; affected by noise and earlier JPEG compression.
        border_mean: mean grey level of the outermost `EDGE_SHARE` of the film, all four sides.
        border_sd: standard deviation there.
        white_rectangles: solid blocks at or above `WHITE`, at least `RECTANGLE`; pieces of them where they overlap.
        black_boxes: the same at or below `PAINTED_BLACK`, only if surrounded by something brighter than dark air.
        border: the area of the picture beyond the film's straight edges.
        markers: laterality markers, most certain first.
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
    *("one_channel", "equal_channels", "tint_strength", "tint_balance", "tint_spread", "grey_mean", "grey_sd"),
    *("share_black", "share_white", "bytes_per_pixel", "border_mean", "border_sd"),
)


def artefacts(film: Film, n_bytes: int) -> Artefacts:
    """Measure the properties of one film of any size; `n_bytes` is its file size."""
    grey = film.grey
    small = shrunk(grey, Image.Resampling.BOX)
    border, rectangles, boxes, inside = parts(small)
    scale = (grey.shape[0] / small.shape[0], grey.shape[1] / small.shape[1])
    return Artefacts(
        **_colour(film.pixels),
        **_grey_levels(grey),
        equalised=_flatness(small[inside] if inside.any() else small.ravel()),
        sharpness=_sharpness(small),
        blockiness=_blockiness(grey),
        bytes_per_pixel=n_bytes / grey.size,
        white_rectangles=tuple(block._replace(box=_scaled(block.box, scale)) for block in rectangles),
        black_boxes=tuple(block._replace(box=_scaled(block.box, scale)) for block in boxes),
        border=border._replace(widths=_scaled_widths(border.widths, scale)),
        markers=tuple(replace(found, box=_scaled(found.box, scale)) for found in find_markers(small, inside)),
    )


def facts(found: Artefacts) -> dict[str, Any]:
    """Columns of the catalogue for `found`: its numbers, and for each shape its presence and highest score.

    Besides the bool and float attributes: white_rectangle, black_box, marker, bordered (bool), *_score (0 if absent),
    marker_letter and marker_style (of the surest marker with a letter, else of the surest), border_tilt.
    """
    scalars = {name: value for name, value in vars(found).items() if isinstance(value, bool | float)}
    row: dict[str, Any] = {}
    for name, plural in (("white_rectangle", "white_rectangles"), ("black_box", "black_boxes"), ("marker", "markers")):
        things = getattr(found, plural)
        row |= {name: bool(things), f"{name}_score": max((thing.score for thing in things), default=0.0)}
    named = [marker for marker in found.markers if marker.letter] or list(found.markers)
    row |= {"marker_letter": named[0].letter if named else "", "marker_style": named[0].style if named else ""}
    border = found.border
    row |= {"bordered": border.present, "bordered_score": border.score, "border_tilt": border.tilt}
    return scalars | row


def carries_colour_cue(one_channel: Any, tint_strength: Any) -> Any:
    """The rule "one channel, or visibly tinted ⇒ tuberculosis", which uses no lung.

    From one_channel, bool or (N,), and tint_strength, mean |R−B| in grey levels, float or (N,); the result has the type
    of the arguments and is True where the rule predicts tuberculosis.
    """
    return one_channel | (tint_strength > TINT_VISIBLE)


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
    """Sharpness of the middle ninth of a film, where the lungs meet the heart and no border is."""
    height, width = grey.shape
    middle = grey[height // 3 : height - height // 3, width // 3 : width - width // 3].astype(np.float32)
    return 1 - float(blur_effect(middle / 255)) if min(middle.shape) > 11 and np.ptp(middle) else 0.0


def _blockiness(grey: Pixels) -> float:
    """Excess of the mean step between neighbours at the likeliest grid position over the median, of both directions."""
    if min(grey.shape) <= BLOCK:
        return 0.0
    excess = []
    for lines in (grey, grey.T):
        steps = np.abs(np.diff(lines.astype(np.int16), axis=1)).mean(0)
        steps = steps[: len(steps) // BLOCK * BLOCK].reshape(-1, BLOCK).mean(0)  # (BLOCK,), per position in the block
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
        "border_mean": border_mean,
        "border_sd": border_sd,
    }


def _flatness(levels: Pixels) -> float:
    """Evenness of the histogram of grey levels uint8 (n,), stretched from `TAILS` to black and white."""
    low, high = np.percentile(levels, TAILS)
    stretched = ((np.arange(256) - low) / max(float(high - low), 1.0)).clip(0, 1)
    counts = np.bincount(levels, minlength=256)
    cumulative = np.bincount((255 * stretched).astype(np.uint8), counts, 256).cumsum() / levels.size
    return 1 - float(np.abs(cumulative - np.arange(1, 257) / 256).max())


def _mean_sd(histogram: Ints) -> tuple[float, float]:
    levels, share = np.arange(256), histogram / histogram.sum()
    mean = float(levels @ share)
    return mean, math.sqrt(max(float(share @ (levels - mean) ** 2), 0.0))


def _frame(grey: Pixels) -> Pixels:
    """Uint8 (n,): the pixels of the outermost `EDGE_SHARE` of the short side, at least one pixel wide."""
    width = max(1, round(EDGE_SHARE * min(grey.shape)))
    inner = np.zeros(grey.shape, bool)
    inner[width:-width, width:-width] = True
    return grey[~inner]


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    rows, columns = scale
    return Box(round(box.top * rows), round(box.left * columns), round(box.bottom * rows), round(box.right * columns))


def _scaled_widths(border: Widths, scale: tuple[float, float]) -> Widths:
    (top, right, bottom, left), (rows, columns) = border, scale
    return Widths(round(top * rows), round(right * columns), round(bottom * rows), round(left * columns))
