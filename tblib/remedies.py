"""Remedies: what may be done against shortcuts while films are prepared and while a CNN is trained.

A remedy is a name of `ON_FILMS` or `IN_TRAINING`; several are joined by "+". What is done to films when they are
prepared is done to every film that the model is asked about later, whichever database it comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tblib import TblibError, edits
from tblib.artefacts import artefacts
from tblib.box import Box, Widths
from tblib.edits import Mask
from tblib.film import Film, Pixels, resized

if TYPE_CHECKING:
    from tblib.lungs import LungNetwork

NONE = "none"
ON_FILMS = {
    "paint_out": "markers, white rectangles and black boxes are painted over with the film beside them",
    "border_crop": "a tenth of each side is cut off",
    "lung_crop": "the film is cut to the box around the estimated lung field",
    "equalise": "grey levels are spread evenly: over the lung field where it is sought, else over the whole film",
    "smooth": "all films are blurred alike, so that none is sharper than another",
    "lungs_only": "all outside the estimated lung field is grey",
}
IN_TRAINING = {
    "randomise": "training films of both classes get markers, boxes, borders, tone, blur, noise and JPEG at random",
    "balance": "films are drawn so that all groups of label and cues weigh the same within a label",
    "group_dro": "the same, and groups with the larger loss weigh more (Sagawa 2020)",
}
BORDER_CROP = 0.1  # of a side
SMOOTH = 0.02  # of the side: sigma of the blur
MARGIN = 0.06  # of the lung box's sides, left around it
MID_GREY = 128  # of what `lungs_only` takes away
LEAST_FIELD = 0.05  # of the film: with less lung than this the film is taken whole
SPARE = 3  # px around a detected marker or box that are painted over with it


class RemedyError(TblibError):
    """A remedy that does not exist."""


def chosen(remedy: str) -> tuple[str, ...]:
    """The names joined in `remedy`, in the order of `ON_FILMS` and `IN_TRAINING`; empty for ``none``.

    Raises:
        RemedyError: one of them is no remedy.
    """
    wanted = [] if remedy in ("", NONE) else remedy.split("+")
    known = (*ON_FILMS, *IN_TRAINING)
    for name in wanted:
        if name not in known:
            raise RemedyError(f"There is no remedy {name!r}; give {NONE}, or some of {', '.join(known)} joined by +.")
    return tuple(name for name in known if name in wanted)


def on_films(remedy: str) -> str:
    """That part of `remedy` which is done when films are prepared, ``none`` for none."""
    return "+".join(name for name in chosen(remedy) if name in ON_FILMS) or NONE


def needs_lungs(remedy: str) -> bool:
    """Whether films are changed by where their lungs are estimated to lie."""
    return bool({"lung_crop", "lungs_only"}.intersection(chosen(remedy)))


def seen(grey: Pixels, size: int, remedy: str, lungs: LungNetwork | None = None) -> Pixels:
    """Uint8 (size, size): what a model trained with `remedy` gets of a film, uint8 (H, W).

    `lungs` estimates where the lungs are, by default this machine's own network.
    """
    names = chosen(remedy)
    film = painted_out(grey) if "paint_out" in names else grey
    if "border_crop" in names:
        film = cropped(film, BORDER_CROP)
    field = lung_field(film, lungs) if needs_lungs(remedy) else np.ones_like(film, bool)
    if "lung_crop" in names:
        film, field = _cut(film, field)
    small, within = resized(film, size), resized(255 * field.astype(np.uint8), size) >= 128
    if "equalise" in names:
        small = evened(small, within)
    if "smooth" in names:
        small = edits.blurred(small, SMOOTH * size).pixels
    return np.where(within, small, np.uint8(MID_GREY)) if "lungs_only" in names else small


def painted_out(grey: Pixels) -> Pixels:
    """The film, uint8 (H, W), with every marker, white rectangle and black box that is detected painted over."""
    found = artefacts(Film("L", grey), n_bytes=grey.size)
    boxes = [marker.box for marker in found.markers]
    boxes += [block.box for block in (*found.white_rectangles, *found.black_boxes)]
    for box in boxes:
        rows, columns = box.widened(SPARE)
        area = Box(rows.start, columns.start, min(rows.stop, grey.shape[0]), min(columns.stop, grey.shape[1]))
        grey = edits.retouched(grey, area).pixels
    return grey


def evened(film: Pixels, lungs: Mask) -> Pixels:
    """A film, uint8 (H, W), whose grey levels are spread evenly over its lungs, bool (H, W); the rest follows."""
    counts = np.bincount(film[lungs] if lungs.mean() >= LEAST_FIELD else film.ravel(), minlength=256) + 0.5
    rank = (counts.cumsum() - counts / 2) / counts.sum()
    return np.round(255 * rank).astype(np.uint8)[film]


def randomised(films: Pixels, rng: np.random.Generator) -> Pixels:
    """Films uint8 (B, S, S) with artefacts drawn alike for all, so that none of them tells the class."""
    return np.stack([_randomised(film, rng) for film in films])


def _randomised(film: Pixels, rng: np.random.Generator) -> Pixels:
    side = len(film)
    tone = (film / np.float32(255)) ** np.exp(rng.uniform(-0.7, 0.7))
    if rng.random() < 0.5:  # what a tint and other weights of red, green and blue do to the grey levels
        tone = tone * rng.uniform(0.6, 1.1) + rng.uniform(-0.15, 0.25)
    grey = (255 * tone.clip(0, 1)).astype(np.uint8)
    if rng.random() < 0.5:
        grey = edits.blurred(grey, rng.uniform(0, side / 100)).pixels
    if rng.random() < 0.4:
        grey = edits.compressed(grey, int(rng.integers(15, 80))).pixels
    if rng.random() < 0.4:
        grey = (grey + rng.normal(0, rng.uniform(2, 12), grey.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        widths = Widths(*(int(width) for width in (rng.random(4) < 0.5) * rng.integers(1, side // 12, 4)))
        grey = edits.bordered(grey, widths, (_level(rng) / 255,) * 3, float(rng.uniform(-2, 2))).pixels
    for _ in range(int(rng.integers(0, 3))):
        grey = edits.white_rectangle(
            grey, _anywhere(rng, side, (side // 40, side // 8), (side // 24, side // 3)), _level(rng)
        ).pixels
    if rng.random() < 0.5:
        grey = _marked(grey, rng)
    return grey


def _marked(film: Pixels, rng: np.random.Generator) -> Pixels:
    """A marker of any style somewhere in the upper third."""
    size = int(rng.integers(len(film) // 24, len(film) // 9))
    style, letter = str(rng.choice(list(edits.MARKER_STYLES))), str(rng.choice(list("LRЛП")))
    marker = edits.Marker(letter, style, size, strength=float(rng.uniform(0.4, 1)))
    height, width = edits.marker_size(marker)
    top, left = int(rng.integers(0, len(film) // 3 - height // 2)), int(rng.integers(0, len(film) - width))
    return edits.marked(film, marker, top, left).pixels


def _level(rng: np.random.Generator) -> int:
    """Black, white or anything between."""
    return (0, 255, int(rng.integers(256)))[int(rng.integers(3))]


def _anywhere(rng: np.random.Generator, side: int, heights: tuple[int, int], widths: tuple[int, int]) -> Box:
    height, width = (max(1, int(rng.integers(*lengths))) for lengths in (heights, widths))
    top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
    return Box(top, left, top + height, left + width)


def cropped(film: Pixels, share: float) -> Pixels:
    """The film, uint8 (H, W), without `share` of its side on each side."""
    rows, columns = (round(share * side) for side in film.shape)
    return film[rows : film.shape[0] - rows, columns : film.shape[1] - columns]


def lung_field(film: Pixels, network: LungNetwork | None = None) -> Mask:
    """The film's estimated lung field, by this machine's network or another; all of it where hardly any is found."""
    from tblib.lungs import lung_fields  # brings torch, which a plain preparation does not need

    field = lung_fields(film[None], network)[0]
    return field if field.mean() >= LEAST_FIELD else np.ones_like(field)


def _cut(film: Pixels, field: Mask) -> tuple[Pixels, Mask]:
    """Film and field within the box around the field, with a margin."""
    box = edits.Edited(film, field).box
    height, width = round(MARGIN * box.height), round(MARGIN * box.width)
    rows = slice(max(box.top - height, 0), box.bottom + height)
    columns = slice(max(box.left - width, 0), box.right + width)
    return film[rows, columns], field[rows, columns]
