"""What if: one film changed by hand as the audit changes many, and its placebo, to see what a model makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from tblib import edits
from tblib.artefacts import shrunk
from tblib.box import Box, Widths
from tblib.edits import Edited
from tblib.film import Film, Pixels
from tblib.lungs import LungNetwork
from tblib.remedies import MID_GREY, cropped, lung_field
from tblib.suspects import LUMA, SIDE, other_tone, tint_in_grey

WEIGHTS: dict[str, edits.Colour] = {  # of red, green and blue when a film becomes grey
    "luma": LUMA,
    "even": (1 / 3, 1 / 3, 1 / 3),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
}
LETTERS = ("L", "R", "Л", "П")
BEIGE = (0.93, 0.88, 0.76)  # of the border that is put on


@dataclass(frozen=True)
class Changes:
    """What is done to a film; as it comes, nothing is.

    Attributes:
        tint: a key of `tblib.edits.TINTS`, or empty.
        tint_strength: of it, 0 … 1.
        weights: a key of `WEIGHTS`; they matter where the file has colour or a tint is put on.
        marker: its letter, or empty.
        marker_style: a key of `tblib.edits.MARKER_STYLES`.
        marker_size: height of the letter, px on a film of 512.
        marker_across, marker_down: where its middle lies, share of the film from the left and from the top.
        rectangle: width of a white rectangle at the bottom, share of the film's; 0 for none.
        border: width of a beige film border on all sides, share of the side; 0 for none.
        crop: share of the side that is cut off on each side.
        equalise: how far grey levels are spread evenly, 0 … 1.
        lungs_only: all outside the estimated lung fields becomes grey.
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
    """A film after all changes, and after as many placebos: uint8 (H, W) each."""

    edited: Pixels
    placebo: Pixels


def working_copy(film: Film) -> Film:
    """The film with its long side at most `tblib.artefacts.WORK_SIDE`, on which changes are drawn at once."""
    return replace(film, pixels=shrunk(film.pixels, Image.Resampling.BILINEAR))


def changed(film: Film, changes: Changes, lungs: LungNetwork | None = None) -> Changed:
    """The film with `changes`, one after another, beside its placebo.

    Each step's placebo is the audit's: the film's own texture in place of a marker, rectangle or border; a tone curve
    that changes the levels by as much as tint or equalisation does. The placebo of a lung mask is the same mask upside
    down; that of a crop cuts as much, all of it right and below, and so spares two sides.

    Args:
        film: in grey or colour.
        changes: what is done to it.
        lungs: the network that finds the lungs, by default this machine's own.

    Raises:
        EditError: a change does not fit on a film as small as this.
    """
    after = _recoloured(film, changes)
    if changes.equalise:
        after = _toned(after, lambda grey: edits.equalised(grey, changes.equalise))
    if changes.marker:
        after = _beside(after, lambda grey: _with_marker(grey, changes))
    if changes.rectangle:
        after = _beside(after, lambda grey: edits.white_rectangle(grey, _block(grey, changes.rectangle)))
    if changes.border:
        after = _beside(after, lambda grey: edits.bordered(grey, _widths(grey, changes.border), BEIGE))
    if changes.lungs_only:
        field = lung_field(film.grey, lungs)
        after = Changed(np.where(field, after.edited, MID_GREY), np.where(field[::-1], after.placebo, MID_GREY))
    if changes.crop:
        height, width = cropped(film.grey, changes.crop).shape
        after = Changed(cropped(after.edited, changes.crop), after.placebo[:height, :width])
    return after


def _beside(before: Changed, edit: Callable[[Pixels], Edited]) -> Changed:
    """An edit, and as its placebo the film's own texture in its place."""
    return Changed(edit(before.edited).pixels, edits.replaced(before.placebo, edit(before.placebo).own).pixels)


def _toned(before: Changed, edit: Callable[[Pixels], Edited]) -> Changed:
    """An edit of the levels, and as its placebo a tone curve that does as much in the same direction."""
    twin = edit(before.placebo)
    brighter = bool(twin.pixels.mean() > before.placebo.mean())
    return Changed(edit(before.edited).pixels, other_tone(before.placebo, twin, brighter).pixels)


def _recoloured(film: Film, changes: Changes) -> Changed:
    """The film in grey, by way of a tint or of other weights."""
    grey, weights = film.grey, WEIGHTS[changes.weights]
    plain = Changed(grey, grey)
    if changes.tint:
        tint = edits.TINTS[changes.tint]
        return _toned(plain, lambda film: tint_in_grey(film, tint, changes.tint_strength, weights))
    if changes.weights == NOTHING.weights or film.pixels.ndim == 2:
        return plain
    weighted = Edited(np.rint(film.pixels @ np.array(weights)).astype(np.uint8), np.ones_like(grey, bool))
    return _toned(plain, lambda _: weighted)


def _with_marker(film: Pixels, changes: Changes) -> Edited:
    """The marker where its middle was asked for, or as near to that as the film allows."""
    marker = edits.Marker(changes.marker, changes.marker_style, max(1, round(changes.marker_size * _scale(film))))
    height, width = edits.marker_size(marker)
    top = min(max(round(changes.marker_down * film.shape[0] - height / 2), 0), film.shape[0] - height)
    left = min(max(round(changes.marker_across * film.shape[1] - width / 2), 0), film.shape[1] - width)
    return edits.marked(film, marker, top, left)


def _block(film: Pixels, share: float) -> Box:
    """Where the white rectangle lies: at the bottom, left of the middle, as names are hidden."""
    bottom, left = film.shape[0] - round(12 * _scale(film)), round(0.06 * film.shape[1])
    height, width = max(1, round(40 * _scale(film))), max(1, round(share * film.shape[1]))
    return Box(bottom - height, left, bottom, min(left + width, film.shape[1]))


def _widths(film: Pixels, share: float) -> Widths:
    down, across = (max(1, round(share * side)) for side in film.shape)
    return Widths(down, across, down, across)


def _scale(film: Pixels) -> float:
    return film.shape[0] / SIDE
