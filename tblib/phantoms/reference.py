"""One phantom without artefacts or disease, as a reference: its grey levels, and the outline of its lungs."""

from functools import lru_cache

import numpy as np

from tblib.arrays import Floats, Mask, Pixels
from tblib.films.boxes import box_around
from tblib.phantoms.anatomy import radiograph

SEED = 499_999  # of no demo, and of no phantom whose lesions are drawn into other films


@lru_cache(maxsize=1)
def reference() -> tuple[Pixels, Mask]:
    """The film, uint8 (SIDE, SIDE), and its lungs, bool (SIDE, SIDE)."""
    drawn = radiograph(SEED, 0.0)
    return drawn.grey, drawn.lungs


@lru_cache(maxsize=1)
def outline() -> Mask:
    """Bool (h, w): the lungs in the smallest box around them."""
    lungs = reference()[1]
    return lungs[box_around(lungs).widened(0)]


@lru_cache(maxsize=2)
def levels_at(of_lungs: bool) -> tuple[Floats, Floats]:
    """Shares of the pixels, rising from 0 to 1, and the grey levels that they lie below: of the lungs, or the film."""
    film, lungs = reference()
    levels = np.sort(film[lungs] if of_lungs else film.ravel())
    return np.linspace(0, 1, 257), np.quantile(levels, np.linspace(0, 1, 257))
