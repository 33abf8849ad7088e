"""The suspects: what on a film might give the label away, how to put it there, how to take it away, and placebos.

Each edit has a placebo that changes the same pixels, or by as much, and brings no cue. What a model says of the edited
film over what it says of the placebo is the cue's effect; `tblib.verdicts` judges it.

Films are grey, uint8 (H, W), 0 black … 255 white; lengths are meant at 512 px a side and scaled to the film.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from scipy.ndimage import gaussian_filter

from tblib import edits
from tblib.artefacts import EQUALISED, TINT_VISIBLE
from tblib.box import Box, Widths, boxes_from_text
from tblib.edits import Edited, Mask
from tblib.film import Pixels
from tblib.metrics import Floats
from tblib.remedies import SPARE, seen

if TYPE_CHECKING:
    from tblib.lungs import LungNetwork

SIDE = 512  # px: the side that lengths are meant at
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey (ITU-R BT.601)
BLUR, JPEG = 1.6, 40  # sigma in px, and quality: what a light-box photograph does
GAMMAS = np.exp(np.linspace(-1.2, 1.2, 49))  # tone curves that placebos of tone are chosen from

Edit = Callable[[Pixels, float, np.random.Generator], Edited]


@dataclass(frozen=True)
class Suspect:
    """One thing on a film that may give the label away.

    Attributes:
        name: of it.
        score: how much of it each row of the catalogue carries, float (N,); 0 and 1 where it is there or not.
        facts: columns of the catalogue that a probe of this cue alone sees; empty where it sees pictures.
        put: puts it on a film (film, dose, generator), or None where that cannot be done or is done in `swaps`.
        placebo: what goes with `put`: "beside" (same pixels, texture from beside), "tone" (as much tone) or "ghost"
            (as much detail).
        take: takes it away where the catalogue says it is, or None.
        doses: of `put`; 1 is the one that is judged.
        spares_lungs: the edit and its placebo leave the lung fields as they are, as disease itself changes them so.
        note: why there is no edit, or what the edit cannot show.
    """

    name: str
    score: Callable[[pd.DataFrame], Floats]
    facts: tuple[str, ...] = ()
    put: Edit | None = None
    placebo: str = "beside"
    take: str = ""
    doses: tuple[float, ...] = (1.0,)
    spares_lungs: bool = False
    note: str = ""


class Pairs(NamedTuple):
    """Films after an edit beside the same films after its placebo, as the model sees them.

    Attributes:
        rows: int (n,), which of the films.
        edited: uint8 (n, S, S).
        placebo: uint8 (n, S, S).
        sign: +1 where the edit adds the cue, -1 where it takes it away, (n,).
    """

    rows: npt.NDArray[np.int64]
    edited: Pixels
    placebo: Pixels
    sign: Floats


# --- what is put on a film -----------------------------------------------------------------------


def _length(film: Pixels, pixels: float) -> int:
    return max(1, round(pixels * film.shape[0] / SIDE))


def _marker(film: Pixels, dose: float, rng: np.random.Generator, letter: str = "L", style: str = "solid") -> Edited:
    """A laterality marker in the upper corner on the viewer's right."""
    marker = edits.Marker(letter, style, _length(film, 34 * dose))
    height, width = edits.marker_size(marker)
    top = min(_length(film, rng.uniform(30, 80)), film.shape[0] - height)
    left = film.shape[1] - _length(film, rng.uniform(30, 60)) - width
    return edits.marked(film, marker, top, max(left, 0))


def _rectangle(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    """A white rectangle at the bottom."""
    height, width = (min(_length(film, side * dose**0.5), film.shape[0] // 2) for side in (40, 150))
    top = film.shape[0] - height - _length(film, rng.uniform(2, 24))
    left = int(rng.integers(0, film.shape[1] - width))
    return edits.white_rectangle(film, Box(top, left, top + height, left + width))


def _box(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    """A black box at the top."""
    height, width = (min(_length(film, side * dose**0.5), film.shape[0] // 2) for side in (24, 80))
    top, left = _length(film, rng.uniform(0, 12)), _length(film, rng.uniform(170, 270))
    left = min(left, film.shape[1] - width)
    return edits.black_box(film, Box(top, left, top + height, left + width))


def _border(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    """A film border, beige or white or black, on all four sides."""
    widths = Widths(*(_length(film, rng.uniform(8, 20) * dose) for _ in range(4)))
    return edits.bordered(film, widths, [(0.93, 0.88, 0.76), (1, 1, 1), (0.01, 0.01, 0.01)][int(rng.integers(3))])


def _tint(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    """What is left of a light box's tint once the film is grey: fewer, and other, grey levels."""
    return tint_in_grey(film, list(edits.TINTS.values())[int(rng.integers(len(edits.TINTS)))], dose)


def tint_in_grey(film: Pixels, tint: edits.Tint, dose: float = 1.0, weights: edits.Colour = LUMA) -> Edited:
    """A grey film as it is after a light box of this tint and a conversion back to grey with these weights."""
    ends = (float(np.dot(weights, colour)) for colour in tint)
    dark, bright = ((1 - dose) * end + dose * level for end, level in zip((0, 1), ends, strict=True))
    levels = np.round(255 * (dark + (bright - dark) * np.arange(256) / 255)).astype(np.uint8)
    return Edited(levels[film], np.ones_like(film, bool))


def _equalised(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    return edits.equalised(film, dose)


def _softened(film: Pixels, dose: float, rng: np.random.Generator) -> Edited:
    """A little out of focus, and once a JPEG."""
    blurred = edits.blurred(film, BLUR * dose * film.shape[0] / SIDE).pixels
    return edits.compressed(blurred, JPEG)


# --- placebos ------------------------------------------------------------------------------------


def placebo_of(kind: str, film: Pixels, edited: Edited, rng: np.random.Generator) -> Edited:
    """The placebo of an edit: the same own pixels, and no cue (`Suspect.placebo`)."""
    if kind == "beside":
        return edits.replaced(film, edited.own)
    if kind == "ghost":  # the same change, in the mirror: as much of it, of the same fineness, and in the wrong place
        change = edited.pixels.astype(np.int16) - film
        return Edited((film + change[:, ::-1]).clip(0, 255).astype(np.uint8), edited.own)
    return other_tone(film, edited, bool(rng.integers(2)))


def other_tone(film: Pixels, edited: Edited, brighter: bool) -> Edited:
    """The gamma curve, up or down, that changes the film's levels by as much as the edit did (root mean square)."""
    counts, levels = np.bincount(film.ravel(), minlength=256), np.arange(256)
    wanted = np.sqrt(np.mean((edited.pixels.astype(np.float32) - film) ** 2))
    curves = np.round(255 * (levels / 255) ** GAMMAS[(GAMMAS < 1) == brighter][:, None])  # (n, 256)
    changed = np.sqrt(((curves - levels) ** 2 @ counts) / counts.sum())
    curve = curves[np.abs(changed - wanted).argmin()].astype(np.uint8)
    return Edited(curve[film], edited.own)


# --- what is taken away --------------------------------------------------------------------------


def _taken(film: Pixels, text: str) -> tuple[Edited, Edited] | None:
    """The film without the boxes of a catalogue's cell, and with as many other blocks retouched in the mirror."""
    without, placebo = film, film
    own, other = np.zeros_like(film, bool), np.zeros_like(film, bool)
    for box in boxes_from_text(text):
        rows, columns = box.widened(SPARE)
        area = Box(rows.start, columns.start, min(rows.stop, film.shape[0]), min(columns.stop, film.shape[1]))
        mirrored = Box(area.top, film.shape[1] - area.right, area.bottom, film.shape[1] - area.left)
        if min(area.right, mirrored.right) > max(area.left, mirrored.left):  # it lies across the middle
            mirrored = Box(film.shape[0] - area.bottom, area.left, film.shape[0] - area.top, area.right)
        first, second = edits.retouched(without, area), edits.retouched(placebo, mirrored)
        without, placebo, own, other = first.pixels, second.pixels, own | first.own, other | second.own
    return (Edited(without, own), Edited(placebo, other)) if own.any() else None


def _untinted(film: Pixels, rng: np.random.Generator) -> tuple[Edited, Edited]:
    """The film with its levels drawn out to black and white, and a placebo of tone."""
    low, high = np.percentile(film, (0.1, 99.9))
    levels = (255 * (np.arange(256) - low) / max(high - low, 1)).clip(0, 255).round().astype(np.uint8)
    edited = Edited(levels[film], np.ones_like(film, bool))
    return edited, other_tone(film, edited, bool(rng.integers(2)))


# --- all of them ---------------------------------------------------------------------------------


def _column(name: str) -> Callable[[pd.DataFrame], Floats]:
    return lambda films: films[name].to_numpy(float)


ONE_CHANNEL, OUTSIDE, STYLE = "one-channel file", "outside the lungs", "marker style"
SHARPNESS = "sharpness, compression"

SUSPECTS = (
    Suspect(
        ONE_CHANNEL,
        _column("one_channel"),
        ("one_channel", "equal_channels"),
        note="the model gets one grey channel of every film: a file of three equal channels is the same input, so the "
        "bit itself cannot be used; what comes with it can, and stands in the other rows",
    ),
    Suspect(
        "tint",
        lambda films: (films["tint_strength"] > TINT_VISIBLE).to_numpy(float),
        ("tint_strength", "tint_balance", "tint_spread", "chroma"),
        _tint,
        "tone",
        "tint",
        (0.5, 1.0),
        note="the model sees no colour; the edit is what a tint does to grey levels",
    ),
    Suspect("L/R marker", _column("marker"), ("marker", "marker_score"), _marker, "beside", "markers", (0.5, 1.0, 2.0)),
    Suspect(
        STYLE,
        _column("marker"),
        ("marker_letter", "marker_style"),
        note="measured among the films that carry a marker; whether they do is a suspect of its own",
    ),
    Suspect(
        "white rectangle",
        _column("white_rectangle"),
        ("white_rectangle", "white_rectangle_score"),
        _rectangle,
        "beside",
        "white_rectangles",
        (0.5, 1.0, 2.0),
    ),
    Suspect(
        "black box",
        _column("black_box"),
        ("black_box", "black_box_score"),
        _box,
        "beside",
        "black_boxes",
        (0.5, 1.0, 2.0),
        note="half of the black boxes are not found (first notebook)",
    ),
    Suspect(
        "film border",
        _column("bordered"),
        (),
        _border,
        "beside",
        "",
        (0.5, 1.0, 2.0),
        note="a border is not taken away: what lies below it is not known",
    ),
    Suspect(
        "grey histogram",
        lambda films: (films["equalised"] >= EQUALISED).to_numpy(float),
        (),
        _equalised,
        "tone",
        "",
        (0.5, 1.0),
        note="the edit equalises; equalisation cannot be undone",
    ),
    Suspect(
        SHARPNESS,
        _column("blockiness"),
        ("blockiness",),
        _softened,
        "ghost",
        "",
        (0.5, 1.0, 2.0),
        spares_lungs=True,
        note="judged outside the lungs, in which disease changes sharpness, too; blur and compression cannot be undone",
    ),
    Suspect(OUTSIDE, _column("bordered"), note="its edit swaps all outside the lungs with a film of the other class"),
)
EDITED = tuple(suspect for suspect in SUSPECTS if suspect.put)  # can be planted


def suspect(name: str) -> Suspect:
    """The suspect of a name."""
    return next(one for one in SUSPECTS if one.name == name)


def added(
    one: Suspect,
    films: Sequence[Pixels],
    size: int,
    remedy: str,
    seed: int,
    dose: float = 1.0,
    fields: Mask | None = None,
    lungs: LungNetwork | None = None,
) -> Pairs:
    """Every film with the cue put on it, beside its placebo; what a film draws hangs on `seed` and its place alone.

    Args:
        one: what is put on; it can be (`EDITED`).
        films: uint8 (H, W) each.
        size: of the model's input.
        remedy: with which the model was trained.
        seed: see above.
        dose: see `Suspect.doses`.
        fields: bool (N, S, S), the lung fields that some edits spare; without them nothing is spared.
        lungs: finds them where `remedy` needs them (`tblib.remedies.seen`).
    """
    assert one.put is not None

    def pair(place: int) -> tuple[Pixels, Pixels]:
        """One film after the edit and after the placebo, as the model sees it."""
        rng = np.random.default_rng([seed, place])
        assert one.put is not None
        edited = one.put(films[place], dose, rng)
        placebo = placebo_of(one.placebo, films[place], edited, rng)
        both = [edited.pixels, placebo.pixels]
        if one.spares_lungs and fields is not None:
            mask = np.asarray(Image.fromarray(fields[place]).resize(films[place].shape[::-1]))
            both = [np.where(mask, films[place], each) for each in both]
        return seen(both[0], size, remedy, lungs), seen(both[1], size, remedy, lungs)

    return _stacked(pair, np.arange(len(films)), 1.0, size)


def fineness(images: Pixels, fields: Mask) -> Floats:
    """Float (N,): how sharp films uint8 (N, S, S) are outside their lung fields, bool (N, S, S).

    The standard deviation of what a blur of one pixel takes away, over that of what the next wider one takes.
    """
    ratios = np.empty(len(images))
    for i, (film, field) in enumerate(zip(images, fields, strict=True)):
        grey = film.astype(np.float32)
        once, twice = gaussian_filter(grey, 1.0), gaussian_filter(grey, 2.0)
        ratios[i] = (grey - once)[~field].std() / max(float((once - twice)[~field].std()), 1e-3)
    return ratios


def removed(
    one: Suspect,
    films: Sequence[Pixels],
    table: pd.DataFrame,
    size: int,
    remedy: str,
    seed: int,
    lungs: LungNetwork | None = None,
) -> Pairs:
    """Every film of `table` that carries the cue without it, beside its placebo."""
    carriers = np.flatnonzero(one.score(table) > 0) if one.take else np.zeros(0, np.int64)

    def pair(place: int) -> tuple[Pixels, Pixels] | None:
        """One film after the edit and after the placebo; None where the boxes leave nothing to do."""
        rng = np.random.default_rng([seed, place])
        both = _untinted(films[place], rng) if one.take == "tint" else _taken(films[place], table[one.take].iloc[place])
        return both and (seen(both[0].pixels, size, remedy, lungs), seen(both[1].pixels, size, remedy, lungs))

    return _stacked(pair, carriers, -1.0, size)


def restyled(
    films: Sequence[Pixels],
    table: pd.DataFrame,
    positive: str,
    size: int,
    remedy: str,
    seed: int,
    lungs: LungNetwork | None = None,
) -> Pairs:
    """Every film with the marker that is typical of the positive class, beside the same with the negative one's.

    A film's own markers are retouched first. There is no pair where both classes have the same typical marker.
    """
    typical = {label: typical_marker(table[table["label"] == label]) for label in table["label"].unique()}
    of_positive = typical.pop(positive, None)
    of_negative = next(iter(typical.values()), None)

    def pair(place: int) -> tuple[Pixels, Pixels]:
        """One film with the one and with the other marker at the same place."""
        taken = _taken(films[place], table["markers"].iloc[place])
        film = taken[0].pixels if taken else films[place]
        assert of_positive is not None
        assert of_negative is not None
        both = [
            _marker(film, 1.0, np.random.default_rng([seed, place]), *kind).pixels
            for kind in (of_positive, of_negative)
        ]
        return seen(both[0], size, remedy, lungs), seen(both[1], size, remedy, lungs)

    differ = of_positive is not None and of_negative is not None and of_positive != of_negative
    return _stacked(pair, np.arange(len(films) if differ else 0), 1.0, size)


def typical_marker(films: pd.DataFrame) -> tuple[str, str] | None:
    """Letter and style of the commonest marker that was read; None where fewer than five were."""
    read = films[(films["marker_letter"].fillna("") != "") & films["marker"].astype(bool)]
    if len(read) < 5:
        return None
    letter, style = read.groupby(["marker_letter", "marker_style"]).size().idxmax()
    return str(letter), str(style) if style in edits.MARKER_STYLES else "solid"


def swapped(images: Pixels, fields: Mask, target: npt.NDArray[np.int64], seed: int) -> Pairs:
    """Prepared films uint8 (N, S, S) whose outside of both lung fields, bool (N, S, S), comes from another film.

    Edited, it is a film of the other class; as placebo, another one of the same class. The sign is +1 where the other
    class is the positive one.
    """
    rng = np.random.default_rng(seed)
    edited, placebo = np.empty_like(images), np.empty_like(images)
    for i, film in enumerate(images):
        for into, label in ((edited, 1 - target[i]), (placebo, target[i])):
            others = np.flatnonzero((target == label) & (np.arange(len(target)) != i))
            other = int(rng.choice(others))
            into[i] = np.where(fields[i] | fields[other], film, images[other])
    return Pairs(np.arange(len(images)), edited, placebo, np.where(target == 1, -1.0, 1.0))


def only(pairs: Pairs, keep: npt.NDArray[np.bool_]) -> Pairs:
    """Those pairs alone whose film is kept, bool (N,)."""
    chosen = keep[pairs.rows]
    return Pairs(pairs.rows[chosen], pairs.edited[chosen], pairs.placebo[chosen], pairs.sign[chosen])


def _stacked(
    pair: Callable[[int], tuple[Pixels, Pixels] | None], places: npt.NDArray[np.int64], sign: float, size: int
) -> Pairs:
    done = Parallel(n_jobs=-1, prefer="threads")(delayed(pair)(int(place)) for place in places)
    kept = [(place, both) for place, both in zip(places, done, strict=True) if both is not None]
    empty = np.empty((0, size, size), np.uint8)
    edited, placebo = (np.stack([both[i] for _, both in kept]) if kept else empty for i in (0, 1))
    rows = np.array([place for place, _ in kept], np.int64)
    return Pairs(rows, edited, placebo, np.full(len(rows), sign))
