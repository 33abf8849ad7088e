"""Pairs of the same films after an edit and after its placebo: small, as networks get them, and the model's logits."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from scipy.ndimage import gaussian_filter

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.films import edits
from tblib.films.boxes import Widths, widths_from_text
from tblib.films.cues import Cue, placebo_of, put_marker, without_boxes
from tblib.films.film import grey_of
from tblib.mitigation import ModelInput, shown_within

BATCH = 64  # films at their own size that are held at once

PATCH = 8  # px: side of the squares in which sharpness is measured
FLAT = 0.3  # grey levels: a square with less to sharpen, as of a border, tells nothing


class Pairs(NamedTuple):
    """Films after an edit and the same films after its placebo.

    Attributes:
        rows: int (n,), indices of the films.
        edited, placebo: uint8 (n, S, S) or (n, S, S, 3), as small networks see them.
        sign: (n,), +1 where the edit adds the cue, −1 where it removes it.
        after, before: float (n,), logits of the model under audit after the edit and after the placebo, which it got at
            the films' own size; NaN if it was not asked.
    """

    rows: Ints
    edited: Pixels
    placebo: Pixels
    sign: Floats
    after: Floats
    before: Floats


class Viewers(NamedTuple):
    """Who looks at edited films.

    Attributes:
        input: what small networks see of them.
        logits: (films, the same as `input` makes them, their indices) -> float (n,), of the model under audit; None if
            it is not asked.
    """

    input: ModelInput
    logits: Callable[[Sequence[Pixels], Pixels, Ints], Floats] | None = None


def added(
    cue: Cue,
    films: Sequence[Pixels],
    viewers: Viewers,
    seed: int,
    dose: float = 1.0,
    masks: Mask | None = None,
    places: Ints | None = None,
) -> Pairs:
    """Films with the cue added, and with its placebo; random choices depend on `seed` and the film's index.

    `cue` is one of `tblib.films.cues.EDITED`, `films` are uint8 (H, W) or (H, W, 3), and `dose` is explained at
    `Cue.doses`. Some edits spare the lungs given by `masks`, bool (N, S, S); without masks nothing is spared. With
    `places`, int (n,), these films get the cue; without, all of them.
    """
    put = cue.put
    assert put is not None

    def pair(place: int) -> tuple[Pixels, Pixels]:
        """The film with the cue and with its placebo."""
        rng = np.random.default_rng([seed, place])
        edited = put(films[place], dose, rng)
        both = edited.pixels, placebo_of(cue.placebo, films[place], edited, rng).pixels
        mask = masks[place] if cue.spares_lungs and masks is not None else None
        first, second = (spared(films[place], each, mask) for each in both)
        return first, second

    return _stacked(pair, np.arange(len(films)) if places is None else places, 1.0, viewers)


def spared(film: Pixels, changed: Pixels, mask: Mask | None) -> Pixels:
    """The changed film, uint8 (H, W) or (H, W, 3), but within the lungs, `mask` bool (S, S) or None, as it was."""
    return changed if mask is None else shown_within(film, enlarged(mask, film), changed)


def enlarged(mask: Mask, film: Pixels) -> Mask:
    """A mask, bool (S, S), at the size of a film uint8 (H, W) or (H, W, 3): bool (H, W)."""
    return np.asarray(Image.fromarray(mask).resize(film.shape[1::-1]))


def removed(cue: Cue, films: Sequence[Pixels], table: pd.DataFrame, viewers: Viewers, seed: int) -> Pairs:
    """Every film of `table` that carries the cue, with it removed, and with the placebo; none if not removable."""
    remove = cue.remove
    if remove is None:
        return _stacked(lambda place: None, np.zeros(0, np.int64), -1.0, viewers)

    def pair(place: int) -> tuple[Pixels, Pixels] | None:
        """One film after the edit and after the placebo; None if there is nothing to remove."""
        both = remove(films[place], table.iloc[place], np.random.default_rng([seed, place]))
        return both and (both[0].pixels, both[1].pixels)

    return _stacked(pair, np.flatnonzero(cue.carried(table) > 0), -1.0, viewers)


def unpacked(films: Sequence[Pixels], viewers: Viewers) -> Pairs:
    """Every film in grey as a file of one channel and, as the placebo, as a file of three equal channels."""

    def pair(place: int) -> tuple[Pixels, Pixels]:
        """The grey film, uint8 (H, W), and the same one uint8 (H, W, 3)."""
        grey = grey_of(films[place])
        return grey, edits.three_channels(grey)

    return _stacked(pair, np.arange(len(films)), 1.0, viewers)


def restyled(films: Sequence[Pixels], table: pd.DataFrame, positive: str, viewers: Viewers, seed: int) -> Pairs:
    """Every film with the typical marker of the positive class and, at the same place, with that of the negative class.

    A film's own markers are retouched first. There is no pair if both classes have the same typical marker.
    """
    kinds = typical_markers(table, positive)

    def pair(place: int) -> tuple[Pixels, Pixels] | None:
        """The film with either class's marker."""
        rng = np.random.default_rng([seed, place])
        taken = without_boxes(films[place], table.iloc[place], rng, "markers")
        film = taken[0].pixels if taken else films[place]
        of_positive, of_negative = (
            put_marker(film, 1.0, np.random.default_rng([seed, place]), *kind).pixels for kind in kinds
        )
        return of_positive, of_negative

    return _stacked(pair, np.arange(len(films) if kinds else 0), 1.0, viewers)


def swapped(films: Sequence[Pixels], masks: Mask, target: Ints, viewers: Viewers, seed: int) -> Pairs:
    """Every film with everything outside both lungs, `masks` bool (N, S, S), taken from another film.

    For the edit, that film is of the other class; for the placebo, it is another one of the same class. The sign is +1
    where the other class is the positive one.
    """
    rng, places = np.random.default_rng(seed), np.arange(len(films))
    others = [
        [int(rng.choice(np.flatnonzero((target == label) & (places != i)))) for label in (1 - target[i], target[i])]
        for i in places
    ]

    def pair(place: int) -> tuple[Pixels, Pixels]:
        """The film with the outside of one of the other class, and of one of its own."""
        film = films[place]
        first, second = (
            shown_within(film, enlarged(masks[place] | masks[other], film), fitted_to(films[other], film))
            for other in others[place]
        )
        return first, second

    return _stacked(pair, places, np.where(target == 1, -1.0, 1.0), viewers)


def fitted_to(other: Pixels, film: Pixels) -> Pixels:
    """Another film, squashed to the size of a film."""
    return other if other.shape == film.shape else np.asarray(Image.fromarray(other).resize(film.shape[1::-1]))


def beyond_edges(films: pd.DataFrame, size: int) -> Mask:
    """Bool (N, size, size): the borders of a catalogue's films, squashed as the films are."""
    beyond = np.zeros((len(films), size, size), bool)
    for place, row in enumerate(films.itertuples()):
        top, right, bottom, left = widths_from_text(row.border)
        tall, wide = size / row.height, size / row.width
        widths = Widths(*(math.ceil(width) for width in (top * tall, right * wide, bottom * tall, left * wide)))
        if any(widths) or row.border_tilt:
            beyond[place] = edits.bordered(np.zeros((size, size), np.uint8), widths, (1, 1, 1), row.border_tilt).own
    return beyond


def fineness(images: Pixels, hidden: Mask) -> Floats:
    """Float (N,): sharpness of films uint8 (N, S, S) besides what is `hidden`, lungs and borders, bool (N, S, S).

    Ratio of the standard deviations of what a blur of one pixel removes and of what the next wider blur removes, in
    `PATCH` px squares; the median of the squares without a hidden pixel, so that markers and painted blocks, which
    take few of them, change it little. The outermost squares are left out on all films: those of films without a
    border are the softest.
    """
    side = images.shape[1] // PATCH * PATCH

    def squares(film: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A film (S, S) cut into squares (side / PATCH, PATCH, side / PATCH, PATCH)."""
        return film[:side, :side].reshape(side // PATCH, PATCH, side // PATCH, PATCH)

    ratios = np.empty(len(images))
    for i, (film, mask) in enumerate(zip(images, hidden, strict=True)):
        grey = film.astype(np.float64)
        once, twice = gaussian_filter(grey, 1.0), gaussian_filter(grey, 2.0)
        fine, coarse = (squares(band).std(axis=(1, 3)) for band in (grey - once, once - twice))
        seen = (coarse > FLAT) & ~squares(mask).any(axis=(1, 3))
        seen[[0, -1]] = seen[:, [0, -1]] = False
        ratios[i] = np.median(fine[seen] / coarse[seen]) if seen.any() else 0.0
    return ratios


def typical_markers(films: pd.DataFrame, positive: str) -> list[tuple[str, str]]:
    """The typical markers of the positive class and of the other one; none if they are the same or not known."""
    kinds = [typical_marker(films[(films["label"] == positive) == of_class]) for of_class in (True, False)]
    known = [kind for kind in kinds if kind is not None]
    return known if len(set(known)) == len(kinds) else []


def typical_marker(films: pd.DataFrame) -> tuple[str, str] | None:
    """Letter and style of the most common marker that was read; None if fewer than five were read."""
    read = films[(films["marker_letter"].fillna("") != "") & films["marker"].astype(bool)]
    if len(read) < 5:
        return None
    letter, style = read.groupby(["marker_letter", "marker_style"]).size().idxmax()
    return str(letter), str(style) if style in edits.MARKER_STYLES else "solid"


def _stacked(
    pair: Callable[[int], tuple[Pixels, Pixels] | None], places: Ints, sign: Floats | float, viewers: Viewers
) -> Pairs:
    """Make the pairs of films at `places`, at their own size and a batch at a time, and keep what is seen of them."""

    def seen(place: int) -> tuple[int, tuple[Pixels, Pixels], tuple[Pixels, Pixels]] | None:
        """A film's index, the pair, and what small networks see of it."""
        both = pair(place)
        return both and (place, both, (viewers.input.of(both[0]), viewers.input.of(both[1])))

    none = np.empty((0, *viewers.input.shape), np.uint8)
    parts = [(np.empty(0, np.int64), none, none, np.empty(0), np.empty(0))]
    with Parallel(n_jobs=-1, prefer="threads") as threads:
        for start in range(0, len(places), BATCH):
            done = threads(delayed(seen)(int(place)) for place in places[start : start + BATCH])
            made = [each for each in done if each is not None]
            own = np.array([place for place, *_ in made], np.int64)
            films = [both[i] for i in (0, 1) for _, both, _ in made]
            small = np.array([inputs[i] for i in (0, 1) for *_, inputs in made], np.uint8)
            small = small.reshape(-1, *viewers.input.shape)
            asked = viewers.logits(films, small, np.tile(own, 2)) if viewers.logits else np.full(len(films), np.nan)
            parts.append((own, *np.split(small, 2), *np.split(asked, 2)))
    rows, edited, placebo, after, before = (np.concatenate(each) for each in zip(*parts, strict=True))
    signs = np.broadcast_to(np.asarray(sign, float), len(places))[np.isin(places, rows)]
    return Pairs(rows, edited, placebo, signs, after, before)
