"""Edited films: films after each cue's edit and after its placebo, made once for all networks of an audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tblib.arrays import Floats, Ints, Mask, Pixels
from tblib.audit.pairs import Pairs, added, removed, restyled, swapped, unpacked
from tblib.audit.study import Audit
from tblib.films.cues import AUDITED, Cue

Way = tuple[str, str]  # name of a cue, and PUT or TAKEN
PUT, TAKEN = "sufficiency", "necessity"  # the cue is put on films without it; taken off films that carry it


@dataclass(frozen=True)
class EditedFilms:
    """Films to edit, and what became of them.

    Attributes:
        rows: int (n,), which films of the audit.
        pictures: these films at their own size, uint8 (H, W), or (H, W, 3) where networks see colour.
        table: their rows of the catalogue.
        pairs: cue and direction -> films after the edit and after the placebo, and the model's logits of them;
            `Pairs.rows` count within `rows`. Directions in which no film can be edited are missing.
    """

    rows: Ints
    pictures: list[Pixels]
    table: pd.DataFrame
    pairs: dict[Way, Pairs]

    def only(self, cues: set[str]) -> EditedFilms:
        """The edits of these cues alone."""
        return replace(self, pairs={way: each for way, each in self.pairs.items() if way[0] in cues})

    def seen(self) -> EditedFilms:
        """The edits that small networks see at all."""
        pairs = {way: each for way, each in self.pairs.items() if not np.array_equal(each.edited, each.placebo)}
        return replace(self, pairs=pairs)

    def stacked(self) -> tuple[Pixels, Pixels]:
        """All films after edits and all after placebos, as networks see them, in the order of `pairs`: (M, …) each."""
        return (
            np.concatenate([each.edited for each in self.pairs.values()]),
            np.concatenate([each.placebo for each in self.pairs.values()]),
        )

    def split(self, logits: Floats) -> dict[Way, Floats]:
        """Logits (..., M) of the `stacked` films, by cue and direction."""
        ends = np.cumsum([len(each.rows) for each in self.pairs.values()])[:-1]
        return dict(zip(self.pairs, np.split(logits, ends, axis=-1), strict=True))


def edited_films(audit: Audit, trained_here: bool | None = None) -> EditedFilms:
    """Edit at most ``budget.films`` films for every cue in both directions: held-out ones, then training films.

    What an edit changes is compared between networks, and the reference networks know the training films as well as
    the model does. A model that was trained elsewhere (`trained_here`, by default as `Audit.trained_here`) does not, so
    that for it held-out films alone are edited.
    """
    here = audit.trained_here if trained_here is None else trained_here
    rows = audit.sampled(audit.held_out_rows, audit.budget.films)
    if here and (more := audit.budget.films - len(rows)):
        rows = np.sort(np.concatenate([rows, audit.sampled(np.flatnonzero(audit.train), more)]))
    pictures, table = audit.pictures(rows), audit.films.iloc[rows].reset_index(drop=True)
    films = EditedFilms(rows, pictures, table, {})
    seen = audit.viewers(rows)
    pairs = {(cue.name, PUT): _put(audit, films, cue) for cue in AUDITED if cue.put or cue.swap}
    taken = {(cue.name, TAKEN): removed(cue, pictures, table, seen, audit.seed) for cue in AUDITED}
    found = {way: each for way, each in (pairs | taken).items() if len(each.rows)}
    return EditedFilms(rows, pictures, table, found)


SWAPS: dict[str, Callable[[Audit, EditedFilms], Pairs]] = {  # `Cue.swap` -> pairs of films with the cue of either class
    "one channel": lambda audit, films: unpacked(films.pictures, audit.viewers(films.rows)),
    "marker style": lambda audit, films: restyled(
        films.pictures, films.table, audit.database.positive, audit.viewers(films.rows), audit.seed
    ),
    "outside the lungs": lambda audit, films: swapped(
        films.pictures,
        audit.masks_in_files(films.rows),
        audit.target[films.rows],
        audit.viewers(films.rows),
        audit.seed,
    ),
}


def _put(audit: Audit, films: EditedFilms, cue: Cue) -> Pairs:
    if cue.swap:
        return SWAPS[cue.swap](audit, films)
    spared = audit.edit_masks(films.rows)
    places = np.flatnonzero(lacking(cue, films.table))
    return added(cue, films.pictures, audit.viewers(films.rows), audit.seed, masks=spared, places=places)


def lacking(cue: Cue, table: pd.DataFrame) -> Mask:
    """Bool (n,): films of a catalogue to which the cue can be added."""
    return np.ones(len(table), bool) if cue.everywhere else cue.carried(table) <= 0
