"""Views: what each region of the ablation keeps of a film, given the lung masks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from tblib.arrays import Mask, Pixels
from tblib.films.edits import SIDE
from tblib.mitigation import MID_GREY, shown_within

CENTRE = 0.6  # share of a side
CORNER = 0.2  # share of a side
FINE = 0.012  # sigma of the blur that leaves fine detail, share of the side
WIDEST = 25  # px (of `SIDE`): widest margin around the lungs


@dataclass(frozen=True)
class Region:
    """A part of the film on which small CNNs are trained.

    Attributes:
        sees: what is in view, in words.
        in_view: (lung masks bool (N, S, S), seed) -> bool (N, S, S), True where the film is in view.
        outline: show the lung mask, white on black, instead of the film.
        residual: show what a blur removes from the film, on `MID_GREY`, instead of the film.
    """

    name: str
    sees: str
    in_view: Callable[[Mask, int], Mask]
    outline: bool = False
    residual: bool = False

    def left_of(self, images: Pixels, masks: Mask, seed: int = 0) -> Pixels:
        """Films uint8 (N, S, S) or (N, S, S, 3) with lung masks bool (N, S, S), restricted to the region."""
        views = masks if self.outline else self.in_view(masks, seed)
        return np.stack([self.left_of_film(film, view) for film, view in zip(images, views, strict=True)])

    def left_of_film(self, film: Pixels, view: Mask) -> Pixels:
        """A film uint8 (H, W) or (H, W, 3) where `view`, bool (H, W), is True; the rest is `MID_GREY`.

        `view` is what `in_view` gives, or the lung mask if the `outline` is shown.
        """
        if self.outline:
            return shown_within(np.full_like(film, 255), view, np.uint8(0))
        return _residual(film) if self.residual else shown_within(film, view, np.uint8(MID_GREY))


def _beyond(masks: Mask, width: int) -> Mask:
    """Everything but the centre of each film, which starts `width` pixels from the edges."""
    seen = np.ones_like(masks)
    seen[:, width : masks.shape[1] - width, width : masks.shape[1] - width] = False
    return seen


def _border(share: float) -> Region:
    wide = f"{share:.0%}".replace("%", " %")
    told = f"the outermost {wide} of each side"
    return Region(f"border {wide}", told, lambda masks, seed: _beyond(masks, max(1, round(share * masks.shape[1]))))


def _residual(film: Pixels) -> Pixels:
    levels, sigma = film.astype(np.float32), FINE * len(film)
    blurred = gaussian_filter(levels, (sigma, sigma, 0)[: film.ndim])
    return (MID_GREY + levels - blurred).round().clip(0, 255).astype(np.uint8)


def _without_widened(pixels: int) -> Region:
    """The film without the lungs and a margin of `pixels` at `SIDE` px per side: no rim of the lungs is left."""

    def in_view(masks: Mask, seed: int) -> Mask:
        """Bool (N, S, S), pixels further from the lungs than the margin; all where no lung was found."""
        margin = pixels * masks.shape[1] / SIDE
        return np.stack([distance_transform_edt(~mask) > margin if mask.any() else ~mask for mask in masks])

    return Region(
        f"outside the lungs + {pixels} px", f"all but the lungs and {pixels} px (of {SIDE}) around them", in_view
    )


def _corners(masks: Mask, seed: int) -> Mask:
    seen, width = np.zeros_like(masks), round(CORNER * masks.shape[1])
    for rows in (slice(None, width), slice(-width, None)):
        for columns in (slice(None, width), slice(-width, None)):
            seen[:, rows, columns] = True
    return seen


def _another_films(masks: Mask, seed: int) -> Mask:
    return np.roll(masks[np.random.default_rng(seed).permutation(len(masks))], 1, axis=0)


BLIND = Region(  # region behind the headline result: the film without its lungs
    "outside the lungs", "all but the lungs, whose outline stays visible", lambda masks, seed: ~masks
)
WHOLE = Region("whole film", "everything", lambda masks, seed: np.ones_like(masks))
_ALL = (
    *map(_border, (0.02, 0.05, 0.10, 0.15)),
    Region(
        "outside the centre",
        f"all but the middle {100 * CENTRE:.0f} % of both sides",
        lambda masks, seed: _beyond(masks, round((1 - CENTRE) / 2 * masks.shape[1])),
    ),
    Region("corners", f"four squares of {100 * CORNER:.0f} % of the side in the corners", _corners),
    BLIND,
    *map(_without_widened, (5, 10, WIDEST)),
    Region("lung shape only", "the outline of the lungs and nothing else", lambda masks, seed: masks & False, True),
    Region("another film's lungs cut", "what lies within another film's lungs", _another_films),
    Region("lungs only", "what lies within the film's own lungs", lambda masks, seed: masks),
    Region("fine detail", "what a narrow blur takes away", lambda masks, seed: np.ones_like(masks), residual=True),
    WHOLE,
)
BLIND_WIDE = _without_widened(WIDEST).name
REGIONS = {region.name: region for region in _ALL}
