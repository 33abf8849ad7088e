"""Cues: what on a film may predict the label; how each is detected, added and removed, and its placebos; in one table.

Each edit has a placebo that changes the same pixels, or by as much, without adding a cue. The difference between a
model's scores of the edited film and of the placebo is the cue's effect, which `tblib.audit` evaluates.

Films are grey, uint8 (H, W), or in colour, uint8 (H, W, 3), 0 black … 255 white; an edit leaves them as they are in
this. Lengths are given at 512 px per side and scaled to the film.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from tblib.arrays import Floats, Pixels
from tblib.films import edits
from tblib.films.artefacts import ASKEW, EQUALISED, TINT_VISIBLE
from tblib.films.boxes import Box, Widths, boxes_from_text, widths_from_text
from tblib.films.edits import Edited
from tblib.films.film import grey_of, in_grey

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey (ITU-R BT.601)
BLUR, JPEG = 1.6, 40  # sigma in px, and quality, as of a photograph of a light box
GAMMAS = np.exp(np.linspace(-1.2, 1.2, 49))  # tone curves among which placebos of tone are chosen

TINT_SHARES = {"blue": 0.50, "cyan": 0.38, "green": 0.05, "beige": 0.07}  # of the tinted films of the Kaggle database

Edit = Callable[[Pixels, float, np.random.Generator], Edited]
Removal = Callable[[Pixels, pd.Series, np.random.Generator], tuple[Edited, Edited] | None]
Cover = Callable[[Pixels, pd.Series], Pixels]


@dataclass(frozen=True)
class Cue:
    """A property of films that may predict the label.

    Attributes:
        name: used in all output.
        column: of the catalogue, filled by the cue's detector.
        holds: whether a film has the cue, from that column; None if it is a matter of degree.
        aim: precision and recall that a detector needs for an audit; None if there is no detector.
        group: name in groups of label and cues; None if groups do not distinguish it.
        shape: the detector finds a shape and its position on the film.
        audited: whether an audit tests if a model uses it.
        score: how an audit measures how much of it a film has: ``catalogue``, or a key of `tblib.audit.study.SCORES`.
        baseline: predicts the label from this cue alone, a key of `tblib.audit.baselines.ALONE`: ``facts``, logistic
            regression on `facts`; or ``score``, on its score; ``fitted score``, if that predicts the label already; or
            ``region``, small CNNs.
        facts: columns of the catalogue for that baseline.
        put: adds it to a film (film, dose, generator); None if `swap` does, or if nothing can.
        everywhere: it can be added to every film, not only to those without it.
        placebo: of `put`: ``inpainted`` (same pixels, texture from beside), ``tone`` (as much change of tone) or
            ``mirrored`` (as much change, at the mirrored position).
        doses: of `put`; dose 1 is used for conclusions.
        spares_lungs: the edit and its placebo leave the lungs unchanged, as disease itself causes similar changes.
        remove: removes it from a film (film, row of the catalogue, generator), and returns a placebo, too.
        cover: hides it (film, row of the catalogue) where `remove` cannot: no model is judged by what it paints, but
            reference networks can be trained on it.
        swap: a key of `tblib.audit.edit_effects.SWAPS`, if the cue is exchanged between films instead of added.
        judges: mitigations are evaluated by how much of its effect remains.
        unusable: what it means if the model gives the same scores after its edit and after the placebo.
        note: limitations of the edit.
    """

    name: str
    column: str
    holds: Callable[[pd.Series], pd.Series] | None = lambda values: values.astype(bool)
    aim: float | None = None
    group: str | None = None
    shape: bool = False
    audited: bool = True
    score: str = "catalogue"
    baseline: str = "facts"
    facts: tuple[str, ...] = ()
    put: Edit | None = None
    everywhere: bool = False
    placebo: str = "inpainted"
    doses: tuple[float, ...] = (1.0,)
    spares_lungs: bool = False
    remove: Removal | None = None
    cover: Cover | None = None
    swap: str = ""
    judges: bool = False
    unusable: str = ""
    note: str = ""

    @property
    def compared(self) -> bool:
        """Whether a film has it or not, found by a detector of its own, so that cues can be told apart by it."""
        return self.aim is not None and self.audited

    def carried(self, films: pd.DataFrame) -> Floats:
        """Float (N,): how much of the cue each film of a catalogue has; 1 or 0 if it is present or absent."""
        values = films[self.column]
        return (values if self.holds is None else self.holds(values)).to_numpy(float)


# --- adding a cue ---------------------------------------------------------------------------------


def put_marker(film: Pixels, dose: float, rng: np.random.Generator, letter: str = "L", style: str = "solid") -> Edited:
    """Add a laterality marker to the upper corner on the viewer's right."""
    marker = edits.Marker(letter, style, edits.length(film, 34 * dose))
    top, right = edits.length(film, rng.uniform(30, 80)), edits.length(film, rng.uniform(30, 60))
    return edits.marked_within(film, marker, top, film.shape[1] - right - edits.marker_size(marker)[1])


def _rectangle(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    height, width = (min(edits.length(film, side * dose**0.5), film.shape[0] // 2) for side in (40, 150))
    top = film.shape[0] - height - edits.length(film, rng.uniform(2, 24))
    left = int(rng.integers(0, film.shape[1] - width))
    return edits.white_rectangle(film, Box(top, left, top + height, left + width))


def _box(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    height, width = (min(edits.length(film, side * dose**0.5), film.shape[0] // 2) for side in (24, 80))
    top, left = edits.length(film, rng.uniform(0, 12)), edits.length(film, rng.uniform(170, 270))
    left = min(left, film.shape[1] - width)
    return edits.black_box(film, Box(top, left, top + height, left + width))


def _border(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    widths = Widths(*(edits.length(film, rng.uniform(8, 20) * dose) for _ in range(4)))
    return edits.bordered(film, widths, [edits.BEIGE, (1, 1, 1), (0.01, 0.01, 0.01)][int(rng.integers(3))])


def _tint(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    """Apply a light box's tint; to a grey film what is left of it in grey: fewer and different grey levels."""
    tint = edits.TINTS[str(rng.choice(list(TINT_SHARES), p=list(TINT_SHARES.values())))]
    return tint_in_grey(film, tint, dose) if film.ndim == 2 else tinted(film, tint, dose)


def tinted(film: Pixels, tint: edits.Tint, dose: float = 1.0) -> Edited:
    """A colour film, uint8 (H, W, 3), made grey and then tinted by a light box, as far as `dose`, 0 … 1, says."""
    ends = np.array([[0.0] * 3, [1.0] * 3])
    dark, bright = (1 - dose) * ends + dose * np.array(tint)
    return edits.tinted(grey_of(film), edits.Tint(tuple(dark), tuple(bright)))


def tint_in_grey(film: Pixels, tint: edits.Tint, dose: float = 1.0, weights: edits.Colour = LUMA) -> Edited:
    """A grey film after tinting by a light box and conversion back to grey with these weights."""
    ends = (float(np.dot(weights, colour)) for colour in tint)
    dark, bright = ((1 - dose) * end + dose * level for end, level in zip((0, 1), ends, strict=True))
    levels = np.round(255 * (dark + (bright - dark) * np.arange(256) / 255)).astype(np.uint8)
    return Edited(levels[film], np.ones_like(film, bool))


def _softened(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    def soft(grey: Pixels) -> Pixels:
        """The film out of focus, then compressed."""
        return edits.compressed(edits.blurred(grey, BLUR * dose * len(grey) / edits.SIDE).pixels, JPEG).pixels

    return changed_in_grey(film, soft)


def _equalised(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    return changed_in_grey(film, lambda grey: edits.equalised(grey, dose).pixels)


def changed_in_grey(film: Pixels, change: Callable[[Pixels], Pixels]) -> Edited:
    """`tblib.films.film.in_grey` as an edit of the whole film."""
    return Edited(in_grey(film, change), np.ones(film.shape[:2], bool))


# --- placebos ------------------------------------------------------------------------------------


def placebo_of(kind: str, film: Pixels, edited: Edited, rng: np.random.Generator) -> Edited:
    """The placebo of an edit: changes the same pixels, adds no cue (`Cue.placebo`)."""
    if kind == "inpainted":
        return edits.replaced(film, edited.own)
    if kind == "mirrored":  # as much change, equally fine, at the wrong position
        change = edited.pixels.astype(np.int16) - film
        return Edited((film + change[:, ::-1]).clip(0, 255).astype(np.uint8), edited.own)
    return other_tone(film, edited, opposite=kind == "opposite tone")


def other_tone(film: Pixels, edited: Edited, opposite: bool) -> Edited:
    """The gamma curve that makes a film brighter or darker, as its edit does or `opposite`, by as much (RMS).

    What is left of a tint in grey is a darker film, so that a placebo as dark would be the cue once more.
    """
    grey = grey_of(film)
    brighter = bool(grey_of(edited.pixels).mean() > grey.mean()) != opposite
    counts, levels = np.bincount(grey.ravel(), minlength=256), np.arange(256)
    wanted = np.sqrt(np.mean((edited.pixels.astype(np.float32) - film) ** 2))
    curves = np.round(255 * (levels / 255) ** GAMMAS[(GAMMAS < 1) == brighter][:, None])  # (n, 256)
    changed = np.sqrt(((curves - levels) ** 2 @ counts) / counts.sum())
    curve = curves[np.abs(changed - wanted).argmin()].astype(np.uint8)
    return Edited(in_grey(film, lambda grey: curve[grey]), edited.own)


# --- removing a cue, with its placebo -------------------------------------------------------------


def without_boxes(film: Pixels, row: pd.Series, rng: np.random.Generator, column: str) -> tuple[Edited, Edited] | None:
    """The film without the boxes of a catalogue's cell, and one with blocks retouched at mirrored positions instead."""
    without, placebo = film, film
    own, other = np.zeros(film.shape[:2], bool), np.zeros(film.shape[:2], bool)
    for box in boxes_from_text(row[column]):
        area = edits.around(box, film)
        mirrored = Box(area.top, film.shape[1] - area.right, area.bottom, film.shape[1] - area.left)
        if min(area.right, mirrored.right) > max(area.left, mirrored.left):  # it lies across the middle
            mirrored = Box(film.shape[0] - area.bottom, area.left, film.shape[0] - area.top, area.right)
        first, second = edits.retouched(without, area), edits.retouched(placebo, mirrored)
        without, placebo, own, other = first.pixels, second.pixels, own | first.own, other | second.own
    return (Edited(without, own), Edited(placebo, other)) if own.any() else None


def _untinted(film: Pixels, row: pd.Series, rng: np.random.Generator) -> tuple[Edited, Edited]:
    """The film in grey, with its levels stretched to black and white, and a placebo of tone."""
    grey = grey_of(film)
    low, high = np.percentile(grey, (0.1, 99.9))
    levels = (255 * (np.arange(256) - low) / max(high - low, 1)).clip(0, 255).round().astype(np.uint8)
    plain = levels[grey] if film.ndim == 2 else edits.three_channels(levels[grey])
    edited = Edited(plain, np.ones_like(grey, bool))
    return edited, other_tone(film, edited, opposite=True)


def without(cue: Cue, film: Pixels, row: pd.Series, rng: np.random.Generator) -> Pixels:
    """The film of a catalogue's row with the cue removed or covered; unchanged if it can be neither."""
    if cue.cover:
        return cue.cover(film, row)
    taken = cue.remove(film, row, rng) if cue.remove else None
    return taken[0].pixels if taken else film


def _continued(film: Pixels, row: pd.Series) -> Pixels:
    """The film continued beyond its edges, over the border."""
    widths = [width + edits.SPARE if width else 0 for width in widths_from_text(row["border"])]
    own = edits.bordered(film, Widths(*widths), edits.BEIGE, row["border_tilt"]).own
    return edits.replaced(film, own).pixels


# --- the table ------------------------------------------------------------------------------------

STRENGTHS = (0.5, 1.0, 2.0)
CUES = (
    Cue("one-channel file", "one_channel", aim=1.0, facts=("one_channel", "equal_channels"), swap="one channel",
        unusable="the model gives films of one channel and of three equal ones the same scores, so the bit itself "
        "cannot be used; what comes with it can, and stands in the other rows"),
    Cue("tint", "tint_strength", lambda strength: strength > TINT_VISIBLE, aim=1.0,
        facts=("tint_strength", "tint_balance", "tint_spread", "chroma"),
        put=_tint, placebo="opposite tone", doses=STRENGTHS[:2], remove=_untinted,
        note="of a model that sees no colour the edit is what a tint does to grey levels"),
    Cue("L/R marker", "marker", aim=0.85, group="marker", shape=True, facts=("marker", "marker_score"),
        put=put_marker, doses=STRENGTHS, remove=partial(without_boxes, column="markers"), judges=True),
    Cue("marker style", "marker", score="marker style", baseline="fitted score", swap="marker style",
        note="measured among the films that carry a marker; whether they do is a cue of its own"),
    Cue("white rectangle", "white_rectangle", aim=0.95, group="rectangle", shape=True,
        facts=("white_rectangle", "white_rectangle_score"),
        put=_rectangle, doses=STRENGTHS, remove=partial(without_boxes, column="white_rectangles"), judges=True),
    Cue("black box", "black_box", aim=0.95, shape=True, facts=("black_box", "black_box_score"),
        put=_box, doses=STRENGTHS, remove=partial(without_boxes, column="black_boxes"),
        note="half of the black boxes are not found (first notebook)"),
    Cue("film border", "bordered", aim=0.90, group="border", shape=True, facts=("bordered", "bordered_score"),
        put=_border, doses=STRENGTHS, cover=_continued, judges=True,
        note="a border is not taken away: what lies below it is not known"),
    Cue("film askew", "border_tilt", lambda tilt: tilt.abs() >= ASKEW, aim=0.90, audited=False),
    Cue("grey histogram", "equalised", lambda evenness: evenness >= EQUALISED, aim=0.90,
        baseline="score", put=_equalised,
        placebo="tone", doses=STRENGTHS[:2], judges=True,
        note="the edit equalises; equalisation cannot be undone"),
    Cue("sharpness, compression", "blockiness", None, score="sharpness", baseline="score",
        put=_softened, everywhere=True, placebo="mirrored", doses=STRENGTHS, spares_lungs=True,
        note="judged outside the lungs, in which disease changes sharpness, too; blur and compression cannot be "
        "undone"),
    Cue("outside the lungs", "bordered", score="border strips", baseline="region", swap="outside the lungs",
        note="its edit swaps all outside the lungs with a film of the other class"),
)  # fmt: skip
ON_FILMS = tuple(cue for cue in CUES if cue.aim is not None)  # with a detector
AUDITED = tuple(cue for cue in CUES if cue.audited)
EDITED = tuple(cue for cue in CUES if cue.put)  # that can be added
_LAYERS = (
    "sharpness, compression",
    "grey histogram",
    "L/R marker",
    "film border",
    "tint",
    "black box",
    "white rectangle",
)
LAYERS = tuple(
    sorted(EDITED, key=lambda cue: _LAYERS.index(cue.name))
)  # as a film gets them: export, marks, camera, paint
JUDGES = tuple(cue for cue in CUES if cue.judges)
GROUPED = tuple(cue for cue in CUES if cue.group)
