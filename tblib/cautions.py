"""Cautions: what a person should know of a film before believing what a model says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter

from tblib.artefacts import artefacts, facts
from tblib.catalogue import need_same_films
from tblib.film import Film, Pixels, resized
from tblib.findings import percent
from tblib.metrics import Floats
from tblib.run import Run
from tblib.survey import CUES, prevalence
from tblib.suspects import ONE_CHANNEL
from tblib.twins import standardised

COARSE = 16  # px a side of the thumbnails that films are compared by
BLUR = 2.0  # px of such a thumbnail: what is left of a film without its blur is the outline of its parts
READS = (
    "preparation.json",
    "split.csv",
    "images.npy",
    "predictions.csv",
    "catalogue.csv",
    "catalogue.json",
)  # of a run
STRANGE = 0.01  # share of the validation films that are farther from all training films than the limit
DARK, BRIGHT = 0.05, 0.95  # quantiles of a film's grey levels, by which its brightness and contrast are judged
MARGIN = 0.5  # of the training films' range of a quantile, by which a film may lie outside it
SUSPECT_OF = {  # cue of the catalogue -> suspect of the audit
    "one channel": ONE_CHANNEL,
    "visible tint": "tint",
    "L/R marker": "L/R marker",
    "white rectangle": "white rectangle",
    "black box": "black box",
    "film border": "film border",
    "equalised": "grey histogram",
}


class Caution(NamedTuple):
    """One thing to know of a film: what it is about in a word or two, and the sentence."""

    about: str
    sentence: str


@dataclass(frozen=True)
class Background:
    """What a run knows of films and cues, against which a single film is seen. Make it with `open_background`.

    Attributes:
        logits: class name -> float (n,), the model's logits of the run's test films.
        shares: cue -> class name -> share of the database's films that carry it.
        verdicts: suspect -> the audit's verdict; empty where no audit was made.
        outlines: float32 (N, COARSE²), those of the training films (`_outlines`).
        limit: correlation of outlines below which a film is far from all training films.
        tones: float (2, 2), the lowest and highest that a film's dark and bright levels (`_tones`) may be.
    """

    logits: dict[str, Floats]
    shares: dict[str, dict[str, float]]
    verdicts: dict[str, str]
    outlines: npt.NDArray[np.float32]
    limit: float
    tones: Floats

    def likeness(self, seen: Pixels) -> float:
        """Correlation of a film's outline, uint8 (S, S) as the model sees it, with the most alike training film's."""
        return float((_outlines(seen[None]) @ self.outlines.T).max())


def open_background(run: Run) -> Background:
    """The background of a run whose model was evaluated.

    Raises:
        MissingInputError: a step's file is not there.
        CatalogueError: the catalogue is of other films than were prepared.
    """
    need_same_films(run)
    preparation, split = run.facts("preparation.json"), run.table("split.csv")
    images = run.images()
    test = run.table("predictions.csv").query("part == 'test'")
    classes = preparation["negative"], preparation["positive"]
    carried = prevalence(run.table("catalogue.csv"), classes)
    audited = run.facts("shortcuts.json")["verdicts"] if run.path("shortcuts.json").is_file() else []
    part = split["part"].to_numpy()
    training, validation = (_outlines(images[part == name]) for name in ("train", "val"))
    tones = np.quantile(_tones(images[part == "train"]), (STRANGE / 2, 1 - STRANGE / 2), axis=0)
    room = MARGIN * (tones[1] - tones[0])
    return Background(
        {name: test.loc[test["label"] == name, "logit"].to_numpy() for name in classes},
        {cue: dict(zip(rows["label"], rows["share"], strict=True)) for cue, rows in carried.groupby("cue")},
        {one["suspect"]: one["verdict"] for one in audited},
        training,
        float(np.quantile((validation @ training.T).max(1), STRANGE)),
        np.stack([tones[0] - room, tones[1] + room]),
    )


def cautions(film: Film, seen: Pixels, background: Background | None) -> list[Caution]:
    """What to know of a film before believing an answer: depth and strangeness first, then the cues that it carries.

    Args:
        film: of at most `tblib.artefacts.WORK_SIDE` px a side, at which artefacts are sought.
        seen: uint8 (S, S), what the model gets of it.
        background: of the model's run; without it nothing is said of how common a cue is, nor of strangeness.
    """
    found = of_file(film)
    height, width = film.pixels.shape[:2]
    if background and (strange := " ".join(_strangeness(seen, background))):
        found.append(Caution("not like the training films", strange))
    if min(height, width) < len(seen):
        size = f"{width} × {height} pixels, fewer than the {len(seen)} × {len(seen)} that the model looks at"
        found.append(Caution("very small", f"The film has {size}: it was blown up."))
    carried = pd.DataFrame([facts(artefacts(film, film.pixels.size))])
    return found + [Caution(cue, _of_cue(cue, background)) for cue, has in CUES.items() if has(carried).item()]


def of_file(film: Film) -> list[Caution]:
    """What to know of a film by its file alone: where that does not tell its depth, how bright it is was guessed."""
    if not film.guessed:
        return []
    told = f"Its file does not tell how many bits its grey levels have; it was scaled as one of {film.bits}."
    return [
        Caution(
            "depth guessed", f"{told} If it has more, the film is darker than it was shown here, and if less, brighter."
        )
    ]


def _strangeness(seen: Pixels, background: Background) -> list[str]:
    """Sentences on what sets a film apart from all training films: its outline, or how bright it is."""
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
    """Float (N, 2): the level below which `DARK` of each film's pixels lie, and that below which `BRIGHT` do."""
    quantiles: Floats = np.quantile(films.reshape(len(films), -1), (DARK, BRIGHT), axis=1).T
    return quantiles


def _of_cue(cue: str, background: Background | None) -> str:
    told = f"{cue[:1].upper()}{cue[1:]}: found on this film."
    if background is None:
        return told
    shares = " and ".join(f"{percent(share)} of {name}" for name, share in background.shares[cue].items())
    told += f" In the run's database {shares} films carry it."
    verdict = background.verdicts.get(SUSPECT_OF.get(cue, ""), "")
    return told + (f" The audit's verdict on this model: {verdict}." if verdict else "")


def _outlines(films: Pixels) -> npt.NDArray[np.float32]:
    """Float32 (N, COARSE²): each film's coarse thumbnail less its blur, with mean 0 and length 1."""
    small = np.stack([resized(film, COARSE) for film in films]).astype(np.float64)
    return standardised((small - gaussian_filter(small, (0, BLUR, BLUR))).reshape(len(small), -1))
