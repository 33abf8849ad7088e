"""The films on which reference networks and planted cues are trained: those of the model, at most as many as the budget
says; and if the model was also trained on drawn lesions, the same with such lesions.

Networks that have never seen a lesion drawn on a film move otherwise than the model does, whatever cue is edited.
"""

from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from tblib.arrays import Ints, Pixels
from tblib.audit.study import Audit
from tblib.prepare import with_drawn_lesions


@dataclass(frozen=True)
class TrainingFilms:
    """Films to train on: first those of `Audit.reference_rows` as they are, then negative ones with drawn lesions.

    Attributes:
        of: int (M,), place within ``reference_rows`` of the film that each is, or was before lesions were drawn.
        rows: int (M,), the same within all films of the audit.
        target: int (M,), 1 for the positive class and for drawn lesions.
        groups: int (M,), of label and cues; drawn lesions are a group of their own.
        pictures: the films at their own size, uint8 (H, W), or (H, W, 3) where networks see colour.
        images: uint8 (M, S, S) or (M, S, S, 3), as small networks see them.
    """

    of: Ints
    rows: Ints
    target: Ints
    groups: Ints
    pictures: list[Pixels]
    images: Pixels


def training_films(audit: Audit) -> TrainingFilms:
    """The films that networks of an audit are trained on which are compared with its model."""
    rows = audit.reference_rows
    pictures, images, target, groups = audit.pictures(rows), audit.images[rows], audit.target[rows], audit.groups[rows]
    negative = np.flatnonzero(target == 0) if audit.draws else np.empty(0, np.int64)
    of = np.concatenate([np.arange(len(rows)), negative])
    drawn = _drawn(audit, [pictures[place] for place in negative])
    return TrainingFilms(
        of,
        rows[of],
        np.concatenate([target, np.ones_like(negative)]),
        np.concatenate([groups, np.full_like(negative, audit.groups.max() + 1)]),
        pictures + drawn,
        np.stack([*images, *(audit.input.of(film) for film in drawn)]),
    )


def _drawn(audit: Audit, films: list[Pixels]) -> list[Pixels]:
    calls = (delayed(with_drawn_lesions)(film, audit.lungs, (audit.seed, place)) for place, film in enumerate(films))
    return list(Parallel(n_jobs=-1, prefer="threads")(calls))
