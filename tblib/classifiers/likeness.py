"""Is a film like the training films? A score of where its edges lie and how they run, in ``likeness.json``.

The features are a histogram of gradients (Dalal & Triggs 2005), with the sign of each gradient, so that a negative
differs. A logistic regression separates the training films, as they are and mildly changed, from the same films turned,
mirrored top to bottom, in negative, cut into shuffled tiles, and laid over themselves in four directions: outliers made
from the films at hand, as Golan & El-Yaniv (2018) and Hendrycks et al. (2019) do. Both sides weigh the same, and the
limit lies where the odds are even: a quantile of validation films would depend on the oddest few of them. No network's
features are used: on its last layer the Mahalanobis distance (Lee et al. 2018) does not see that a film is turned or
negative (tests/benchmarks/README.md), and this score serves models of all kinds alike.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform

from tblib.arrays import Floats, Pixels
from tblib.films.film import grey_of, resized
from tblib.run import LIKENESS, Run
from tblib.system.files import write_json

SIDE, CELL, BINS = 64, 8, 12  # px of the thumbnail and of a square of it; directions, 30° each
FAINT = 64.0  # sum of gradients in a square, one level per pixel, below which its directions hardly count
MOST = 400  # training films that are used
SHIFT, SCALE, TILT = 0.08, 0.15, 0.1  # of mild changes: share of the side, share of the size, radians
BRIGHTNESS, CONTRAST, GAMMA = 0.12, 0.3, 0.5  # share of the grey range, share, log of the exponent
DARK, BRIGHT = 0.05, 0.95  # quantiles of a film's grey levels by which its brightness and contrast are judged
STRANGE = 0.01  # share of the training films outside the range of these
MARGIN, ROOM = 0.5, 64  # by how much a quantile may lie outside: a share of that range, and at least so many levels
RIDGE = 1e-3  # inverse strength of the penalty on the weights
BATCH = 256  # thumbnails whose gradients are in memory at once
TILES = 4  # per side of a shuffled film
TURNED: dict[str, Callable[[Pixels], Pixels]] = {  # uint8 (N, S, S) -> the same
    "in negative": lambda films: 255 - films,
    "turned by 90° to the left": lambda films: np.rot90(films, 1, (1, 2)),
    "turned by 90° to the right": lambda films: np.rot90(films, -1, (1, 2)),
    "turned by 180°": lambda films: np.rot90(films, 2, (1, 2)),
    "mirrored top to bottom": lambda films: films[:, ::-1],
}


@dataclass(frozen=True)
class Likeness:
    """What tells films like the training films from others. Create it with `likeness_of`.

    Attributes:
        weights: of the features (`_features`).
        offset: added to their weighted sum; above 0 a film is unlike the training films.
        darkest, brightest: least and greatest level, 0 … 255, of the quantiles `DARK` and `BRIGHT` of a film like them.
    """

    weights: list[float]
    offset: float
    darkest: list[float]
    brightest: list[float]

    def scores(self, films: Pixels) -> Floats:
        """Float (N,), of films uint8 (N, S, S) or (N, S, S, 3) as small networks of the run see them."""
        found: Floats = _features(thumbnails(films)) @ np.array(self.weights) + self.offset
        return found

    def unlike(self, seen: Pixels) -> str:
        """Sentences on why a film, uint8 (S, S) as small networks see it, gets no verdict; empty if it gets one."""
        small = thumbnails(seen[None])
        score, told = float(self.scores(small)[0]), []
        if score > 0:
            told.append(
                "This film is unlike the films that the model was trained on: its edges lie and run as in those films "
                f"turned, in negative or jumbled. {self._advice(small)}"
            )
        told += self._strange_tones(small)
        return " ".join(told)

    def _strange_tones(self, small: Pixels) -> list[str]:
        ranges = {"darkest": self.darkest, "brightest": self.brightest}
        return [
            f"Its {name} parts are at level {level:.0f} of 255; those of the films that the model was trained on are "
            f"between {max(least, 0):.0f} and {min(most, 255):.0f}: they may have been scaled in another way."
            for (name, (least, most)), level in zip(ranges.items(), _tones(small)[0], strict=True)
            if not least <= level <= most
        ]

    def _advice(self, small: Pixels) -> str:
        """What to check: the change that would make the film like the training films, or what else it may be."""
        scores = {name: float(self.scores(change(small))[0]) for name, change in TURNED.items()}
        best = min(scores, key=lambda name: scores[name])
        if scores[best] <= 0:
            return f"It would be like them {best}."
        return "Check that it is a chest film, upright and not in negative."


def write_likeness(run: Run) -> None:
    """Write ``likeness.json`` of a run with ``images.npy`` and ``split.csv``."""
    write_json(run.path(LIKENESS), asdict(likeness_of(run)))


def open_likeness(run: Run) -> Likeness:
    """What ``likeness.json`` holds; of a run that was made without it, found anew, which takes a few seconds.

    Raises:
        MissingInputError: a file of an earlier step is missing.
        DamagedError: a file has changed since its step, or is none.
    """
    return Likeness(**run.facts(LIKENESS)) if run.path(LIKENESS).is_file() else likeness_of(run)


def likeness_of(run: Run) -> Likeness:
    """`fit_likeness` on at most `MOST` training films of a run, sampled with seed 0."""
    rows = np.flatnonzero(run.table("split.csv")["part"].to_numpy() == "train")
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:MOST])
    return fit_likeness(thumbnails(run.images()[chosen]))


def fit_likeness(train: Pixels) -> Likeness:
    """Find what tells films like these, uint8 (N, SIDE, SIDE) from `thumbnails`, from others."""
    from sklearn.linear_model import LogisticRegression  # slow to import, and not needed once it is written
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    like = [train, _mild(train, rng)]
    unlike = [change(_mild(train, rng)) for change in TURNED.values()]
    unlike += [_shuffled(_mild(train, rng), rng), _overlaid(_mild(train, rng))]
    features = _features(np.concatenate(like + unlike))
    strange = np.arange(len(features)) >= sum(map(len, like))
    scaler, fitted = StandardScaler(), LogisticRegression(C=RIDGE, max_iter=500, class_weight="balanced")
    fitted.fit(scaler.fit_transform(features), strange)
    weights = fitted.coef_[0] / scaler.scale_
    low, high = np.quantile(_tones(train), (STRANGE / 2, 1 - STRANGE / 2), axis=0)
    room = np.maximum(MARGIN * (high - low), ROOM)
    darkest, brightest = np.stack([low - room, high + room], axis=1).tolist()
    return Likeness(weights.tolist(), float(fitted.intercept_[0] - weights @ scaler.mean_), darkest, brightest)


def thumbnails(films: Iterable[Pixels]) -> Pixels:
    """Uint8 (N, SIDE, SIDE) of films uint8 (H, W) or (H, W, 3) each."""
    return np.stack([resized(grey_of(film), SIDE) for film in films])


def _features(films: Pixels) -> npt.NDArray[np.float32]:
    """Float32 (N, squares × BINS), 0 … 1: how strong gradients of each direction are in each square of a thumbnail."""
    return np.concatenate([_histograms(films[start : start + BATCH]) for start in range(0, len(films), BATCH)])


def _histograms(films: Pixels) -> npt.NDArray[np.float32]:
    grey = films.astype(np.float32)
    down, right = np.zeros_like(grey), np.zeros_like(grey)
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    strength = np.hypot(down, right)
    turn = np.arctan2(down, right) / (2 * np.pi) % 1 * BINS
    before = np.floor(turn).astype(np.int64)
    share, row = turn - before, np.arange(SIDE) // CELL  # of the next direction; of squares
    squares = SIDE // CELL
    square = np.arange(len(films))[:, None, None] * squares**2 + row[:, None] * squares + row
    found = np.zeros(len(films) * squares**2 * BINS)
    for bins, part in ((before % BINS, 1 - share), ((before + 1) % BINS, share)):
        found += np.bincount((square * BINS + bins).ravel(), (strength * part).ravel(), len(found))
    histograms = found.reshape(len(films), -1, BINS)
    length = np.sqrt((histograms**2).sum(-1, keepdims=True) + FAINT**2)
    return (histograms / length).reshape(len(films), -1).astype(np.float32)


def _mild(films: Pixels, rng: np.random.Generator) -> Pixels:
    """Thumbnails of films as other hospitals might have taken, cut and exposed them."""
    return np.stack([_mildly(film, rng) for film in films])


def _mildly(film: Pixels, rng: np.random.Generator) -> Pixels:
    angle, scale = rng.uniform(-TILT, TILT), 1 + rng.uniform(-SCALE, SCALE)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (SIDE - 1) / 2)
    shift = middle - matrix @ middle + SIDE * rng.uniform(-SHIFT, SHIFT, 2)
    moved = affine_transform(film.astype(np.float32), matrix, shift, order=1, mode="nearest") / 255
    contrast, brightness = 1 + rng.uniform(-CONTRAST, CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    tone = ((moved - moved.mean()) * contrast + moved.mean() + brightness).clip(0, 1)
    return (255 * tone ** np.exp(rng.uniform(-GAMMA, GAMMA))).astype(np.uint8)


def _shuffled(films: Pixels, rng: np.random.Generator) -> Pixels:
    """Thumbnails whose tiles have changed places."""
    side = SIDE // TILES
    tiles = films.reshape(-1, TILES, side, TILES, side).swapaxes(2, 3).reshape(len(films), TILES**2, side, side)
    mixed = rng.permuted(np.tile(np.arange(TILES**2), (len(films), 1)), axis=1)
    placed = np.take_along_axis(tiles, mixed[:, :, None, None], axis=1)
    shape = (len(films), TILES, TILES, side, side)
    return placed.reshape(shape).swapaxes(2, 3).reshape(films.shape)


def _overlaid(films: Pixels) -> Pixels:
    """The mean of each thumbnail in the four directions."""
    return np.mean([np.rot90(films, turns, (1, 2)) for turns in range(4)], axis=0).astype(np.uint8)


def _tones(films: Pixels) -> Floats:
    """Float (N, 2): quantiles `DARK` and `BRIGHT` of each film's grey levels."""
    quantiles: Floats = np.quantile(films.reshape(len(films), -1), (DARK, BRIGHT), axis=1).T
    return quantiles
