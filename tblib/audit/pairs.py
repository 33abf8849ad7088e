"""Pairs of the same films after an edit and after its placebo, as the model gets them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from scipy.ndimage import gaussian_filter

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.films import edits
from tblib.films.cues import Cue, placebo_of, put_marker, without_boxes
from tblib.mitigation import ModelInput


class Pairs(NamedTuple):
    """Films after an edit and the same films after its placebo, as the model sees them.

    Attributes:
        rows: int (n,), indices of the films.
        edited, placebo: uint8 (n, S, S).
        sign: (n,), +1 where the edit adds the cue, −1 where it removes it.
    """

    rows: Ints
    edited: Pixels
    placebo: Pixels
    sign: Floats


def added(
    cue: Cue, films: Sequence[Pixels], model_input: ModelInput, seed: int, dose: float = 1.0, masks: Mask | None = None
) -> Pairs:
    """Every film with the cue added, and with its placebo; random choices depend on `seed` and the film's index.

    `cue` is one of `tblib.films.cues.EDITED`, `films` are uint8 (H, W), and `dose` is explained at `Cue.doses`. Some
    edits spare the lungs given by `masks`, bool (N, S, S); without masks nothing is spared.
    """
    put = cue.put
    assert put is not None

    def pair(place: int) -> tuple[Pixels, Pixels]:
        rng = np.random.default_rng([seed, place])
        edited = put(films[place], dose, rng)
        both = [edited.pixels, placebo_of(cue.placebo, films[place], edited, rng).pixels]
        if cue.spares_lungs and masks is not None:
            mask = np.asarray(Image.fromarray(masks[place]).resize(films[place].shape[::-1]))
            both = [np.where(mask, films[place], each) for each in both]
        return model_input.of(both[0]), model_input.of(both[1])

    return _stacked(pair, np.arange(len(films)), 1.0, model_input.size)


def removed(cue: Cue, films: Sequence[Pixels], table: pd.DataFrame, model_input: ModelInput, seed: int) -> Pairs:
    """Every film of `table` that carries the cue, with it removed, and with the placebo; none if not removable."""
    remove = cue.remove
    if remove is None:
        return _stacked(lambda place: None, np.zeros(0, np.int64), -1.0, model_input.size)

    def pair(place: int) -> tuple[Pixels, Pixels] | None:
        """One film after the edit and after the placebo; None if there is nothing to remove."""
        both = remove(films[place], table.iloc[place], np.random.default_rng([seed, place]))
        return both and (model_input.of(both[0].pixels), model_input.of(both[1].pixels))

    return _stacked(pair, np.flatnonzero(cue.carried(table) > 0), -1.0, model_input.size)


def restyled(films: Sequence[Pixels], table: pd.DataFrame, positive: str, model_input: ModelInput, seed: int) -> Pairs:
    """Every film with the typical marker of the positive class and, at the same place, with that of the negative class.

    A film's own markers are retouched first. There is no pair if both classes have the same typical marker.
    """
    typical = {label: typical_marker(table[table["label"] == label]) for label in table["label"].unique()}
    kinds = (typical.pop(positive, None), next(iter(typical.values()), None))

    def pair(place: int) -> tuple[Pixels, Pixels] | None:
        rng = np.random.default_rng([seed, place])
        taken = without_boxes(films[place], table.iloc[place], rng, "markers")
        film = taken[0].pixels if taken else films[place]
        of_positive, of_negative = (
            put_marker(film, 1.0, np.random.default_rng([seed, place]), *kind).pixels for kind in kinds if kind
        )
        return model_input.of(of_positive), model_input.of(of_negative)

    differ = None not in kinds and kinds[0] != kinds[1]
    return _stacked(pair, np.arange(len(films) if differ else 0), 1.0, model_input.size)


def swapped(images: Pixels, masks: Mask, target: Ints, seed: int) -> Pairs:
    """Films uint8 (N, S, S) with everything outside both lungs, bool (N, S, S), taken from another film.

    For the edit, that film is of the other class; for the placebo, it is another one of the same class. The sign is +1
    where the other class is the positive one.
    """
    rng = np.random.default_rng(seed)
    edited, placebo = np.empty_like(images), np.empty_like(images)
    for i, film in enumerate(images):
        for into, label in ((edited, 1 - target[i]), (placebo, target[i])):
            others = np.flatnonzero((target == label) & (np.arange(len(target)) != i))
            other = int(rng.choice(others))
            into[i] = np.where(masks[i] | masks[other], film, images[other])
    return Pairs(np.arange(len(images)), edited, placebo, np.where(target == 1, -1.0, 1.0))


def fineness(images: Pixels, masks: Mask) -> Floats:
    """Float (N,): sharpness of films uint8 (N, S, S) outside the lungs, bool (N, S, S).

    Ratio of the standard deviations of what a blur of one pixel removes and of what the next wider blur removes.
    """
    ratios = np.empty(len(images))
    for i, (film, mask) in enumerate(zip(images, masks, strict=True)):
        grey = film.astype(np.float32)
        once, twice = gaussian_filter(grey, 1.0), gaussian_filter(grey, 2.0)
        ratios[i] = (grey - once)[~mask].std() / max(float((once - twice)[~mask].std()), 1e-3)
    return ratios


def typical_marker(films: pd.DataFrame) -> tuple[str, str] | None:
    """Letter and style of the most common marker that was read; None if fewer than five were read."""
    read = films[(films["marker_letter"].fillna("") != "") & films["marker"].astype(bool)]
    if len(read) < 5:
        return None
    letter, style = read.groupby(["marker_letter", "marker_style"]).size().idxmax()
    return str(letter), str(style) if style in edits.MARKER_STYLES else "solid"


def only(pairs: Pairs, keep: Mask) -> Pairs:
    """The pairs whose film is kept, bool (N,)."""
    chosen = keep[pairs.rows]
    return Pairs(pairs.rows[chosen], pairs.edited[chosen], pairs.placebo[chosen], pairs.sign[chosen])


def _stacked(pair: Callable[[int], tuple[Pixels, Pixels] | None], places: Ints, sign: float, size: int) -> Pairs:
    done = Parallel(n_jobs=-1, prefer="threads")(delayed(pair)(int(place)) for place in places)
    kept = [(place, both) for place, both in zip(places, done, strict=True) if both is not None]
    empty = np.empty((0, size, size), np.uint8)
    edited, placebo = (np.stack([both[i] for _, both in kept]) if kept else empty for i in (0, 1))
    rows = np.array([place for place, _ in kept], np.int64)
    return Pairs(rows, edited, placebo, np.full(len(rows), sign))
