"""Warnings: what to know about a film before trusting a model's prediction for it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter

from tblib.arrays import Floats, Pixels
from tblib.catalogue import need_same_films
from tblib.eda import prevalence
from tblib.films.artefacts import artefacts, facts
from tblib.films.cues import ON_FILMS
from tblib.films.duplicates import standardised
from tblib.films.film import Film, grey_of, resized
from tblib.run import Run, judged
from tblib.show.text import percent

COARSE = 16  # px per side of the thumbnails by which films are compared
BLUR = 2.0  # sd of a blur in px of such a thumbnail; subtracting the blurred copy leaves the outline of its parts
READS = (  # of a run
    *("preparation.json", "split.csv", "images.npy"),
    *("predictions.csv", "catalogue.csv", "catalogue.json"),
)
STRANGE = 0.01  # share of the validation films that are farther than the limit from all training films
DARK, BRIGHT = 0.05, 0.95  # quantiles of a film's grey levels by which its brightness and contrast are judged
MARGIN = 0.5  # by how much a quantile may lie outside the training films' range, as a share of that range


class FilmWarning(NamedTuple):
    """One warning: its topic in a word or two, and the sentence."""

    about: str
    sentence: str


@dataclass(frozen=True)
class Background:
    """What a run knows about films and cues, for judging a single film. Create it with `open_background`.

    Attributes:
        logits: class name -> float (n,), the model's logits of the run's test films.
        shares: cue -> class name -> share of the database's films that carry it.
        verdicts: cue -> the audit's verdict; empty without an audit.
        outlines: float32 (N, COARSE²), outlines of the training films (`_outlines`).
        limit: correlation of outlines below which a film is far from all training films.
        tones: float (2, 2), allowed minimum and maximum of a film's dark and bright levels (`_tones`).
    """

    logits: dict[str, Floats]
    shares: dict[str, dict[str, float]]
    verdicts: dict[str, str]
    outlines: npt.NDArray[np.float32]
    limit: float
    tones: Floats

    def likeness(self, seen: Pixels) -> float:
        """Correlation of a film's outline, uint8 (S, S) as the model sees it, with the most similar training film's."""
        return float((_outlines(seen[None]) @ self.outlines.T).max())


def open_background(run: Run) -> Background:
    """Load the background of a run whose model was evaluated.

    Raises:
        MissingInputError: a file of an earlier step is missing.
        DatabaseError: the catalogue describes other films than were prepared.
    """
    need_same_films(run)
    preparation, split = run.facts("preparation.json"), run.table("split.csv")
    images = run.images() if preparation.get("channels", 1) == 1 else np.stack([grey_of(film) for film in run.images()])
    test = judged(run.table("predictions.csv"))
    classes = preparation["negative"], preparation["positive"]
    carried = prevalence.measure(run.table("catalogue.csv"), classes)
    audited = run.facts("shortcuts.json")["verdicts"] if run.path("shortcuts.json").is_file() else []
    part = split["part"].to_numpy()
    training, validation = (_outlines(images[part == name]) for name in ("train", "val"))
    tones = np.quantile(_tones(images[part == "train"]), (STRANGE / 2, 1 - STRANGE / 2), axis=0)
    room = MARGIN * (tones[1] - tones[0])
    return Background(
        {name: test.loc[test["label"] == name, "logit"].to_numpy() for name in classes},
        {cue: dict(zip(rows["label"], rows["share"], strict=True)) for cue, rows in carried.groupby("cue")},
        {one["cue"]: one["verdict"] for one in audited},
        training,
        float(np.quantile((validation @ training.T).max(1), STRANGE)),
        np.stack([tones[0] - room, tones[1] + room]),
    )


def warnings(film: Film, small: Pixels, side: int, background: Background | None) -> list[FilmWarning]:
    """What to know about a film before trusting an answer: depth and unfamiliarity first, then its cues.

    Args:
        film: at most `tblib.films.shapes.WORK_SIDE` px per side, the size at which artefacts are detected.
        small: uint8 (S, S), the film as small networks of the run see it, in grey.
        side: of the model's input, pixels.
        background: of the model's run; without it, nothing is said about unfamiliarity or how common a cue is.
    """
    found = of_file(film)
    height, width = film.pixels.shape[:2]
    if background and (strange := " ".join(_strangeness(small, background))):
        found.append(FilmWarning("not like the training films", strange))
    if min(height, width) < side:
        size = f"{width} × {height} pixels, fewer than the {side} × {side} that the model looks at"
        found.append(FilmWarning("very small", f"The film has {size}: it was blown up."))
    carried = pd.DataFrame([facts(artefacts(film, film.pixels.size))])
    return found + [
        FilmWarning(cue.name, _of_cue(cue.name, background)) for cue in ON_FILMS if cue.carried(carried).item()
    ]


def of_file(film: Film) -> list[FilmWarning]:
    """Warnings from the file alone: if it does not state its bit depth, its brightness was guessed."""
    if not film.guessed:
        return []
    told = f"Its file does not tell how many bits its grey levels have; it was scaled as one of {film.bits}."
    return [
        FilmWarning(
            "depth guessed", f"{told} If it has more, the film is darker than it was shown here, and if less, brighter."
        )
    ]


def _strangeness(seen: Pixels, background: Background) -> list[str]:
    """Sentences on how a film differs from all training films: in its outline or its brightness."""
    told, likeness = [], background.likeness(seen)
    if likeness < background.limit:
        told.append(
            f"This is unlike every film the model was trained on: its outline correlates with the most alike one at "
            f"{likeness:.2f}, and all but {percent(STRANGE, 0)} of the validation films reach {background.limit:.2f}. "
            "It may be no chest film, or lie on its side, upside down or in negative: do not believe the answer."
        )
    low, high = background.tones
    for name, level, least, most in zip(("darkest", "brightest"), _tones(seen[None])[0], low, high, strict=True):
        if not least <= level <= most:
            told.append(
                f"Its {name} parts are at level {level:.0f} of 255; those of the films that the model was trained on "
                f"are between {max(least, 0):.0f} and {min(most, 255):.0f}. Its grey levels may have been scaled in "
                "another way: do not believe the answer."
            )
    return told


def _tones(films: Pixels) -> Floats:
    """Float (N, 2): quantiles `DARK` and `BRIGHT` of each film's grey levels."""
    quantiles: Floats = np.quantile(films.reshape(len(films), -1), (DARK, BRIGHT), axis=1).T
    return quantiles


def _of_cue(cue: str, background: Background | None) -> str:
    told = f"{cue[:1].upper()}{cue[1:]}: found on this film."
    if background is None:
        return told
    shares = " and ".join(f"{percent(share)} of {name}" for name, share in background.shares[cue].items())
    told += f" In the run's database {shares} films carry it."
    verdict = background.verdicts.get(cue, "")
    return told + (f" The audit's verdict on this model: {verdict}." if verdict else "")


def _outlines(films: Pixels) -> npt.NDArray[np.float32]:
    """Float32 (N, COARSE²): each film's coarse thumbnail minus its blurred copy, with mean 0 and length 1."""
    small = np.stack([resized(film, COARSE) for film in films]).astype(np.float64)
    return standardised((small - gaussian_filter(small, (0, BLUR, BLUR))).reshape(len(small), -1))
