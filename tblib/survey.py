"""What is in the database, as tables: prevalence of each artefact, colour spectra, twins, a few films to look at."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import fft

from tblib.artefacts import ASKEW, EQUALISED, TINT_VISIBLE, artefacts
from tblib.catalogue import Database, shared_depth, usable
from tblib.film import Film, Pixels, resized
from tblib.metrics import Floats, clustered_wilson, odds_ratio

CUES = {
    "one channel": lambda films: films["one_channel"],
    "visible tint": lambda films: films["tint_strength"] > TINT_VISIBLE,
    "L/R marker": lambda films: films["marker"],
    "white rectangle": lambda films: films["white_rectangle"],
    "black box": lambda films: films["black_box"],
    "film border": lambda films: films["bordered"],
    "film askew": lambda films: films["border_tilt"].abs() >= ASKEW,
    "equalised": lambda films: films["equalised"] >= EQUALISED,
}


PORTRAIT = 512  # px a side at which films are compared: the Kaggle database's own size
LEVELS = 64  # bins of a grey histogram
SPREAD = (5, 95)  # percentiles of the films between which a class's spread lies


@dataclass(frozen=True)
class Shown:
    """A film to look at: its row of the catalogue and its decoded picture."""

    row: pd.Series
    film: Film


def pick(database: Database, table: pd.DataFrame, each: int, seed: int) -> list[Shown]:
    """`each` films of each class (or all, where there are fewer) drawn by `seed`, negative class first."""
    films = usable(table)
    drawn = [
        members.sample(min(each, len(members)), random_state=seed).sort_values("file")
        for members in (films[films["label"] == name] for name in database.classes)
    ]
    shown = open_rows(database, pd.concat(drawn))
    return shown if "bits" in table else _evened(database, shown)


def listed(database: Database) -> pd.DataFrame:
    """The films of a database that was not catalogued: file, label, and no problem known."""
    return pd.DataFrame({"file": list(database.labels), "label": list(database.labels.values()), "problem": ""})


def thin(shown: list[Shown], count: int) -> list[Shown]:
    """At most `count` of the films, evenly drawn from all."""
    places = np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int)
    return [shown[place] for place in places]


def open_rows(database: Database, rows: pd.DataFrame) -> list[Shown]:
    """The films of some rows of a catalogue, in their order."""
    return [Shown(row, database.film(row["file"])) for _, row in rows.iterrows()]


def _evened(database: Database, shown: list[Shown]) -> list[Shown]:
    """Films of a database that was not catalogued, scaled by the depth that they share."""
    database = replace(database, bits=shared_depth((item.film.bits, item.film.guessed) for item in shown))
    return [
        Shown(item.row, database.film(item.row["file"]))
        if item.film.guessed and item.film.bits < database.bits
        else item
        for item in shown
    ]


def prevalence(table: pd.DataFrame, classes: tuple[str, str]) -> pd.DataFrame:
    """How common each of `CUES` is in each class, and the odds ratio of positive over negative.

    One row a cue and class: cue, label, films, of, share, low, high (Wilson at 95 %, twins counted once),
    odds_ratio, odds_low, odds_high (Woolf; the same in both rows of a cue).
    """
    films = usable(table)
    members = {name: (films["label"] == name).to_numpy() for name in classes}
    rows = []
    for cue, of in CUES.items():
        carried = of(films).to_numpy(bool)
        counts = {name: (int(carried[rows_of].sum()), int(rows_of.sum())) for name, rows_of in members.items()}
        odds = odds_ratio(*counts[classes[1]], *counts[classes[0]])
        for name, inside in members.items():
            share = clustered_wilson(carried[inside], films["twin_group"].to_numpy()[inside])
            rows.append((cue, name, *counts[name], *share, *odds))
    columns = ["cue", "label", "films", "of", "share", "low", "high", "odds_ratio", "odds_low", "odds_high"]
    return pd.DataFrame(rows, columns=columns)


def colour_spectra(shown: list[Shown]) -> dict[str, Floats]:
    """Class -> float (3, 256): mean share of pixels at each level of red, green, blue, over its three-channel films."""
    spectra: dict[str, list[Floats]] = {}
    for item in shown:
        if item.film.pixels.ndim == 3:
            channels = np.moveaxis(item.film.pixels, 2, 0).reshape(3, -1)
            counts = np.stack([np.bincount(channel, minlength=256) for channel in channels])
            spectra.setdefault(item.row["label"], []).append(counts / channels.shape[1])
    return {label: np.mean(films, axis=0) for label, films in spectra.items()}


class Portrait(NamedTuple):
    """What the films of one class look like on the whole.

    Attributes:
        mean_film: uint8 (PORTRAIT / 4, PORTRAIT / 4), the mean of the films in grey.
        histogram: float (3, LEVELS), share of pixels at each grey level: mean over the films, and their `SPREAD`.
        spectrum: float (3, PORTRAIT / 2 - 1), log10 of the power at 1 … cycles a film, radially averaged: the same.
    """

    mean_film: Pixels
    histogram: Floats
    spectrum: Floats


def portraits(shown: Iterable[Shown]) -> dict[str, Portrait]:
    """Class -> its portrait, over films whose detail and grey levels are to be compared with another database's."""
    greys: dict[str, list[Pixels]] = {}
    for item in shown:
        greys.setdefault(item.row["label"], []).append(resized(item.film.grey, PORTRAIT))
    return {label: _portrait(films) for label, films in greys.items()}


def _portrait(films: list[Pixels]) -> Portrait:
    quarters = [resized(film, PORTRAIT // 4).astype(np.float32) for film in films]
    histograms = np.stack(
        [np.bincount(film.ravel() // (256 // LEVELS), minlength=LEVELS) / film.size for film in films]
    )
    spectra = np.stack([np.log10(radial_power(film)) for film in films])
    return Portrait(np.mean(quarters, axis=0).round().astype(np.uint8), _spread(histograms), _spread(spectra))


def _spread(values: Floats) -> Floats:
    """Float (3, n) of (films, n): the mean, and the percentiles `SPREAD`."""
    return np.stack([values.mean(0), *np.percentile(values, SPREAD, axis=0)])


def radial_power(grey: Pixels) -> Floats:
    """Power at 1, 2, … cycles a side, float (side / 2 - 1,), of a square film, averaged over directions.

    The film is first given mean 0 and sd 1; a Hann window keeps its edges out of it.
    """
    side = len(grey)
    window, radius = _rings(side)
    film = grey.astype(np.float32) - grey.mean()
    film *= window / max(film.std(), 1e-6)
    power = np.abs(fft.rfft2(film)) ** 2
    counts, sums = np.bincount(radius), np.bincount(radius, power.ravel())
    return (sums / counts)[1 : side // 2] + 1e-12


@lru_cache(maxsize=1)
def _rings(side: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """A Hann window (side, side), and the whole number of cycles that each term of `fft.rfft2` stands for, flat."""
    line = np.hanning(side)
    radius = np.hypot(fft.fftfreq(side, 1 / side)[:, None], fft.rfftfreq(side, 1 / side)[None]).round().astype(int)
    return np.outer(line, line), radius.ravel()


def within_spread(mine: Portrait, theirs: Portrait) -> float:
    """The share of frequencies at which the mean spectrum of one class lies within the spread of the other's films."""
    mean, (low, high) = mine.spectrum[0], theirs.spectrum[1:]
    return float(((low <= mean) & (mean <= high)).mean())


def detection_rate(shown: list[Shown]) -> float:
    """How many films the detectors look at in a second of one core, without the first, which draws the alphabet."""
    first, *rest = shown
    artefacts(first.film, first.row["bytes"])
    start = time.thread_time()
    for item in rest:
        artefacts(item.film, item.row["bytes"])
    return len(rest) / max(time.thread_time() - start, 1e-9)


def marker_kinds(table: pd.DataFrame) -> pd.Series:
    """Each film's marker: its letter and style, "unread" where no letter was legible, "" where there is none."""
    letter = table["marker_letter"].fillna("").replace("", "unread")
    return (letter + ", " + table["marker_style"].fillna("")).where(table["marker"].astype(bool), "")


def twins(table: pd.DataFrame) -> pd.DataFrame:
    """Films that have a twin: twin_group, kind (exact where all pixels are equal, else near), file, label."""
    films = usable(table)
    groups = films.groupby("twin_group")
    films = films.assign(
        size=groups["file"].transform("size"),
        kind=np.where(groups["pixels_sha256"].transform("nunique") == 1, "exact", "near"),
    )
    return films.loc[films["size"] > 1, ["twin_group", "kind", "file", "label"]].sort_values(["twin_group", "file"])


def claimed_sources(table: pd.DataFrame) -> pd.DataFrame:
    """Films and share with one channel or a visible tint, for each class and claimed source (host of its URL)."""
    films = usable(table)
    host = films["claimed_source"].str.extract(r"^\w+://([^/]+)", expand=False).fillna("not reported")
    coloured = CUES["one channel"](films) | CUES["visible tint"](films)
    frame = pd.DataFrame({"label": films["label"], "claimed source": host, "cue": coloured})
    grouped = frame.groupby(["label", "claimed source"])["cue"]
    return grouped.agg(["size", "mean"]).set_axis(["films", "one channel or tinted"], axis=1).reset_index()
