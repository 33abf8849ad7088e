"""What if: one film changed by hand as the audit changes many, with its placebo, to see how the prediction changes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from tblib.arrays import Pixels
from tblib.films import edits
from tblib.films.boxes import Box, Widths
from tblib.films.cues import LUMA, changed_in_grey, other_tone, tint_in_grey, tinted
from tblib.films.edits import Edited
from tblib.films.film import Film
from tblib.films.shapes import shrunk
from tblib.mitigation import MID_GREY, FindsLungs, cropped, lung_mask, shown_within
from tblib.show.text import percent

WEIGHTS: dict[str, edits.Colour] = {  # of red, green and blue in the conversion to grey
    "luma": LUMA,
    "even": (1 / 3, 1 / 3, 1 / 3),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
}
LEFT = np.uint8(MID_GREY)  # what is left outside the lungs
LETTERS = ("L", "R", "Л", "П")


@dataclass(frozen=True)
class Changes:
    """Changes to a film; by default there are none.

    Attributes:
        tint, tint_strength: a key of `tblib.films.edits.TINTS`, or empty; and 0 … 1.
        weights: a key of `WEIGHTS`; they only matter if the file has colour or a tint is added.
        marker, marker_style: its letter, or empty; and a key of `tblib.films.edits.MARKER_STYLES`.
        marker_size: height of the letter, px on a film of 512 px.
        marker_across, marker_down: position of its centre, share of the film from the left and from the top.
        rectangle: width of a white rectangle at the bottom, share of the film's; 0 for none.
        border: width of a beige film border on all sides, share of the side; 0 for none.
        crop: share of the side that is cut off on each side.
        equalise: degree of histogram equalisation, 0 … 1.
        lungs_only: replace everything outside the estimated lungs by grey.
    """

    tint: str = ""
    tint_strength: float = 1.0
    weights: str = "luma"
    marker: str = ""
    marker_style: str = "solid"
    marker_size: int = 34
    marker_across: float = 0.88
    marker_down: float = 0.14
    rectangle: float = 0.0
    border: float = 0.0
    crop: float = 0.0
    equalise: float = 0.0
    lungs_only: bool = False


NOTHING = Changes()
EXAMPLES = {  # one change each, about as strong as the audit's
    "tint": replace(NOTHING, tint="beige"),
    "L/R marker": replace(NOTHING, marker="L"),
    "white rectangle": replace(NOTHING, rectangle=0.3),
    "film border": replace(NOTHING, border=0.03),
    "equalised": replace(NOTHING, equalise=1.0),
    "cropped": replace(NOTHING, crop=0.1),
    "lungs only": replace(NOTHING, lungs_only=True),
}


class Changed(NamedTuple):
    """A film after all changes, and after as many placebos: uint8 (H, W) or (H, W, 3) each."""

    edited: Pixels
    placebo: Pixels


def working_copy(film: Film) -> Film:
    """The film with its long side reduced to at most `tblib.films.shapes.WORK_SIDE`, for fast edits."""
    return replace(film, pixels=shrunk(film.pixels, Image.Resampling.BILINEAR))


def changed(film: Film, changes: Changes, lungs: Callable[[], FindsLungs], colour: bool = False) -> Changed:
    """The film with `changes`, one after another, and its placebo: in grey, or for a model that sees `colour` as it is.

    Each step's placebo is the audit's: the film's own texture in place of a marker, rectangle or border; a tone curve
    that changes the levels by as much as the tint or equalisation does. The placebo of a lung mask is the same mask
    upside down; that of a crop cuts as much, but only on the right and at the bottom, and so spares two sides. `film`
    is as in its file; `lungs` gives the lung segmentation if the changes need it.

    Raises:
        EditError: a change does not fit on a film as small as this.
    """
    after = _in_colour(film, changes) if colour else _in_grey(film, changes)
    if changes.equalise:
        after = _toned(after, lambda film: changed_in_grey(film, partial(_even, changes.equalise)), opposite=False)
    if changes.marker:
        after = _beside(after, lambda grey: _with_marker(grey, changes))
    if changes.rectangle:
        after = _beside(after, lambda grey: edits.white_rectangle(grey, _block(grey, changes.rectangle)))
    if changes.border:
        after = _beside(after, lambda grey: edits.bordered(grey, _widths(grey, changes.border), edits.BEIGE))
    if changes.lungs_only:
        mask = lung_mask(film.grey, lungs())
        edited, placebo = after
        after = Changed(shown_within(edited, mask, LEFT), shown_within(placebo, mask[::-1], LEFT))
    if changes.crop:
        height, width = cropped(film.grey, changes.crop).shape
        after = Changed(cropped(after.edited, changes.crop), after.placebo[:height, :width])
    return after


def _beside(before: Changed, edit: Callable[[Pixels], Edited]) -> Changed:
    """An edit, with the film's own texture in its place as placebo."""
    return Changed(edit(before.edited).pixels, edits.replaced(before.placebo, edit(before.placebo).own).pixels)


def _toned(before: Changed, edit: Callable[[Pixels], Edited], opposite: bool) -> Changed:
    """An edit of the levels, with a tone curve of the same strength, in its direction or the opposite, as placebo."""
    return Changed(edit(before.edited).pixels, other_tone(before.placebo, edit(before.placebo), opposite).pixels)


def _even(strength: float, grey: Pixels) -> Pixels:
    return edits.equalised(grey, strength).pixels


def _in_colour(film: Film, changes: Changes) -> Changed:
    """The film as it is, or after a tint."""
    if not changes.tint:
        return Changed(film.pixels, film.pixels)
    colours, tint = edits.three_channels(film.pixels), edits.TINTS[changes.tint]
    return _toned(Changed(colours, colours), lambda film: tinted(film, tint, changes.tint_strength), opposite=True)


def _in_grey(film: Film, changes: Changes) -> Changed:
    """The film in grey, after a tint or with other weights."""
    grey, weights = film.grey, WEIGHTS[changes.weights]
    plain = Changed(grey, grey)
    if changes.tint:
        tint = edits.TINTS[changes.tint]
        return _toned(plain, lambda film: tint_in_grey(film, tint, changes.tint_strength, weights), opposite=True)
    if changes.weights == NOTHING.weights or film.pixels.ndim == 2:
        return plain
    weighted = Edited(np.rint(film.pixels @ np.array(weights)).astype(np.uint8), np.ones_like(grey, bool))
    return _toned(plain, lambda _: weighted, opposite=True)


def _with_marker(film: Pixels, changes: Changes) -> Edited:
    """The marker with its centre as requested, or as close to that as the film allows."""
    marker = edits.Marker(changes.marker, changes.marker_style, edits.length(film, changes.marker_size))
    height, width = edits.marker_size(marker)
    top = round(changes.marker_down * film.shape[0] - height / 2)
    return edits.marked_within(film, marker, top, round(changes.marker_across * film.shape[1] - width / 2))


def _block(film: Pixels, share: float) -> Box:
    """Box of the white rectangle: at the bottom, left of the centre, as if hiding a name."""
    bottom, left = film.shape[0] - round(12 * film.shape[0] / edits.SIDE), round(0.06 * film.shape[1])
    height, width = edits.length(film, 40), max(1, round(share * film.shape[1]))
    return Box(bottom - height, left, bottom, min(left + width, film.shape[1]))


def _widths(film: Pixels, share: float) -> Widths:
    down, across = (max(1, round(share * side)) for side in film.shape[:2])
    return Widths(down, across, down, across)


def finding(effects: pd.DataFrame) -> str:
    """The change that moves a sample film's score most compared with its placebo."""
    if effects.empty:
        return "There was no sample film to change."
    beyond = effects["moved"] - effects["placebo_moved"]
    most = effects.loc[beyond.abs().idxmax()]
    return (
        f"Of {len(effects)} changes to “{most['film']}”, “{most['change']}” moves the logit most beyond its placebo: "
        f"by {most['moved']:+.2f}, its placebo by {most['placebo_moved']:+.2f}. The probability goes from "
        f"{percent(most['as_is'])} to {percent(most['changed'])}, with the placebo to {percent(most['placebo'])}."
    )
