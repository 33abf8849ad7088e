"""Mitigation of shortcut learning during preparation and training.

A mitigation is a name in `ON_FILMS`, `DRAWN` or `IN_TRAINING`, or several joined by "+". Mitigations on films are
applied to every film that the model scores later, from any database; films that are drawn are seen in training only.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from tblib.arrays import Floats, Mask, Pixels, TblibError
from tblib.films import edits
from tblib.films.artefacts import artefacts
from tblib.films.boxes import Box, Widths, box_around
from tblib.films.film import Film, grey_of, in_grey, resized
from tblib.phantoms import reference

ON_FILMS = {
    "paint_out": "markers, white rectangles and black boxes are painted over with the film beside them",
    "border_crop": "a tenth of each side is cut off",
    "lung_crop": "the film is cut to the box around the estimated lungs",
    "equalise": "grey levels are spread evenly: over the lungs where they are sought, else over the whole film",
    "smooth": "all films are blurred alike, so that none is sharper than another",
    "reference_levels": "grey levels get the quantiles of a reference film, a phantom's, where equalise spreads them",
    "hull": "all outside a wide hull around the estimated lungs is grey",
    "other_outline": "all outside another film's lungs, a phantom's in the box of the estimated ones, is grey",
    "lungs_only": "all outside the estimated lungs is grey",
}
DRAWN = {
    "lesions": "each negative training film is seen once more, as a positive one with a phantom's lesions in its lungs"
}
IN_TRAINING = {
    "randomise": "training films of both classes get markers, boxes, borders, tone, blur, noise and JPEG at random",
    "balance": "films are drawn so that all groups of label and cues weigh the same within a label",
    "group_dro": "the same, and groups with the larger loss weigh more (Sagawa 2020)",
}
NAMES = (*ON_FILMS, *DRAWN, *IN_TRAINING)
BORDER_CROP = 0.1  # of a side
SMOOTH = 0.02  # sigma of the blur, share of the side
MARGIN = 0.06  # margin around the lung box, share of its sides
MID_GREY = 128  # replaces what `lungs_only` removes
AROUND = 0.04  # width of what `hull` leaves around the convex hull of the lungs, share of the side
LEAST_FIELD = 0.05  # share of the film: with less lung than this, the whole film is used


class FindsLungs(Protocol):
    """Estimates lung masks, as `tblib.phantoms.lungs.LungNetwork` does."""

    def masks(self, films: Pixels) -> Mask:
        """Bool (N, H, W), True in the lungs, from films uint8 (N, H, W)."""


class MitigationError(TblibError):
    """A mitigation that does not exist."""


def chosen(mitigation: str | None) -> tuple[str, ...]:
    """Return the names joined in `mitigation`, in the order of `ON_FILMS`, `DRAWN`, `IN_TRAINING`; empty for None.

    Raises:
        MitigationError: a name is unknown.
    """
    wanted = mitigation.split("+") if mitigation else []
    for name in wanted:
        if name not in NAMES:
            raise MitigationError(
                f"There is no mitigation {name!r}; give none, or some of {', '.join(NAMES)} joined by +."
            )
    return tuple(name for name in NAMES if name in wanted)


def on_films(mitigation: str | None) -> str | None:
    """Return the part of `mitigation` that is applied when films are prepared."""
    return "+".join(name for name in chosen(mitigation) if name in ON_FILMS) or None


def in_training(mitigation: str | None) -> str | None:
    """Return the part of `mitigation` that is applied in training."""
    return "+".join(name for name in chosen(mitigation) if name in IN_TRAINING) or None


def needs_lungs(mitigation: str | None) -> bool:
    """Whether the mitigation needs lung masks."""
    return bool({"lung_crop", "hull", "other_outline", "lungs_only"}.intersection(chosen(mitigation)))


@dataclass(frozen=True)
class ModelInput:
    """How films are turned into the model's input.

    Attributes:
        size: side in pixels.
        mitigation: applied to films (`ON_FILMS`), or None.
        lungs: estimates lung masks, if the mitigation needs them.
        channels: 1, the film in grey, or 3, in colour.
    """

    size: int
    mitigation: str | None = None
    lungs: FindsLungs | None = None
    channels: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one film as it leaves `of`."""
        return (self.size, self.size) if self.channels == 1 else (self.size, self.size, self.channels)

    def of(self, film: Pixels) -> Pixels:
        """Uint8 (size, size), or (size, size, 3), from a film uint8 (H, W) or (H, W, 3)."""
        names = chosen(self.mitigation)
        film = grey_of(film) if self.channels == 1 else edits.three_channels(film)
        if "paint_out" in names:
            film = painted_out(film)
        if "border_crop" in names:
            film = cropped(film, BORDER_CROP)
        if needs_lungs(self.mitigation) and self.lungs is None:
            raise ValueError(f"The mitigation {self.mitigation} needs to know what finds the lungs.")
        mask = np.ones(film.shape[:2], bool)
        if self.lungs and needs_lungs(self.mitigation):
            mask = lung_mask(grey_of(film), self.lungs)
        if "lung_crop" in names:
            film, mask = _cut(film, mask)
        small, within = resized(film, self.size), resized(255 * mask.astype(np.uint8), self.size) >= 128
        if "equalise" in names:
            small = evened(small, within)
        if "reference_levels" in names:
            small = levelled(small, within)
        if "smooth" in names:
            small = edits.blurred(small, SMOOTH * self.size).pixels
        for name, seen in SEEN.items():
            if name in names:
                small = shown_within(small, seen(within), np.uint8(MID_GREY))
        return small


def shown_within(films: Pixels, masks: Mask, rest: Pixels | np.uint8) -> Pixels:
    """Films uint8 (…, S, S) or (…, S, S, 3) where `masks`, bool (…, S, S), are True; `rest` elsewhere."""
    return np.where(masks if films.ndim == masks.ndim else masks[..., None], films, rest)


def painted_out(film: Pixels) -> Pixels:
    """The film, uint8 (H, W) or (H, W, 3), with every detected marker, white rectangle and black box painted over."""
    found = artefacts(Film("L" if film.ndim == 2 else "RGB", film), n_bytes=film.size)
    boxes = [marker.box for marker in found.markers]
    boxes += [block.box for block in (*found.white_rectangles, *found.black_boxes)]
    for box in boxes:
        film = edits.retouched(film, edits.around(box, film)).pixels
    return film


def evened(film: Pixels, lungs: Mask) -> Pixels:
    """Equalise a film, uint8 (H, W) or (H, W, 3), with the grey level histogram of its lungs, bool (H, W)."""
    return _mapped(film, 255 * _ranks(film, lungs))


def levelled(film: Pixels, lungs: Mask) -> Pixels:
    """A film, uint8 (H, W) or (H, W, 3), whose lungs, bool (H, W), have the quantiles of the lungs of the reference
    film; where they are not known, all of the film has those of the whole reference film."""
    return _mapped(film, np.interp(_ranks(film, lungs), *reference.levels_at(not lungs.all())))


def _ranks(film: Pixels, lungs: Mask) -> Floats:
    """Float (256,), 0 … 1: rank of each grey level among the pixels of the lungs; of the film, if they are few."""
    grey = grey_of(film)
    counts = np.bincount(grey[lungs] if lungs.mean() >= LEAST_FIELD else grey.ravel(), minlength=256) + 0.5
    return np.asarray((counts.cumsum() - counts / 2) / counts.sum())


def _mapped(film: Pixels, levels: Floats) -> Pixels:
    return in_grey(film, lambda grey: np.round(levels).astype(np.uint8)[grey])


def hull(lungs: Mask) -> Mask:
    """Bool (H, W): the convex hull of both lungs, bool (H, W), widened, so that no outline of a lung is left."""
    from skimage.morphology import convex_hull_image  # other mitigations do not wait for it

    return np.asarray(distance_transform_edt(~convex_hull_image(lungs)) <= AROUND * len(lungs))


def other_outline(lungs: Mask) -> Mask:
    """Bool (H, W): the lungs of the reference film, stretched to the box of the lungs, bool (H, W)."""
    box = box_around(lungs)
    drawn = Image.fromarray(reference.outline()).resize((box.width, box.height), Image.Resampling.NEAREST)
    seen = np.zeros_like(lungs)
    seen[box.widened(0)] = np.asarray(drawn)
    return seen


# Mitigations that leave a part of the film -> that part, bool (H, W), from the lungs, bool (H, W).
SEEN = {"hull": hull, "other_outline": other_outline, "lungs_only": lambda lungs: lungs}


def randomised(films: Pixels, rng: np.random.Generator) -> Pixels:
    """Films uint8 (B, S, S) or (B, S, S, 3) with random artefacts, sampled alike for all, so that none of them
    predicts the class."""
    return np.stack([_randomised(film, rng) for film in films])


def _randomised(film: Pixels, rng: np.random.Generator) -> Pixels:
    side = len(film)
    tone = (film / np.float32(255)) ** np.exp(rng.uniform(-0.7, 0.7))
    if rng.random() < 0.5:  # the effect of a tint and other weights of red, green and blue
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
    size = int(rng.integers(len(film) // 24, len(film) // 9))
    style, letter = str(rng.choice(list(edits.MARKER_STYLES))), str(rng.choice(list("LRЛП")))
    marker = edits.Marker(letter, style, size, strength=float(rng.uniform(0.4, 1)))
    height, width = edits.marker_size(marker)
    top, left = int(rng.integers(0, len(film) // 3 - height // 2)), int(rng.integers(0, len(film) - width))
    return edits.marked(film, marker, top, left).pixels


def _level(rng: np.random.Generator) -> int:
    return (0, 255, int(rng.integers(256)))[int(rng.integers(3))]


def _anywhere(rng: np.random.Generator, side: int, heights: tuple[int, int], widths: tuple[int, int]) -> Box:
    height, width = (max(1, int(rng.integers(*lengths))) for lengths in (heights, widths))
    top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
    return Box(top, left, top + height, left + width)


def cropped(film: Pixels, share: float) -> Pixels:
    """The film, uint8 (H, W) or (H, W, 3), with `share` of its sides cut off on each side."""
    rows, columns = (round(share * side) for side in film.shape[:2])
    return film[rows : film.shape[0] - rows, columns : film.shape[1] - columns]


def lung_mask(film: Pixels, lungs: FindsLungs) -> Mask:
    """Bool (H, W): estimated lungs of a film uint8 (H, W); True everywhere if hardly any lung is found."""
    field = lungs.masks(film[None])[0]
    return field if field.mean() >= LEAST_FIELD else np.ones_like(field)


def _cut(film: Pixels, field: Mask) -> tuple[Pixels, Mask]:
    """Crop film and lung mask to the mask's box, with a margin."""
    box = box_around(field)
    height, width = round(MARGIN * box.height), round(MARGIN * box.width)
    rows = slice(max(box.top - height, 0), box.bottom + height)
    columns = slice(max(box.left - width, 0), box.right + width)
    return film[rows, columns], field[rows, columns]
