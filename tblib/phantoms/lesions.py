"""Lesions of phantoms, drawn into the lungs of other films: disease without what comes with it in a database."""

from functools import lru_cache

import numpy as np
from PIL import Image

from tblib.arrays import Mask, Pixels
from tblib.films.boxes import box_around
from tblib.phantoms.anatomy import Real, lesions_of

FIRST_SEED = 500_000  # of the phantoms; no demo has one of them
COUNT = 1200  # phantoms whose lesions are drawn
BESIDE = 0.06  # around the box of the lungs, share of its sides: lymph nodes lie beside the lungs
DENSITY = (1.5, 4.5)  # attenuation per chest depth of lesion, of grey levels in place of exposure: from faint to plain
VISIBLE = 0.02  # share of the beam that a visible lesion takes away


def with_lesions(film: Pixels, lungs: Mask, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """A film uint8 (H, W) or (H, W, 3) with the lesions of a random phantom in its lungs, bool (H, W), and where they
    are visible, bool (H, W).

    The box of the phantom's lungs is stretched to that of the film's. Lesions attenuate the beam by Beer-Lambert's law,
    in which what a grey level lacks to white stands for the beam.
    """
    rows, columns = _box(lungs)
    density = rng.uniform(*DENSITY) * rng.random() ** 0.4  # the severity of phantoms: half of them above 0.75
    size = columns.stop - columns.start, rows.stop - rows.start
    drawn = Image.fromarray(lesions(int(rng.integers(COUNT)))).resize(size, Image.Resampling.BILINEAR)
    left = np.ones(film.shape[:2], np.float32)
    left[rows, columns] = np.exp(-np.float32(density) * np.asarray(drawn))
    beam = (255 - film.astype(np.float32)) * (left if film.ndim == 2 else left[..., None])
    return np.clip(255 - beam, 0, 255).round().astype(np.uint8), np.abs(1 - left) > VISIBLE


@lru_cache(maxsize=COUNT)
def lesions(number: int) -> Real:
    """Float32 (h, w): chest depths that tuberculosis of severity 1 adds to a phantom, in the box of its lungs."""
    added, lungs = lesions_of(FIRST_SEED + number)
    return np.ascontiguousarray(added[_box(lungs)])


def _box(lungs: Mask) -> tuple[slice, slice]:
    """Rows and columns of the box around the lungs, a little widened."""
    box, (height, width) = box_around(lungs), lungs.shape
    down, across = round(BESIDE * box.height), round(BESIDE * box.width)
    rows = slice(max(box.top - down, 0), min(box.bottom + down, height))
    return rows, slice(max(box.left - across, 0), min(box.right + across, width))
